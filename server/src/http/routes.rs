//! The route table: URL, method, handler, and the role that it requires.
//!
//! Every route belongs to one of four groups, and a [`Group`] is the only way to add one, so no route exists without a
//! decision about who may use it. A viewer watches and reads, a member also adds and asks, an admin also deletes and
//! manages users.

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    handler::Handler as _,
    middleware,
    routing::{MethodRouter, delete, get, options, patch, post},
};
use homereel_library::Role;
use tower::ServiceExt as _;

use super::{
    albums, answers, ask, ask_all, assets,
    auth_layer::{self, Required},
    batch, bench, clip, download, edit, error, events, files, frame, health, household, html, jobs, layers,
    login, mcp, moments, openai, openapi, pages, path, playback, replicas, search, similar, system,
    thumbnail, transcripts, trash, tus, upload, videos,
};
use crate::state::AppState;

/// Maximum size of the login form in bytes. Everyone may send it.
const MAX_LOGIN: usize = 16 << 10;

/// Routes for everyone: health checks, and the login page with its assets.
fn public() -> Group {
    Group::default()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        // vLLM's name for it.
        .route("/health", get(health::readyz))
        .route("/login", get(login::page).post(login::log_in).layer(DefaultBodyLimit::max(MAX_LOGIN)))
        .route("/logout", post(login::log_out))
        .route("/static/{version}/{name}", get(assets::asset))
}

/// Routes that only read, and the reader's own password.
fn viewer() -> Group {
    Group::default()
        // Pages.
        .route("/", get(pages::library::page))
        .route("/videos/{id}", get(pages::video::page))
        .route("/trash", get(trash::page))
        .route("/search", get(search::page))
        .route("/albums", get(albums::pages::albums))
        .route("/albums/{id}", get(albums::pages::album))
        .route("/tags/{tag}", get(albums::pages::tag))
        .route("/videos/download", get(download::of_collection).post(download::of_selection))
        .route("/ask", get(ask_all::page))
        .route("/ask/{id}", get(ask_all::kept))
        .route("/jobs", get(jobs::page))
        .route("/household", get(household::page))
        .route("/household/password", post(household::change_password))
        .route("/system", get(system::page))
        .route("/bench", get(bench::page))
        .route("/bench/{name}", get(bench::svg))
        // The API's description, as a page and for programs.
        .route("/docs", get(openapi::page))
        .route("/openapi.json", get(openapi::json))
        // The library's API.
        .route("/api/videos", get(videos::list))
        .route("/api/albums", get(albums::api::list))
        .route("/api/albums/{id}", get(albums::api::show))
        .route("/api/tags", get(albums::api::tags))
        .route("/api/videos/{id}", get(videos::show))
        .route("/api/videos/{id}/file", get(files::original))
        .route("/api/videos/{id}/poster.jpg", get(files::poster))
        .route("/api/videos/{id}/card.jpg", get(files::card))
        .route("/api/videos/{id}/frame.jpg", get(frame::frame))
        .route("/api/videos/{id}/clip.mp4", get(clip::clip))
        .route("/api/videos/{id}/playback.mp4", get(playback::playback))
        .route("/api/videos/{id}/thumbnail.jpg", get(thumbnail::thumbnail))
        .route("/api/videos/{id}/similar", get(similar::api))
        .route("/api/videos/{id}/sprites.vtt", get(playback::sprites_vtt))
        .route("/api/videos/{id}/sprites/{name}", get(playback::sprites_sheet))
        .route("/api/videos/{id}/moments.json", get(moments::json))
        .route("/api/videos/{id}/moments.vtt", get(moments::vtt))
        .route("/api/videos/{id}/moments.srt", get(moments::srt))
        .route("/api/videos/{id}/moments.md", get(moments::md))
        .route("/api/videos/{id}/transcript.json", get(transcripts::json))
        .route("/api/videos/{id}/transcript.vtt", get(transcripts::vtt))
        .route("/api/videos/{id}/transcript.srt", get(transcripts::srt))
        .route("/api/videos/{id}/transcript.txt", get(transcripts::txt))
        .route("/api/uploads", options(tus::describe).get(tus::list))
        .route("/api/uploads/known", get(tus::known))
        .route("/api/uploads/{id}", options(tus::describe).get(tus::show).head(tus::offset))
        .route("/api/trash", get(trash::list))
        .route("/api/storage", get(trash::storage))
        .route("/api/search", get(search::api))
        .route("/api/ask", get(ask_all::list))
        .route("/api/ask/{id}", get(ask_all::show))
        .route("/api/events", get(events::events))
        .route("/api/jobs", get(jobs::list))
        .route("/api/system", get(health::system))
        .route("/api/system/samples", get(system::charts::api))
        // OpenAI's API and Prometheus.
        .route("/v1/files", get(openai::files::list))
        .route("/v1/files/{id}", get(openai::files::show))
        .route("/v1/files/{id}/content", get(openai::files::content))
        .route("/v1/files/uploads", options(tus::describe))
        .route("/v1/files/uploads/{id}", options(tus::describe).head(tus::offset))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::show))
        // Assistants. What a tool may do depends on the role of its caller.
        .route("/mcp", post(mcp::message))
        .route("/metrics", get(health::metrics))
        .route("/version", get(health::version))
}

/// Routes that add, ask and edit.
fn member() -> Group {
    Group::default()
        // Forms of pages.
        .route("/add", get(pages::add::page))
        .route("/add/{id}/dismiss", post(pages::add::dismiss_form))
        .route("/videos/{id}/rename", post(videos::rename_form))
        .route("/videos/{id}/edit", get(edit::page).post(edit::save))
        .route("/videos/{id}/taken", post(videos::taken_form))
        .route("/videos/{id}/favourite", post(videos::favourite_form))
        .route("/videos/{id}/reread", post(videos::reread_form))
        .route("/videos/{id}/transcript", post(transcripts::again_form))
        .route("/videos/{id}/transcript/{index}", post(transcripts::line_form))
        .route("/videos/{id}/answers/{answer}/delete", post(answers::delete_form))
        .route("/videos/{id}/restore", post(trash::restore_form))
        .route("/videos/{id}/albums", post(albums::forms::of_video))
        .route("/videos/batch", post(batch::form))
        .route("/trash/restore", post(trash::restore_all_form))
        .route("/albums", post(albums::forms::create))
        .route("/albums/{id}/arrange", get(albums::pages::arrange))
        .route("/albums/{id}/rename", post(albums::forms::rename))
        .route("/albums/{id}/order", post(albums::forms::order))
        .route("/albums/{id}/move", post(albums::forms::place))
        .route("/albums/{id}/cover", post(albums::forms::cover))
        .route("/albums/{id}/remove", post(albums::forms::remove))
        .route("/ask", post(ask_all::form))
        .route("/ask/{id}/delete", post(ask_all::delete_form))
        .route("/jobs/pause", post(jobs::pause_form))
        .route("/jobs/resume", post(jobs::resume_form))
        .route("/jobs/retry-failed", post(jobs::retry_failed_form))
        .route("/jobs/reread", post(jobs::reread_form))
        .route("/jobs/{id}/first", post(jobs::first_form))
        .route("/jobs/{id}/cancel", post(jobs::cancel_form))
        .route("/jobs/{id}/retry", post(jobs::retry_form))
        // The library's API. Uploads are limited per file, and chunks by the length of their upload.
        .route("/api/videos", post(upload::upload).layer(DefaultBodyLimit::disable()))
        .route("/api/videos/batch", post(batch::api))
        .route("/api/videos/{id}", patch(videos::patch))
        .route("/api/albums", post(albums::api::create))
        .route("/api/albums/{id}", patch(albums::api::patch))
        .route("/api/videos/{id}/ask", post(ask::ask))
        .route("/api/videos/{id}/answers/{answer}", delete(answers::delete))
        .route("/api/videos/{id}/restore", post(trash::restore))
        .route("/api/videos/{id}/reread", post(videos::reread))
        .route("/api/videos/{id}/transcript", post(transcripts::again))
        .route("/api/videos/{id}/transcript/{index}", patch(transcripts::patch))
        .route("/api/uploads", post(tus::create).layer(DefaultBodyLimit::disable()))
        .route(
            "/api/uploads/{id}",
            patch(tus::append).delete(tus::end).post(tus::override_).layer(DefaultBodyLimit::disable()),
        )
        .route("/api/ask", post(ask_all::api))
        .route("/api/ask/{id}", delete(ask_all::delete))
        .route("/api/jobs/pause", post(jobs::pause))
        .route("/api/jobs/resume", post(jobs::resume))
        .route("/api/jobs/reread", post(jobs::reread))
        .route("/api/jobs/{id}/first", post(jobs::first))
        .route("/api/jobs/{id}/cancel", post(jobs::cancel))
        .route("/api/jobs/{id}/retry", post(jobs::retry))
        // OpenAI's API.
        .route("/v1/chat/completions", post(openai::completions))
        .route(
            "/v1/audio/transcriptions",
            post(openai::transcriptions::create).layer(DefaultBodyLimit::disable()),
        )
        .route("/v1/embeddings", post(openai::embeddings::embeddings))
        .route("/v1/videos/estimate", post(openai::estimate::estimate))
        // vLLM's name for it.
        .route("/tokenize", post(openai::tokenize::tokenize))
        .route("/v1/files", post(openai::files::create).layer(DefaultBodyLimit::disable()))
        .route("/v1/files/{id}", delete(openai::files::delete))
        .route("/v1/files/uploads", post(tus::create).layer(DefaultBodyLimit::disable()))
        .route(
            "/v1/files/uploads/{id}",
            patch(tus::append).delete(tus::end).post(tus::override_).layer(DefaultBodyLimit::disable()),
        )
        .route("/v1/responses", post(openai::responses::create))
        .route("/v1/responses/{id}", get(openai::responses::show).delete(openai::responses::delete))
        .route("/v1/responses/{id}/input_items", get(openai::responses::input_items))
}

/// Routes that delete videos, manage users and keys, or take a replica out of service.
fn admin() -> Group {
    Group::default()
        .route("/videos/{id}/delete", post(trash::delete_form))
        .route("/trash/empty", post(trash::empty_form))
        .route("/trash/{id}/delete", post(trash::delete_for_good_form))
        .route("/albums/{id}/delete", post(albums::forms::delete))
        .route("/household/users", post(household::add_user))
        .route("/household/users/{id}/role", post(household::set_role))
        .route("/household/users/{id}/password", post(household::reset_password))
        .route("/household/users/{id}/remove", post(household::remove_user))
        .route("/household/keys", post(household::add_key))
        .route("/household/keys/{id}/revoke", post(household::revoke_key))
        .route("/api/videos/{id}", delete(trash::delete))
        .route("/api/trash", delete(trash::empty))
        .route("/api/albums/{id}", delete(albums::api::delete))
        .route("/api/replicas/{id}/drain", post(replicas::drain))
        .route("/api/replicas/{id}/resume", post(replicas::resume))
}

/// Builds the router. The tools of `/mcp` call a second one, as a client on another machine would.
pub fn router(state: AppState) -> Router {
    let tools = crate::mcp::service(table(state.clone()), state.lifecycle.soft().clone());
    table(state).layer(Extension(tools))
}

/// Joins the four groups and the middleware of all requests.
///
/// URLs without a route require a login too, so that strangers cannot find out which URLs exist.
fn table(state: AppState) -> Router {
    let require = |required| middleware::from_fn_with_state((state.clone(), required), auth_layer::require);
    let role = |role, group: Group| group.router.route_layer(require(Required::Role(role)));
    let table = public()
        .router
        .method_not_allowed_fallback(error::no_such_method)
        .merge(role(Role::Viewer, viewer()))
        .merge(role(Role::Member, member()))
        .merge(role(Role::Admin, admin()))
        .fallback(html::no_such_url.layer(require(Required::ByMethod)))
        .method_not_allowed_fallback(error::no_such_method.layer(require(Required::ByMethod)));
    let table = layers::around(table, &state).with_state(state);
    // Around the table, because a URL is changed before its route is found.
    Router::new().fallback_service(table.map_request(path::normalized))
}

/// Routes that require the same role.
#[derive(Default)]
struct Group {
    router: Router<AppState>,
    #[cfg(test)]
    urls: Vec<&'static str>,
}

impl Group {
    fn route(mut self, url: &'static str, handlers: MethodRouter<AppState>) -> Self {
        self.router = self.router.route(url, handlers);
        #[cfg(test)]
        self.urls.push(url);
        self
    }
}

#[cfg(test)]
pub(super) mod tests;
