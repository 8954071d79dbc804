//! Opens the configured engine. No other file matches on the kind of engine.

use std::sync::Arc;

use url::Url;

use crate::candle::{CandleEngine, CandleOptions, DeviceKind, Limits, WeightType};
use crate::qwen3vl::{PREFILL_CHUNK, PromptWrapper, Quantization};
use crate::source::{ModelFiles, ModelSource};
use crate::vllm::{VllmEngine, VllmOptions};
use crate::{Engine, EngineError, hub};

/// A kind of engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// The candle engine in this process.
    #[default]
    Candle,
    /// One vLLM server, or several that serve the same model.
    Vllm {
        /// Their addresses.
        urls: Vec<Url>,
        /// The checkpoint that they serve, of which only the small files are read. `None` means the one that a server reports,
        /// if it is on this machine.
        files: Option<ModelSource>,
        /// Limit of concurrent requests to each.
        max_requests: usize,
    },
}

/// Configuration of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Kind of engine.
    pub kind: EngineKind,
    /// The model.
    pub model: ModelSource,
    /// Where it runs.
    pub device: DeviceKind,
    /// Type of the weights on the device. `None` means f32 on a CPU and bf16 on CUDA.
    pub dtype: Option<WeightType>,
    /// Quantization of the text model's matrices. `None` means as in the checkpoint.
    pub quantization: Option<Quantization>,
    /// Video prompt format.
    pub wrapper: PromptWrapper,
    /// Maximum number of tokens of prompt and answer together. `None` means the model's own limit.
    pub max_model_len: Option<usize>,
    /// Number of requests that candle processes at the same time.
    pub max_num_seqs: usize,
    /// Size of the KV of requests that candle processes at the same time, in bytes.
    pub kv_cache_memory_bytes: usize,
    /// Prompt tokens that candle processes in one pass.
    pub max_num_batched_tokens: usize,
    /// Limit of waiting requests.
    pub queue_depth: usize,
    /// Size of the cache of vision features in bytes.
    pub feature_cache_bytes: usize,
    /// Size of the prefix cache of keys and values in bytes.
    pub prefix_cache_bytes: usize,
}

impl EngineConfig {
    /// Returns the defaults for `model`: on the CPU, 8 requests at the same time with 4 GiB of KV, 32 waiting ones, caches of 1 GiB each.
    #[must_use]
    pub fn new(model: ModelSource) -> Self {
        Self {
            kind: EngineKind::default(),
            model,
            device: DeviceKind::default(),
            dtype: None,
            quantization: None,
            wrapper: PromptWrapper::default(),
            max_model_len: None,
            max_num_seqs: 8,
            kv_cache_memory_bytes: 4 << 30,
            max_num_batched_tokens: PREFILL_CHUNK,
            queue_depth: 32,
            feature_cache_bytes: 1 << 30,
            prefix_cache_bytes: 1 << 30,
        }
    }
}

/// Opens an engine, inside a tokio runtime. Returns immediately: the model is downloaded and loaded in the background, and
/// [`Engine::health`] and [`Engine::watch_health`] report when it is ready.
///
/// # Errors
/// `Failed` when starting the engine fails.
pub fn open(config: &EngineConfig) -> Result<Arc<dyn Engine>, EngineError> {
    match &config.kind {
        EngineKind::Candle => open_candle(config),
        EngineKind::Vllm { urls, files, max_requests } => {
            let options = VllmOptions {
                urls: urls.clone(),
                files: files.clone(),
                wrapper: config.wrapper,
                max_model_len: config.max_model_len,
                max_requests: *max_requests,
            };
            Ok(Arc::new(VllmEngine::start(options)?))
        }
    }
}

fn open_candle(config: &EngineConfig) -> Result<Arc<dyn Engine>, EngineError> {
    let options = CandleOptions {
        id: config.model.id(),
        device: config.device,
        dtype: config.dtype,
        quantization: config.quantization,
        wrapper: config.wrapper,
        max_model_len: config.max_model_len,
        limits: Limits {
            max_num_seqs: config.max_num_seqs,
            kv_cache_memory_bytes: config.kv_cache_memory_bytes,
            max_num_batched_tokens: config.max_num_batched_tokens,
        },
        queue_depth: config.queue_depth,
        feature_cache_bytes: config.feature_cache_bytes,
        prefix_cache_bytes: config.prefix_cache_bytes,
    };
    let (id, source) = (config.model.id(), config.model.clone());
    let engine = CandleEngine::spawn(options, move || match source {
        ModelSource::Demo => Ok(ModelFiles::Demo),
        ModelSource::Dir(directory) if directory.is_dir() => Ok(ModelFiles::Dir(directory)),
        // The path is omitted, because health is shown in browsers.
        ModelSource::Dir(_) => Err(EngineError::Model {
            model: id,
            message: "there is no such directory; \"demo\", a directory or a hub id would fit".into(),
        }),
        ModelSource::Hub { id, revision } => hub::locate(&id, revision.as_deref()).map(ModelFiles::Dir),
    })?;
    Ok(Arc::new(engine))
}
