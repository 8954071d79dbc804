//! Authentication and authorization: identifies the caller (session cookie or API key) and checks their role.
//!
//! The role of a URL is in the route table ([`super::routes`]). This layer enforces it and passes the
//! caller's identity on as a request extension, which handlers read with [`CurrentUser`]. A response that takes
//! longer ends with the session or key that it belongs to.

use std::convert::Infallible;

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use futures_util::StreamExt as _;
use homereel_library::{Credential, Identity, Role};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    error::{Failure, render},
    html::{self, PageContext},
};
use crate::state::AppState;

/// Name of the session cookie.
pub(super) const COOKIE: &str = "homereel_session";

/// Headers in which clients made for other services send their key.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "api-key"];

/// Bytes of a body that is sent at once, before its reader could log out.
const SHORT: u64 = 1 << 20;

/// The role that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Required {
    /// The role of a group of routes.
    Role(Role),
    /// For requests without a route: viewer for safe methods, member for all others.
    ByMethod,
}

impl Required {
    fn role(self, method: &Method) -> Role {
        match self {
            Self::Role(role) => role,
            Self::ByMethod if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => Role::Viewer,
            Self::ByMethod => Role::Member,
        }
    }
}

/// Who made the request. `None` means that the server requires no login, or that the route is public.
#[derive(Debug, Clone)]
pub(super) struct CurrentUser(pub(super) Option<Identity>);

impl CurrentUser {
    /// Returns who owns what the caller uploads. `None` where no login is required: everybody is the same owner.
    pub(super) fn account(&self) -> Option<String> {
        self.0.as_ref().map(Identity::account)
    }

    /// Returns whether the caller has at least `role`. Without a login, every caller has every role.
    pub(super) fn has(&self, role: Role) -> bool {
        self.0.as_ref().is_none_or(|who| who.role >= role)
    }
}

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Identity>().cloned()))
    }
}

/// Passes requests with the required role on, redirects browsers without a login to `/login`, and answers 401
/// or 403 otherwise.
pub(super) async fn require(
    State((state, required)): State<(AppState, Required)>,
    mut request: Request,
    next: Next,
) -> Response {
    if !state.auth.required() {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let Some(credential) = credential(request.headers()) else { return unauthorized(&request) };
    let who = match state.auth.identify(credential).await {
        Ok(Some(who)) => who,
        Ok(None) => return unauthorized(&request),
        Err(error) => return render(path, error.into()),
    };
    let role = required.role(request.method());
    if who.role < role {
        let message = format!("this requires the role {}; yours is {}", role.as_str(), who.role.as_str());
        let failure = Failure::new(StatusCode::FORBIDDEN, "forbidden", message);
        let refused = if html::wants_page(&request) {
            let cx = PageContext::new(state, CurrentUser(Some(who.clone())), request.headers());
            let (needed, own) = (cx.words.t(many(role)), cx.words.t(one(who.role)));
            let line = cx.words.with("error-role", &[("needed", &needed), ("own", &own)]);
            html::error_page(
                &cx,
                StatusCode::FORBIDDEN,
                &cx.words.t("error-refused"),
                vec![line],
                String::new(),
            )
        } else {
            render(path, failure)
        };
        return with_identity(refused, who);
    }
    let ended = state.auth.ended(credential, who.clone());
    request.extensions_mut().insert(who.clone());
    with_identity(ended_by(next.run(request).await, ended), who)
}

/// Returns the message that names those with a role.
fn many(role: Role) -> &'static str {
    match role {
        Role::Viewer => "error-viewer",
        Role::Member => "error-member",
        Role::Admin => "error-admin",
    }
}

/// Returns the message that names somebody with a role.
fn one(role: Role) -> &'static str {
    match role {
        Role::Viewer => "error-own-viewer",
        Role::Member => "error-own-member",
        Role::Admin => "error-own-admin",
    }
}

/// Tells the layers outside of this one who the caller is.
pub(super) fn with_identity(mut response: Response, who: Identity) -> Response {
    response.extensions_mut().insert(who);
    response
}

/// Ends a long body (events, a file) with the login that asked for it.
fn ended_by(response: Response, ended: impl Future<Output = ()> + Send + 'static) -> Response {
    if response.body().size_hint().upper().is_some_and(|most| most <= SHORT) {
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(ended)))
}

/// Returns the credential of a request. A key takes precedence over a cookie.
fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Credential::Key(key.trim()));
    }
    if let Some(value) = KEY_HEADERS.iter().find_map(|name| headers.get(*name)) {
        return Some(Credential::Key(value.to_str().ok()?.trim()));
    }
    session(headers).map(Credential::Session)
}

/// Returns the token in the session cookie.
pub(super) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

fn unauthorized(request: &Request) -> Response {
    let path = request.uri().path();
    if html::wants_page(request) {
        let looks = matches!(*request.method(), Method::GET | Method::HEAD);
        let back = request.uri().path_and_query().filter(|_| looks).map_or("/", |there| there.as_str());
        let next = utf8_percent_encode(back, NON_ALPHANUMERIC);
        return Redirect::to(&format!("/login?next={next}")).into_response();
    }
    let message = if request.headers().contains_key(header::AUTHORIZATION) {
        "unknown API key; `homereel keys add NAME` creates one"
    } else {
        "this server needs an API key (Authorization: Bearer KEY, or x-api-key: KEY; `homereel keys add NAME` creates one) or a login at /login"
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
    fn a_key_goes_before_a_cookie_and_other_schemes_are_nothing() {
        let both = headers(&[(header::AUTHORIZATION, "bearer abc"), (header::COOKIE, "homereel_session=x")]);
        assert_eq!(credential(&both), Some(Credential::Key("abc")));
        let cookies = headers(&[(header::COOKIE, "a=b; homereel_session=x=y; c=d")]);
        assert_eq!(credential(&cookies), Some(Credential::Session("x=y")));
        assert_eq!(credential(&headers(&[(header::AUTHORIZATION, "Basic abc")])), None);
        assert_eq!(credential(&headers(&[])), None);
        for name in KEY_HEADERS {
            let with_cookie = headers(&[
                (header::HeaderName::from_static(name), "abc"),
                (header::COOKIE, "homereel_session=x"),
            ]);
            assert_eq!(credential(&with_cookie), Some(Credential::Key("abc")));
        }
    }
}
