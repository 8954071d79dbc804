//! An upstream that costs next to nothing: OpenAI's endpoint, whose tokens come at once or at a pace that the question
//! names, each telling when it was sent. What a server before it adds is then seen in every token.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Id of its model.
pub const MODEL: &str = "instant";
/// Tokens of an answer.
pub const TOKENS: u32 = 8;
/// What begins a question that names milliseconds between tokens.
pub const PACE: &str = "pace=";

/// Serves on `listener` until it is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .route("/metrics", get(|| async { "vllm:num_requests_running 0\n" }));
    axum::serve(listener, router).await
}

async fn models() -> Json<Value> {
    Json(json!({ "object": "list", "data": [{ "id": MODEL, "max_model_len": 32_768 }] }))
}

async fn chat(body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if request["stream"] != true {
        return Json(json!({ "choices": [{ "message": { "content": "hi" } }] })).into_response();
    }
    let question = request["messages"][0]["content"].as_str().unwrap_or_default();
    let pace = question.strip_prefix(PACE).and_then(|ms| ms.split(' ').next()?.parse().ok());
    let pace = Duration::from_millis(pace.unwrap_or(0));
    let events = stream::unfold(0, move |at| async move {
        if at > TOKENS + 1 {
            return None;
        }
        if at > 0 && at < TOKENS && !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        Some((Ok::<_, Infallible>(event(at)), at + 1))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

/// The tokens, the counts, and the end.
fn event(at: u32) -> Bytes {
    let data = match at {
        ..TOKENS => {
            let finish = if at + 1 == TOKENS { "\"stop\"" } else { "null" };
            let now = now_ns();
            format!(
                r#"{{"choices":[{{"index":0,"delta":{{"content":"{now} "}},"finish_reason":{finish}}}]}}"#
            )
        }
        TOKENS => format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":{TOKENS},"total_tokens":17}}}}"#
        ),
        _ => "[DONE]".to_owned(),
    };
    format!("data: {data}\n\n").into()
}

/// Nanoseconds since 1970.
#[must_use]
pub fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}
