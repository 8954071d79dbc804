//! The engine that runs a model on candle: validates and tokenizes requests on the caller's thread, then queues them for
//! the thread that owns the model.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use candle_core::DType;
use serde::Deserialize;
use tokio::sync::watch;

use super::batch::BatchCounters;
use super::cache::{FeatureCache, PrefixCache, contents};
use super::constraint::Grammars;
use super::device::open_device;
use super::generation::Generation;
use super::logit_rules::LogitRules;
use super::scheduler::{Limits, Scheduler};
use super::sequence::Shared;
use super::sink::EventSink;
use super::worker::ModelThread;
use crate::qwen3vl::{
    ChatTemplate, Checkpoint, Config, GenerationConfig, Model, Processor, ProcessorConfig, PromptBuilder,
    PromptWrapper, Quantization, Tokenizer,
};
use crate::source::ModelFiles;
use crate::validate::{check, check_vocabulary, max_tokens};
use crate::{
    BatchStatus, Engine, EngineError, GenerationEvents, Health, ModelInfo, PromptTokens, Request,
    VideoBudget, demo,
};

/// Configuration of the candle engine.
#[derive(Debug, Clone)]
pub(crate) struct CandleOptions {
    /// Id under which requests name the model.
    pub(crate) id: String,
    /// Device that the model runs on.
    pub(crate) device: DeviceKind,
    /// Type of the weights; `None` means f32 on a CPU and bf16 on CUDA.
    pub(crate) dtype: Option<WeightType>,
    /// Quantization of the decoder's matrices; `None` means none.
    pub(crate) quantization: Option<Quantization>,
    /// Video prompt format.
    pub(crate) wrapper: PromptWrapper,
    /// Tokens that prompt and answer share; `None` means the model's own limit.
    pub(crate) max_model_len: Option<usize>,
    /// What runs at the same time.
    pub(crate) limits: Limits,
    /// Requests that may wait.
    pub(crate) queue_depth: usize,
    /// Bytes of the vision feature cache.
    pub(crate) feature_cache_bytes: usize,
    /// Bytes of the prefix cache.
    pub(crate) prefix_cache_bytes: usize,
}

/// A kind of device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The CPU.
    #[default]
    Cpu,
    /// The first CUDA device (needs a build with the feature `cuda`).
    Cuda,
}

/// A type of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// 32-bit floats (the default on a CPU).
    F32,
    /// bfloat16 (the default on CUDA).
    Bf16,
    /// IEEE half precision.
    F16,
}

/// What `submit` needs of the loaded model.
struct Frontend {
    builder: Arc<PromptBuilder>,
    grammars: Grammars,
    info: ModelInfo,
}

/// Qwen3-VL on candle.
pub(crate) struct CandleEngine {
    worker: ModelThread<Generation>,
    limits: Limits,
    frontend: Arc<OnceLock<Frontend>>,
    batch: Arc<BatchCounters>,
}

impl CandleEngine {
    /// Starts the engine's thread. `locate` runs there first to find the model's files, which may download them.
    ///
    /// # Errors
    /// `Failed` when the system gives no thread. Later errors are reported by the health.
    pub(crate) fn spawn(
        options: CandleOptions,
        locate: impl FnOnce() -> Result<ModelFiles, EngineError> + Send + 'static,
    ) -> Result<Self, EngineError> {
        let frontend = Arc::new(OnceLock::new());
        let batch = Arc::new(BatchCounters::default());
        let (own, counters) = (Arc::clone(&frontend), Arc::clone(&batch));
        let (depth, limits) = (options.queue_depth, options.limits);
        let worker = ModelThread::spawn("engine", depth, move || {
            let files = locate()?;
            let start = Instant::now();
            let (loaded, shared) = load(&options, &files)?;
            tracing::info!(
                model = loaded.info.id,
                backend = loaded.info.backend,
                load_ms = start.elapsed().as_millis() as u64,
                "loaded the model into memory"
            );
            own.get_or_init(|| loaded);
            Ok(Scheduler::new(shared, limits, counters))
        })
        .map_err(|error| EngineError::Failed(format!("no thread for the engine: {error}")))?;
        Ok(Self { worker, limits, frontend, batch })
    }

    fn frontend(&self) -> Result<&Frontend, EngineError> {
        self.worker.ready()?;
        self.frontend.get().ok_or(EngineError::NotReady)
    }
}

impl Engine for CandleEngine {
    fn info(&self) -> Result<ModelInfo, EngineError> {
        Ok(self.frontend()?.info.clone())
    }

    fn health(&self) -> Health {
        self.worker.health()
    }

    fn concurrency(&self) -> usize {
        self.limits.max_num_seqs
    }

    fn batch(&self) -> Option<BatchStatus> {
        Some(self.batch.status(self.worker.queued(), self.limits))
    }

    fn watch_health(&self) -> watch::Receiver<Health> {
        self.worker.watch()
    }

    fn video_size(
        &self,
        frames: usize,
        width: u32,
        height: u32,
        budget: VideoBudget,
    ) -> Result<(u32, u32), EngineError> {
        self.frontend()?.builder.processor.video_size(frames, width, height, budget)
    }

    fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        self.frontend()?.builder.processor.image_size(width, height)
    }

    fn prompt_tokens(&self, request: &Request) -> Result<Option<PromptTokens>, EngineError> {
        check(request)?;
        self.frontend()?.builder.tokens_of(request).map(Some)
    }

    fn text_tokens(&self, text: &str) -> Result<Option<Vec<u32>>, EngineError> {
        self.frontend()?.builder.text_tokens(text).map(Some)
    }

    fn token_text(&self, id: u32) -> Result<Option<String>, EngineError> {
        Ok(Some(self.frontend()?.builder.tokenizer.token_text(id)))
    }

    fn submit(&self, mut request: Request) -> Result<GenerationEvents, EngineError> {
        let frontend = self.frontend()?;
        let submitted = Instant::now();
        check(&request)?;
        check_vocabulary(&request.options, frontend.builder.config.text.vocab_size)?;
        let constraint = frontend.grammars.constrain(&request.options)?;
        let rules = LogitRules::new(&request.options, &frontend.builder.tokenizer)?;
        let prepared = frontend.builder.build(&request)?;
        request.messages.clear();
        // Here, since hashing content without a key takes time.
        let contents = contents(&prepared.media, frontend.builder.config.vision.merge_unit());
        let left = frontend.builder.context - prepared.prompt.ids().len();
        let max_tokens = max_tokens(&request.options, left);
        let (sink, receiver) = EventSink::channel();
        let queued = Instant::now();
        let span = tracing::Span::current();
        let generation = Generation {
            request,
            prepared,
            contents,
            constraint,
            rules,
            max_tokens,
            sink,
            submitted,
            queued,
            span,
        };
        self.worker.submit(generation, self.batch.seconds_per_request())?;
        Ok(GenerationEvents::new(receiver))
    }
}

fn load(options: &CandleOptions, files: &ModelFiles) -> Result<(Frontend, Shared), EngineError> {
    let id = &options.id;
    let fail = |message: String| EngineError::Model { model: id.clone(), message };
    let read = |name: &str| files.read(name);
    let device = open_device(options.device)?;
    let dtype = match (options.dtype, options.device) {
        (Some(WeightType::F32), _) | (None, DeviceKind::Cpu) => DType::F32,
        (Some(WeightType::Bf16), _) | (None, DeviceKind::Cuda) => DType::BF16,
        (Some(WeightType::F16), _) => DType::F16,
    };
    if options.device == DeviceKind::Cpu && dtype == DType::F16 {
        let message =
            "--dtype f16 is for CUDA; on a CPU, bf16 takes as much memory, and --quantize q8_0 less";
        return Err(fail(message.to_owned()));
    }
    let checkpoint = match files {
        ModelFiles::Demo => {
            let config = demo::file("config.json").unwrap_or_default();
            Checkpoint::from_static(id, config, demo::WEIGHTS)?
        }
        ModelFiles::Dir(directory) => Checkpoint::from_dir(id, directory)?,
    };
    let config: Config = checkpoint.config.clone();
    let tokenizer = read("tokenizer.json").ok_or_else(|| fail("tokenizer.json is missing".into()))?;
    let most = config.text.max_position_embeddings;
    let context = options.max_model_len.unwrap_or(most);
    if context > most || context == 0 {
        return Err(fail(format!("--max-model-len is {context}; 1 to {most} would fit")));
    }
    let builder = PromptBuilder {
        tokenizer: Tokenizer::from_json(&tokenizer).map_err(fail)?,
        template: ChatTemplate::read(read).map_err(fail)?,
        processor: Processor::new(ProcessorConfig::read(read).map_err(fail)?),
        wrapper: options.wrapper,
        context,
        config,
    };
    builder.check().map_err(fail)?;
    let GenerationConfig { eos, sampling } = GenerationConfig::read(read).map_err(fail)?;
    let end = eos.first().copied().ok_or_else(|| fail("no token ends an answer".into()))?;
    let grammars = Grammars::new(&tokenizer, end).map_err(fail)?;
    let device_name = match options.device {
        DeviceKind::Cpu => "cpu",
        DeviceKind::Cuda => "cuda",
    };
    let weights = match options.quantization {
        None => dtype.as_str(),
        Some(Quantization::Q8_0) => "q8_0",
        Some(Quantization::Q4K) => "q4k",
    };
    let backend = format!("candle {device_name} {weights}");
    let model = Model::load_quantized(&checkpoint, &device, dtype, options.quantization)?;
    let info = ModelInfo {
        id: id.clone(),
        demo: *files == ModelFiles::Demo,
        max_model_len: context,
        frame_rate: builder.processor.frame_rate(),
        backend,
        on_cpu: options.device == DeviceKind::Cpu,
        sampling,
        kv_bytes_per_token: Some(model.kv_bytes_per_token()),
        takes_extras: false,
    };
    let builder = Arc::new(builder);
    let shared = Shared {
        model,
        builder: Arc::clone(&builder),
        eos,
        features: FeatureCache::new(options.feature_cache_bytes),
        prefixes: PrefixCache::new(options.prefix_cache_bytes),
        max_num_batched_tokens: options.limits.max_num_batched_tokens,
    };
    Ok((Frontend { builder, grammars, info }, shared))
}
