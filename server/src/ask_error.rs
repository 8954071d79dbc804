//! Errors of answering a question. Independent of HTTP statuses.

use homereel_engine::EngineError;
use homereel_video::VideoError;

/// Class of an error, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskErrorKind {
    /// The request or its video is invalid.
    Invalid,
    /// Too many requests.
    Overloaded,
    /// The model is loading.
    NotReady,
    /// The caller left.
    Cancelled,
    /// A deadline passed.
    TimedOut,
    /// The server failed.
    Failed,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The request is invalid.
    #[error("{message}")]
    Invalid {
        /// What is wrong, the value, and what would fit.
        message: String,
        /// Name of the invalid parameter.
        param: &'static str,
    },
    /// The video or its worker failed.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// The engine refused the request or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be read.
    #[error("failed to read the video: {0}")]
    Io(#[from] std::io::Error),
    /// A picture or video of the conversation is invalid.
    #[error("{source}")]
    Part {
        /// Number of the turn.
        turn: usize,
        /// Number of the piece in the turn.
        piece: usize,
        /// What is wrong with it.
        source: Box<AskError>,
    },
}

impl AskError {
    /// Builds an [`AskError::Invalid`] for the parameter `param`.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param }
    }

    /// Returns the error itself, and the numbers of the turn and piece if it is about one.
    #[must_use]
    pub fn split(self) -> (Self, Option<(usize, usize)>) {
        match self {
            Self::Part { turn, piece, source } => (*source, Some((turn, piece))),
            error => (error, None),
        }
    }

    /// Returns the class of this error.
    #[must_use]
    pub fn kind(&self) -> AskErrorKind {
        match self {
            Self::Invalid { .. } => AskErrorKind::Invalid,
            Self::Video(error) => match error.kind() {
                homereel_video::VideoErrorKind::BadVideo | homereel_video::VideoErrorKind::BadRequest => {
                    AskErrorKind::Invalid
                }
                homereel_video::VideoErrorKind::Cancelled => AskErrorKind::Cancelled,
                homereel_video::VideoErrorKind::TimedOut => AskErrorKind::TimedOut,
                homereel_video::VideoErrorKind::Failed => AskErrorKind::Failed,
            },
            Self::Engine(error) => match error.kind() {
                homereel_engine::EngineErrorKind::Invalid => AskErrorKind::Invalid,
                homereel_engine::EngineErrorKind::Overloaded => AskErrorKind::Overloaded,
                homereel_engine::EngineErrorKind::NotReady => AskErrorKind::NotReady,
                homereel_engine::EngineErrorKind::Cancelled => AskErrorKind::Cancelled,
                homereel_engine::EngineErrorKind::Failed => AskErrorKind::Failed,
            },
            Self::Io(_) => AskErrorKind::Failed,
            Self::Part { source, .. } => source.kind(),
        }
    }

    /// Returns the name of the invalid parameter, if there is one.
    #[must_use]
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { param, .. } => Some(param),
            Self::Engine(EngineError::Invalid { param, .. }) => *param,
            Self::Engine(EngineError::ContextLength { .. }) => Some("messages"),
            Self::Video(error)
                if self.kind() == AskErrorKind::Invalid
                    && error.kind() != homereel_video::VideoErrorKind::BadRequest =>
            {
                Some("video_url")
            }
            Self::Part { source, .. } => source.param(),
            _ => None,
        }
    }
}
