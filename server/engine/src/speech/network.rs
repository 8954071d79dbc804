//! The Whisper network: loads a checkpoint and computes encodings and logits equal to those of transformers.
//!
//! Weights are f32, whatever the file has: on a CPU that is exact, and sound is short beside video. All calls for one model must
//! come from one thread, since candle's CUDA streams are per thread.

mod decoder;
mod encoder;

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::config::Config;
use crate::EngineError;
use crate::qwen3vl::{Linear, TensorScope, Weights};
use decoder::Decoder;
pub use decoder::Sequence;
use encoder::Encoder;

/// Inside the network, errors are the device's unless a signature says otherwise.
type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

/// Epsilon of every norm, torch's default.
const EPS: f32 = 1e-5;

/// A loaded model.
pub struct Model {
    config: Config,
    device: Device,
    encoder: Encoder,
    decoder: Decoder,
}

impl Model {
    /// Loads the weights in `directory` to `device`. `model` is the name that errors carry.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming a file or tensor that is missing, damaged, or differs in shape from `config`;
    /// [`EngineError::Failed`] when the device is out of memory.
    pub fn load(
        model: &str,
        directory: &Path,
        config: &Config,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let weights = Weights::from_dir(model, directory)?;
        let scope = |prefix| TensorScope::new(&weights, device, DType::F32, prefix);
        let head = match config.tie_word_embeddings || !weights.contains("proj_out.weight") {
            true => None,
            false => Some(weights.load(
                "proj_out.weight",
                &[config.vocab_size, config.d_model],
                device,
                DType::F32,
            )?),
        };
        Ok(Self {
            encoder: Encoder::load(&scope("model.encoder"), config)?,
            decoder: Decoder::load(&scope("model.decoder"), config, head)?,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Encodes windows, given by features [frames, bins] for all frames of a window. Returns
    /// [windows * positions, d_model].
    ///
    /// # Errors
    /// When the features have another length, or the device is out of memory.
    pub fn encode(&self, features: &[Vec<f32>]) -> Result<Tensor, EngineError> {
        let shape = (2 * self.config.source_positions, self.config.mel_bins);
        let windows = features.iter().map(|features| Tensor::from_slice(features, shape, &self.device));
        Ok(self.encoder.forward(&windows.collect::<Result<Vec<_>>>()?)?)
    }

    /// Prepares one sequence of tokens per window of `encoded`, which [`Model::encode`] returned.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn sequences(&self, encoded: &Tensor) -> Result<Vec<Sequence>, EngineError> {
        Ok(self.decoder.sequences(encoded)?)
    }

    /// Appends one token to each of some sequences.
    ///
    /// # Errors
    /// `Invalid` for a token outside the vocabulary or a sequence that is full; when the device is out of memory.
    pub fn append(&self, tokens: &[u32], sequences: &mut [&mut Sequence]) -> Result<Hidden, EngineError> {
        let Config { vocab_size, target_positions, .. } = self.config;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
            return Err(EngineError::Failed(format!(
                "token {token} is outside the vocabulary of {vocab_size}"
            )));
        }
        if sequences.iter().any(|sequence| sequence.len() >= target_positions) {
            return Err(EngineError::Failed(format!("a sequence has more than {target_positions} tokens")));
        }
        Ok(Hidden(self.decoder.forward(tokens, sequences)?))
    }

    /// Returns the logits, `[vocab_size]`, of each sequence behind the tokens that [`Model::append`] appended.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn logits(&self, hidden: &Hidden) -> Result<Vec<Vec<f32>>, EngineError> {
        Ok(self.decoder.logits(&hidden.0)?.to_vec2()?)
    }
}

/// The states [sequences, d_model] of the last tokens of some sequences.
pub struct Hidden(Tensor);

/// Loads the linear layers of queries, keys and values as one, with the names that checkpoints use; keys have no bias.
fn fused(scope: &TensorScope<'_>, names: &[&str], width: usize) -> Result<Linear, EngineError> {
    let weights = names.iter().map(|name| scope.at(name).tensor("weight", &[width, width]));
    let biases = names.iter().map(|name| match *name {
        "k_proj" => Ok(Tensor::zeros(width, DType::F32, scope.device())?),
        name => scope.at(name).tensor("bias", &[width]),
    });
    let weights = weights.collect::<Result<Vec<_>, EngineError>>()?;
    let biases = biases.collect::<Result<Vec<_>, EngineError>>()?;
    Ok(Linear::with_bias(Tensor::cat(&weights, 0)?, Tensor::cat(&biases, 0)?))
}
