//! Configuration of the vLLM engine.

use url::Url;

use crate::qwen3vl::PromptWrapper;
use crate::source::ModelSource;

/// Configuration of the vLLM engine.
#[derive(Debug, Clone)]
pub(crate) struct VllmOptions {
    /// Base URLs of the replicas.
    pub(crate) urls: Vec<Url>,
    /// The checkpoint that they serve, for its small files; `None` means the one that a replica names, if it is on this machine.
    pub(crate) files: Option<ModelSource>,
    /// Video prompt format.
    pub(crate) wrapper: PromptWrapper,
    /// Tokens that prompt and answer share; `None` means the replica's own limit.
    pub(crate) max_model_len: Option<usize>,
    /// Requests in flight per replica.
    pub(crate) max_requests: usize,
}
