//! OpenAI's API: `POST /v1/chat/completions`, `/v1/responses` in [`responses`], and `/v1/files` in [`files`]; what is like
//! it: [`estimate`] and [`tokenize`]; [`embeddings`]; and [`transcriptions`], which is `POST /v1/audio/transcriptions`.
//!
//! [`body`] reads the request, [`parameters`] says what becomes of each parameter, [`wire`] has the types of messages,
//! [`convert`] turns a request into a conversation, [`media_url`] finds pictures and videos in it, [`references`] resolves
//! those that it only names, [`reply`] builds the response, whole or streamed, and [`sse`] streams it.

mod body;
mod convert;
pub(super) mod embeddings;
pub(super) mod estimate;
pub(super) mod files;
mod media_url;
pub(super) mod models;
pub(super) mod parameters;
mod references;
mod reply;
pub(super) mod responses;
mod sse;
pub(super) mod tokenize;
pub(super) mod transcriptions;
mod wire;

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    auth_layer::CurrentUser,
    error::{Failure, OpenAiError, shown},
};
use crate::{
    answer::{Conversation, Priority},
    ask_error::AskError,
    state::AppState,
};
use convert::{Draft, ReplyOptions, UnresolvedConversation};
use parameters::Api;
use references::Resolver;

/// `POST /v1/chat/completions`.
pub(super) async fn completions(
    State(state): State<AppState>,
    user: CurrentUser,
    request: Request,
) -> Result<Response, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let body = receive(&state, request).await?;
    let (known, limits) = (info.clone(), request_limits(&state));
    // Parsing is CPU work, so it runs on a blocking thread, which also frees the body.
    let draft = tokio::task::spawn_blocking(move || convert::read(body, &limits, &known, Api::Chat));
    let Draft { want, conversation } = draft.await.map_err(Failure::internal)??;
    let model = models::named(want.model.as_deref(), &info, &state.config.get().served_model_names)?;
    let conversation = resolved(&state, user.account(), conversation, &want).await?;
    let mut answering = state.answers.ask(conversation, Priority::Interactive, state.lifecycle.hard())?;
    let head =
        reply::ReplyHead { id: format!("chatcmpl-{}", homereel_library::new_id()), created: now_s(), model };
    if want.stream {
        let first = sse::first_events(&mut answering).await.map_err(|error| reply::located(error, &want))?;
        let renderer = reply::ChunkRenderer::new(head, want);
        return Ok(unbuffered(sse::stream(renderer, Vec::new(), first, answering)));
    }
    Ok(Json(reply::whole(head, answering, &want).await?).into_response())
}

/// Reads the body of a request, with its media on disk.
async fn receive(state: &AppState, request: Request) -> Result<body::ChatBody, Failure> {
    refuse_encoded(request.headers())?;
    let convert::RequestLimits { videos, images } = request_limits(state);
    let limits = body::BodyLimits {
        bytes: state.config.get().max_body_bytes,
        // More than a request may have, so that the error names the kind that there are too many of.
        media: 2 * (videos + images) + body::MAX_FRAMES,
        scratch: state.library.scratch_dir(),
    };
    body::read(&state.bodies, request.into_body(), limits).await
}

fn request_limits(state: &AppState) -> convert::RequestLimits {
    let config = state.config.get();
    convert::RequestLimits { videos: config.max_videos, images: config.max_images }
}

/// Looks up and fetches what a conversation refers to, on behalf of `owner`.
async fn resolved(
    state: &AppState,
    owner: Option<String>,
    conversation: UnresolvedConversation,
    want: &ReplyOptions,
) -> Result<Conversation, Failure> {
    let mut resolver = Resolver {
        library: &state.library,
        fetcher: &state.fetcher,
        owner,
        bytes_left: state.config.get().max_body_bytes as u64,
    };
    conversation.resolve(&mut resolver).await.map_err(|failure| reply::placed(failure, want))
}

/// Marks a stream for proxies, which would hold it back.
fn unbuffered(stream: impl IntoResponse) -> Response {
    ([("x-accel-buffering", "no")], stream).into_response()
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
