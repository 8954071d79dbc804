//! The door before every URL: who calls (a session's cookie, an API key), and whether they may do that.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    error::{Failure, render},
    pages,
};
use crate::{
    app::AppState,
    auth::{Credential, Role, Who},
};

tokio::task_local! {
    /// Who made the request at work. Pages show what their reader may do; handing it through every handler for that
    /// would put it in the way of all that don't care.
    static WHO: Who;
}

/// Returns who made the request at work; nobody is asked where the door is open.
pub(super) fn who() -> Option<Who> {
    WHO.try_with(Who::clone).ok()
}

/// Tells whether the reader may do what takes `role`.
pub(super) fn may(role: Role) -> bool {
    WHO.try_with(|who| who.role >= role).unwrap_or(true)
}

/// Name of the session's cookie.
pub(super) const COOKIE: &str = "homereel_session";

/// Lets a request in, sends a person to `/login`, and refuses a program with 401 or 403.
pub(super) async fn gate(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if !state.auth.required() || open(request.uri().path()) {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let who = match credential(request.headers()) {
        Some(credential) => state.auth.identify(credential).await,
        None => Ok(None),
    };
    let who = match who {
        Ok(Some(who)) => who,
        Ok(None) => return refused(&request),
        Err(error) => return render(path, error.into()),
    };
    let needed = needed(request.method(), path);
    if who.role < needed {
        let message = format!("this takes the role {}; yours is {}", needed.as_str(), who.role.as_str());
        let failure = Failure::new(StatusCode::FORBIDDEN, "forbidden", message);
        let by_hand = pages::by_hand(&request);
        let answer =
            async || if by_hand { pages::or_error(&state, Err(failure)) } else { render(path, failure) };
        return WHO.scope(who, answer()).await;
    }
    WHO.scope(who, next.run(request)).await
}

/// What everybody may see: whether the server lives, the way in, and what that page is made of.
fn open(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/login" | "/logout") || path.starts_with("/static/")
}

/// Looking takes a viewer, doing a member, and what takes a video or a model's server away an admin.
fn needed(method: &Method, path: &str) -> Role {
    if path == "/household/password" {
        return Role::Viewer;
    }
    let deletes = (*method == Method::DELETE && (path.starts_with("/api/videos/") || path == "/api/trash"))
        || (*method == Method::POST && path.starts_with("/videos/") && path.ends_with("/delete"))
        || (*method == Method::POST && path == "/trash/empty");
    match *method {
        _ if deletes || path.starts_with("/api/upstreams/") => Role::Admin,
        Method::POST if path.starts_with("/household/") => Role::Admin,
        Method::GET | Method::HEAD | Method::OPTIONS => Role::Viewer,
        _ => Role::Member,
    }
}

/// Returns what the caller shows; a key goes before a cookie.
fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Credential::Key(key.trim()));
    }
    session(headers).map(Credential::Session)
}

/// Returns the session's token.
pub(super) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

fn refused(request: &Request) -> Response {
    let path = request.uri().path();
    if pages::by_hand(request) {
        let looks = matches!(*request.method(), Method::GET | Method::HEAD);
        let back = request.uri().path_and_query().filter(|_| looks).map_or("/", |there| there.as_str());
        let next = utf8_percent_encode(back, NON_ALPHANUMERIC);
        return Redirect::to(&format!("/login?next={next}")).into_response();
    }
    let message = if request.headers().contains_key(header::AUTHORIZATION) {
        "this API key is not known; `homereel keys add NAME` makes one"
    } else {
        "this server needs an API key (Authorization: Bearer KEY; `homereel keys add NAME` makes one) or a login at /login"
    };
    let failure = Failure::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
    let mut response = render(path, failure);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn deleting_takes_an_admin_and_looking_a_viewer() {
        assert_eq!(needed(&Method::GET, "/api/videos/1"), Role::Viewer);
        assert_eq!(needed(&Method::POST, "/v1/chat/completions"), Role::Member);
        assert_eq!(needed(&Method::DELETE, "/api/uploads/1"), Role::Member);
        assert_eq!(needed(&Method::DELETE, "/api/videos/1"), Role::Admin);
        assert_eq!(needed(&Method::POST, "/videos/1/delete"), Role::Admin);
        assert_eq!(needed(&Method::DELETE, "/api/trash"), Role::Admin);
        assert_eq!(needed(&Method::POST, "/trash/empty"), Role::Admin);
        assert_eq!(needed(&Method::POST, "/api/upstreams/0/drain"), Role::Admin);
        assert_eq!(needed(&Method::POST, "/videos/1/restore"), Role::Member);
        assert_eq!(needed(&Method::POST, "/household/keys"), Role::Admin);
        assert_eq!(needed(&Method::POST, "/household/users/1/password"), Role::Admin);
        assert_eq!(needed(&Method::POST, "/household/password"), Role::Viewer);
        assert_eq!(needed(&Method::PATCH, "/api/uploads/1"), Role::Member);
    }

    #[test]
    fn a_key_goes_before_a_cookie_and_other_schemes_are_nothing() {
        let both = headers(&[(header::AUTHORIZATION, "bearer abc"), (header::COOKIE, "homereel_session=x")]);
        assert_eq!(credential(&both), Some(Credential::Key("abc")));
        let cookies = headers(&[(header::COOKIE, "a=b; homereel_session=x=y; c=d")]);
        assert_eq!(credential(&cookies), Some(Credential::Session("x=y")));
        assert_eq!(credential(&headers(&[(header::AUTHORIZATION, "Basic abc")])), None);
        assert_eq!(credential(&headers(&[])), None);
    }

    #[test]
    fn only_the_way_in_is_open() {
        for path in ["/healthz", "/readyz", "/login", "/static/style.css"] {
            assert!(open(path), "{path}");
        }
        for path in ["/", "/login/", "/metrics", "/api/videos", "/v1/models", "/static", "//static/x"] {
            assert!(!open(path), "{path}");
        }
    }
}
