//! The seam between the server and any engine: what goes in, what comes out, in which order.
//! Knows neither Qwen3-VL nor vLLM.

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};

use crate::{EngineError, Frame, ReplicaStatus, Request};

/// State of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Weights are on their way.
    Loading,
    /// Requests are served.
    Ready,
    /// The engine died or could not start: why, for the log and `/system`.
    Failed(String),
}

/// How the model wants a video sampled (`video_preprocessor_config.json`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameRate {
    /// Frames per second of video.
    pub fps: f64,
    /// Frames at least (as far as the clip has them).
    pub min_frames: usize,
    /// Frames at most.
    pub max_frames: usize,
}

/// What is known of the loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Id that requests name and `/v1/models` lists.
    pub id: String,
    /// The embedded demo model, which only knows coloured shapes.
    pub demo: bool,
    /// Tokens that prompt and answer share.
    pub max_model_len: usize,
    /// Default sampling of videos.
    pub frame_rate: FrameRate,
    /// `candle cpu f32`, `candle cuda bf16`, `vllm http://…`: for people.
    pub backend: String,
    /// Defaults of `generation_config.json` (greedy when it has none).
    pub sampling: crate::Sampling,
    /// Requests may hold tools and further parameters of vLLM's.
    pub takes_extras: bool,
}

/// What the engine is doing before the first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Pixels to patches, text to tokens.
    Preprocess,
    /// Vision tower; counts blocks.
    Vision,
    /// Prompt tokens through the text model.
    Prefill,
}

/// Why the answer ended; OpenAI's words.
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

/// Token counts; OpenAI's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt, visual ones included.
    pub prompt_tokens: usize,
    /// Tokens generated, the end-of-text token included.
    pub completion_tokens: usize,
    /// Prompt tokens whose keys and values were reused.
    pub cached_tokens: usize,
}

/// Wall time of the engine's stages, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageTimes {
    /// Waiting for the engine.
    pub queue_ms: f64,
    /// Pixels to patches, text to tokens.
    pub preprocess_ms: f64,
    /// Vision tower.
    pub vision_ms: f64,
    /// Prompt through the text model.
    pub prefill_ms: f64,
    /// From `submit` to the first token.
    pub ttft_ms: f64,
    /// Tokens after the first.
    pub generate_ms: f64,
}

/// Log-probability of one token and of its alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Natural logarithm of the chosen token's probability.
    pub logprob: f32,
    /// (text, id where the engine tells, logprob) of the likeliest tokens, best first.
    pub top: Vec<(String, Option<u32>, f32)>,
}

/// End of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub stages: StageTimes,
    /// What the reader should know (a fall-back was taken, counts differ, …).
    pub warnings: Vec<String>,
}

/// One step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Waiting behind `position` others.
    Queued {
        /// Requests ahead.
        position: usize,
    },
    /// Work before the first token.
    Progress {
        /// What is being done.
        stage: Stage,
        /// Units done.
        done: usize,
        /// Units in all.
        total: usize,
    },
    /// One token. `text` may be empty while a character or a possible stop string is incomplete.
    Token {
        /// Text that became certain with this token.
        text: String,
        /// Id of the token, where the engine tells.
        id: Option<u32>,
        /// Log-probabilities, if asked for.
        logprob: Option<TokenLogprob>,
    },
    /// What the answer holds besides text, as a piece of OpenAI's `delta` (`tool_calls`, `reasoning`).
    Delta(Map<String, Value>),
    /// The end.
    Done(Done),
}

/// A bounded stream of events; dropping it stops the work.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Result<Event, EngineError>>,
    ended: bool,
}

impl Events {
    /// Wraps the receiving end of an engine's channel.
    #[must_use]
    pub fn new(receiver: mpsc::Receiver<Result<Event, EngineError>>) -> Self {
        Self { receiver, ended: false }
    }

    /// Waits for the next event. After `Done` or an error there is none; a channel that closes
    /// before either is [`EngineError::Incomplete`].
    pub async fn next(&mut self) -> Option<Result<Event, EngineError>> {
        if self.ended {
            return None;
        }
        let event = self.receiver.recv().await.unwrap_or(Err(EngineError::Incomplete));
        self.ended = matches!(event, Ok(Event::Done(_)) | Err(_));
        Some(event)
    }
}

/// What the server sees of any engine.
pub trait Engine: Send + Sync + 'static {
    /// Describes the model; an error while it loads ([`EngineError::NotReady`]) or after it failed.
    ///
    /// # Errors
    /// `NotReady` while loading; `Model` or `Failed` when it could not be loaded.
    fn info(&self) -> Result<ModelInfo, EngineError>;

    /// Tells whether requests can be served now.
    fn health(&self) -> Health;

    /// Watches [`Engine::health`]: to wait until the engine is `Ready`, or to learn that it died. The
    /// sender going away means death too.
    fn watch_health(&self) -> watch::Receiver<Health>;

    /// Returns the (width, height) at which the model wants `frames` frames of a `width` x `height`
    /// video (upright, square pixels), by the checkpoint's own rule.
    ///
    /// # Errors
    /// `Invalid` where the rule has no answer (aspect ratio above 200, no frames).
    fn video_size(&self, frames: usize, width: u32, height: u32) -> Result<(u32, u32), EngineError>;

    /// Returns the (width, height) at which the model wants a `width` x `height` picture.
    ///
    /// # Errors
    /// `Invalid` where the rule has no answer (aspect ratio above 200).
    fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError>;

    /// Queues a request. Tokenises it (milliseconds for a page of text), never waits.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `NotReady` while loading, `Invalid` or `ContextLength`
    /// where the request can't be served.
    fn submit(&self, request: Request) -> Result<Events, EngineError>;

    /// Is shown a frame of a request that is still being decoded, at the model's size: what can be done with it alone
    /// may be done meanwhile. Never waits.
    fn preencode_frame(&self, frame: &Frame) {
        let _ = frame;
    }

    /// Tells of the servers behind the engine, if there are any.
    fn replicas(&self) -> Vec<ReplicaStatus> {
        Vec::new()
    }

    /// Lets a server behind the engine finish what it has and gives it nothing new, or takes that back. Tells whether
    /// there is a server with this number.
    fn drain_replica(&self, id: usize, draining: bool) -> bool {
        let _ = (id, draining);
        false
    }
}
