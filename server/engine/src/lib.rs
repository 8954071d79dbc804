//! Inference engines: take a prompt with pictures and clips, and return a stream of tokens.
//!
//! This crate does not depend on HTTP or ffmpeg. It receives RGB8 frames at the size that it asked for (see
//! [`Engine::video_size`]) and returns a bounded stream of events. [`open`] selects the engine.
//!
//! **Invariant:** every stream of events ends with [`GenerationEvent::Done`] or an error; a channel that merely closes is an
//! incomplete answer ([`EngineError::Incomplete`]). Dropping the stream cancels the request.

mod api;
mod candle;
mod demo;
pub mod embed;
mod error;
pub mod fake;
#[cfg(feature = "clap")]
pub mod flags;
pub mod hub;
pub mod measure;
mod open;
mod panics;
pub mod qwen3vl;
mod request;
mod source;
pub mod speech;
mod status;
mod upstream;
mod validate;
mod vllm;

pub use api::{
    Done, Engine, FinishReason, FrameRate, GenerationEvent, GenerationEvents, Health, ModelInfo,
    PromptTokens, Stage, StageTimes, TokenLogprob, Usage, VideoBudget,
};
pub use candle::{DeviceKind, WeightType, open_device};
pub use error::{EngineError, EngineErrorKind};
pub use open::{EngineConfig, EngineKind, open};
pub use qwen3vl::{PromptWrapper, Quantization};
pub use request::{
    AnswerFormat, ContentPart, GenerationOptions, Message, MessageRole, Request, RgbImage, SamplingParams,
    ToolChoice, ToolOptions, VideoInput,
};
pub use source::{BadModelSource, ModelSource};
pub use status::{BatchStatus, ReplicaMetrics, ReplicaState, ReplicaStatus};
