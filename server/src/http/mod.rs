//! HTTP: one table of routes; the handler of any URL is one hop from here.

mod albums;
mod ask;
mod ask_all;
mod bench;
mod body;
mod chat;
mod door;
pub mod error;
mod events;
mod files;
mod household;
mod jobs;
pub mod layers;
mod login;
mod models;
mod moments;
mod pages;
mod playback;
mod probes;
mod search;
mod system;
mod trash;
mod tus;
mod upload;
mod upstreams;
mod videos;
mod views;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

use crate::app::AppState;

pub use body::Bodies;
pub use login::link as login_link;

/// Builds the router: the table, then the layers that every request passes.
pub fn router(state: AppState) -> Router {
    let table = Router::new()
        // For OpenAI clients.
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::show))
        // For people.
        .route("/", get(pages::library))
        .route("/videos/{id}", get(pages::video))
        .route("/videos/{id}/rename", post(videos::rename_form))
        .route("/videos/{id}/edit", post(videos::edit_form))
        .route("/videos/{id}/favourite", post(videos::favourite_form))
        .route("/videos/{id}/reread", post(videos::reread_form))
        .route("/videos/{id}/delete", post(trash::delete_form))
        .route("/videos/{id}/restore", post(trash::restore_form))
        .route("/trash", get(trash::page))
        .route("/trash/empty", post(trash::empty_form))
        .route("/search", get(search::page))
        .route("/albums", get(albums::page))
        .route("/albums/{tag}", get(albums::album))
        .route("/videos/{id}/albums", post(albums::add_form))
        .route("/ask", get(ask_all::page).post(ask_all::form))
        .route("/jobs", get(pages::jobs))
        .route("/jobs/pause", post(pages::pause_jobs))
        .route("/jobs/resume", post(pages::resume_jobs))
        .route("/jobs/retry-failed", post(pages::retry_failed_jobs))
        .route("/jobs/{id}/first", post(pages::put_job_first))
        .route("/jobs/{id}/cancel", post(pages::cancel_job))
        .route("/jobs/{id}/retry", post(pages::retry_job))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/household", get(household::page))
        .route("/household/password", post(household::change_password))
        .route("/household/users", post(household::add_user))
        .route("/household/users/{id}/role", post(household::set_role))
        .route("/household/users/{id}/password", post(household::reset_password))
        .route("/household/users/{id}/remove", post(household::remove_user))
        .route("/household/keys", post(household::add_key))
        .route("/household/keys/{id}/revoke", post(household::revoke_key))
        .route("/system", get(system::page))
        .route("/bench", get(bench::page))
        .route("/bench/{name}", get(bench::svg))
        .route("/static/{name}", get(pages::asset))
        // The library's API. An upload has its own limit, for each file.
        .route("/api/videos", get(videos::list).post(upload::upload).layer(DefaultBodyLimit::disable()))
        .route("/api/videos/{id}", get(videos::show).patch(videos::patch).delete(trash::delete))
        .route("/api/videos/{id}/file", get(files::original))
        .route("/api/videos/{id}/poster.jpg", get(files::poster))
        .route("/api/videos/{id}/card.jpg", get(files::card))
        .route("/api/videos/{id}/playback.mp4", get(playback::playback))
        .route("/api/videos/{id}/sprites.vtt", get(playback::sprites_vtt))
        .route("/api/videos/{id}/sprites/{name}", get(playback::sprites_sheet))
        .route("/api/videos/{id}/moments.json", get(moments::json))
        .route("/api/videos/{id}/moments.vtt", get(moments::vtt))
        .route("/api/videos/{id}/moments.srt", get(moments::srt))
        .route("/api/videos/{id}/moments.md", get(moments::md))
        .route("/api/videos/{id}/ask", post(ask::ask))
        .merge(tus::routes())
        .route("/api/trash", get(trash::list).delete(trash::empty))
        .route("/api/storage", get(trash::storage))
        .route("/api/videos/{id}/restore", post(trash::restore))
        .route("/api/search", get(search::api))
        .route("/api/ask", post(ask_all::api))
        .route("/api/events", get(events::events))
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/pause", post(jobs::pause))
        .route("/api/jobs/resume", post(jobs::resume))
        .route("/api/jobs/{id}/first", post(jobs::first))
        .route("/api/videos/{id}/reread", post(videos::reread))
        .route("/api/jobs/{id}/cancel", post(jobs::cancel))
        .route("/api/jobs/{id}/retry", post(jobs::retry))
        .route("/api/system", get(probes::system))
        .route("/api/upstreams/{id}/drain", post(upstreams::drain))
        .route("/api/upstreams/{id}/resume", post(upstreams::resume))
        // For the operator.
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(pages::no_such_url)
        .method_not_allowed_fallback(error::no_such_method);
    layers::around(table, &state).with_state(state)
}
