//! Video in, frames out: the only crate that names ffmpeg.
//!
//! Three steps: [`probe`] (what is in the file, and the true time of every frame), [`plan`] (which frames
//! a model should see), [`decode`] (exactly those frames, upright, at the size asked for, as RGB8).
//! Every touch of a user's bytes by ffmpeg happens in a worker process of the same program
//! ([`worker::main`]), which gets the file as an open descriptor and is killed at its deadline, on
//! cancel, or when the reader leaves. This crate knows no engine and no HTTP.

mod error;
mod info;
mod plan;

pub use error::{Kind, VideoError};
pub use info::{AudioStream, Location, Probe, VideoStream};
pub use plan::{Plan, Sampling, plan};
