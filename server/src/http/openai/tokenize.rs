//! `POST /tokenize`: the token ids of a text or of a chat request's prompt, in vLLM's format.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use homereel_engine::ModelInfo;
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
use crate::{answer::TextTokens, ask_error::AskError, state::AppState};

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
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let body = receive(&state, request).await?;
    let (known, limits) = (info.clone(), request_limits(&state));
    let parsed = tokio::task::spawn_blocking(move || read(body, &limits, &known));
    let (wanted, with_texts) = parsed.await.map_err(Failure::internal)??;
    let (model, warnings, tokens) = match wanted {
        Wanted::Text { text, model, warnings } => {
            (model, warnings, state.answers.text_tokens(text, with_texts).await?)
        }
        Wanted::Chat(draft) => {
            let Draft { want, conversation } = *draft;
            let conversation = resolved(&state, user.account(), conversation, &want).await?;
            let cancel = state.lifecycle.hard().child_token();
            let _stop = cancel.clone().drop_guard();
            let tokens = state.answers.prompt_tokens(&conversation, with_texts, &cancel).await;
            let tokens = tokens.map_err(|error| reply::located(error, &want))?;
            (want.model, want.warnings, tokens)
        }
    };
    models::named(model.as_deref(), &info, &state.config.get().served_model_names)?;
    let TextTokens { ids, texts } = tokens.ok_or_else(unknown_tokenizer)?;
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
    if text.len() > convert::MAX_TEXT {
        let message = format!("prompt has {} bytes; at most {} would fit", text.len(), convert::MAX_TEXT);
        return Err(Failure::invalid("prompt", message));
    }
    let warnings = parameters.review(Api::Tokenize, info.takes_extras)?;
    let model = parameters.take("model")?;
    Ok((Wanted::Text { text, model, warnings }, with_texts))
}

fn unknown_tokenizer() -> Failure {
    Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_supported",
        "the tokenizer of the model is not on this machine; --model with the checkpoint's directory would fit",
    )
}
