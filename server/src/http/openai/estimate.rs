//! `POST /v1/videos/estimate`: what a chat request would cost, without answering it.

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{
    auth_layer::CurrentUser,
    error::{Failure, OpenAiError},
};
use super::{
    convert::{self, Draft},
    models,
    parameters::{Api, Parameters},
    receive, reply, request_limits, resolved,
};
use crate::{answer::EstimateLimits, ask_error::AskError, state::AppState};

/// The parameter `limits`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WireLimits {
    prompt_tokens: Option<usize>,
    seconds: Option<f64>,
    memory_bytes: Option<usize>,
}

/// `POST /v1/videos/estimate`: takes the body of a chat request, and `limits`.
pub(in crate::http) async fn estimate(
    State(state): State<AppState>,
    user: CurrentUser,
    request: Request,
) -> Result<Json<Value>, OpenAiError> {
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let body = receive(&state, request).await?;
    let (known, most) = (info.clone(), request_limits(&state));
    let parsed = tokio::task::spawn_blocking(move || {
        let limits = limits(&body.json)?;
        Ok::<_, Failure>((limits, convert::read(body, &most, &known, Api::Estimate)?))
    });
    let (limits, Draft { want, conversation }) = parsed.await.map_err(Failure::internal)??;
    let model = models::named(want.model.as_deref(), &info, &state.config.get().served_model_names)?;
    let conversation = resolved(&state, user.account(), conversation, &want).await?;
    // Dropped with the request, so that a client that leaves stops the probes.
    let cancel = state.lifecycle.hard().child_token();
    let _stop = cancel.clone().drop_guard();
    let estimate = state.answers.estimate(&conversation, limits, &cancel).await;
    let estimate = estimate.map_err(|error| reply::located(error, &want))?;
    let mut object = json!({ "object": "video.estimate", "model": model });
    let fields = serde_json::to_value(&estimate).map_err(Failure::internal)?;
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    object["homereel"] = json!({ "warnings": want.warnings });
    Ok(Json(object))
}

fn limits(body: &[u8]) -> Result<EstimateLimits, Failure> {
    let limits = Parameters::parse(body)?.take::<WireLimits>("limits")?.unwrap_or_default();
    if let Some(seconds) = limits.seconds.filter(|seconds| !seconds.is_finite() || *seconds <= 0.0) {
        let message = format!("limits.seconds is {seconds}; a number above 0 would fit");
        return Err(Failure::invalid("limits.seconds", message));
    }
    Ok(EstimateLimits {
        prompt_tokens: limits.prompt_tokens,
        seconds: limits.seconds,
        memory_bytes: limits.memory_bytes,
    })
}
