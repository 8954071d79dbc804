//! The network's interface: a checkpoint is loaded as a [`Model`], which encodes visuals to features, prefills a prompt, and
//! decodes token by token. The caller owns the KV caches and samples.
//!
//! All calls for one model must come from one thread, since candle's CUDA streams are per thread.

use std::{ops::ControlFlow, path::Path};

use candle_core::{DType, Device, Tensor};

use super::{
    config::Config,
    input::{Features, ProgressFn, Prompt, Visual},
    kv::Kv,
    layers::{Linear, Quantization, TensorScope},
    rope::TextRotary,
    text::{DeepStack, TextModel},
    vision::VisionModel,
    weights::Weights,
};
use crate::EngineError;

/// Tokens per prefill chunk; a request can be cancelled between chunks.
const PREFILL_CHUNK: usize = 512;

/// The files of a checkpoint: `config.json` and the weights.
#[derive(Debug)]
pub struct Checkpoint {
    /// The contents of `config.json`.
    pub config: Config,
    /// The tensors.
    pub weights: Weights,
}

impl Checkpoint {
    /// Opens the checkpoint in `directory` (the Hugging Face layout). `model` is the name for errors.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming the file, what is wrong and what would fit.
    pub fn from_dir(model: &str, directory: &Path) -> Result<Self, EngineError> {
        let json = std::fs::read(directory.join("config.json")).map_err(|error| EngineError::Model {
            model: model.into(),
            message: format!("config.json can't be read: {error}"),
        })?;
        let config = Config::from_json(model, &json)?;
        Ok(Self { config, weights: Weights::from_dir(model, directory)? })
    }

    /// Opens a checkpoint of one safetensors file that is embedded in the program.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming what is wrong and what would fit.
    pub fn from_static(model: &str, config_json: &[u8], weights: &'static [u8]) -> Result<Self, EngineError> {
        let config = Config::from_json(model, config_json)?;
        Ok(Self { config, weights: Weights::from_static(model, weights)? })
    }

    /// Returns a checkpoint with the shape of `config_json` and random weights (see [`Weights::drawn`]).
    ///
    /// # Errors
    /// [`EngineError::Model`] naming what is wrong in the configuration and what would fit.
    pub fn drawn(model: &str, config_json: &[u8]) -> Result<Self, EngineError> {
        Ok(Self { config: Config::from_json(model, config_json)?, weights: Weights::drawn(model) })
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    config: Config,
    device: Device,
    dtype: DType,
    embeddings: Tensor,
    rotary: TextRotary,
    text: TextModel,
    vision: VisionModel,
    head: Linear,
}

impl Model {
    /// Loads every tensor to `device` as `dtype` (f32 on a CPU, bf16 on CUDA). The checkpoint's files
    /// are not needed afterwards.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming a tensor that is missing or differs in shape from the configuration;
    /// [`EngineError::Failed`] when the device is out of memory.
    pub fn load(checkpoint: &Checkpoint, device: &Device, dtype: DType) -> Result<Self, EngineError> {
        Self::load_quantized(checkpoint, device, dtype, None)
    }

    /// Loads as [`Model::load`] does, with quantized matrices in the decoder's dense layers and the output head. The vision
    /// tower, embeddings, norms and experts stay `dtype`.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_quantized(
        checkpoint: &Checkpoint,
        device: &Device,
        dtype: DType,
        quantization: Option<Quantization>,
    ) -> Result<Self, EngineError> {
        let Checkpoint { config, weights } = checkpoint;
        let text = &config.text;
        let source = |prefix| TensorScope::new(weights, device, dtype, prefix);
        let decoder = source("model.language_model").quantized(quantization);
        // The head decides between tokens, so it is quantized to 8 bits at least.
        let head_quantization = quantization.map(|_| Quantization::Q8_0);
        let shape = [text.vocab_size, text.hidden_size];
        let embeddings = decoder.tensor("embed_tokens.weight", &shape)?;
        let head = match config.tie_word_embeddings {
            true => embeddings.clone(),
            false => source("lm_head").tensor("weight", &shape)?,
        };
        Ok(Self {
            embeddings,
            rotary: TextRotary::new(text.head_dim, text.rope_theta, text.mrope_section),
            text: TextModel::load(&decoder, text)?,
            vision: VisionModel::load(&source("model.visual"), &config.vision)?,
            head: Linear::from_weight(decoder.quantized(head_quantization).hold(head)?),
            config: config.clone(),
            device: device.clone(),
            dtype,
        })
    }

    /// Returns the contents of `config.json`.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the device of the model.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns an empty cache for one sequence.
    #[must_use]
    pub fn new_kv(&self) -> Kv {
        Kv::new(&self.config.text, &self.device, self.dtype)
    }

    /// Returns the bytes of KV per token, for admission by memory.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> usize {
        let text = &self.config.text;
        let values = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim;
        values * self.dtype.size_in_bytes()
    }

    /// Runs the vision tower on one picture or clip. `progress` counts blocks.
    ///
    /// # Errors
    /// `Cancelled` when `progress` breaks; `Failed` where the visual's grid does not fit its values or the
    /// device fails.
    pub fn encode(&self, visual: &Visual, progress: &mut ProgressFn<'_>) -> Result<Features, EngineError> {
        self.vision.forward(visual, &self.device, progress)
    }

    /// Prefills the part of `prompt` that `kv` does not hold (its first `kv.len()` tokens must be this prompt's) and returns
    /// the logits after the last token: f32, one per id. `features` has one row per visual token of the whole prompt; `None`
    /// is allowed where no visual token is left. `progress` counts tokens. When cancelled, `kv` keeps the chunks that are done.
    ///
    /// # Errors
    /// `Cancelled` when `progress` breaks; `Failed` where the features do not match the prompt, no token is left to run, or the
    /// device fails.
    pub fn prefill(
        &self,
        prompt: &Prompt,
        features: Option<&Features>,
        kv: &mut Kv,
        progress: &mut ProgressFn<'_>,
    ) -> Result<Tensor, EngineError> {
        let total = prompt.ids().len();
        let first = kv.len();
        if first >= total {
            return Err(EngineError::Failed(format!(
                "the cache holds {first} tokens of a prompt of {total}; nothing is left to run"
            )));
        }
        let features = self.check_features(prompt, features, first)?;
        kv.rope_delta = prompt.positions().delta();
        kv.reserve(total)?;
        loop {
            let start = kv.len();
            let end = total.min(start + PREFILL_CHUNK);
            let hidden = self.run_chunk(prompt, features, start, end, kv)?;
            if progress(end - first, total - first) == ControlFlow::Break(()) {
                return Err(EngineError::Cancelled);
            }
            if end == total {
                return self.logits(&hidden);
            }
        }
    }

    /// Decodes one token after those in `kv` and returns the logits after it: f32, one per id.
    ///
    /// # Errors
    /// `Failed` where the token exceeds the vocabulary or the device fails.
    pub fn step(&self, token: u32, kv: &mut Kv) -> Result<Tensor, EngineError> {
        if token as usize >= self.config.text.vocab_size {
            return Err(EngineError::Failed(format!("token id {token} is outside the vocabulary")));
        }
        let x = self.embed(&[token])?;
        let position = [kv.len() as i64 + kv.rope_delta];
        let (cos, sin) = self.rotary.tables([&position; 3], &self.device, self.dtype)?;
        let hidden = self.text.forward(x, (&cos, &sin), None, kv)?;
        self.logits(&hidden)
    }

    fn run_chunk(
        &self,
        prompt: &Prompt,
        features: Option<&Features>,
        start: usize,
        end: usize,
        kv: &mut Kv,
    ) -> Result<Tensor, EngineError> {
        let axes = prompt.positions().axes().each_ref().map(|axis| &axis[start..end]);
        let (cos, sin) = self.rotary.tables(axes, &self.device, self.dtype)?;
        let mut x = self.embed(&prompt.ids()[start..end])?;
        let (from, to) = (
            prompt.visual().partition_point(|&index| index < start),
            prompt.visual().partition_point(|&index| index < end),
        );
        let mut deepstack = None;
        if let Some(features) = features.filter(|_| from < to) {
            let merged = features.merged.narrow(0, from, to - from)?;
            let visual = &prompt.visual()[from..to];
            x = self.replace_rows(&x, &merged, visual.iter().map(|&index| index - start))?;
            let rows = visual.iter().map(|&index| (index - start) as u32).collect::<Vec<_>>();
            deepstack = Some(DeepStack {
                rows: Tensor::from_vec(rows, to - from, &self.device)?,
                features: features
                    .deepstack
                    .iter()
                    .map(|layer| layer.narrow(0, from, to - from)?.contiguous())
                    .collect::<Result<_, _>>()?,
            });
        }
        Ok(self.text.forward(x, (&cos, &sin), deepstack.as_ref(), kv)?)
    }

    /// Returns `x` with the rows at `places` replaced by the rows of `new`, in one gather.
    fn replace_rows(
        &self,
        x: &Tensor,
        new: &Tensor,
        places: impl Iterator<Item = usize>,
    ) -> Result<Tensor, EngineError> {
        let rows = x.dim(0)?;
        let mut sources = (0..rows as u32).collect::<Vec<_>>();
        for (index, place) in places.enumerate() {
            sources[place] = (rows + index) as u32;
        }
        let sources = Tensor::from_vec(sources, rows, &self.device)?;
        Ok(Tensor::cat(&[x, new], 0)?.index_select(&sources, 0)?)
    }

    fn check_features<'a>(
        &self,
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

    fn embed(&self, ids: &[u32]) -> Result<Tensor, EngineError> {
        let ids = Tensor::new(ids, &self.device)?;
        Ok(self.embeddings.index_select(&ids, 0)?)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, EngineError> {
        Ok(self.head.forward(hidden)?.squeeze(0)?.to_dtype(DType::F32)?)
    }
}
