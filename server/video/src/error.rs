//! Errors of this crate.

use serde::{Deserialize, Serialize};

/// The class of an error: what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoErrorKind {
    /// The file is at fault: not a video, damaged, too large, of an unknown kind.
    BadVideo,
    /// The request is at fault (range outside of the clip, no frames, …).
    BadRequest,
    /// The caller left.
    Cancelled,
    /// The deadline passed, or nothing happened for too long.
    TimedOut,
    /// This machine failed (no memory, no worker).
    Failed,
}

/// An error of the video crate; crosses the worker's pipe as JSON. Messages name the thing, the value
/// and what would fit, and no path.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum VideoError {
    /// The bytes are no container that ffmpeg reads.
    #[error("not a video: {message}")]
    NotAVideo {
        /// What was found instead.
        message: String,
    },
    /// The bytes are no picture that this build reads.
    #[error("not a picture: {message}")]
    NotAPicture {
        /// What was found instead.
        message: String,
    },
    /// A container without a video stream.
    #[error("no video stream: the file holds {found}")]
    NoVideoStream {
        /// The streams that it does hold.
        found: String,
    },
    /// The codec is not one that this build decodes.
    #[error("cannot read this kind of video yet: {message}")]
    Unsupported {
        /// Codec or property.
        message: String,
    },
    /// Frames are too large.
    #[error("the frames are {width}x{height} pixels; {limit} pixels per frame is the limit")]
    TooLarge {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// Limit on width times height.
        limit: u64,
    },
    /// A side is too long.
    #[error("the frames are {width}x{height} pixels; {limit} pixels per side is the limit")]
    TooWide {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// Limit on both.
        limit: u32,
    },
    /// Nothing could be decoded.
    #[error("no frame could be decoded: {message}")]
    NoFrames {
        /// First decoder error.
        message: String,
    },
    /// The request does not fit the clip.
    #[error("{message}")]
    BadRequest {
        /// What, which value, what would fit.
        message: String,
    },
    /// Cancelled by the caller.
    #[error("decoding was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("decoding took longer than {limit_s} s")]
    TimedOut {
        /// The deadline.
        limit_s: u64,
    },
    /// The decoder went on without getting anywhere.
    #[error("decoding got stuck: nothing happened for {limit_s} s")]
    Stalled {
        /// How long a worker may be silent.
        limit_s: u64,
    },
    /// The worker died or could not be started; for the log.
    #[error("the video worker failed: {message}")]
    Worker {
        /// Exit status and the tail of its stderr.
        message: String,
    },
}

impl VideoError {
    /// Returns the class of this error.
    #[must_use]
    pub fn kind(&self) -> VideoErrorKind {
        match self {
            Self::NotAVideo { .. }
            | Self::NotAPicture { .. }
            | Self::NoVideoStream { .. }
            | Self::Unsupported { .. }
            | Self::TooLarge { .. }
            | Self::TooWide { .. }
            | Self::NoFrames { .. } => VideoErrorKind::BadVideo,
            Self::BadRequest { .. } => VideoErrorKind::BadRequest,
            Self::Cancelled => VideoErrorKind::Cancelled,
            Self::TimedOut { .. } | Self::Stalled { .. } => VideoErrorKind::TimedOut,
            Self::Worker { .. } => VideoErrorKind::Failed,
        }
    }
}
