//! OpenAI's Responses API: `POST /v1/responses`, and the kept responses under `/v1/responses/{id}`.
//!
//! A request is converted to the same conversation as a chat request. [`request`] parses it, [`conversation`] reads its items,
//! which [`items`] converts to messages and [`canonical`] makes last, [`output`] builds the output of the answer with its
//! events, [`object`] the response around it, [`stream`] sends it, and [`record`] keeps what a follow-up needs.
//!
//! Responses are kept in the library for 24 hours, unless the request says `"store": false`. Each has all items of its
//! conversation, so that deleting an earlier one breaks no later one. Media that a request embeds are kept as files named by the
//! SHA-256 of their content (see [`homereel_library::Library::store_response`]); items refer to them as `sha256:…`, and a
//! follow-up sees them with the same sampling. **Invariant:** a response that is kept is durable before its end is sent.

mod canonical;
mod conversation;
mod input_items;
mod items;
mod object;
mod output;
mod record;
mod request;
mod stream;
mod tools;

use axum::{
    Json,
    extract::{RawQuery, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_library::new_id;
use serde_json::{Value, json};

use super::super::{
    auth_layer::CurrentUser,
    error::{Failure, OpenAiError, shown},
};
use super::{models, now_s, receive, reply::ReplyHead, request_limits, resolved, sse, unbuffered};
use crate::http::extract::Path;
use crate::{answer::Priority, ask_error::AskError, state::AppState};
use object::ResponseBuilder;
use record::{Known, Record};
use stream::ResponseRenderer;

/// Prefix of a response's id in the API.
const PREFIX: &str = "resp_";

/// `POST /v1/responses`.
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    user: CurrentUser,
    request: Request,
) -> Result<Response, OpenAiError> {
    Ok(created(&state, user.account(), request).await?)
}

async fn created(state: &AppState, owner: Option<String>, request: Request) -> Result<Response, Failure> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let body = receive(state, request).await.map_err(renamed)?;
    let (body, known) = Known::of(state, owner.as_deref(), body).await?;
    let (model_info, limits, id) = (info.clone(), request_limits(state), new_id());
    let response_id = id.clone();
    let scratch = state.library.scratch_dir();
    // Parsing is CPU work, so it runs on a blocking thread.
    let draft = tokio::task::spawn_blocking(move || {
        request::read(body, known, &response_id, &limits, &model_info, &scratch)
    });
    let request::ResponseDraft { want, conversation, echo, store, kept, ids } =
        draft.await.map_err(Failure::internal)??;
    let model = models::named(want.model.as_deref(), &info, &state.config.get().served_model_names)?;
    let conversation = resolved(state, owner.clone(), conversation, &want).await.map_err(renamed)?;
    let answering = state.answers.ask(conversation, Priority::Interactive, state.lifecycle.hard());
    let mut answering = answering.map_err(|error| renamed(error.into()))?;
    let head = ReplyHead { id: format!("{PREFIX}{id}"), created: now_s(), model };
    let record = store.then(|| Record { library: state.library.clone(), id, owner, kept });
    let streamed = want.stream;
    let builder = ResponseBuilder::new(head, echo, want, ids);
    if streamed {
        let first = sse::first_events(&mut answering).await.map_err(|error| located(error, &builder))?;
        let (renderer, begin) = ResponseRenderer::new(builder, record);
        return Ok(unbuffered(sse::stream(renderer, begin, first, answering)));
    }
    Ok(Json(stream::whole(builder, record, answering).await?).into_response())
}

/// `GET /v1/responses/{id}`.
pub(in crate::http) async fn show(
    State(state): State<AppState>,
    user: CurrentUser,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, OpenAiError> {
    let streams = |query: &str| {
        url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "stream" && value == "true")
    };
    if query.as_deref().is_some_and(streams) {
        let message = "stream is not supported here: only background responses can be streamed again";
        return Err(Failure::invalid("stream", message).into());
    }
    let stored = state.library.response(bare(&id)?, user.account().as_deref()).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], stored.object).into_response())
}

/// `DELETE /v1/responses/{id}`.
pub(in crate::http) async fn delete(
    State(state): State<AppState>,
    user: CurrentUser,
    Path(id): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    state.library.delete_response(bare(&id)?, user.account().as_deref()).await?;
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

/// `GET /v1/responses/{id}/input_items`.
pub(in crate::http) async fn input_items(
    State(state): State<AppState>,
    user: CurrentUser,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, OpenAiError> {
    let page = input_items::Page::parse(query.as_deref().unwrap_or_default())?;
    let stored = state.library.response(bare(&id)?, user.account().as_deref()).await?;
    Ok(Json(page.of(&stored.items)?))
}

/// Returns an id without its prefix.
fn bare(id: &str) -> Result<&str, Failure> {
    id.strip_prefix(PREFIX).ok_or_else(|| {
        Failure::not_found(format!("no response has the id {}; ids begin with {PREFIX}", shown(id)))
    })
}

/// Names the part of the request that an error is about.
fn located(error: AskError, builder: &ResponseBuilder) -> Failure {
    renamed(super::reply::located(error, builder.want()))
}

/// Gives the parameter of an error the name that it has here. Engines and the reader of bodies use chat's names.
fn renamed(failure: Failure) -> Failure {
    let name = |name: &str| match name {
        "messages" => "input".to_owned(),
        "max_tokens" => "max_output_tokens".to_owned(),
        "response_format" => "text.format".to_owned(),
        other => other.to_owned(),
    };
    Failure { param: failure.param.as_deref().map(name), ..failure }
}

/// Returns OpenAI's code for the error of a response that failed.
fn error_code(failure: &Failure) -> &'static str {
    match failure.status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_exceeded",
        status if status.is_client_error() => "invalid_prompt",
        _ => "server_error",
    }
}
