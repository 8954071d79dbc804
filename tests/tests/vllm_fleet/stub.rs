//! A stub of vLLM that lists one model, sends scripted answers, and records its requests. Recorded responses would not
//! do: these answers break off, stall, and notice when the reader leaves. Each stub has a runtime of its own, so that
//! dropping it cuts its connections like a kill.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

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
    /// "Red" at once where the question says `begun`; the rest when it is released.
    Held,
}

/// What the stub does and has seen.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) mode: Mode,
    /// Answers to `/v1/models`: the context's length, or nothing but 503.
    pub(crate) context: Option<usize>,
    /// Id of its model.
    pub(crate) model: &'static str,
    /// Answers 500 to questions for one word, as the server of a dead engine does.
    pub(crate) dead: bool,
    /// What `/metrics` tells.
    pub(crate) metrics: &'static str,
    /// Refuses `media_io_kwargs`: in questions for one word, and in requests.
    pub(crate) refuses: (bool, bool),
    /// Whether it was started with `--scheduling-policy priority`.
    pub(crate) priorities: bool,
    /// Requests for streamed answers.
    pub(crate) requests: Vec<Value>,
    /// Their `X-Request-Id`.
    pub(crate) request_ids: Vec<String>,
}

/// A running stub; ends with its handle.
pub(crate) struct StubVllm {
    pub(crate) url: String,
    address: SocketAddr,
    inner: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// How many streams were left before their end.
    left: watch::Sender<usize>,
    /// Bytes of endless answers that were sent.
    sent: watch::Sender<usize>,
    /// Held answers may end.
    released: watch::Sender<bool>,
    /// How many requests for streamed answers came.
    came: watch::Sender<usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StubVllm {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// Starts where another was killed.
    pub(crate) async fn start_at(address: SocketAddr) -> anyhow::Result<Self> {
        let inner = Inner {
            mode: Mode::Answer,
            context: Some(4096),
            model: MODEL,
            dead: false,
            metrics: "",
            refuses: (false, false),
            priorities: false,
            requests: Vec::new(),
            request_ids: Vec::new(),
        };
        let inner = Arc::new(Shared {
            inner: Mutex::new(inner),
            left: watch::Sender::new(0),
            sent: watch::Sender::new(0),
            released: watch::Sender::new(false),
            came: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(chat))
            .route("/metrics", get(metrics))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inner));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listening = runtime.spawn(async move { tokio::net::TcpListener::bind(address).await });
        let listener = listening.await??;
        let address = listener.local_addr()?;
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url: format!("http://{address}"), address, inner, runtime: Some(runtime) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets held answers end.
    pub(crate) fn release(&self) {
        self.inner.released.send_replace(true);
    }

    /// How many requests for streamed answers came.
    pub(crate) fn came(&self) -> watch::Receiver<usize> {
        self.inner.came.subscribe()
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

    /// The ids of the requests for streamed answers, where they had one.
    pub(crate) fn request_ids(&self) -> Vec<String> {
        self.lock().request_ids.clone()
    }

    pub(crate) fn left(&self) -> watch::Receiver<usize> {
        self.inner.left.subscribe()
    }

    pub(crate) fn sent(&self) -> watch::Receiver<usize> {
        self.inner.sent.subscribe()
    }
}

impl Drop for StubVllm {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let context = shared.lock().context;
    match context {
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(context) => {
            let model = shared.lock().model;
            let card = json!({ "id": model, "root": "/nowhere/at/all", "max_model_len": context });
            Json(json!({ "object": "list", "data": [card] })).into_response()
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> &'static str {
    shared.lock().metrics
}

async fn chat(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    let streamed = request["stream"] == true;
    let mut inner = shared.lock();
    let refuses = if streamed { inner.refuses.1 } else { inner.refuses.0 };
    if streamed {
        inner.requests.push(request.clone());
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
        inner.request_ids.extend(id.map(str::to_owned));
        shared.came.send_modify(|count| *count += 1);
    }
    if !streamed && inner.dead {
        return error(500, "EngineDeadError at /etc/secret");
    }
    if refuses && request.get("media_io_kwargs").is_some() {
        let message = "Per-request media_io_kwargs are disabled by default because of /etc/secret.";
        return error(400, message);
    }
    if !inner.priorities && request.get("priority").is_some() {
        return error(400, "Got priority 1 but Priority scheduling is not enabled.");
    }
    if request["model"] != inner.model {
        return error(404, "The model does not exist.");
    }
    if !streamed {
        return Json(json!({ "choices": [{ "message": { "content": "I" } }] })).into_response();
    }
    let mode = inner.mode.clone();
    drop(inner);
    let begun = request["messages"].to_string().contains("begun");
    answer(mode, begun, shared)
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
struct ConnectionGuard(Arc<Shared>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.left.send_modify(|count| *count += 1);
    }
}

fn answer(mode: Mode, begun: bool, shared: Arc<Shared>) -> Response {
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
            let guard = ConnectionGuard(shared);
            let first = stream::iter([Ok::<_, Infallible>(event(&chunk("Red", None)))]);
            let never = stream::once(async move {
                let _guard = guard;
                std::future::pending().await
            });
            Body::from_stream(first.chain(never))
        }
        Mode::Held => {
            let data = whole_answer();
            let at_once = usize::from(begun);
            let first = data[..at_once].to_vec();
            let mut released = shared.released.subscribe();
            let rest = stream::once(async move {
                // The sender lives as long as the stub.
                let _ = released.wait_for(|released| *released).await;
                let rest: String = data[at_once..].iter().map(|data| format!("data: {data}\n\n")).collect();
                Ok::<_, Infallible>(Bytes::from(rest))
            });
            Body::from_stream(stream::iter(first.into_iter().map(|data| Ok(event(&data)))).chain(rest))
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
