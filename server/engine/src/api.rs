//! The interface between the server and every engine: the [`Engine`] trait, the events of an answer, and their order.

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};

use crate::{BatchStatus, EngineError, ReplicaStatus, Request, RgbImage};

/// State of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The model is loading.
    Loading,
    /// Requests are served.
    Ready,
    /// The engine failed or could not start; the reason, for the log and `/system`.
    Failed(String),
}

/// How the model wants a video sampled (`video_preprocessor_config.json`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameRate {
    /// Frames per second of video.
    pub fps: f64,
    /// Minimum number of frames, as far as the clip has them.
    pub min_frames: usize,
    /// Maximum number of frames.
    pub max_frames: usize,
}

/// How many visual tokens a video may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoBudget {
    /// What the checkpoint's rule allows. By transformers' default, a short clip may take as many tokens as a long video.
    #[default]
    Full,
    /// Also at most 768 tokens per frame, as in the reference implementation (qwen-vl-utils, transformers'
    /// `cap_pixels_per_frame`).
    Capped,
}

/// Description of the loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Id that requests name and `/v1/models` lists.
    pub id: String,
    /// Whether this is the embedded demo model, which only knows coloured shapes.
    pub demo: bool,
    /// Tokens that prompt and answer share.
    pub max_model_len: usize,
    /// Default sampling rate of videos.
    pub frame_rate: FrameRate,
    /// Backend for display, for example `candle cpu f32`, `candle cuda bf16` or `vllm http://…`.
    pub backend: String,
    /// Whether the model runs on the CPU of this machine, where a full budget of visual tokens can take minutes.
    pub on_cpu: bool,
    /// Defaults of `generation_config.json` (greedy where it sets none).
    pub sampling: crate::SamplingParams,
    /// Bytes of the KV cache per token; `None` where a backend decides.
    pub kv_bytes_per_token: Option<usize>,
    /// Whether requests may hold parameters of vLLM's beyond those that every engine has ([`crate::GenerationOptions::extra`]).
    pub takes_extras: bool,
}

/// A stage of an answer, from the file to the last token. An engine reports those between `Preprocess` and `Prefill`; its
/// callers report the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Probing the file.
    Probe,
    /// Decoding; progress counts frames.
    Decode,
    /// Frames to patches, text to tokens.
    Preprocess,
    /// Vision tower; progress counts blocks.
    Vision,
    /// Prefill; progress counts prompt tokens.
    Prefill,
    /// Generating tokens.
    Generate,
}

impl Stage {
    /// Returns the name used in JSON and pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Decode => "decode",
            Self::Preprocess => "preprocess",
            Self::Vision => "vision",
            Self::Prefill => "prefill",
            Self::Generate => "generate",
        }
    }
}

/// Why the answer ended, in OpenAI's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// End of text or a stop string.
    Stop,
    /// `max_tokens` or the context.
    Length,
    /// The model calls tools.
    ToolCalls,
}

/// Token counts, in OpenAI's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt, visual ones included.
    pub prompt_tokens: usize,
    /// Tokens generated, the end-of-text token included.
    pub completion_tokens: usize,
    /// Prompt tokens whose KV came from the prefix cache.
    pub cached_tokens: usize,
}

/// Durations of the engine's stages, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageTimes {
    /// In the queue.
    pub queue_ms: f64,
    /// Frames to patches, text to tokens.
    pub preprocess_ms: f64,
    /// Vision tower.
    pub vision_ms: f64,
    /// Prefill.
    pub prefill_ms: f64,
    /// From `submit` to the first token.
    pub ttft_ms: f64,
    /// Tokens after the first.
    pub generate_ms: f64,
}

/// Log-probabilities of one token and its alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Natural logarithm of the chosen token's probability.
    pub logprob: f32,
    /// (text, id where the engine reports it, log-probability) of the most likely tokens, best first.
    pub top: Vec<(String, Option<u32>, f32)>,
}

/// End of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// Durations of the stages.
    pub stages: StageTimes,
    /// Warnings for the reader (a fallback was used, token counts differ, …).
    pub warnings: Vec<String>,
}

/// One event of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// The request waits in the queue.
    Queued {
        /// Requests ahead.
        position: usize,
    },
    /// Progress before the first token.
    Progress {
        /// The current stage.
        stage: Stage,
        /// Units done.
        done: usize,
        /// Units in all.
        total: usize,
    },
    /// One token. `text` is empty while a character or a possible stop string is incomplete.
    Token {
        /// Text that became final with this token.
        text: String,
        /// Id of the token, where the engine reports it.
        id: Option<u32>,
        /// Log-probabilities, where requested.
        logprob: Option<TokenLogprob>,
    },
    /// Part of the answer other than text, as a piece of OpenAI's `delta` (`tool_calls`, `reasoning`).
    Delta(Map<String, Value>),
    /// The end.
    Done(Done),
}

/// The tokens of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTokens {
    /// Token ids in order, a placeholder for each visual token included.
    pub ids: Vec<u32>,
    /// Number of visual tokens of each picture and clip, in order of appearance.
    pub visual: Vec<usize>,
}

/// A bounded stream of events; dropping it cancels the request.
#[derive(Debug)]
pub struct GenerationEvents {
    receiver: mpsc::Receiver<Result<GenerationEvent, EngineError>>,
    ended: bool,
}

impl GenerationEvents {
    /// Wraps the receiver of an engine's channel.
    #[must_use]
    pub fn new(receiver: mpsc::Receiver<Result<GenerationEvent, EngineError>>) -> Self {
        Self { receiver, ended: false }
    }

    /// Waits for the next event; `None` after `Done` or an error. A channel that closes before either is
    /// [`EngineError::Incomplete`].
    pub async fn next(&mut self) -> Option<Result<GenerationEvent, EngineError>> {
        if self.ended {
            return None;
        }
        let event = self.receiver.recv().await.unwrap_or(Err(EngineError::Incomplete));
        self.ended = matches!(event, Ok(GenerationEvent::Done(_)) | Err(_));
        Some(event)
    }
}

/// What the server needs of an engine.
pub trait Engine: Send + Sync + 'static {
    /// Describes the model.
    ///
    /// # Errors
    /// `NotReady` while loading; `Model` or `Failed` when it could not be loaded.
    fn info(&self) -> Result<ModelInfo, EngineError>;

    /// Returns whether requests can be served now.
    fn health(&self) -> Health;

    /// Watches [`Engine::health`], to wait until the engine is `Ready` or to notice its failure. A closed sender also means
    /// failure.
    fn watch_health(&self) -> watch::Receiver<Health>;

    /// Returns the number of requests that are processed at the same time now; more of them wait.
    fn concurrency(&self) -> usize {
        1
    }

    /// Returns the (width, height) at which the model wants `frames` frames of a `width` x `height`
    /// video (upright, square pixels) within `budget`, by the checkpoint's own rule.
    ///
    /// # Errors
    /// `Invalid` where the rule does not apply (aspect ratio above 200, no frames).
    fn video_size(
        &self,
        frames: usize,
        width: u32,
        height: u32,
        budget: VideoBudget,
    ) -> Result<(u32, u32), EngineError>;

    /// Returns the (width, height) at which the model wants a `width` x `height` picture.
    ///
    /// # Errors
    /// `Invalid` where the rule does not apply (aspect ratio above 200).
    fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError>;

    /// Returns the tokens of a request's prompt, however long; the content of its frames does not matter. `None` where the
    /// checkpoint's files are not known, so that only the backend can count them. Takes as long as [`Engine::submit`].
    ///
    /// # Errors
    /// As [`Engine::submit`], except for `ContextLength` and `Overloaded`.
    fn prompt_tokens(&self, request: &Request) -> Result<Option<PromptTokens>, EngineError>;

    /// Returns the token ids of `text`, in which special tokens have no effect. `None` where the tokenizer is not known.
    ///
    /// # Errors
    /// As [`Engine::info`]; `Invalid` for a text that cannot be tokenized.
    fn text_tokens(&self, text: &str) -> Result<Option<Vec<u32>>, EngineError>;

    /// Returns the text of one token, special tokens by their name. `None` where the tokenizer is not known.
    ///
    /// # Errors
    /// As [`Engine::info`].
    fn token_text(&self, id: u32) -> Result<Option<String>, EngineError>;

    /// Tokenizes and queues a request. Takes milliseconds for a page of text; never waits for the queue.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `NotReady` while loading, `Invalid` or `ContextLength` where the request cannot be
    /// served.
    fn submit(&self, request: Request) -> Result<GenerationEvents, EngineError>;

    /// Prepares a frame of a request that is still being decoded, at the model's size, where that can be done ahead. Never
    /// blocks.
    fn preencode_frame(&self, frame: &RgbImage) {
        let _ = frame;
    }

    /// Returns what the engine has in progress, if it processes requests in a batch of its own.
    fn batch(&self) -> Option<BatchStatus> {
        None
    }

    /// Returns the state of the replicas behind the engine, if there are any.
    fn replicas(&self) -> Vec<ReplicaStatus> {
        Vec::new()
    }

    /// Starts or stops draining a replica: it finishes its requests and gets no new ones. Returns whether `id` exists.
    fn drain_replica(&self, id: usize, draining: bool) -> bool {
        let _ = (id, draining);
        false
    }
}
