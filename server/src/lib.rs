//! Homereel: a home's videos, answered from by a vision-language model, in one program.
//!
//! Arrows point one way: `http → auth, jobs, library → ask → media → (video, engine)`; `cli` starts it all. The route
//! table is in [`http`], one line per URL; [`http::layers`] holds what every request passes.

pub mod app;
pub mod ask;
pub mod auth;
mod cache;
pub mod captions;
pub mod cli;
pub mod config;
pub mod http;
pub mod intake;
pub mod jobs;
pub mod library;
pub mod machine;
pub mod media;
pub mod prompts;
pub mod shutdown;
mod supervisor;
pub mod telemetry;
