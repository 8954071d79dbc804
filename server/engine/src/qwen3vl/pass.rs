//! A pass of the decoder over the next tokens of one or more sequences, layer by layer, so that a caller can do other work
//! between two layers of a long pass.

use candle_core::{DType, Tensor};

use super::{
    input::{Features, Prompt},
    kv::Kv,
    model::Model,
    text::{DeepStack, RowSpan},
};
use crate::EngineError;

/// The next tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub enum TokenSpan<'a> {
    /// A generated token.
    Token(u32),
    /// The tokens of a prompt that the cache does not hold, up to `end`.
    Prompt {
        /// The prompt, whose first tokens are those in the cache.
        prompt: &'a Prompt,
        /// One row per visual token of the whole prompt; `None` is allowed where no visual token is left.
        features: Option<&'a Features>,
        /// Index after the last token of the span.
        end: usize,
    },
}

/// A pass that has started.
#[derive(Debug)]
pub struct Pass {
    /// Hidden states: [rows, hidden].
    x: Tensor,
    /// Rotary tables: [rows, head_dim / 2].
    rotation: (Tensor, Tensor),
    deepstack: Option<DeepStack>,
    spans: Vec<RowSpan>,
    /// Per span, whether logits after its last token are wanted: not in the middle of a prompt.
    wanted: Vec<bool>,
    layer: usize,
}

/// The logits after each span: f32, one per id. `None` in the middle of a prompt.
pub type SpanLogits = Vec<Option<Tensor>>;

impl Model {
    /// Starts a pass over `spans`, each of which continues the sequence in the cache at the same index.
    ///
    /// # Errors
    /// `Failed` where features do not match their prompt, a span has no token, an id exceeds the vocabulary, or the device
    /// fails.
    pub fn start(&self, spans: &[TokenSpan<'_>], kvs: &mut [&mut Kv]) -> Result<Pass, EngineError> {
        let mut rows = Rows::default();
        let mut row_spans = Vec::with_capacity(spans.len());
        let mut wanted = Vec::with_capacity(spans.len());
        for (span, kv) in spans.iter().zip(kvs) {
            let start = rows.ids.len();
            wanted.push(match *span {
                TokenSpan::Token(id) => {
                    self.check_id(id)?;
                    rows.push_token(id, kv);
                    true
                }
                TokenSpan::Prompt { prompt, features, end } => {
                    rows.push_prompt(prompt, features, end, kv)?;
                    kv.reserve(prompt.ids().len())?;
                    end == prompt.ids().len()
                }
            });
            let tokens = rows.ids.len() - start;
            row_spans.push(RowSpan::new(start, tokens, kv.len(), &self.device, self.dtype)?);
        }
        let axes = rows.axes.each_ref().map(Vec::as_slice);
        let rotation = self.rotary.tables(axes, &self.device, self.dtype)?;
        let mut x = self.embed(&rows.ids)?;
        let mut deepstack = None;
        if !rows.features.is_empty() {
            let features = Features::cat(&rows.features.iter().collect::<Vec<_>>())?;
            x = self.replace_rows(&x, &features.merged, &rows.visual)?;
            let count = rows.visual.len();
            deepstack = Some(DeepStack {
                rows: Tensor::from_vec(rows.visual, count, &self.device)?,
                features: features.deepstack,
            });
        }
        Ok(Pass { x, rotation, deepstack, spans: row_spans, wanted, layer: 0 })
    }

    /// Runs the next layer of a pass that was started with the caches `kvs`. After the last layer, the caches hold the tokens
    /// and the logits are returned.
    ///
    /// # Errors
    /// `Failed` when the device fails. The caches stay as they were before the pass.
    pub fn advance(&self, pass: &mut Pass, kvs: &mut [&mut Kv]) -> Result<Option<SpanLogits>, EngineError> {
        let rotation = (&pass.rotation.0, &pass.rotation.1);
        let deepstack = pass.deepstack.as_ref();
        if pass.layer + 1 < self.text.depth() {
            pass.x = self.text.layer(pass.layer, &pass.x, rotation, deepstack, &pass.spans, kvs)?;
            pass.layer += 1;
            return Ok(None);
        }
        let ends = pass.spans.iter().zip(&pass.wanted).filter(|&(_, &wanted)| wanted);
        let ends: Vec<u32> = ends.map(|(span, _)| (span.start + span.tokens - 1) as u32).collect();
        let hidden = self.text.last_layer(&pass.x, rotation, deepstack, &pass.spans, kvs, ends)?;
        for (span, kv) in pass.spans.iter().zip(kvs) {
            kv.advance(span.tokens);
        }
        let Some(hidden) = hidden else { return Ok(Some(vec![None; pass.spans.len()])) };
        let logits = self.head.forward(&hidden)?.to_dtype(DType::F32)?;
        let mut rows = Vec::with_capacity(pass.spans.len());
        let mut row = 0;
        for &wanted in &pass.wanted {
            rows.push(if wanted { Some(logits.get(row)?) } else { None });
            row += usize::from(wanted);
        }
        Ok(Some(rows))
    }

    /// Runs all layers of a pass.
    ///
    /// # Errors
    /// See [`Model::start`] and [`Model::advance`].
    pub fn run(&self, spans: &[TokenSpan<'_>], kvs: &mut [&mut Kv]) -> Result<SpanLogits, EngineError> {
        let mut pass = self.start(spans, kvs)?;
        loop {
            if let Some(logits) = self.advance(&mut pass, kvs)? {
                return Ok(logits);
            }
        }
    }

    fn check_id(&self, id: u32) -> Result<(), EngineError> {
        if id as usize >= self.config().text.vocab_size {
            return Err(EngineError::Failed(format!("token id {id} is outside the vocabulary")));
        }
        Ok(())
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor, EngineError> {
        let ids = Tensor::new(ids, &self.device)?;
        Ok(self.embeddings.index_select(&ids, 0)?)
    }

    /// Returns `x` with the rows at `places` replaced by the rows of `new`, in one gather.
    fn replace_rows(&self, x: &Tensor, new: &Tensor, places: &[u32]) -> Result<Tensor, EngineError> {
        let rows = x.dim(0)?;
        let mut sources = (0..rows as u32).collect::<Vec<_>>();
        for (index, &place) in places.iter().enumerate() {
            sources[place as usize] = (rows + index) as u32;
        }
        let sources = Tensor::from_vec(sources, rows, &self.device)?;
        Ok(Tensor::cat(&[x, new], 0)?.index_select(&sources, 0)?)
    }
}

/// The rows of a pass while its spans are collected.
#[derive(Default)]
struct Rows {
    ids: Vec<u32>,
    axes: [Vec<i64>; 3],
    /// Rows of visual tokens.
    visual: Vec<u32>,
    /// Their features, one part per span.
    features: Vec<Features>,
}

impl Rows {
    fn push_token(&mut self, id: u32, kv: &Kv) {
        self.ids.push(id);
        let position = kv.len() as i64 + kv.rope_delta;
        self.axes.iter_mut().for_each(|axis| axis.push(position));
    }

    fn push_prompt(
        &mut self,
        prompt: &Prompt,
        features: Option<&Features>,
        end: usize,
        kv: &mut Kv,
    ) -> Result<(), EngineError> {
        let (start, past, total) = (self.ids.len(), kv.len(), prompt.ids().len());
        if past >= end || end > total {
            return Err(EngineError::Failed(format!(
                "the cache holds {past} tokens of a prompt of {total}; nothing is left to run up to {end}"
            )));
        }
        kv.rope_delta = prompt.positions().delta();
        self.ids.extend_from_slice(&prompt.ids()[past..end]);
        for (axis, own) in self.axes.iter_mut().zip(prompt.positions().axes()) {
            axis.extend_from_slice(&own[past..end]);
        }
        let place = |at| prompt.visual().partition_point(|&index| index < at);
        let (from, to) = (place(past), place(end));
        if let Some(features) = check_features(prompt, features, past)?.filter(|_| from < to) {
            self.visual.extend(prompt.visual()[from..to].iter().map(|&index| (start + index - past) as u32));
            self.features.push(features.narrow(from, to - from)?);
        }
        Ok(())
    }
}

/// Returns the features if the prompt has visual tokens from `first` on.
fn check_features<'a>(
    prompt: &Prompt,
    features: Option<&'a Features>,
    first: usize,
) -> Result<Option<&'a Features>, EngineError> {
    if prompt.visual().last().is_none_or(|&last| last < first) {
        return Ok(None);
    }
    let tokens = features.map_or(0, Features::tokens);
    if tokens != prompt.visual().len() {
        return Err(EngineError::Failed(format!(
            "the prompt has {} visual tokens but the features {tokens}",
            prompt.visual().len()
        )));
    }
    Ok(features)
}
