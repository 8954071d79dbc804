//! `/api/jobs`: what is owed to videos.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::error::Problem;
use crate::{app::AppState, library::Job};

/// Jobs that one page of the list holds.
const LIMIT: u32 = 200;

/// `GET /api/jobs`: the newest jobs.
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    let paused = state.library.jobs_paused().await?;
    Ok(Json(json!({ "jobs": state.library.jobs(LIMIT).await?, "paused": paused })))
}

/// `POST /api/jobs/pause`: no job goes on until `/resume`.
pub(super) async fn pause(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    state.library.pause_jobs(true).await?;
    Ok(Json(json!({ "paused": true })))
}

/// `POST /api/jobs/resume`.
pub(super) async fn resume(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    state.library.pause_jobs(false).await?;
    Ok(Json(json!({ "paused": false })))
}

/// `POST /api/jobs/{id}/first`: before all others that wait.
pub(super) async fn first(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    Ok(Json(state.library.put_job_first(&id).await?))
}

/// `POST /api/jobs/{id}/cancel`.
pub(super) async fn cancel(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    Ok(Json(state.jobs.cancel(&id).await?))
}

/// `POST /api/jobs/{id}/retry`.
pub(super) async fn retry(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    Ok(Json(state.jobs.retry(&id).await?))
}
