//! The network's interface: a checkpoint is loaded as a [`Model`], which encodes visuals to features, prefills a prompt, and
//! decodes token by token. The caller owns the KV caches and samples.
//!
//! All calls for one model must come from one thread, since candle's CUDA streams are per thread.

use std::{ops::ControlFlow, path::Path};

use candle_core::{DType, Device, Tensor};

use super::{
    config::Config,
    input::{Features, PatchFn, ProgressFn, Prompt, Visual},
    kv::Kv,
    layers::{Linear, MatrixFormat, Quantization, TensorScope},
    pass::TokenSpan,
    rope::TextRotary,
    text::TextModel,
    vision::{Encoding, VisionModel},
    weights::Weights,
};
use crate::EngineError;

/// Tokens per prefill chunk.
pub const PREFILL_CHUNK: usize = 512;

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
    pub(super) device: Device,
    pub(super) dtype: DType,
    pub(super) embeddings: Tensor,
    pub(super) rotary: TextRotary,
    pub(super) text: TextModel,
    pub(super) vision: VisionModel,
    pub(super) head: Linear,
}

impl Model {
    /// Loads every tensor to `device` as `dtype` (f32 on a CPU, bf16 on CUDA; with bf16 on a CPU, the matrices of linear layers are bf16 and all
    /// else is f32). The checkpoint's files are not needed afterwards.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming a tensor that is missing or differs in shape from the configuration;
    /// [`EngineError::Failed`] when the device is out of memory.
    pub fn load(checkpoint: &Checkpoint, device: &Device, dtype: DType) -> Result<Self, EngineError> {
        Self::load_quantized(checkpoint, device, dtype, None)
    }

    /// Loads as [`Model::load`] does, with quantized matrices in the decoder's dense layers and the output head, and on a CPU
    /// in the vision tower. Embeddings, norms and experts stay `dtype`.
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
        // A CPU computes in f32 whatever it multiplies.
        let (dtype, plain) = match (device.is_cpu(), dtype) {
            (true, DType::BF16) => (DType::F32, MatrixFormat::Bf16),
            _ => (dtype, MatrixFormat::Plain),
        };
        let source = |prefix| TensorScope::new(weights, device, dtype, prefix);
        // The head decides between tokens, so it is quantized to 8 bits at least.
        let (layers, head_format) = match quantization {
            None => (plain, plain),
            Some(kind) => (MatrixFormat::Quantized(kind), MatrixFormat::Quantized(Quantization::Q8_0)),
        };
        let tower = match quantization {
            Some(_) if device.is_cpu() => MatrixFormat::Q8IfFaster,
            _ => plain,
        };
        let decoder = source("model.language_model").with_matrices(layers);
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
            vision: VisionModel::load(&source("model.visual").with_matrices(tower), &config.vision)?,
            head: Linear::from_weight(decoder.with_matrices(head_format).hold(head)?),
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
    /// `Cancelled` when `progress` breaks; otherwise as [`Model::start_encoding`] and [`Model::advance_encoding`].
    pub fn encode(&self, visual: &Visual, progress: &mut ProgressFn<'_>) -> Result<Features, EngineError> {
        let mut encoding = self.start_encoding(visual.grid)?;
        loop {
            let features =
                self.advance_encoding(&mut encoding, &mut |groups| visual.groups(groups).to_vec())?;
            let (done, total) = encoding.progress();
            if progress(done, total) == ControlFlow::Break(()) {
                return Err(EngineError::Cancelled);
            }
            if let Some(features) = features {
                return Ok(features);
            }
        }
    }

    /// Starts to run the vision tower on a picture or clip of `grid` (temporal groups, rows and columns of patches).
    ///
    /// # Errors
    /// `Failed` where the grid does not fit the model or the device fails.
    pub fn start_encoding(&self, grid: [usize; 3]) -> Result<Encoding, EngineError> {
        self.vision.start(grid, &self.device)
    }

    /// Runs the next block, and returns the features after the last one. `patches` is called for a few temporal groups at a
    /// time, so that the patches of a long clip need not be in memory together.
    ///
    /// # Errors
    /// `Failed` when `patches` returns too few or too many values, or the device fails.
    pub fn advance_encoding(
        &self,
        encoding: &mut Encoding,
        patches: &mut PatchFn<'_>,
    ) -> Result<Option<Features>, EngineError> {
        self.vision.advance(encoding, patches, &self.device)
    }

    /// Prefills the part of `prompt` that `kv` does not hold (its first `kv.len()` tokens must be this prompt's) and returns
    /// the logits after the last token: f32, one per id. `features` has one row per visual token of the whole prompt; `None`
    /// is allowed where no visual token is left. `progress` counts tokens. When cancelled, `kv` keeps the chunks that are done.
    ///
    /// # Errors
    /// `Cancelled` when `progress` breaks; otherwise as [`Model::start`].
    pub fn prefill(
        &self,
        prompt: &Prompt,
        features: Option<&Features>,
        kv: &mut Kv,
        progress: &mut ProgressFn<'_>,
    ) -> Result<Tensor, EngineError> {
        let total = prompt.ids().len();
        let first = kv.len();
        loop {
            let end = total.min(kv.len() + PREFILL_CHUNK);
            let logits = self.run(&[TokenSpan::Prompt { prompt, features, end }], &mut [kv])?.pop().flatten();
            if progress(end - first, total - first) == ControlFlow::Break(()) {
                return Err(EngineError::Cancelled);
            }
            if let Some(logits) = logits {
                return Ok(logits);
            }
        }
    }

    /// Decodes one token after those in `kv` and returns the logits after it: f32, one per id.
    ///
    /// # Errors
    /// As [`Model::start`].
    pub fn step(&self, token: u32, kv: &mut Kv) -> Result<Tensor, EngineError> {
        let logits = self.run(&[TokenSpan::Token(token)], &mut [kv])?.pop().flatten();
        logits.ok_or_else(|| EngineError::Failed("a decoded token has no logits".into()))
    }
}
