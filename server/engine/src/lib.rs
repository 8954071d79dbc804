//! Engines, which turn a prompt and frames into tokens.
//!
//! This crate knows nothing about HTTP, video files, or ffmpeg. It receives RGB8 frames of the size that it returns from
//! [`Engine::video_size`], and produces a bounded stream of events. `open` has the only match on the kind of engine.
//!
//! **Invariant:** every stream of events ends with [`Event::Done`] or an error; a channel that merely
//! closes is an incomplete answer ([`EngineError::Incomplete`]). Dropping the stream stops the work.

mod candle;
mod demo;
mod error;
pub mod fake;
#[cfg(feature = "clap")]
pub mod flags;
pub mod hub;
pub mod measure;
mod open;
pub mod qwen3vl;
mod request;
mod seam;
mod source;
mod status;
mod upstream;

pub use candle::{DeviceKind, WeightType, open_device};
pub use error::{EngineError, Kind};
pub use open::{EngineConfig, EngineKind, open};
pub use qwen3vl::{PromptWrapper, Quantization};
pub use request::{Clip, Frame, Message, Part, Request, ResponseFormat, Role, Sampling};
pub use seam::{
    Done, Engine, Event, Events, FinishReason, FrameRate, Health, ModelInfo, Stage, StageTimes, TokenLogprob,
    Usage,
};
pub use source::{BadModelSource, ModelSource};
pub use status::{UpstreamMetrics, UpstreamState, UpstreamStatus};
