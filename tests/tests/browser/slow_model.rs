//! A stub of OpenAI's endpoint that answers word by word at a readable pace, so that a test can watch and stop an answer. It
//! counts the answers whose reader left.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The running stand-in.
#[derive(Debug)]
pub(crate) struct SlowModel {
    url: String,
    hung_up: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Counts an answer that was not read to its end.
struct Unfinished(Arc<AtomicUsize>, bool);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl SlowModel {
    /// Starts it; each question is answered with `words`, `pause` apart.
    pub(crate) async fn start(words: &'static [&'static str], pause: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let hung_up = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&hung_up);
        let models = json!({"object": "list", "data": [{"id": "reader", "max_model_len": 32_768}]});
        let chat = move |Json(request): Json<Value>| {
            let counter = Arc::clone(&counter);
            async move { answer(&request, words, pause, &counter) }
        };
        let router = Router::new()
            .route("/v1/models", get(move || std::future::ready(Json(models.clone()))))
            .route("/v1/chat/completions", post(chat))
            .route("/metrics", get(|| async { "vllm:num_requests_running 0\n" }));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, hung_up, task })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Answers that somebody left before their end.
    pub(crate) fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::SeqCst)
    }
}

impl Drop for SlowModel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(
    request: &Value,
    words: &'static [&'static str],
    pause: Duration,
    hung_up: &Arc<AtomicUsize>,
) -> Response {
    if request["stream"] != true {
        return Json(json!({"choices": [{"message": {"content": "hi"}}]})).into_response();
    }
    let watch = Unfinished(Arc::clone(hung_up), false);
    let events = futures_util::stream::unfold((0, watch), move |(at, mut watch)| async move {
        let data = match at {
            at if at < words.len() => {
                tokio::time::sleep(pause).await;
                let finish = if at + 1 == words.len() { json!("stop") } else { Value::Null };
                json!({"choices": [{"index": 0, "delta": {"content": words[at]}, "finish_reason": finish}]})
                    .to_string()
            }
            at if at == words.len() => {
                let usage = json!({"prompt_tokens": 9, "completion_tokens": words.len(), "total_tokens": 9 + words.len()});
                json!({"choices": [], "usage": usage}).to_string()
            }
            at if at == words.len() + 1 => {
                watch.1 = true;
                "[DONE]".to_owned()
            }
            _ => return None,
        };
        Some((Ok::<_, Infallible>(format!("data: {data}\n\n")), (at + 1, watch)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}
