//! Errors of engines. The server maps [`EngineErrorKind`] to an HTTP status in one place.

/// The class of an error, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// The request cannot be served as it is (4xx).
    Invalid,
    /// The queue is full: try again later (429).
    Overloaded,
    /// The model is still loading, or its server is unreachable (503).
    NotReady,
    /// The reader has left.
    Cancelled,
    /// The engine, the model files or the device failed (5xx).
    Failed,
}

/// An error of an engine. Messages name what is wrong, its value, and what would fit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The request cannot be served; `param` is the OpenAI parameter at fault, if one is.
    #[error("{message}")]
    Invalid {
        /// What, which value, what would fit.
        message: String,
        /// Name of the parameter at fault.
        param: Option<&'static str>,
    },
    /// The prompt does not fit the model's context.
    #[error("the prompt has {prompt_tokens} tokens but the context holds {context}; {hint}")]
    ContextLength {
        /// Tokens of the prompt, visual ones included.
        prompt_tokens: usize,
        /// Tokens that the context holds.
        context: usize,
        /// A setting that would fit.
        hint: String,
    },
    /// The queue is full.
    #[error("the engine's queue is full ({queued} waiting); try again in {retry_after_s} s")]
    Overloaded {
        /// Requests that wait.
        queued: usize,
        /// Seconds after which a retry makes sense.
        retry_after_s: u64,
    },
    /// The model is loading.
    #[error("the model is loading")]
    NotReady,
    /// The vLLM server has served the model before, but is unreachable now.
    #[error("the model's server is out of reach; try again in {retry_after_s} s")]
    Unavailable {
        /// Seconds after which a retry makes sense.
        retry_after_s: u64,
    },
    /// The stream ended without `Done`.
    #[error("the answer is incomplete: the engine stopped before the end")]
    Incomplete,
    /// The reader left or the request was cancelled.
    #[error("the request was cancelled")]
    Cancelled,
    /// Model files are missing, damaged, or not supported by this engine.
    #[error("model {model}: {message}")]
    Model {
        /// Id or directory of the model.
        model: String,
        /// What is wrong and what would fit.
        message: String,
    },
    /// The engine failed; the message is for the log only.
    #[error("engine failure: {0}")]
    Failed(String),
}

impl EngineError {
    /// Returns the class of this error.
    #[must_use]
    pub fn kind(&self) -> EngineErrorKind {
        match self {
            Self::Invalid { .. } | Self::ContextLength { .. } => EngineErrorKind::Invalid,
            Self::Overloaded { .. } => EngineErrorKind::Overloaded,
            Self::NotReady | Self::Unavailable { .. } => EngineErrorKind::NotReady,
            Self::Cancelled => EngineErrorKind::Cancelled,
            Self::Incomplete | Self::Model { .. } | Self::Failed(_) => EngineErrorKind::Failed,
        }
    }

    /// Builds an [`EngineError::Invalid`] for the parameter `param`.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: Some(param) }
    }
}
