//! Errors of this crate.

use serde::{Deserialize, Serialize};

/// The class of an error, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoErrorKind {
    /// The file: not a video, damaged, too large, or of an unsupported kind.
    BadVideo,
    /// The request: a range outside of the clip, no frames, …
    BadRequest,
    /// The caller cancelled.
    Cancelled,
    /// The deadline passed, or there was no progress.
    TimedOut,
    /// The machine failed (out of memory, no worker).
    Failed,
}

/// An error of this crate; crosses the worker's socket as JSON. Messages name what is wrong, its value, and what would fit,
/// and contain no path.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum VideoError {
    /// ffmpeg recognizes no container.
    #[error("not a video: {message}")]
    NotAVideo {
        /// What was found instead.
        message: String,
    },
    /// Not a supported picture format.
    #[error("not a picture: {message}")]
    NotAPicture {
        /// What was found instead.
        message: String,
    },
    /// The container has no video stream.
    #[error("no video stream: the file holds {found}")]
    NoVideoStream {
        /// The streams that it has.
        found: String,
    },
    /// The codec is not supported.
    #[error("cannot read this kind of video yet: {message}")]
    Unsupported {
        /// Codec or property.
        message: String,
    },
    /// The pictures are encrypted.
    #[error(
        "the video is encrypted ({scheme}), so it cannot be decoded; a copy without protection would fit"
    )]
    Encrypted {
        /// The kind of protection.
        scheme: String,
    },
    /// The frames have too many pixels.
    #[error("the frames are {width}x{height} pixels; {limit} pixels per frame is the limit")]
    TooLarge {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// Limit on width times height.
        limit: u64,
    },
    /// A side of the frames is too long.
    #[error("the frames are {width}x{height} pixels; {limit} pixels per side is the limit")]
    TooWide {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// Limit on both.
        limit: u32,
    },
    /// No frame could be decoded.
    #[error("no frame could be decoded: {message}")]
    NoFrames {
        /// First decoder error.
        message: String,
    },
    /// There is no sound that can be read.
    #[error("no sound could be read: {message}")]
    NoSound {
        /// Why.
        message: String,
    },
    /// The request does not fit the clip.
    #[error("{message}")]
    BadRequest {
        /// What, which value, what would fit.
        message: String,
    },
    /// The caller cancelled.
    #[error("decoding was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("decoding took longer than {limit_s} s")]
    TimedOut {
        /// The deadline in seconds.
        limit_s: u64,
    },
    /// The decoder made no progress.
    #[error("decoding got stuck: nothing happened for {limit_s} s")]
    Stalled {
        /// The time limit without progress, in seconds.
        limit_s: u64,
    },
    /// The worker crashed or could not be started; the message is for the log.
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
            | Self::Encrypted { .. }
            | Self::TooLarge { .. }
            | Self::TooWide { .. }
            | Self::NoFrames { .. }
            | Self::NoSound { .. } => VideoErrorKind::BadVideo,
            Self::BadRequest { .. } => VideoErrorKind::BadRequest,
            Self::Cancelled => VideoErrorKind::Cancelled,
            Self::TimedOut { .. } | Self::Stalled { .. } => VideoErrorKind::TimedOut,
            Self::Worker { .. } => VideoErrorKind::Failed,
        }
    }
}
