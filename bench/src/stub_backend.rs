//! A stub backend that costs almost nothing: OpenAI's chat endpoint, with tokens sent at once or at a pace that the question
//! sets. Each token is the time at which it was sent, so that the latency that a server in front adds can be measured per token.

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

/// Id of the stub's model.
pub const MODEL: &str = "instant";
/// Tokens per answer.
pub const TOKENS: u32 = 8;
/// Prefix of a question that sets the milliseconds between tokens: `pace=50 …`.
pub const PACE: &str = "pace=";

/// Serves on `listener` until the future is dropped.
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
    let events = stream::unfold(0, move |index| async move {
        if index > TOKENS + 1 {
            return None;
        }
        if index > 0 && index < TOKENS && !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        Some((Ok::<_, Infallible>(event(index)), index + 1))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

/// Returns event `index`: the tokens, then the usage, then `[DONE]`.
fn event(index: u32) -> Bytes {
    let data = match index {
        ..TOKENS => {
            let finish = if index + 1 == TOKENS { "\"stop\"" } else { "null" };
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

/// Returns the nanoseconds since 1970.
#[must_use]
pub fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}
