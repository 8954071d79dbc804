//! Opens an engine: the only place that knows which kinds there are.

use std::sync::Arc;

use url::Url;

use crate::candle::{CandleEngine, CandleOptions, DeviceKind, WeightType};
use crate::qwen3vl::{PromptWrapper, Quantization};
use crate::source::{ModelFiles, ModelSource};
use crate::vllm::{VllmEngine, VllmOptions};
use crate::{Engine, EngineError, hub};

/// A kind of engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Our own, on candle, in this process.
    #[default]
    Candle,
    /// One vLLM server, or several that serve the same.
    Vllm {
        /// Where they listen.
        urls: Vec<Url>,
        /// The checkpoint that they serve, of which only the small files are read; none is what a server names,
        /// if that is on this machine.
        files: Option<ModelSource>,
        /// Requests that may be with one of them at once.
        max_requests: usize,
    },
}

/// Which engine to open, on which model, and how.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Kind of engine.
    pub kind: EngineKind,
    /// The model.
    pub model: ModelSource,
    /// Where it runs.
    pub device: DeviceKind,
    /// Type of the weights on the device; none is f32 on a CPU and bf16 on CUDA.
    pub dtype: Option<WeightType>,
    /// How the decoder's matrices are held; none is as they are.
    pub quantization: Option<Quantization>,
    /// Video prompt format.
    pub wrapper: PromptWrapper,
    /// Tokens that prompt and answer share; none is what the model was made for.
    pub max_model_len: Option<usize>,
    /// Requests that may wait.
    pub queue_depth: usize,
    /// Bytes of vision features that are kept for further questions.
    pub feature_cache_bytes: usize,
    /// Bytes of keys and values that are kept for further questions.
    pub prefix_cache_bytes: usize,
}

impl EngineConfig {
    /// Returns the defaults for `model`: on the CPU, 32 waiting requests, caches of 1 GiB each.
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
            queue_depth: 32,
            feature_cache_bytes: 1 << 30,
            prefix_cache_bytes: 1 << 30,
        }
    }
}

/// Opens an engine, inside a tokio runtime. Returns at once: the model loads (and is downloaded) in the
/// background, which [`Engine::health`] and [`Engine::watch_health`] tell.
///
/// # Errors
/// `Failed` when the engine cannot even be started.
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
        queue_depth: config.queue_depth,
        feature_cache_bytes: config.feature_cache_bytes,
        prefix_cache_bytes: config.prefix_cache_bytes,
    };
    let (id, source) = (config.model.id(), config.model.clone());
    let engine = CandleEngine::spawn(options, move || match source {
        ModelSource::Demo => Ok(ModelFiles::Demo),
        ModelSource::Dir(directory) if directory.is_dir() => Ok(ModelFiles::Dir(directory)),
        // Named without its path: health is shown to browsers too.
        ModelSource::Dir(_) => Err(EngineError::Model {
            model: id,
            message: "there is no such directory; \"demo\", a directory or a hub id would fit".into(),
        }),
        ModelSource::Hub { id, revision } => hub::locate(&id, revision.as_deref()).map(ModelFiles::Dir),
    })?;
    Ok(Arc::new(engine))
}
