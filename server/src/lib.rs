//! Homereel: ask your home videos anything. One program runs a vision-language model, a library and a web
//! server.
//!
//! Dependencies point one way: `cli → serve → http → (mcp, meaning, net, jobs, import) → answer → media`, on top of the crates
//! `homereel-library`, `homereel-engine`, `homereel-kernels`, `homereel-video` and `homereel-web`. [`http`] has the route table;
//! [`http::layers`] has the middleware of all requests.

pub mod answer;
pub mod ask_error;
pub mod audit;
pub mod budget;
pub mod captions;
pub mod cli;
pub mod config;
pub mod fetch;
mod file_name;
mod files;
pub mod http;
pub mod import;
pub mod jobs;
pub mod live;
pub mod machine;
mod mcp;
pub mod meaning;
pub mod media;
pub mod net;
mod printable;
pub mod prompts;
mod rate;
mod reload;
pub mod said;
pub mod samples;
pub mod serve;
pub mod shutdown;
pub mod speech;
pub mod state;
mod supervisor;
pub mod telemetry;
