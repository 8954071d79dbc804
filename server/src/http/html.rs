//! Renders pages, and decides between HTML and JSON.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use homereel_library::Role;
use homereel_web::{
    Template, Words,
    pages::ErrorPage,
    views::{ModelStatus, Shell},
};

use super::{
    auth_layer::CurrentUser,
    error::{self, Failure},
    views,
};
use crate::state::AppState;

/// Context of a page: the server's state, and the reader, who sees only what their role allows.
#[derive(Debug, Clone)]
pub(super) struct PageContext {
    pub(super) state: AppState,
    pub(super) user: CurrentUser,
    /// Texts in the reader's language.
    pub(super) words: &'static Words,
    /// Number of changes of the library before the page reads it.
    changes: u64,
}

impl PageContext {
    /// Context of a request from `user` with these headers.
    pub(super) fn new(state: AppState, user: CurrentUser, headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let changes = state.library.changes();
        Self { state, user, words: Words::of(accept), changes }
    }
}

impl FromRequestParts<AppState> for PageContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let user = CurrentUser::from_request_parts(parts, state).await?;
        Ok(Self::new(state.clone(), user, &parts.headers))
    }
}

/// Returns whether a page answers the request: its URL is not an API and its client is a browser.
pub(super) fn wants_page(request: &Request) -> bool {
    let path = request.uri().path();
    !error::is_api(path) && path != "/metrics" && wants_html(request.headers())
}

/// Returns whether the client accepts HTML, as browsers do.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Returns what all pages share: title, navigation, the state of the model, the reader's permissions.
pub(super) fn shell(cx: &PageContext, title: &str, here: &'static str, unfinished: bool) -> Shell {
    let model = views::model(cx.state.answers.engine().as_ref());
    let unfinished = unfinished || model == ModelStatus::Loading;
    Shell {
        words: cx.words,
        title: title.into(),
        here,
        unfinished,
        changes: cx.changes,
        model,
        can_log_out: cx.state.auth.required(),
        may_change: cx.user.has(Role::Member),
        may_delete: cx.user.has(Role::Admin),
    }
}

/// Renders a page.
pub(super) fn render(page: &impl Template) -> Result<Response, Failure> {
    let html = page.render().map_err(Failure::internal)?;
    // Pages contain private data that changes.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    Ok((headers, html).into_response())
}

/// Renders an error as a page: `lines` in the reader's language, and `detail` as the API words it.
pub(super) fn error_page(
    cx: &PageContext,
    status: StatusCode,
    title: &str,
    lines: Vec<String>,
    detail: String,
) -> Response {
    let page = ErrorPage {
        shell: shell(cx, title, "", false),
        lines,
        detail,
        back: "/".into(),
        back_label: cx.words.t("error-all-videos"),
    };
    match render(&page) {
        Ok(response) => (status, response).into_response(),
        Err(failure) => failure.status.into_response(),
    }
}

/// Returns the response, or renders the failure as a page.
pub(super) fn or_error(cx: &PageContext, result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(|failure| {
        let title = match failure.status {
            StatusCode::NOT_FOUND => "error-not-found",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "error-not-now",
            status if status.is_client_error() => "error-refused",
            _ => "error-internal",
        };
        let lines = match failure.status {
            StatusCode::NOT_FOUND => vec![cx.words.t("error-missing")],
            _ => Vec::new(),
        };
        error_page(cx, failure.status, &cx.words.t(title), lines, failure.message)
    })
}

/// Response to a URL without a route: a page for browsers, JSON otherwise.
pub(super) async fn no_such_url(cx: PageContext, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if error::is_api(uri.path()) || !wants_html(&headers) {
        return error::no_such_url(method, uri).await;
    }
    or_error(&cx, Err(Failure::not_found(format!("there is no page at {}", error::shown(uri.path())))))
}
