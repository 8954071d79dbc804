//! Endpoints for operators: liveness, readiness, metrics, and the state of this machine.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_engine::{BatchStatus, Health};
use homereel_library::Role;
use serde_json::{Value, json};

use super::{auth_layer::CurrentUser, error::Problem, replicas};
use crate::state::AppState;

/// `GET /healthz`: liveness.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: readiness. 503 while the model loads, after it failed, and while the server drains.
pub(super) async fn readyz(State(state): State<AppState>) -> (StatusCode, &'static str) {
    if state.lifecycle.draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match state.answers.engine().health() {
        Health::Ready => (StatusCode::OK, "ready\n"),
        Health::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading the model\n"),
        Health::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "the engine failed\n"),
    }
}

/// `GET /version`, as vLLM has it.
pub(super) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /metrics`, in the text format of Prometheus.
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    match state.answers.engine().batch() {
        Some(batch) => record_batch(&batch),
        #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
        None => metrics::gauge!("vllm:num_requests_running").set(state.answers.in_flight() as f64),
    }
    replicas::record(&state.answers.engine().replicas());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
        .into_response()
}

/// Sets vLLM's metrics of the batch, and `homereel_batch_size`, for which vLLM has no name.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn record_batch(batch: &BatchStatus) {
    metrics::gauge!("vllm:num_requests_running").set(batch.num_requests_running as f64);
    metrics::gauge!("vllm:num_requests_waiting").set(batch.num_requests_waiting as f64);
    metrics::gauge!("vllm:kv_cache_usage_perc").set(batch.kv_cache_usage_perc);
    metrics::counter!("vllm:num_preemptions_total").absolute(batch.num_preemptions_total);
    metrics::gauge!("homereel_batch_size").set(batch.batch_size as f64);
}

/// `GET /api/system`: version, role of the caller, model, disk.
pub(super) async fn system(State(state): State<AppState>, user: CurrentUser) -> Result<Json<Value>, Problem> {
    let engine = state.answers.engine();
    let health = match engine.health() {
        Health::Ready => "ready",
        Health::Loading => "loading",
        Health::Failed(_) => "failed",
    };
    let model = engine.info().ok().map(|info| {
        json!({
            "id": info.id, "demo": info.demo, "backend": info.backend, "max_model_len": info.max_model_len,
            "frame_rate": {
                "fps": info.frame_rate.fps,
                "min_frames": info.frame_rate.min_frames,
                "max_frames": info.frame_rate.max_frames,
            },
        })
    });
    let config = state.config.get();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        // Without a login, everybody may do everything.
        "role": user.0.map_or(Role::Admin, |who| who.role),
        "engine": { "health": health, "in_flight": state.answers.in_flight(), "batch": engine.batch() },
        "model": model,
        "upstreams": engine.replicas(),
        "library": { "videos": state.library.video_count().await?, "free_bytes": state.library.free_bytes()? },
        "storage": state.library.storage().await?,
        "machine": crate::machine::look().await,
        "limits": {
            "upload_bytes": config.max_upload_bytes,
            "quota_bytes": config.quota,
            "files_bytes": config.files_max_bytes,
            "body_bytes": config.max_body_bytes,
            "requests": config.max_requests,
        },
    })))
}
