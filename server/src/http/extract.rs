//! Extractors of what a URL has, like axum's, whose rejections are plain text: these have the format of the URL's errors.

#![expect(clippy::disallowed_types, reason = "these extractors wrap axum's")]

use axum::{
    extract::{self, FromRequestParts},
    http::{StatusCode, Uri, request::Parts},
    response::Response,
};
use serde::de::DeserializeOwned;

use super::{
    error::{Failure, is_api, render},
    html::{self, PageContext},
};
use crate::state::AppState;

/// The parameters in the path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// The query.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        match extract::Path::from_request_parts(parts, state).await {
            Ok(extract::Path(values)) => Ok(Self(values)),
            Err(rejection) => Err(refuse(parts, state, rejection.status(), rejection.body_text()).await),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        match extract::Query::from_request_parts(parts, state).await {
            Ok(extract::Query(values)) => Ok(Self(values)),
            Err(rejection) => Err(refuse(parts, state, rejection.status(), rejection.body_text()).await),
        }
    }
}

impl<T: DeserializeOwned> Query<T> {
    /// Parses the query of a URL that was not requested; `None` if it does not fit.
    pub(super) fn of(uri: &Uri) -> Option<T> {
        extract::Query::try_from_uri(uri).ok().map(|extract::Query(values)| values)
    }
}

async fn refuse(parts: &mut Parts, state: &AppState, status: StatusCode, message: String) -> Response {
    let failure = Failure::new(status, "invalid_value", message);
    if !is_api(parts.uri.path()) && html::wants_html(&parts.headers) {
        let Ok(cx) = PageContext::from_request_parts(parts, state).await;
        return html::or_error(&cx, Err(failure));
    }
    render(parts.uri.path(), failure)
}
