//! `/api/videos` and `/api/videos/{id}`: the library as JSON, and the same changes as forms of pages.

use axum::{
    Form, Json,
    extract::{
        Path, Query, State,
        rejection::{FormRejection, JsonRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    error::{Failure, Problem},
    pages,
};
use crate::app::AppState;

/// Videos in one answer unless asked for fewer, and at most.
const PAGE: u32 = 100;

/// Answers of one video in one reply.
pub(super) const ANSWERS: u32 = 100;

/// Which part of the list.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<u32>,
    offset: Option<u32>,
}

/// A new name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rename {
    name: String,
}

/// `GET /api/videos`: newest first; `total` counts all of them.
pub(super) async fn list(
    State(state): State<AppState>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(PAGE).min(PAGE);
    let videos = state.library.videos(limit, query.offset.unwrap_or(0)).await?;
    Ok(Json(json!({"videos": videos, "total": state.library.video_count().await?})).into_response())
}

/// `GET /api/videos/{id}`: the video with its jobs and answers.
pub(super) async fn show(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    let mut body = serde_json::to_value(&video).map_err(Failure::internal)?;
    body["jobs"] = json!(state.library.jobs_of(&id).await?);
    body["answers"] = json!(state.library.answers(&id, ANSWERS).await?);
    Ok(Json(body).into_response())
}

/// `PATCH /api/videos/{id}` with `{"name": …}`.
pub(super) async fn patch(
    State(state): State<AppState>,
    Path(id): Path<String>,
    rename: Result<Json<Rename>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(rename) = rename?;
    state.library.video(&id).await?;
    Ok(Json(state.library.rename_video(&id, &rename.name).await?).into_response())
}

/// `DELETE /api/videos/{id}`: the video, its answers and its original, for good.
pub(super) async fn delete(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    state.library.delete_video(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /videos/{id}/rename`: the page's form.
pub(super) async fn rename_form(
    State(state): State<AppState>,
    Path(id): Path<String>,
    rename: Result<Form<Rename>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(rename) = rename?;
        let video = state.library.rename_video(&id, &rename.name).await?;
        Ok::<_, Failure>(Redirect::to(&format!("/videos/{}", video.id)).into_response())
    };
    pages::or_error(&state, work().await)
}

/// `POST /videos/{id}/delete`: the page's form.
pub(super) async fn delete_form(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    let deleted = state.library.delete_video(&id).await.map_err(Failure::from);
    pages::or_error(&state, deleted.map(|()| Redirect::to("/").into_response()))
}
