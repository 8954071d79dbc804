//! Homereel: a home's videos, answered from by a vision-language model, in one program.
//!
//! Arrows point one way: `http → auth, jobs, library → ask → media → (video, engine)`; `cli` starts it all. The route
//! table is in [`http`], one line per URL; [`http::layers`] holds what every request passes.

pub mod answer;
pub mod auth;
pub mod budget;
mod cache;
pub mod captions;
pub mod cli;
pub mod config;
pub mod http;
pub mod import;
pub mod jobs;
pub mod library;
pub mod machine;
pub mod media;
pub mod prompts;
pub mod serve;
pub mod shutdown;
pub mod state;
mod supervisor;
pub mod telemetry;
