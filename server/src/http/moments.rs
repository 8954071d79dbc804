//! `/api/videos/{id}/moments.{json,vtt,srt,md}`: the moments of a video in several file formats.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use homereel_library::{Moment, Video};
use serde_json::json;

use super::{
    error::{Failure, Problem},
    extract::Path,
};
use crate::{captions, state::AppState};

/// `GET /api/videos/{id}/moments.json`
pub(super) async fn json(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "application/json", |video, model, moments| {
        json!({"video": video.id, "model": model, "moments": moments}).to_string()
    })
    .await
}

/// `GET /api/videos/{id}/moments.vtt`
pub(super) async fn vtt(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "text/vtt; charset=utf-8", |_, _, moments| captions::vtt(moments)).await
}

/// `GET /api/videos/{id}/moments.srt`
pub(super) async fn srt(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "application/x-subrip; charset=utf-8", |_, _, moments| captions::srt(moments)).await
}

/// `GET /api/videos/{id}/moments.md`
pub(super) async fn md(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "text/markdown; charset=utf-8", |video, model, moments| {
        captions::md(&video.name, model, moments)
    })
    .await
}

async fn serve(
    State(state): State<AppState>,
    Path(id): Path<String>,
    content_type: &'static str,
    write: impl Fn(&Video, &str, &[Moment]) -> String,
) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    let Some(text) = &video.texts.moments else {
        return Err(Failure::not_found("the moments of this video are not ready yet").into());
    };
    let body = write(&video, &text.model, text.content.as_deref().unwrap_or_default());
    Ok(([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}
