//! `/v1/models`: the loaded model under each of its names, in OpenAI's format.

use axum::{Json, extract::State};
use homereel_engine::ModelInfo;
use serde_json::{Value, json};

use super::super::error::{Failure, OpenAiError, shown};
use crate::http::extract::Path;
use crate::{ask_error::AskError, state::AppState};

/// `GET /v1/models`.
pub(in crate::http) async fn list(State(state): State<AppState>) -> Result<Json<Value>, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let config = state.config.get();
    let names = std::iter::once(&info.id).chain(&config.served_model_names);
    Ok(Json(json!({ "object": "list", "data": names.map(|name| card(name, &info)).collect::<Vec<_>>() })))
}

/// `GET /v1/models/{id}`; hub ids contain a slash.
pub(in crate::http) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let name = named(Some(&id), &info, &state.config.get().served_model_names)?;
    Ok(Json(card(&name, &info)))
}

/// Returns the name of the model in the response to a request for `asked`. A missing name matches, and `demo` matches the
/// demo model.
///
/// # Errors
/// When that model is not loaded.
pub(super) fn named(asked: Option<&str>, info: &ModelInfo, served: &[String]) -> Result<String, Failure> {
    match asked {
        None | Some("") => Ok(info.id.clone()),
        Some("demo") if info.demo => Ok(info.id.clone()),
        Some(asked) if asked == info.id || served.iter().any(|name| name == asked) => Ok(asked.to_owned()),
        Some(asked) => {
            let message = format!(
                "the model {} is not loaded; this server runs {}, and --served-model-name adds names",
                shown(asked),
                info.id
            );
            let failure = Failure::not_found(message);
            Err(Failure { code: "model_not_found", param: Some("model".into()), ..failure })
        }
    }
}

fn card(name: &str, info: &ModelInfo) -> Value {
    json!({
        "id": name, "object": "model", "created": 0, "owned_by": "homereel", "root": info.id,
        "max_model_len": info.max_model_len, "demo": info.demo, "backend": info.backend,
    })
}
