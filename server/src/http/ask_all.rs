//! `/ask`: one question about all videos. It is answered from stored texts (descriptions, moments), not from
//! the videos themselves. Each note that the answer cites links to its second.

use std::{convert::Infallible, time::Duration};

use axum::{
    Form, Json,
    extract::{
        State,
        rejection::{FormRejection, JsonRejection},
    },
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use homereel_library::{PieceKind, Recalled};
use homereel_web::{format, pages::AskPage, views as web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::{Failure, Problem},
    extract::Query,
    html::{self, PageContext},
};
use crate::{
    answer::{AnswerStream, AskEvent, Conversation, Priority},
    ask_error::AskError,
    prompts,
    state::AppState,
};

/// Maximum number of characters of a question.
const MAX_QUESTION: usize = 2000;

/// Maximum number of notes for one answer.
const MAX_NOTES: usize = 40;

/// Maximum number of characters of a note.
const MAX_NOTE: usize = 400;

/// Maximum number of tokens of an answer.
const MAX_TOKENS: usize = 512;

/// How long a form waits for its answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A question about all videos.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LibraryQuestion {
    question: String,
}

/// A question from another page's form.
#[derive(Debug, Deserialize)]
pub(super) struct AskQuery {
    #[serde(default)]
    question: String,
}

/// A question and the notes that may answer it.
struct QuestionWithNotes {
    question: String,
    notes: Vec<Recalled>,
}

impl QuestionWithNotes {
    async fn new(state: &AppState, question: &str) -> Result<Self, Failure> {
        let question = question.trim();
        let chars = question.chars().count();
        if question.is_empty() || chars > MAX_QUESTION {
            let message = format!("a question has 1 to {MAX_QUESTION} characters, this one has {chars}");
            return Err(Failure::invalid("question", message));
        }
        let near = state.meaning.near_question(question).await?.near;
        let notes = state.library.recall(question, &near, MAX_NOTES).await?;
        Ok(Self { question: question.to_owned(), notes })
    }

    /// Returns the answer that needs no model: if no note was found, or if the model cannot read notes.
    fn shortcut(&self, state: &AppState) -> Option<&'static str> {
        let demo = state.answers.engine().info().is_ok_and(|info| info.demo);
        if self.notes.is_empty() {
            return Some("Nothing that is known about the videos has to do with this question.");
        }
        demo.then_some("The demo model cannot answer from notes. These places have to do with the question:")
    }

    fn start(&self, state: &AppState) -> Result<AnswerStream, AskError> {
        let notes: Vec<String> = self.notes.iter().enumerate().map(|(at, note)| line(at + 1, note)).collect();
        let prompt =
            format!("{}\n\n{}\n\nQuestion: {}", prompts::ANSWER_FROM_NOTES, notes.join("\n"), self.question);
        let sampling = state.answers.engine().info()?.sampling;
        let mut conversation = Conversation::text(&prompt, sampling);
        conversation.options.max_tokens = Some(MAX_TOKENS);
        state.answers.ask(conversation, Priority::Interactive, state.lifecycle.hard())
    }
}

/// `[3] Birthday.mp4, 2019-06-01, 1:23.0: the girl blows out six candles`, and of speech `…, 1:23.0, somebody says: happy birthday`
fn line(number: usize, note: &Recalled) -> String {
    let day = note.day.map_or_else(|| "date unknown".to_owned(), |day| day.to_string());
    let at = note.start.map_or_else(String::new, |start| format!(", {}", format::position(start)));
    let text: String =
        note.text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_NOTE).collect();
    let said = if note.kind == PieceKind::Speech { ", somebody says" } else { "" };
    format!("[{number}] {}, {day}{at}{said}: {text}", note.name)
}

fn at_of(note: &Recalled) -> String {
    note.start.map(format::position).unwrap_or_default()
}

fn url_of(note: &Recalled) -> String {
    match note.start {
        Some(start) => format!("/videos/{}?t={}", note.video_id, format::second(start)),
        None => format!("/videos/{}", note.video_id),
    }
}

/// `GET /ask`: the page without an answer.
pub(super) async fn page(cx: PageContext, Query(query): Query<AskQuery>) -> Response {
    let question = query.question.chars().take(MAX_QUESTION).collect();
    html::or_error(&cx, html::render(&empty_page(&cx, question)))
}

fn empty_page(cx: &PageContext, question: String) -> AskPage {
    AskPage {
        shell: html::shell(cx, "Ask all videos", "ask", false),
        question,
        parts: Vec::new(),
        model: String::new(),
        notes: Vec::new(),
    }
}

/// `POST /api/ask`: events `notes`, `queued`, `progress`, `token`, `done` or `error`.
pub(super) async fn api(
    State(state): State<AppState>,
    question: Result<Json<LibraryQuestion>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(question) = question?;
    let asked = QuestionWithNotes::new(&state, &question.question).await?;
    let notes: Vec<Value> = asked
        .notes
        .iter()
        .enumerate()
        .map(|(at, note)| {
            json!({
                "number": at + 1, "video": note.video_id, "name": note.name, "day": note.day, "start": note.start, "text": note.text,
                "at": at_of(note), "url": url_of(note),
            })
        })
        .collect();
    let first = event("notes", &json!({ "notes": notes }));
    let (shortcut, answering) = match asked.shortcut(&state) {
        Some(words) => (Some(words), None),
        None => (None, Some(asked.start(&state)?)),
    };
    let events = async_events(first, shortcut, answering);
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-store")];
    Ok((headers, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

fn async_events(
    first: Event,
    shortcut: Option<&'static str>,
    answering: Option<AnswerStream>,
) -> impl futures_util::Stream<Item = Result<Event, Infallible>> {
    let told = shortcut.map(|words| {
        vec![event("token", &json!({ "text": words })), event("done", &json!({ "model": null }))]
    });
    let head = futures_util::stream::iter(std::iter::once(first).chain(told.into_iter().flatten()));
    let tail = futures_util::stream::unfold(answering, |answering| async move {
        let mut answering = answering?;
        loop {
            let event = match answering.next().await? {
                Ok(AskEvent::Media(_) | AskEvent::Delta(_)) => continue,
                Ok(AskEvent::Queued { position }) => event("queued", &json!({ "position": position })),
                Ok(AskEvent::Progress { stage, done, total }) => {
                    event("progress", &json!({ "stage": stage, "done": done, "total": total }))
                }
                Ok(AskEvent::Token { text, .. }) => event("token", &json!({ "text": text })),
                Ok(AskEvent::Done(finished)) => event("done", &json!(finished)),
                Err(error) => event("error", &json!({ "detail": Failure::from(error).message })),
            };
            return Some((event, Some(answering)));
        }
    });
    futures_util::StreamExt::map(futures_util::StreamExt::chain(head, tail), Ok)
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// `POST /ask`: the form, which waits for the whole answer.
pub(super) async fn form(
    cx: PageContext,
    question: Result<Form<LibraryQuestion>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(question) = question?;
        let asked = QuestionWithNotes::new(&cx.state, &question.question).await?;
        let (text, model) = match asked.shortcut(&cx.state) {
            Some(words) => (words.to_owned(), String::new()),
            None => {
                let answer = whole(asked.start(&cx.state)?);
                tokio::time::timeout(PATIENCE, answer).await.map_err(|_| {
                    Failure::invalid(
                        "question",
                        format!("no answer within {} s; ask a shorter question", PATIENCE.as_secs()),
                    )
                })??
            }
        };
        show(&cx, &asked, &text, model)
    };
    html::or_error(&cx, work().await)
}

async fn whole(mut answering: AnswerStream) -> Result<(String, String), AskError> {
    let mut text = String::new();
    while let Some(event) = answering.next().await {
        match event? {
            AskEvent::Token { text: more, .. } => text.push_str(&more),
            AskEvent::Done(finished) => return Ok((text, finished.model)),
            AskEvent::Queued { .. } | AskEvent::Media(_) | AskEvent::Delta(_) | AskEvent::Progress { .. } => {
            }
        }
    }
    Err(homereel_engine::EngineError::Incomplete.into())
}

fn show(cx: &PageContext, asked: &QuestionWithNotes, text: &str, model: String) -> Result<Response, Failure> {
    let note = |(at, note): (usize, &Recalled)| web::Note {
        number: at + 1,
        url: url_of(note),
        video: note.name.clone(),
        at: at_of(note),
        text: note.text.clone(),
    };
    html::render(&AskPage {
        parts: cited(text, asked.notes.len()),
        model,
        notes: asked.notes.iter().enumerate().map(note).collect(),
        ..empty_page(cx, asked.question.clone())
    })
}

/// Splits an answer at the notes that it cites: `[3]`, `[3, 5]`.
fn cited(text: &str, notes: usize) -> Vec<(String, Option<usize>)> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        plain.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        let close = inner.find(']').filter(|&close| close > 0 && close <= 60);
        let numbers: Option<Vec<usize>> = close
            .and_then(|close| inner[..close].split(',').map(|number| number.trim().parse().ok()).collect());
        match (close, numbers.filter(|numbers| numbers.iter().all(|number| (1..=notes).contains(number)))) {
            (Some(close), Some(numbers)) => {
                if !plain.is_empty() {
                    parts.push((std::mem::take(&mut plain), None));
                }
                parts.extend(numbers.into_iter().map(|number| (format!("[{number}]"), Some(number))));
                rest = &inner[close + 1..];
            }
            _ => {
                plain.push('[');
                rest = inner;
            }
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push((plain, None));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::cited;

    #[test]
    fn notes_that_are_named_become_links_and_nothing_else_does() {
        let part = |text: &str, number| (text.to_owned(), number);
        assert_eq!(
            cited("At the lake [1, 2]. [9] [x] [", 3),
            [
                part("At the lake ", None),
                part("[1]", Some(1)),
                part("[2]", Some(2)),
                part(". [9] [x] [", None)
            ]
        );
        assert!(cited("", 3).is_empty());
    }
}
