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
    Ok(Json(json!({ "jobs": state.library.jobs(LIMIT).await? })))
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
