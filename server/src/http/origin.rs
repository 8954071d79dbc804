//! Which hosts and origins requests may come from: protects against DNS rebinding and cross-site requests, and lets
//! allowed origins call the API with a key (CORS).

use std::{fs, net::IpAddr, sync::LazyLock};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    auth_layer::CurrentUser,
    error::{Failure, is_api, render, shown},
    html::{self, PageContext},
};
use crate::{config::ServerConfig, net::ClientInfo, state::AppState};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers of requests that pages of allowed origins may send, where the browser does not name them.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");

/// Headers of responses that they may read.
const EXPOSED_HEADERS: &str = "location, retry-after, x-request-id, tus-resumable, tus-version, tus-max-size, \
                               tus-extension, upload-length, upload-offset, upload-metadata, upload-expires, \
                               homereel-video, homereel-file";

/// Name of this machine in its network. Empty if it is unknown.
static MACHINE: LazyLock<String> = LazyLock::new(|| {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
});

/// Refuses requests that another site's page makes through a visitor's browser: foreign origins on unsafe methods, and,
/// where no login is required, foreign hosts on all. While the server drains, it refuses new work.
pub(super) async fn check(
    State(state): State<AppState>,
    client: ClientInfo,
    mut request: Request,
    next: Next,
) -> Response {
    let allowed = allowed_origin(&state.config.get(), &request);
    let refusal = too_many(client)
        .or_else(|| foreign_host(&state, request.headers(), request.uri().authority()))
        .or_else(|| if allowed.is_some() { None } else { foreign_origin(&request) })
        .or_else(|| drained(&state, &request));
    if let Some(failure) = refusal {
        // Pages contain details of the server, and at this point the caller is not authenticated.
        return if html::wants_page(&request) && !state.auth.required() {
            html::or_error(&PageContext::new(state, CurrentUser(None), request.headers()), Err(failure))
        } else {
            render(request.uri().path(), failure)
        };
    }
    let Some(origin) = allowed else {
        let varies = !state.config.get().allow_origins.is_empty() && is_api(request.uri().path());
        let mut response = next.run(request).await;
        if varies {
            response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
        }
        return response;
    };
    let preflight = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        preflight_response(request.headers())
    } else {
        // An allowed origin acts with a key, never as the person who is logged in in this browser.
        request.headers_mut().remove(header::COOKIE);
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// Returns the origin of a request to the API from a page of an allowed origin.
fn allowed_origin(config: &ServerConfig, request: &Request) -> Option<HeaderValue> {
    let value = request.headers().get(header::ORIGIN)?;
    let origin = value.to_str().ok()?;
    let allowed = is_api(request.uri().path()) && config.allow_origins.iter().any(|known| known.is(origin));
    allowed.then(|| value.clone())
}

/// Allows whatever headers the page asks for: clients have their own (x-stainless-lang, openai-beta, …), and none has a
/// meaning here that an API key does not give.
fn preflight_response(headers: &HeaderMap) -> Response {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(ALLOWED_HEADERS)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn too_many(client: ClientInfo) -> Option<Failure> {
    client.over_limit.then(|| Failure {
        retry_after_s: Some(5),
        ..Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_connections",
            "too many requests from this address at once; try again in 5 s",
        )
    })
}

/// Without a login, a page of another site that rebinds its own name to this server's address could read everything. Its
/// requests have its name as their host. Every host that a request names is checked.
fn foreign_host(state: &AppState, headers: &HeaderMap, authority: Option<&Authority>) -> Option<Failure> {
    if state.auth.required() {
        return None;
    }
    let config = state.config.get();
    let listed = headers.get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
    let foreign = listed.chain(authority.map(Authority::as_str)).find(|host| !known_host(host, &config))?;
    let message = format!("host {} is not a name of this server; allow it with --host", shown(foreign));
    Some(Failure::new(StatusCode::FORBIDDEN, "unknown_host", message))
}

fn foreign_origin(request: &Request) -> Option<Failure> {
    if is_safe(request.method()) {
        return None;
    }
    let forbidden = |message| Some(Failure::new(StatusCode::FORBIDDEN, "foreign_origin", message));
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if text(SEC_FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return forbidden("requests from another site's pages are refused".into());
    }
    let origin = request.headers().get(header::ORIGIN)?.to_str().unwrap_or_default();
    let host = text(header::HOST).or_else(|| request.uri().authority().map(Authority::as_str));
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    if authority.is_some() && authority == host {
        return None;
    }
    forbidden(format!("requests from the origin {} are refused; --allow-origin allows it", shown(origin)))
}

fn drained(state: &AppState, request: &Request<Body>) -> Option<Failure> {
    (!is_safe(request.method()) && state.lifecycle.draining()).then(|| Failure {
        retry_after_s: Some(10),
        ..Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the server is stopping; try again in 10 s",
        )
    })
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns whether a host is this machine or a configured name. An address cannot be rebound, so on a server that other
/// machines reach, every address is known.
fn known_host(host: &str, config: &ServerConfig) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let only_local = config.listen.ip().is_loopback();
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return ip.is_loopback() || !only_local || config.hosts.iter().any(|known| known == bare);
    }
    let is = |known: &str| known.eq_ignore_ascii_case(name.trim_end_matches('.'));
    let machine = || {
        let short = MACHINE.split('.').next().unwrap_or_default();
        !only_local && !short.is_empty() && (is(&MACHINE) || is(short) || is(&format!("{short}.local")))
    };
    is("localhost") || config.hosts.iter().any(|known| is(known)) || machine()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> ServerConfig {
        ServerConfig {
            listen: listen.parse().unwrap(),
            hosts: vec!["reel.home".to_owned()],
            ..ServerConfig::new("/nowhere".into())
        }
    }

    #[test]
    fn on_loopback_only_this_machine_and_configured_names_are_known_hosts() {
        let config = config("127.0.0.1:0");
        for host in ["localhost:8080", "127.0.0.1", "[::1]:1", "REEL.home:80", "localhost."] {
            assert!(known_host(host, &config), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a b"] {
            assert!(!known_host(host, &config), "{host}");
        }
    }

    #[test]
    fn in_a_network_addresses_and_the_machine_s_name_are_known_too() {
        let config = config("0.0.0.0:0");
        let machine = format!("{}.local:8080", MACHINE.split('.').next().unwrap());
        for host in ["10.0.0.1:8080", "[fd00::1]", "reel.home", &machine] {
            assert!(known_host(host, &config), "{host}");
        }
        for host in ["evil.example", "10.0.0.1.evil.example", ".local", ""] {
            assert!(!known_host(host, &config), "{host}");
        }
    }
}
