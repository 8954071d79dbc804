//! `/api/replicas`: drains and resumes vLLM replicas. Also sets the replicas' gauges in `/metrics`.

use axum::{Json, extract::State, http::StatusCode};
use homereel_engine::{ReplicaState, ReplicaStatus};
use serde_json::{Value, json};

use super::error::{Failure, Problem};
use crate::http::extract::Path;
use crate::state::AppState;

/// `POST /api/replicas/{id}/drain`: the replica finishes its requests and gets no new ones.
pub(super) async fn drain(
    State(state): State<AppState>,
    Path(id): Path<usize>,
) -> Result<Json<Value>, Problem> {
    set_draining(&state, id, true)
}

/// `POST /api/replicas/{id}/resume`: the replica gets requests again.
pub(super) async fn resume(
    State(state): State<AppState>,
    Path(id): Path<usize>,
) -> Result<Json<Value>, Problem> {
    set_draining(&state, id, false)
}

fn set_draining(state: &AppState, id: usize, draining: bool) -> Result<Json<Value>, Problem> {
    let engine = state.answers.engine();
    if !engine.drain_replica(id, draining) {
        let known = engine.replicas().len();
        let message = match known {
            0 => "this engine has no replicas".to_owned(),
            _ => format!("there is no replica {id}; 0 to {} would fit", known - 1),
        };
        return Err(Failure::new(StatusCode::NOT_FOUND, "not_found", message).into());
    }
    Ok(Json(json!({ "upstreams": engine.replicas() })))
}

/// Sets the gauges of every replica, under vLLM's names where vLLM has them.
pub(super) fn record(upstreams: &[ReplicaStatus]) {
    for upstream in upstreams {
        let label = || [("upstream", upstream.url.clone())];
        let gauge = |name: &'static str, value: f64| metrics::gauge!(name, &label()).set(value);
        let counter = |name: &'static str, value: u64| metrics::counter!(name, &label()).absolute(value);
        gauge("homereel_upstream_up", f64::from(u8::from(upstream.state == ReplicaState::Ready)));
        #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
        gauge("homereel_upstream_in_flight", upstream.in_flight as f64);
        counter("homereel_upstream_requests_total", upstream.requests_total);
        counter("homereel_upstream_failures_total", upstream.failures_total);
        counter("homereel_upstream_failovers_total", upstream.failovers_total);
        let Some(reported) = upstream.metrics else { continue };
        gauge("homereel_upstream_num_requests_running", reported.num_requests_running);
        gauge("homereel_upstream_num_requests_waiting", reported.num_requests_waiting);
        gauge("homereel_upstream_kv_cache_usage_perc", reported.kv_cache_usage_perc);
        for (name, count) in [
            ("homereel_upstream_prefix_cache_queries_total", reported.prefix_cache_queries_total),
            ("homereel_upstream_prefix_cache_hits_total", reported.prefix_cache_hits_total),
            ("homereel_upstream_mm_cache_queries_total", reported.mm_cache_queries_total),
            ("homereel_upstream_mm_cache_hits_total", reported.mm_cache_hits_total),
        ] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters")]
            counter(name, count as u64);
        }
    }
}
