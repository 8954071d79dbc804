//! The result of one benchmark run: the file that `homereel-bench serve` writes, and that its reports, the plots and the page
//! `/bench` read.
//!
//! Fields have the names and definitions of `vllm bench serve` where it has them. `None` means that a value was not measured:
//! it is `null` in JSON and printed as a dash. `bench/schema/serve-2.json` is generated from these types.

mod latency;
mod request;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use latency::{Latencies, Summary};
pub use request::{FailureClass, FailureCount, RequestRecord, RequestStages};

/// Version of the file format; readers reject any other.
pub const SCHEMA: &str = "homereel-bench.serve/2";

/// A benchmark run: what was sent, what was measured, and on which machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Result of homereel-bench serve", extend("additionalProperties" = false))]
pub struct BenchResult {
    /// Version of the file format.
    pub schema: SchemaVersion,
    /// Start of the run in UTC, as `20261124-021500`.
    pub date: String,
    /// API under test.
    pub endpoint_type: String,
    /// Same as `endpoint_type`, for readers of vLLM's results.
    pub backend: String,
    /// Name of the run in tables. Runs with the same label are of the same server.
    pub label: Option<String>,
    /// The model that answered.
    pub model_id: String,
    /// Same as `model_id`, for readers of vLLM's results.
    pub tokenizer_id: String,
    /// Requests that the run was asked to send.
    pub num_prompts: usize,
    /// Requests per second that were offered.
    pub request_rate: RequestRate,
    /// Shape of the gaps between requests; 1 is a Poisson process.
    pub burstiness: f64,
    /// Limit of concurrent requests. `None` means unlimited.
    pub max_concurrency: Option<usize>,
    /// Seconds from the first request's due time to the end of the last answer.
    pub duration: f64,
    /// Requests that were answered.
    pub completed: usize,
    /// Requests that failed.
    pub failed: usize,
    /// Prompt tokens of all answered requests.
    pub total_input_tokens: f64,
    /// Generated tokens of all answered requests.
    pub total_output_tokens: f64,
    /// Answered requests per second.
    pub request_throughput: f64,
    /// Requests per second that met every objective. `None` means that no objective was set.
    pub request_goodput: Option<f64>,
    /// Prompt tokens per second.
    pub input_throughput: f64,
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Prompt and generated tokens per second.
    pub total_token_throughput: f64,
    /// Most tokens that arrived within one second.
    pub max_output_tokens_per_s: f64,
    /// Most requests that were in flight at the same time.
    pub max_concurrent_requests: usize,
    /// Latencies of the answered requests, in milliseconds.
    #[serde(flatten)]
    pub latencies: Latencies,
    /// Address of the server.
    pub base_url: String,
    /// Source of the content.
    pub dataset_name: Dataset,
    /// Limit of tokens per answer.
    pub max_tokens: usize,
    /// The command that wrote this result, word by word.
    pub command: Vec<String>,
    /// The preset that set the load.
    pub preset: Option<String>,
    /// Whether the server had seen the content before.
    pub cache: CacheState,
    /// Answer to the sanity question. `None` means that it was not asked.
    pub sanity_answer: Option<String>,
    /// The run was stopped before all requests were answered.
    pub interrupted: bool,
    /// Prompt tokens that came from the server's cache.
    pub cached_tokens: f64,
    /// Seconds of video per second of the run.
    pub rtfx_video: Option<f64>,
    /// Videos per second.
    pub videos_per_s: Option<f64>,
    /// Video frames per second, where the server reports frames.
    pub frames_sampled_per_s: Option<f64>,
    /// Visual tokens per second, where the server reports frames.
    pub visual_tokens_per_s: Option<f64>,
    /// Median time from the decoded frames to the first token, where the server reports stages: comparable with servers whose
    /// clock starts after decoding.
    pub median_ttft_after_media_ms: Option<f64>,
    /// Mean duration of each stage, where the server reports stages.
    pub stages_ms: Option<StageMeans>,
    /// Failures by class.
    pub failures: Vec<FailureCount>,
    /// The machine that sent the load.
    pub machine: Machine,
    /// Resources that were used during the run.
    #[serde(rename = "seen")]
    pub resources: ResourceUsage,
    /// Reasons to doubt a figure.
    pub warnings: Vec<String>,
    /// Every request, with `--save-detailed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<RequestRecord>>,
}

/// Version of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchemaVersion {
    /// [`SCHEMA`].
    #[serde(rename = "homereel-bench.serve/2")]
    V2,
}

/// Requests per second that a run offers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RequestRate {
    /// An open loop: so many requests per second, whether or not earlier ones were answered.
    PerSecond(f64),
    /// A closed loop: each request is sent as soon as `max_concurrency` permits.
    Unlimited(Infinity),
}

/// The word `inf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Infinity {
    /// No limit.
    #[serde(rename = "inf")]
    Inf,
}

impl RequestRate {
    /// Returns the rate. `None` means unlimited.
    #[must_use]
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::PerSecond(rate) => Some(rate),
            Self::Unlimited(_) => None,
        }
    }
}

impl From<Option<f64>> for RequestRate {
    fn from(rate: Option<f64>) -> Self {
        rate.map_or(Self::Unlimited(Infinity::Inf), Self::PerSecond)
    }
}

/// Source of the content of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Dataset {
    /// Clips drawn for this run, with known content, which no server has seen
    Drawn,
    /// The clips of a directory (`--dataset-path`)
    Clips,
    /// Text of `--random-input-len` tokens, without video
    Random,
    /// The texts of a file (`--dataset-path`): JSON Lines with a "prompt" each
    Custom,
}

impl Dataset {
    /// Returns the name as in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Clips => "clips",
            Self::Random => "random",
            Self::Custom => "custom",
        }
    }

    /// Whether requests contain a video.
    #[must_use]
    pub fn has_video(self) -> bool {
        matches!(self, Self::Drawn | Self::Clips)
    }
}

/// Whether the server had seen the content of a run before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheState {
    /// All content was new.
    Cold,
    /// Some content was sent more than once.
    Warm,
}

impl CacheState {
    /// Returns the name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// Mean milliseconds of each stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageMeans {
    /// Waiting for the engine.
    pub queue_ms: f64,
    /// Reading the file's headers and frame times.
    pub probe_ms: f64,
    /// Decoding frames.
    pub decode_ms: f64,
    /// Cutting frames into patches.
    pub preprocess_ms: f64,
    /// The vision tower.
    pub vision_ms: f64,
    /// The prompt in the text model.
    pub prefill_ms: f64,
    /// Generating tokens.
    pub generate_ms: f64,
    /// The part of `e2el_ms` that no stage accounts for.
    pub other_ms: f64,
    /// From sending the request to the last token.
    pub e2el_ms: f64,
}

impl StageMeans {
    /// Returns name and milliseconds of each stage, in the order in which they happen, without `e2el_ms`.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, f64); 8] {
        [
            ("queue", self.queue_ms),
            ("probe", self.probe_ms),
            ("decode", self.decode_ms),
            ("preprocess", self.preprocess_ms),
            ("vision", self.vision_ms),
            ("prefill", self.prefill_ms),
            ("generate", self.generate_ms),
            ("other", self.other_ms),
        ]
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: f64,
    /// Release of the Linux kernel.
    pub kernel: String,
}

/// Resources used during a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceUsage {
    /// Peak resident memory of the server (`--server-pid`) and its child processes in MiB. Shared pages count once for each
    /// process.
    pub peak_rss_mib: Option<f64>,
    /// Minimum of `MemAvailable` in MiB.
    pub min_mem_available_mib: Option<f64>,
    /// Cores used by the load generator.
    pub generator_cpu: f64,
    /// Mean GPU utilization in percent.
    pub gpu_utilization: Option<f64>,
    /// Mean GPU power in watts.
    pub gpu_power_w: Option<f64>,
    /// Mean clock of the GPU's multiprocessors in MHz.
    pub gpu_sm_clock_mhz: Option<f64>,
}

/// A file that is not a valid result.
#[derive(Debug, thiserror::Error)]
pub enum InvalidResult {
    /// The file is not JSON.
    #[error("not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The file is JSON of another kind, or of another version.
    #[error("not a result of this version of homereel-bench serve (its schema is \"{SCHEMA}\")")]
    OtherSchema,
    /// A field is missing, unknown or has the wrong type.
    #[error("damaged result")]
    Damaged(#[source] serde_json::Error),
}

impl BenchResult {
    /// Parses a result file.
    ///
    /// # Errors
    /// When the file is not a result of this version, or a field is missing, unknown or of the wrong type. The source names the
    /// field.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidResult> {
        #[derive(Deserialize)]
        struct Header {
            schema: String,
        }
        match serde_json::from_slice::<Header>(bytes) {
            Ok(header) if header.schema == SCHEMA => {
                serde_json::from_slice(bytes).map_err(InvalidResult::Damaged)
            }
            Err(error) if !error.is_data() => Err(InvalidResult::NotJson(error)),
            Ok(_) | Err(_) => Err(InvalidResult::OtherSchema),
        }
    }

    /// Returns the JSON Schema of the file format.
    #[must_use]
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }

    /// Returns the load in words, such as `2 req/s, 4 concurrent`.
    #[must_use]
    pub fn load(&self) -> String {
        let rate = self.request_rate.per_second().map(|rate| format!("{rate} req/s"));
        let concurrency = self.max_concurrency.map(|limit| format!("{limit} concurrent"));
        let words: Vec<String> = rate.into_iter().chain(concurrency).collect();
        if words.is_empty() { "unlimited".into() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests;
