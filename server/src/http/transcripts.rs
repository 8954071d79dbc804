//! `/api/videos/{id}/transcript…`: what is said in a video, as files and JSON; a line that a person corrects; and a new
//! transcription.

use axum::{
    Form, Json,
    extract::{
        State,
        rejection::{FormRejection, JsonRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{MAX_LINES, Transcript, TranscriptLine};
use serde::Deserialize;
use serde_json::json;

use super::{
    error::{Failure, Problem, shown},
    extract::{Path, Query},
    html::{self, PageContext},
    neighbours::Origin,
    pages::transcript::LINES,
};
use crate::{captions, state::AppState};

/// How speech is switched on, for errors.
pub(super) const SWITCH_ON: &str = "speech is off; --speech-model or --speech-url switches it on";

/// Query of the lines.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LinesQuery {
    first: Option<u64>,
    limit: Option<u64>,
}

/// The new text of a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineEdit {
    text: String,
}

/// `GET /api/videos/{id}/transcript.json`
pub(super) async fn json(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<LinesQuery>,
) -> Result<Response, Problem> {
    let transcript = transcript(&state, &id).await?;
    let limit = query.limit.unwrap_or(MAX_LINES).min(MAX_LINES);
    let lines = state.library.transcript_lines(&id, query.first.unwrap_or(0), limit).await?;
    let mut body = serde_json::to_value(&transcript).map_err(Failure::internal)?;
    body["video"] = json!(id);
    body["lines"] = json!(lines);
    Ok(([(header::CACHE_CONTROL, "no-cache")], Json(body)).into_response())
}

/// `GET /api/videos/{id}/transcript.vtt`
pub(super) async fn vtt(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "text/vtt; charset=utf-8", |lines| captions::vtt(lines.iter())).await
}

/// `GET /api/videos/{id}/transcript.srt`
pub(super) async fn srt(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "application/x-subrip; charset=utf-8", |lines| captions::srt(lines.iter())).await
}

/// `GET /api/videos/{id}/transcript.txt`
pub(super) async fn txt(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "text/plain; charset=utf-8", |lines| captions::txt(lines.iter())).await
}

async fn serve(
    State(state): State<AppState>,
    Path(id): Path<String>,
    content_type: &'static str,
    write: impl Fn(&[TranscriptLine]) -> String,
) -> Result<Response, Problem> {
    transcript(&state, &id).await?;
    let body = write(&state.library.transcript_lines(&id, 0, MAX_LINES).await?);
    Ok(([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

/// Returns the transcript of a video that has one.
async fn transcript(state: &AppState, id: &str) -> Result<Transcript, Failure> {
    state.library.video(id).await?;
    match state.library.transcript(id).await? {
        Some(transcript) => Ok(transcript),
        None if state.speech.is_none() => {
            Err(Failure::not_found(format!("this video has no transcript: {SWITCH_ON}")))
        }
        None => Err(Failure::not_found("the transcription of this video has not begun yet")),
    }
}

/// `PATCH /api/videos/{id}/transcript/{index}`: corrects a line.
pub(super) async fn patch(
    State(state): State<AppState>,
    Path((id, index)): Path<(String, String)>,
    edit: Result<Json<LineEdit>, JsonRejection>,
) -> Result<Json<TranscriptLine>, Problem> {
    let Json(edit) = edit?;
    Ok(Json(change(&state, &id, &index, &edit.text).await?))
}

async fn change(state: &AppState, id: &str, index: &str, text: &str) -> Result<TranscriptLine, Failure> {
    state.library.video(id).await?;
    let number = index.parse().map_err(|_| {
        Failure::not_found(format!("no line of this transcript has the number {}", shown(index)))
    })?;
    Ok(state.library.edit_transcript_line(id, number, text).await?)
}

/// `POST /api/videos/{id}/transcript`: transcribes the video again.
pub(super) async fn again(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    transcribe(&state, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "jobs": state.library.jobs_of(&id).await? }))).into_response())
}

async fn transcribe(state: &AppState, id: &str) -> Result<(), Failure> {
    state.library.video(id).await?;
    if state.speech.is_none() {
        return Err(Failure::new(StatusCode::CONFLICT, "speech_off", SWITCH_ON));
    }
    Ok(state.library.transcribe_again(id).await?)
}

/// `POST /videos/{id}/transcript`: a form.
pub(super) async fn again_form(cx: PageContext, origin: Origin, Path(id): Path<String>) -> Response {
    let queued = transcribe(&cx.state, &id).await;
    html::or_error(
        &cx,
        queued.map(|()| Redirect::to(&format!("{}#transcript", origin.url_of(&id))).into_response()),
    )
}

/// `POST /videos/{id}/transcript/{index}`: a form.
pub(super) async fn line_form(
    cx: PageContext,
    origin: Origin,
    Path((id, index)): Path<(String, String)>,
    form: Result<Form<LineEdit>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        let line = change(&cx.state, &id, &index, &form.text).await?;
        let page = line.index / LINES * LINES;
        let url = origin.url_of(&id);
        let sign = if url.contains('?') { '&' } else { '?' };
        Ok::<_, Failure>(Redirect::to(&format!("{url}{sign}lines={page}#line-{index}")).into_response())
    };
    html::or_error(&cx, work().await)
}

#[cfg(test)]
#[path = "transcripts_tests.rs"]
mod tests;
