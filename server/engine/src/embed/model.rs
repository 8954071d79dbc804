//! A sentence model in memory: tokens, network, pooling and normalization, for any number of texts.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::config::{PoolingMode, SentenceConfig};
use super::encoder::Encoder;
use super::tokens::SentenceTokenizer;
use super::{Embedded, Identity, Prompts, Purpose, pooling};
use crate::EngineError;
use crate::qwen3vl::Weights;
use crate::source::ModelFiles;

/// Tokens per batch, unless one text has more. Larger batches are hardly faster, and queries wait for a layer of one.
const BATCH_TOKENS: usize = 512;

/// Hexadecimal digits of the digest in the model's id.
const DIGEST_DIGITS: usize = 12;

/// A sentence model in memory.
pub(super) struct SentenceModel {
    name: String,
    identity: Identity,
    tokenizer: SentenceTokenizer,
    encoder: Encoder,
    pooling: PoolingMode,
    normalize: bool,
    prompts: Prompts,
}

impl SentenceModel {
    /// Loads the model in `directory`. `name` is what errors carry; `prompts` replace those of the files.
    ///
    /// # Errors
    /// `Model` where a file is missing, damaged, or asks for what this engine does not do.
    pub(super) fn from_dir(
        name: &str,
        directory: &Path,
        prompts: Option<Prompts>,
    ) -> Result<Self, EngineError> {
        let fail = |message| EngineError::Model { model: name.to_owned(), message };
        let files = ModelFiles::Dir(directory.to_owned());
        let config = SentenceConfig::read(&files).map_err(fail)?;
        let json = files
            .read("tokenizer.json")
            .ok_or_else(|| fail("tokenizer.json is missing, or too large".into()))?;
        let tokenizer = SentenceTokenizer::from_json(&json, &config).map_err(fail)?;
        let weights = Weights::from_dir(name, directory)?;
        let encoder = Encoder::load(&config.encoder, &weights)?;
        let prompts = prompts.unwrap_or_else(|| config.prompts.clone());
        let mut digest = weights.digest();
        digest.update(&json);
        digest.update(settings(&config, &prompts));
        Ok(Self {
            name: name.to_owned(),
            identity: Identity {
                name: name.to_owned(),
                model_id: format!("{name}@{}", digits(digest)),
                dimension: config.encoder.hidden_size,
            },
            tokenizer,
            encoder,
            pooling: config.pooling,
            normalize: config.normalize,
            prompts,
        })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns one vector per text. `between` runs after each layer, and its error ends the work.
    pub(super) fn embed(
        &self,
        texts: &[String],
        purpose: Purpose,
        between: &mut dyn FnMut() -> Result<(), EngineError>,
    ) -> Result<Embedded, EngineError> {
        let fail = |message| EngineError::Model { model: self.name.clone(), message };
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            between()?;
            ids.push(self.tokenizer.encode(&self.prompts.apply(purpose, text)).map_err(fail)?);
        }
        // Texts of similar length share a batch, so that batches take about the same time.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(ids[index].len()));
        let mut vectors = vec![Vec::new(); ids.len()];
        for batch in batches(&order, &ids) {
            let own: Vec<&[u32]> = batch.iter().map(|&index| ids[index].as_slice()).collect();
            let lengths: Vec<usize> = own.iter().map(|ids| ids.len()).collect();
            let hidden = self.encoder.forward(&own, between)?;
            let pooled = pooling::pool(&hidden, &lengths, self.identity.dimension, self.pooling);
            for (&index, mut vector) in batch.iter().zip(pooled) {
                if self.normalize {
                    pooling::normalize(&mut vector);
                }
                if !vector.iter().all(|value| value.is_finite()) {
                    return Err(fail(
                        "it computes values that are not numbers; other weights would fit".into(),
                    ));
                }
                vectors[index] = vector;
            }
        }
        Ok(Embedded { vectors, tokens: ids.iter().map(Vec::len).sum() })
    }
}

/// Splits texts in `order` into batches of at most [`BATCH_TOKENS`] tokens, or of one text.
fn batches<'a>(order: &'a [usize], ids: &[Vec<u32>]) -> Vec<&'a [usize]> {
    let mut batches = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (end, &index) in order.iter().enumerate() {
        let more = ids[index].len();
        if end > start && tokens + more > BATCH_TOKENS {
            batches.push(&order[start..end]);
            (start, tokens) = (end, 0);
        }
        tokens += more;
    }
    if start < order.len() {
        batches.push(&order[start..]);
    }
    batches
}

/// Returns what besides weights and tokens decides the vectors.
fn settings(config: &SentenceConfig, prompts: &Prompts) -> String {
    let SentenceConfig { encoder, pooling, normalize, max_tokens, lower_case, .. } = config;
    format!(
        "{} {:?} {:e} {:?} {pooling:?} {normalize} {max_tokens} {lower_case} {:?} {:?}",
        encoder.num_attention_heads,
        encoder.activation,
        encoder.layer_norm_eps,
        encoder.counted_from,
        prompts.query,
        prompts.passage
    )
}

fn digits(digest: Sha256) -> String {
    let mut text: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(DIGEST_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_every_text_once_and_a_limit() {
        let ids: Vec<Vec<u32>> =
            [700, 300, 200, 200, 5, 0].into_iter().map(|length| vec![0; length]).collect();
        let order: Vec<usize> = (0..ids.len()).collect();
        assert_eq!(batches(&order, &ids), [&order[..1], &order[1..3], &order[3..]]);
        assert!(batches(&[], &ids).is_empty());
    }
}
