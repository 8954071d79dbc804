//! The state of an engine's batch and of the replicas behind it, for `/system`, `/metrics` and the API.

use serde::Serialize;

/// The state of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It has never served: its model is loading, or nothing listens there.
    Loading,
    /// It receives requests.
    Ready,
    /// It finishes its requests and receives no new ones, because an operator drained it.
    Draining,
    /// It served before, but is unreachable or does not answer.
    Gone,
    /// It serves another model than it should.
    Unfit,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplicaStatus {
    /// Index in the order of the configuration.
    pub id: usize,
    /// Base URL.
    pub url: String,
    /// Its state.
    pub state: ReplicaState,
    /// Why it receives no requests.
    pub reason: Option<String>,
    /// Whether it accepts `media_io_kwargs`; otherwise clips are sent at a constant rate.
    pub takes_media_io_kwargs: bool,
    /// Requests in flight.
    pub in_flight: usize,
    /// Limit of requests in flight.
    pub max_requests: usize,
    /// Requests sent to it.
    pub requests_total: u64,
    /// Requests that failed on it.
    pub failures_total: u64,
    /// Requests retried on another replica, because this one failed before the first token.
    pub failovers_total: u64,
    /// Its last metrics.
    pub metrics: Option<ReplicaMetrics>,
}

/// Metrics of a replica, with vLLM's names. Counters stay monotonic across restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplicaMetrics {
    /// Requests in execution, of all clients.
    pub num_requests_running: f64,
    /// Requests in its queue.
    pub num_requests_waiting: f64,
    /// Usage of the KV cache, 0 to 1.
    pub kv_cache_usage_perc: f64,
    /// Tokens queried in the prefix cache.
    pub prefix_cache_queries_total: f64,
    /// Tokens found in the prefix cache.
    pub prefix_cache_hits_total: f64,
    /// Items queried in the multimodal processor cache.
    pub mm_cache_queries_total: f64,
    /// Items found in the multimodal processor cache.
    pub mm_cache_hits_total: f64,
}

/// What the built-in engine has in progress, with vLLM's names where it has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchStatus {
    /// Sequences that hold KV.
    pub num_requests_running: usize,
    /// Requests in the queue, waiting for memory, or paused.
    pub num_requests_waiting: usize,
    /// Sequences in the last decoding step.
    pub batch_size: usize,
    /// Limit of sequences of people and programs, and of those of jobs.
    pub max_num_seqs: usize,
    /// Share of `--kv-cache-memory-bytes` in use, 0 to 1; above 1 while a request that exceeds it runs alone.
    pub kv_cache_usage_perc: f64,
    /// Bytes of KV of running sequences.
    pub kv_cache_bytes: usize,
    /// Sequences of jobs that were paused for want of memory, since the start.
    pub num_preemptions_total: u64,
}
