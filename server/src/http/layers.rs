//! The middleware of all requests, in order: request id, trace, security headers, origin check, compression,
//! panic handler. (Roles are in the route table.)

use std::any::Any;

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{
        Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, uri::Authority,
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use homereel_library::new_id;
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{Predicate as _, SizeAbove},
    },
    set_header::SetResponseHeaderLayer,
};
use tracing::Instrument as _;

use super::{
    auth_layer::CurrentUser,
    error::{Failure, Problem, render, shown},
    html::{self, PageContext},
};
use crate::state::AppState;

/// Scripts, styles, images and video may only come from this server.
const CSP: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; \
                   base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps the router. A request passes the layer that was added last first.
pub(super) fn around(table: Router<AppState>, state: &AppState) -> Router<AppState> {
    let fixed = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    table
        .layer(CatchPanicLayer::custom(panicked))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(SizeAbove::new(1024).and(is_of_words)),
        )
        .layer(middleware::from_fn_with_state(state.clone(), guard))
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
    let mut response = next.run(request).instrument(span.clone()).await;
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

/// Refuses requests that another site's page makes through a visitor's browser: foreign origins on unsafe
/// methods, and foreign hosts on all (DNS rebinding). While the server drains, it refuses new work.
async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match refuse(&state, &request).or_else(|| drained(&state, &request)) {
        // Pages contain details of the server, and at this point the caller is not authenticated.
        Some(failure) if html::wants_page(&request) && !state.auth.required() => {
            html::or_error(&PageContext { user: CurrentUser(None), state }, Err(failure))
        }
        Some(failure) => render(request.uri().path(), failure),
        None => next.run(request).await,
    }
}

fn drained(state: &AppState, request: &Request<Body>) -> Option<Failure> {
    let work = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    (work && state.lifecycle.draining()).then(|| Failure {
        retry_after_s: Some(10),
        ..Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the server is stopping; try again in 10 s",
        )
    })
}

fn refuse(state: &AppState, request: &Request<Body>) -> Option<Failure> {
    let forbidden = |code, message| Some(Failure::new(StatusCode::FORBIDDEN, code, message));
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).or_else(|| request.uri().authority().map(Authority::as_str));
    if let Some(host) = host
        && state.config.listen.ip().is_loopback()
        && !known_host(host, &state.config.hosts)
    {
        let message = format!("host {} is not a name of this server; allow it with --host", shown(host));
        return forbidden("unknown_host", message);
    }
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return forbidden("foreign_origin", "requests from another site's pages are refused".into());
    }
    let origin = text(header::ORIGIN)?;
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    if authority.is_some() && authority == host {
        return None;
    }
    forbidden("foreign_origin", format!("requests from the origin {} are refused", shown(origin)))
}

/// Returns whether a Host header names this machine or a configured host.
fn known_host(host: &str, configured: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || configured.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Response for a handler that panicked; the panic's message is only logged.
fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Problem(Failure::internal(format!("a handler panicked: {text}"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::known_host;

    #[test]
    fn only_this_machine_and_configured_names_are_known_hosts() {
        let configured = ["reel.home".to_owned()];
        for host in ["localhost:8080", "127.0.0.1", "[::1]:1", "REEL.home:80"] {
            assert!(known_host(host, &configured), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""] {
            assert!(!known_host(host, &configured), "{host}");
        }
    }
}
