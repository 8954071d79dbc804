//! The harness of the end-to-end tests: runs the real binary as a person would, and knows only what a
//! person knows: its command line, its URLs, its files.
//!
//! `tests/*.rs` are the tests, one program per step of `scripts/test.sh`. They need `homereel` built
//! (`cargo build --profile ci --bins`) and the `ffmpeg` program; nothing outside of this machine.

pub mod clips;
mod command;
mod server;

pub use command::{Output, bench, binary, homereel, homereel_within};
pub use server::Server;
