//! `POST /tokenize`: the token ids of a text or of a chat request's prompt, in vLLM's format.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use homereel_engine::{Engine, ModelInfo};
use serde_json::{Value, json};

use super::super::{
    auth_layer::CurrentUser,
    error::{Failure, OpenAiError},
};
use super::{
    body::ChatBody,
    convert::{self, Draft, RequestLimits},
    models,
    parameters::{Api, Parameters},
    receive, reply, request_limits, resolved,
};
use crate::{ask_error::AskError, state::AppState};

/// What a request asks to tokenize.
enum Wanted {
    Text { text: String, model: Option<String>, warnings: Vec<String> },
    Chat(Box<Draft>),
}

/// `POST /tokenize`.
pub(in crate::http) async fn tokenize(
    State(state): State<AppState>,
    user: CurrentUser,
    request: Request,
) -> Result<Json<Value>, OpenAiError> {
    let engine = state.answers.engine();
    let info = engine.info().map_err(AskError::from)?;
    let body = receive(&state, request).await?;
    let (known, limits) = (info.clone(), request_limits(&state));
    let parsed = tokio::task::spawn_blocking(move || read(body, &limits, &known));
    let (wanted, with_texts) = parsed.await.map_err(Failure::internal)??;
    let (model, warnings, ids) = match wanted {
        Wanted::Text { text, model, warnings } => {
            let engine = Arc::clone(engine);
            let ids = tokio::task::spawn_blocking(move || engine.text_tokens(&text)).await;
            (model, warnings, ids.map_err(Failure::internal)?.map_err(AskError::from)?)
        }
        Wanted::Chat(draft) => {
            let Draft { want, conversation } = *draft;
            let conversation = resolved(&state, user.account(), conversation, &want).await?;
            let cancel = state.lifecycle.hard().child_token();
            let _stop = cancel.clone().drop_guard();
            let tokens = state.answers.prompt_tokens(&conversation, &cancel).await;
            let tokens = tokens.map_err(|error| reply::located(error, &want))?;
            (want.model, want.warnings, tokens.map(|tokens| tokens.ids))
        }
    };
    models::named(model.as_deref(), &info, &state.config.get().served_model_names)?;
    let ids = ids.ok_or_else(unknown_tokenizer)?;
    let texts = with_texts.then(|| texts(&**engine, &ids)).transpose()?;
    Ok(Json(json!({
        "count": ids.len(), "max_model_len": info.max_model_len, "tokens": ids, "token_strs": texts,
        "homereel": { "warnings": warnings },
    })))
}

fn read(body: ChatBody, limits: &RequestLimits, info: &ModelInfo) -> Result<(Wanted, bool), Failure> {
    let mut parameters = Parameters::parse(&body.json)?;
    let with_texts = parameters.take("return_token_strs")?.unwrap_or(false);
    let Some(text) = parameters.take::<String>("prompt")? else {
        let draft = convert::read(body, limits, info, Api::Tokenize)?;
        return Ok((Wanted::Chat(Box::new(draft)), with_texts));
    };
    if parameters.has("messages") {
        return Err(Failure::invalid(
            "prompt",
            "prompt and messages exclude each other; one of them would fit",
        ));
    }
    let warnings = parameters.review(Api::Tokenize, info.takes_extras)?;
    let model = parameters.take("model")?;
    Ok((Wanted::Text { text, model, warnings }, with_texts))
}

fn texts(engine: &dyn Engine, ids: &[u32]) -> Result<Vec<String>, Failure> {
    let text = |id: &u32| engine.token_text(*id).map_err(|error| AskError::from(error).into());
    ids.iter().map(|id| text(id).map(Option::unwrap_or_default)).collect()
}

fn unknown_tokenizer() -> Failure {
    Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_supported",
        "the tokenizer of the model is not on this machine; --model with the checkpoint's directory would fit",
    )
}
