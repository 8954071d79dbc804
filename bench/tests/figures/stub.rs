//! A stub server with known delays: it sends scripted answers and records when it sent each part.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

/// One step of an answer: wait, then send.
#[derive(Debug, Clone)]
pub(crate) struct ReplyStep {
    pub(crate) wait_ms: u64,
    pub(crate) send: ReplyPiece,
}

/// A part of a response.
#[derive(Debug, Clone)]
pub(crate) enum ReplyPiece {
    /// A chunk with a role and without text, as vLLM sends first.
    Role,
    /// A chunk of text, which may contain several tokens.
    Text,
    /// The finish reason.
    Finish,
    /// Token counts of prompt and answer.
    Usage(u64, u64),
    /// `[DONE]`.
    Done,
    /// An error event.
    Error,
    /// An event that is not JSON.
    Garbage,
    /// The connection breaks.
    Cut,
}

/// The response to a request.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// A stream of events.
    Stream(Vec<ReplyStep>),
    /// A status and nothing else.
    Status(u16),
}

/// When a request arrived and its response was sent, by the stub's clock.
#[derive(Debug, Clone)]
pub(crate) struct ReplyRecord {
    pub(crate) arrived: Instant,
    pub(crate) texts: Vec<Instant>,
    pub(crate) finished: Option<Instant>,
}

/// A running stub, stopped when dropped.
pub(crate) struct ScriptedServer {
    pub(crate) url: String,
    records: Arc<Mutex<Vec<ReplyRecord>>>,
    task: AbortHandle,
}

impl ScriptedServer {
    /// Listens on a free port. Request n gets script n, modulo the number of scripts.
    pub(crate) async fn start(scripts: Vec<Script>) -> anyhow::Result<Self> {
        let records = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::clone(&records), Arc::new(scripts), Arc::new(AtomicUsize::new(0)));
        let chat = move |_: Json<Value>| {
            let (records, scripts, count) = shared.clone();
            async move {
                let arrived = Instant::now();
                let n = count.fetch_add(1, Ordering::Relaxed);
                reply(&scripts[n % scripts.len()], arrived, records)
            }
        };
        let router = Router::new()
            .route("/v1/models", get(async || Json(json!({ "data": [{ "id": "stub" }] }))))
            .route("/v1/chat/completions", post(chat));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, records, task: serving.abort_handle() })
    }

    /// Returns the records so far, in order of arrival.
    pub(crate) fn records(&self) -> Vec<ReplyRecord> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        records.sort_by_key(|record| record.arrived);
        records
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn reply(script: &Script, arrived: Instant, records: Arc<Mutex<Vec<ReplyRecord>>>) -> Response {
    let steps = match script {
        Script::Status(status) => {
            return StatusCode::from_u16(*status)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
                .into_response();
        }
        Script::Stream(steps) => steps.clone(),
    };
    let index = {
        let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(ReplyRecord { arrived, texts: Vec::new(), finished: None });
        records.len() - 1
    };
    // A sleep can only end late. Due times follow the script, so that delays do not add up.
    let state = (steps.into_iter(), records, tokio::time::Instant::now());
    let body = stream::unfold(state, move |(mut steps, records, before)| async move {
        let step = steps.next()?;
        let due = before + Duration::from_millis(step.wait_ms);
        tokio::time::sleep_until(due).await;
        let now = Instant::now();
        {
            let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
            match step.send {
                ReplyPiece::Text => records[index].texts.push(now),
                ReplyPiece::Finish => records[index].finished = Some(now),
                _ => {}
            }
        }
        Some((bytes(&step.send), (steps, records, due)))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(body)).into_response()
}

fn bytes(send: &ReplyPiece) -> io::Result<String> {
    let event = match send {
        ReplyPiece::Role => json!({ "choices": [{ "delta": { "role": "assistant", "content": "" } }] }),
        ReplyPiece::Text => json!({ "choices": [{ "delta": { "content": "a red circle " } }] }),
        ReplyPiece::Finish => json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
        ReplyPiece::Usage(prompt, answer) => {
            json!({ "choices": [], "usage": { "prompt_tokens": prompt, "completion_tokens": answer } })
        }
        ReplyPiece::Error => json!({ "error": { "message": "out of memory" } }),
        ReplyPiece::Done => return Ok("data: [DONE]\n\n".into()),
        ReplyPiece::Garbage => return Ok("data: {broken\n\n".into()),
        ReplyPiece::Cut => return Err(io::Error::other("cut")),
    };
    Ok(format!("data: {event}\n\n"))
}
