//! OpenAI's API: `POST /v1/chat/completions`.
//!
//! [`body`] reads the request, [`wire`] has its types, [`convert`] turns a request into a conversation, [`media_url`] resolves
//! images and videos, and [`reply`] builds the response, whole or streamed.

mod body;
mod convert;
mod media_url;
pub(super) mod models;
mod reply;
mod wire;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use homereel_engine::Stage;

use super::error::{Failure, OpenAiError};
use crate::{
    answer::{AnswerStream, AskEvent, Priority},
    ask_error::AskError,
    state::AppState,
};
use convert::Draft;

/// How long the response head of a stream is held back for the first event.
const PATIENCE: Duration = Duration::from_secs(2);

/// `POST /v1/chat/completions`.
pub(super) async fn completions(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let limits = convert::RequestLimits { videos: state.config.max_videos, images: state.config.max_images };
    let body = body::read(
        &state.bodies,
        request.into_body(),
        body::BodyLimits {
            bytes: state.config.max_body_bytes,
            // More than a request may have, so that the error names the kind that there are too many of.
            media: 2 * (limits.videos + limits.images),
            scratch: state.library.scratch_dir(),
        },
    );
    let body = body.await?;
    let known = info.clone();
    // Parsing is CPU work, so it runs on a blocking thread, which also frees the body.
    let draft = tokio::task::spawn_blocking(move || convert::read(body, &limits, &known));
    let Draft { want, conversation } = draft.await.map_err(Failure::internal)??;
    if !names(want.model.as_deref(), &info) {
        return Err(models::unknown(want.model.as_deref().unwrap_or_default(), &info.id).into());
    }
    let conversation = conversation.resolve(&state.library).await?;
    let mut answering = state.answers.ask(conversation, Priority::Interactive, state.lifecycle.hard())?;
    let head = reply::ReplyHead {
        id: format!("chatcmpl-{}", homereel_library::new_id()),
        created: now_s(),
        model: info.id,
    };
    if want.stream {
        let first = first_events(&mut answering).await?;
        return Ok(
            ([("x-accel-buffering", "no")], reply::stream(head, first, answering, want)).into_response()
        );
    }
    Ok(Json(reply::whole(head, answering, &want).await?).into_response())
}

/// Waits for the first event, so that an invalid video or a prompt that is too long still gets a 4xx status.
async fn first_events(answering: &mut AnswerStream) -> Result<Vec<AskEvent>, AskError> {
    let mut first = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(PATIENCE, answering.next()).await {
        let event = event?;
        let probing = matches!(event, AskEvent::Progress { stage: Stage::Probe, .. });
        first.push(event);
        if !probing {
            break;
        }
    }
    Ok(first)
}

/// Returns whether the requested model is loaded. A missing name matches, and `demo` matches the demo model.
fn names(asked: Option<&str>, info: &homereel_engine::ModelInfo) -> bool {
    match asked {
        None | Some("") => true,
        Some("demo") => info.demo || info.id == "demo",
        Some(asked) => asked == info.id,
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
