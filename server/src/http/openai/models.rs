//! `/v1/models`: the loaded model, in OpenAI's format.

use axum::{
    Json,
    extract::{Path, State},
};
use homereel_engine::ModelInfo;
use serde_json::{Value, json};

use super::super::error::{Failure, OpenAiError, shown};
use crate::{ask_error::AskError, state::AppState};

/// `GET /v1/models`.
pub(in crate::http) async fn list(State(state): State<AppState>) -> Result<Json<Value>, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    Ok(Json(json!({ "object": "list", "data": [card(&info)] })))
}

/// `GET /v1/models/{id}`; hub ids contain a slash.
pub(in crate::http) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    if id != info.id {
        return Err(Failure { param: Some("model".into()), ..unknown(&id, &info.id) }.into());
    }
    Ok(Json(card(&info)))
}

/// Creates the error for a model that is not loaded.
pub(super) fn unknown(asked: &str, loaded: &str) -> Failure {
    let message = format!("the model {} is not loaded; this server runs {loaded}", shown(asked));
    Failure { code: "model_not_found", param: Some("model".into()), ..Failure::not_found(message) }
}

fn card(info: &ModelInfo) -> Value {
    json!({
        "id": info.id, "object": "model", "created": 0, "owned_by": "homereel",
        "max_model_len": info.max_model_len, "demo": info.demo, "backend": info.backend,
    })
}
