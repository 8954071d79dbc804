//! The reason why an attempt to run a job ended early, which decides whether the job is retried, postponed or failed.

use std::time::Duration;

use homereel_library::{LibraryError, LibraryErrorKind};

use crate::ask_error::{AskError, AskErrorKind};

/// Why an attempt ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed; another attempt may succeed.
    Retry(String),
    /// It failed; no attempt will succeed.
    Fatal(String),
    /// The engine or the server is busy; the job is released and runs again after this delay.
    Later(Duration),
    /// A server that the job needs is out of reach, as the message says; the job is released and runs again after this delay.
    Away(String, Duration),
    /// The disk is full; the job runs again when there is space.
    Full(String),
    /// A person cancelled it or deleted its video.
    Cancelled,
}

impl From<AskError> for Stop {
    fn from(error: AskError) -> Self {
        match error.kind() {
            AskErrorKind::Invalid => Self::Fatal(error.to_string()),
            AskErrorKind::Overloaded => Self::Later(Duration::from_secs(5)),
            // Postponed instead of waiting: posters of other videos need no model.
            AskErrorKind::NotReady => Self::Later(Duration::from_secs(2)),
            AskErrorKind::Cancelled => Self::Cancelled,
            AskErrorKind::TimedOut | AskErrorKind::Failed => Self::Retry(error.to_string()),
        }
    }
}

impl From<LibraryError> for Stop {
    fn from(error: LibraryError) -> Self {
        match error.kind() {
            LibraryErrorKind::NotFound => Self::Cancelled,
            LibraryErrorKind::Unavailable => Self::Later(Duration::from_secs(5)),
            LibraryErrorKind::NoSpace => Self::Full(error.to_string()),
            _ => Self::Retry(error.to_string()),
        }
    }
}
