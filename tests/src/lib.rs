//! The harness of the end-to-end tests, which use the real binary through its command line, URLs and files.
//!
//! Each file in `tests/` is a test program. They need `homereel` built (`cargo build --profile ci --bins`), the `ffmpeg`
//! program, and no network.

pub mod clips;
mod command;
pub mod model;
mod server;

use std::time::Duration;

pub use command::{CommandOutput, bench, binary, homereel, homereel_within};
pub use server::Server;

/// How long something that has to happen may take, on however busy a machine.
pub const PATIENCE: Duration = Duration::from_secs(300);
