//! A stub of vLLM whose model repeats what it is told is said, and otherwise sees nothing special.

use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The running stub; ends with its handle.
#[derive(Debug)]
pub(crate) struct ListeningModel {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl ListeningModel {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let models = json!({ "object": "list", "data": [{ "id": "listener", "max_model_len": 131_072 }] });
        let router = Router::new()
            .route("/v1/models", get(move || std::future::ready(Json(models.clone()))))
            .route("/v1/chat/completions", post(|Json(request): Json<Value>| async move { answer(&request) }))
            .route("/metrics", get(|| async { "vllm:num_requests_running 0\n" }))
            .layer(DefaultBodyLimit::disable());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, task })
    }
}

impl Drop for ListeningModel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(request: &Value) -> Response {
    if request["stream"] != true {
        return Json(json!({ "choices": [{ "message": { "content": "hi" } }] })).into_response();
    }
    let parts = request["messages"].as_array().into_iter().flatten();
    let texts = parts.filter_map(|message| match &message["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        _ => None,
    });
    let prompt: String = texts.collect();
    let told = prompt.split_once("What is said").map(|(_, told)| told.lines().nth(1).unwrap_or_default());
    let sees = told.map_or_else(|| "Nothing is heard.".to_owned(), |told| format!("Somebody says {told}"));
    let moment = json!({ "start": 0.0, "end": 1.0, "text": "a picture" });
    let text = if prompt.contains("\"description\"") {
        json!({ "description": sees, "tags": ["talk"], "moments": [moment] }).to_string()
    } else if prompt.contains("moments of this video") {
        json!({ "moments": [moment] }).to_string()
    } else if prompt.contains("short tags") {
        json!(["talk"]).to_string()
    } else if prompt.contains("notes on one home video") {
        // The notes on the windows are repeated.
        prompt
    } else {
        sees
    };
    let delta = json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": "stop" }] });
    let usage =
        json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } });
    let events = format!("data: {delta}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
}
