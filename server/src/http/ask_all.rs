//! `/ask`: questions about all videos. They are answered from stored texts (descriptions, moments, speech), not from the videos
//! themselves. Each answer is kept at `/ask/{id}` with the notes that it rests on; each note links to its second.

mod carry;
mod notes;
mod pages;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    error::{Failure, Problem},
    extract::{Path, Query},
};
use crate::state::AppState;
use carry::Told;
use notes::{QuestionWithNotes, as_json};
pub(super) use pages::{delete_form, form, kept, page};

/// Questions in one response of the API.
const LIMIT: u32 = 50;

/// A question about all videos.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LibraryQuestion {
    question: String,
    /// Whether the question and its answer are kept.
    #[serde(default = "kept_by_default")]
    keep: bool,
}

fn kept_by_default() -> bool {
    true
}

/// Query of the list of questions.
#[derive(Debug, Deserialize)]
pub(super) struct QuestionsQuery {
    /// Id of a question; those before it follow.
    before: Option<String>,
}

/// `POST /api/ask`: events `notes`, `queued`, `progress`, `token`, `done` or `error`. The question is kept under the id in `notes`, unless `keep` is false.
pub(super) async fn api(
    State(state): State<AppState>,
    question: Result<Json<LibraryQuestion>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(question) = question?;
    let asked = QuestionWithNotes::new(&state, &question.question).await?;
    let notes = as_json(&state, &asked.numbered()).await?;
    let (id, told) = carry::start(&state, asked, question.keep, true).await?;
    let first = event("notes", &json!({ "id": id, "notes": notes }));
    let told = told.unwrap_or_else(|| tokio::sync::mpsc::channel(1).1);
    let events = futures_util::StreamExt::map(ReceiverStream::new(told), |told| render(&told));
    let events = futures_util::StreamExt::chain(futures_util::stream::iter([first]), events);
    let events = futures_util::StreamExt::map(events, Ok::<_, std::convert::Infallible>);
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-store")];
    Ok((headers, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

fn render(told: &Told) -> Event {
    match told {
        Told::Queued(position) => event("queued", &json!({ "position": position })),
        Told::Progress { stage, done, total } => {
            event("progress", &json!({ "stage": stage, "done": done, "total": total }))
        }
        Told::Token(text) => event("token", &json!({ "text": text })),
        Told::Done(finished) => event("done", finished),
        Told::Failed(detail) => event("error", &json!({ "detail": detail })),
    }
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// `GET /api/ask`: questions, newest first, without their notes.
pub(super) async fn list(
    State(state): State<AppState>,
    Query(query): Query<QuestionsQuery>,
) -> Result<Response, Problem> {
    let questions = state.library.questions(query.before.as_deref(), LIMIT).await?;
    let next = (questions.len() == LIMIT as usize).then(|| questions.last().map(|last| last.id.clone()));
    Ok(Json(json!({ "questions": questions, "next": next.flatten() })).into_response())
}

/// `GET /api/ask/{id}`: a question with its answer and notes.
pub(super) async fn show(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Problem> {
    let question = state.library.question(&id).await?;
    let notes = state.library.question_notes(&id).await?;
    let mut body = serde_json::to_value(&question).map_err(Failure::internal)?;
    body["notes"] = as_json(&state, &notes).await?;
    Ok(Json(body).into_response())
}

/// `DELETE /api/ask/{id}`.
pub(super) async fn delete(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    state.library.delete_question(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
