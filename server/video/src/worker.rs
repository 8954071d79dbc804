//! The child's side: one file, one request, then the end.

use std::process::ExitCode;

/// Runs the worker: what `homereel video-worker` calls, before any thread or runtime is started.
/// The file is standard input; requests and replies travel over the socket that is standard output.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
