//! What an engine tells operators of the servers behind it. Knows no HTTP and no vLLM.

use serde::Serialize;

/// Whether a server behind an engine gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It never served yet: its model is loading, or it is not there.
    Loading,
    /// It gets requests.
    Ready,
    /// It serves but gets no new requests, as an operator wants it.
    Draining,
    /// It served already and is out of reach, or does not answer.
    Gone,
    /// It serves something else than it should.
    Unfit,
}

/// One server behind an engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplicaStatus {
    /// Its number, in the order in which the servers were named.
    pub id: usize,
    /// Where it listens.
    pub url: String,
    /// Whether it gets requests.
    pub state: ReplicaState,
    /// Why it gets none.
    pub reason: Option<String>,
    /// Whether it takes `media_io_kwargs` in requests; where it doesn't, clips travel at a constant rate.
    pub takes_media_io_kwargs: bool,
    /// Requests that are with it.
    pub in_flight: usize,
    /// Requests that may be with it at once.
    pub max_requests: usize,
    /// Requests that it was given.
    pub requests_total: u64,
    /// Requests that it lost or failed.
    pub failures_total: u64,
    /// Requests that were taken elsewhere because it lost or refused them before their first token.
    pub failovers_total: u64,
    /// What it last told of itself.
    pub metrics: Option<ReplicaMetrics>,
}

/// What a server tells of itself, by vLLM's names. Counts go on over its restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ReplicaMetrics {
    /// Requests that its engine works on, whoever sent them.
    pub num_requests_running: f64,
    /// Requests that wait there.
    pub num_requests_waiting: f64,
    /// Share of its key-value cache in use, 0 to 1.
    pub kv_cache_usage_perc: f64,
    /// Tokens looked up in its prefix cache.
    pub prefix_cache_queries_total: f64,
    /// Those that were found.
    pub prefix_cache_hits_total: f64,
    /// Pictures and clips looked up in its cache of processed media.
    pub mm_cache_queries_total: f64,
    /// Those that were found.
    pub mm_cache_hits_total: f64,
}
