//! The requests of a benchmark result: what each took and returned, and the failures by class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One request: when it was sent, and what came back. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestRecord {
    /// When the request was due, from the start of the run.
    pub due_s: f64,
    /// When the request was sent, from the start of the run.
    pub start_s: f64,
    /// From sending to the first token.
    pub ttft_s: f64,
    /// Gaps between chunks that contain tokens.
    pub itls_s: Vec<f64>,
    /// From sending to the last token.
    pub latency_s: f64,
    /// `prompt_tokens` of the server's `usage`.
    pub prompt_tokens: u64,
    /// `completion_tokens` of the server's `usage`.
    pub completion_tokens: u64,
    /// `cached_tokens` of the server's `usage`.
    pub cached_tokens: u64,
    /// Length of the video; 0 if it is unknown or there is none.
    pub video_s: f64,
    /// Frames that the server sampled; 0 if it does not report them.
    pub frames: u64,
    /// Visual tokens of these frames.
    pub visual_tokens: u64,
    /// Duration of each stage, where the server reports stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages_ms: Option<RequestStages>,
    /// The answer.
    pub text: String,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FailureClass>,
    /// Error message of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Milliseconds of each stage of one request, as the server reports them. Unknown stages are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequestStages {
    /// Waiting for the engine.
    pub queue: Option<f64>,
    /// Reading the file's headers and frame times.
    pub probe: Option<f64>,
    /// Decoding frames.
    pub decode: Option<f64>,
    /// Cutting frames into patches.
    pub preprocess: Option<f64>,
    /// The vision tower.
    pub vision: Option<f64>,
    /// The prompt in the text model.
    pub prefill: Option<f64>,
    /// From the request to the first token.
    pub ttft: Option<f64>,
    /// Generating tokens.
    pub generate: Option<f64>,
    /// The whole request.
    pub total: Option<f64>,
}

/// Number of failures of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureCount {
    /// The class.
    pub class: FailureClass,
    /// Failures of this class.
    pub count: usize,
    /// Error message of the first one.
    pub first: String,
}

/// Why a request has no complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The connection was not established, or it broke.
    Connection,
    /// No data arrived for too long.
    Timeout,
    /// Status 401 or 403.
    Refused,
    /// Status 429 or 503: the server is overloaded.
    Overload,
    /// Status 413: the request or its prompt is too long.
    TooLarge,
    /// Another status 4xx: the server rejects the request.
    Request,
    /// Status 5xx, or an error event in the stream.
    Server,
    /// The response does not follow the protocol.
    Protocol,
}

impl FailureClass {
    /// Returns the name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Overload => "overload",
            Self::TooLarge => "too_large",
            Self::Request => "request",
            Self::Server => "server",
            Self::Protocol => "protocol",
        }
    }
}
