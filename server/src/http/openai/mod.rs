//! OpenAI's API: `POST /v1/chat/completions`, and `/v1/files` in [`files`].
//!
//! [`body`] reads the request, [`parameters`] says what becomes of each parameter, [`wire`] has the types of messages,
//! [`convert`] turns a request into a conversation, [`media_url`] finds pictures and videos in it, [`references`] resolves
//! those that it only names, and [`reply`] builds the response, whole or streamed.

mod body;
mod convert;
pub(super) mod files;
mod media_url;
pub(super) mod models;
mod parameters;
mod references;
mod reply;
mod wire;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_engine::Stage;

use super::{
    auth_layer::CurrentUser,
    error::{Failure, OpenAiError, shown},
};
use crate::{
    answer::{AnswerStream, AskEvent, Priority},
    ask_error::AskError,
    state::AppState,
};
use convert::Draft;
use references::Resolver;

/// How long the response head of a stream is held back for the first event.
const PATIENCE: Duration = Duration::from_secs(2);

/// `POST /v1/chat/completions`.
pub(super) async fn completions(
    State(state): State<AppState>,
    user: CurrentUser,
    request: Request,
) -> Result<Response, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    refuse_encoded(request.headers())?;
    let limits = convert::RequestLimits {
        videos: state.config.get().max_videos,
        images: state.config.get().max_images,
    };
    let body = body::read(
        &state.bodies,
        request.into_body(),
        body::BodyLimits {
            bytes: state.config.get().max_body_bytes,
            // More than a request may have, so that the error names the kind that there are too many of.
            media: 2 * (limits.videos + limits.images) + body::MAX_FRAMES,
            scratch: state.library.scratch_dir(),
        },
    );
    let body = body.await?;
    let known = info.clone();
    // Parsing is CPU work, so it runs on a blocking thread, which also frees the body.
    let draft = tokio::task::spawn_blocking(move || convert::read(body, &limits, &known));
    let Draft { want, conversation } = draft.await.map_err(Failure::internal)??;
    let model = models::named(want.model.as_deref(), &info, &state.config.get().served_model_names)?;
    let mut resolver = Resolver {
        library: &state.library,
        fetcher: &state.fetcher,
        owner: user.account(),
        bytes_left: state.config.get().max_body_bytes as u64,
    };
    let resolved = conversation.resolve(&mut resolver).await;
    let conversation = resolved.map_err(|failure| reply::placed(failure, &want))?;
    let mut answering = state.answers.ask(conversation, Priority::Interactive, state.lifecycle.hard())?;
    let head =
        reply::ReplyHead { id: format!("chatcmpl-{}", homereel_library::new_id()), created: now_s(), model };
    if want.stream {
        let first = first_events(&mut answering).await.map_err(|error| reply::located(error, &want))?;
        return Ok(
            ([("x-accel-buffering", "no")], reply::stream(head, first, answering, want)).into_response()
        );
    }
    Ok(Json(reply::whole(head, answering, &want).await?).into_response())
}

/// Waits for the first event, so that an invalid video or a prompt that is too long still gets a 4xx status.
async fn first_events(answering: &mut AnswerStream) -> Result<Vec<(usize, AskEvent)>, AskError> {
    let mut first = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(PATIENCE, answering.next_of_any()).await {
        let event = event?;
        let probing = matches!(event.1, AskEvent::Progress { stage: Stage::Probe, .. });
        first.push(event);
        if !probing {
            break;
        }
    }
    Ok(first)
}

/// Compressed bodies are refused: what they expand to is not known before.
fn refuse_encoded(headers: &HeaderMap) -> Result<(), Failure> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default());
    match encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(encoding) => {
            let message =
                format!("bodies in {} are not supported; send it without Content-Encoding", shown(encoding));
            Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message))
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
