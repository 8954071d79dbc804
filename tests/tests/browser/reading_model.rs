//! A stub of vLLM that reads the numbers in the frames of a clip and answers with a moment for each, at the frame's time.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homereel_clips::recordings::number_in;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// The running stub.
#[derive(Debug)]
pub(crate) struct ReadingModel {
    pub(crate) url: String,
    /// Questions are answered once it is closed.
    pub(crate) hold: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl ReadingModel {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let models = json!({ "object": "list", "data": [{ "id": "reader", "max_model_len": 131_072 }] });
        let hold = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&hold);
        let chat = move |Json(request): Json<Value>| {
            let held = Arc::clone(&held);
            async move {
                if request["stream"] == true {
                    // Fails once it is closed.
                    let _ = held.acquire().await;
                }
                answer(&request)
            }
        };
        let router = Router::new()
            .route("/v1/models", get(move || std::future::ready(Json(models.clone()))))
            .route("/v1/chat/completions", post(chat))
            .route("/metrics", get(|| async { "vllm:num_requests_running 0\n" }))
            .layer(DefaultBodyLimit::disable());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, hold, task })
    }
}

impl Drop for ReadingModel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(request: &Value) -> Response {
    if request["stream"] != true {
        return Json(json!({ "choices": [{ "message": { "content": "hi" } }] })).into_response();
    }
    let text = match moments(request) {
        Ok(moments) => {
            json!({ "description": "Numbers.", "tags": ["numbers"], "moments": moments }).to_string()
        }
        Err(error) => format!("{error:#}"),
    };
    let delta = json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": "stop" }] });
    let usage =
        json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } });
    let events = format!("data: {delta}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
}

/// One moment per frame, whose text is the frame's number.
fn moments(request: &Value) -> anyhow::Result<Vec<Value>> {
    let parts = request["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["content"].as_array());
    let url = parts.flatten().find_map(|part| part["video_url"]["url"].as_str()).context("no video")?;
    let frames = url.strip_prefix("data:video/jpeg;base64,").context("no frames")?;
    let video = &request["media_io_kwargs"]["video"];
    let fps = video["fps"].as_f64().context("no fps")?;
    let indices = video["frames_indices"].as_array().context("no indices")?;
    let mut moments = Vec::new();
    for (frame, index) in frames.split(',').zip(indices) {
        let rgb = image::load_from_memory(&STANDARD.decode(frame)?)?.to_rgb8();
        let number = number_in(&rgb, rgb.width(), rgb.height()).context("a frame without a number")?;
        let time = index.as_f64().context("an index is a number")? / fps;
        // Not before the frame, which a time that is rounded down would be.
        let start = (time * 1000.0 - 1e-3).ceil() / 1000.0;
        moments.push(json!({ "start": start, "end": start, "text": number.to_string() }));
    }
    Ok(moments)
}
