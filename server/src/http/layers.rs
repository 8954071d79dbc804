//! The middleware of all requests, in order: request id, trace, security headers, host and origin check, compression,
//! panic handler. (Roles are in the route table.)

use std::panic::AssertUnwindSafe;

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header},
    middleware::{self, Next},
    response::Response,
};
use futures_util::FutureExt as _;
use homereel_library::new_id;
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{Predicate as _, SizeAbove},
    },
    set_header::SetResponseHeaderLayer,
};
use tracing::Instrument as _;

use super::{
    audit_layer,
    error::{Failure, render},
    origin,
};
use crate::{state::AppState, telemetry};

/// Scripts, styles, images and video may only come from this server.
const CSP: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; \
                   base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps the router. A request passes the layer that was added last first.
pub(super) fn around(table: Router<AppState>, state: &AppState) -> Router<AppState> {
    let fixed = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    table
        .layer(middleware::from_fn(catch_panics))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(SizeAbove::new(1024).and(is_of_words)),
        )
        .layer(middleware::from_fn_with_state(state.clone(), audit_layer::record))
        .layer(middleware::from_fn_with_state(state.clone(), origin::check))
        .layer(fixed(header::CONTENT_SECURITY_POLICY, CSP))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "same-origin"))
        .layer(fixed(header::X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(middleware::from_fn(identify))
}

/// Returns whether a response is compressed: pages, their assets, and JSON. Images and video are compressed
/// already, and events must not be buffered.
fn is_of_words(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    const WORDS: [&str; 5] =
        ["text/html", "text/css", "text/javascript", "application/json", "image/svg+xml"];
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| WORDS.iter().any(|words| kind.starts_with(words)))
}

/// Gives the request an id (the client's, if it is valid), a span and one log line.
async fn identify(request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| sane(id));
    let id = given.map_or_else(new_id, str::to_owned);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!("request", id, %method, route);
    let started = std::time::Instant::now();
    let mut response =
        telemetry::with_request_id(id.clone(), next.run(request)).instrument(span.clone()).await;
    let status = response.status();
    let elapsed = started.elapsed();
    span.in_scope(|| {
        tracing::debug!(status = status.as_u16(), head_ms = elapsed.as_millis(), "answered a request")
    });
    metrics::histogram!("homereel_http_response_head_seconds", "route" => route.clone())
        .record(elapsed.as_secs_f64());
    metrics::counter!("homereel_http_requests_total", "route" => route, "status" => status.as_str().to_owned())
        .increment(1);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn sane(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Answers for a handler that panicked, in the format of the URL's errors. The panic's message is only logged.
async fn catch_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    // What a panic leaves half changed is dropped with the request.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(cause) => {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
            render(&path, Failure::internal(format!("a handler panicked: {text}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_in_the_format_of_the_url_and_says_nothing() {
        async fn panics() -> &'static str {
            panic!("a secret")
        }
        for (url, kind) in [("/v1/x", "application/json"), ("/api/x", "application/problem+json")] {
            let app = Router::new().route(url, get(panics)).layer(middleware::from_fn(catch_panics));
            let response = app.oneshot(Request::get(url).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
            let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("secret"), "{body:?}");
        }
    }
}
