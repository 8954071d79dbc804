//! HTTP: one table of routes; the handler of any URL is one hop from here.

mod body;
mod chat;
pub mod error;
mod jobs;
pub mod layers;
mod models;
mod probes;

use axum::{
    Router,
    routing::{get, post},
};

use crate::app::AppState;

pub use body::Bodies;

/// Builds the router: the table, then the layers that every request passes.
pub fn router(state: AppState) -> Router {
    let table = Router::new()
        // For OpenAI clients.
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::show))
        // The library's API.
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/{id}/cancel", post(jobs::cancel))
        .route("/api/jobs/{id}/retry", post(jobs::retry))
        .route("/api/system", get(probes::system))
        // For the operator.
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(error::no_such_url)
        .method_not_allowed_fallback(error::no_such_method);
    layers::around(table, &state).with_state(state)
}
