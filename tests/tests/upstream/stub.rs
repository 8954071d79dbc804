//! A stand-in for vLLM: it lists one model, answers as it is told to, and keeps what it was asked. A stub of
//! recorded responses would not do: these answers break off in the middle, stall, and notice who leaves.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Id of the stub's model.
pub(crate) const MODEL: &str = "served-model";

/// What a request for a streamed answer gets.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// "Red." in two chunks, and a whole end.
    Answer,
    /// A status, a `Retry-After`, and a body.
    Status(u16, Option<u64>, String),
    /// These chunks, and a proper end of the body.
    Chunks(Vec<String>),
    /// One chunk, then the connection breaks.
    Cut,
    /// One chunk, then nothing for ever.
    Stall,
    /// Text without end.
    Endless,
}

/// What the stub does and has seen.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) mode: Mode,
    /// Answers to `/v1/models`: the context's length, or nothing but 503.
    pub(crate) context: Option<usize>,
    /// Refuses `media_io_kwargs`: in questions for one word, and in requests.
    pub(crate) refuses: (bool, bool),
    /// Requests for streamed answers.
    pub(crate) requests: Vec<Value>,
}

/// A running stub; ends with its handle.
pub(crate) struct Stub {
    pub(crate) url: String,
    inner: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    inner: Mutex<Inner>,
    /// How many streams were left before their end.
    left: watch::Sender<usize>,
    /// Bytes of endless answers that were sent.
    sent: watch::Sender<usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stub {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let inner =
            Inner { mode: Mode::Answer, context: Some(4096), refuses: (false, false), requests: Vec::new() };
        let inner = Arc::new(Shared {
            inner: Mutex::new(inner),
            left: watch::Sender::new(0),
            sent: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(chat))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { url, inner, task })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.lock().mode = mode;
    }

    /// The last request for a streamed answer.
    pub(crate) fn last(&self) -> Value {
        self.lock().requests.last().cloned().unwrap_or_default()
    }

    pub(crate) fn left(&self) -> watch::Receiver<usize> {
        self.inner.left.subscribe()
    }

    pub(crate) fn sent(&self) -> watch::Receiver<usize> {
        self.inner.sent.subscribe()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    match shared.lock().context {
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(context) => {
            let card = json!({ "id": MODEL, "root": "/nowhere/at/all", "max_model_len": context });
            Json(json!({ "object": "list", "data": [card] })).into_response()
        }
    }
}

async fn chat(State(shared): State<Arc<Shared>>, Json(request): Json<Value>) -> Response {
    let streamed = request["stream"] == true;
    let mut inner = shared.lock();
    let refuses = if streamed { inner.refuses.1 } else { inner.refuses.0 };
    if streamed {
        inner.requests.push(request.clone());
    }
    if refuses && request.get("media_io_kwargs").is_some() {
        let message = "Per-request media_io_kwargs are disabled by default because of /etc/secret.";
        return error(400, message);
    }
    if request["model"] != MODEL {
        return error(404, "The model does not exist.");
    }
    if !streamed {
        return Json(json!({ "choices": [{ "message": { "content": "I" } }] })).into_response();
    }
    let mode = inner.mode.clone();
    drop(inner);
    answer(mode, shared)
}

fn error(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    (status, Json(json!({ "error": { "message": message, "code": status.as_u16() } }))).into_response()
}

pub(crate) fn chunk(text: &str, finish: Option<&str>) -> String {
    json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": finish }] }).to_string()
}

pub(crate) fn whole_answer() -> Vec<String> {
    let usage =
        json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9 } });
    vec![chunk("Red", None), chunk(".", Some("stop")), usage.to_string(), "[DONE]".into()]
}

fn event(data: &str) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// Counts itself when it is dropped: with the stream that nobody reads to its end.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.left.send_modify(|count| *count += 1);
    }
}

fn answer(mode: Mode, shared: Arc<Shared>) -> Response {
    let body = match mode {
        Mode::Status(status, retry_after, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
            let mut response = (status, body).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.into());
            }
            return response;
        }
        Mode::Answer => chunks(whole_answer()),
        Mode::Chunks(data) => chunks(data),
        Mode::Cut => {
            let first = stream::iter([Ok(event(&chunk("Red", None)))]);
            let cut = stream::once(async {
                // What was written goes out only once there is nothing more to write.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(first.chain(cut))
        }
        Mode::Stall => {
            let guard = Guard(shared);
            let first = stream::iter([Ok::<_, Infallible>(event(&chunk("Red", None)))]);
            let never = stream::once(async move {
                let _guard = guard;
                std::future::pending().await
            });
            Body::from_stream(first.chain(never))
        }
        Mode::Endless => {
            let piece = event(&chunk(&"red ".repeat(4096), None));
            Body::from_stream(stream::repeat_with(move || {
                shared.sent.send_modify(|sent| *sent += piece.len());
                Ok::<_, Infallible>(piece.clone())
            }))
        }
    };
    ([("content-type", "text/event-stream")], body).into_response()
}

fn chunks(data: Vec<String>) -> Body {
    Body::from_stream(stream::iter(data.into_iter().map(|data| Ok::<_, Infallible>(event(&data)))))
}
