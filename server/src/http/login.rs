//! `/login` and `/logout`: creates and ends sessions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use axum::{
    Form,
    extract::{Request, rejection::FormRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{AuthError, Credential, MIN_PASSWORD, SESSION_LIFE};
use homereel_web::pages::LoginPage;
use serde::Deserialize;

use super::{
    audit_layer,
    auth_layer::{COOKIE, session, with_identity},
    error::Failure,
    extract::Query,
    html::{self, PageContext},
};
use crate::net::ClientInfo;

/// Returns the URL of a one-time link, as a browser in the same network reaches it.
#[must_use]
pub fn link(listen: SocketAddr, https: bool, token: &str) -> String {
    let host = if listen.ip().is_unspecified() { outward().unwrap_or(listen.ip()) } else { listen.ip() };
    let scheme = if https { "https" } else { "http" };
    format!("{scheme}://{}/login?once={token}", SocketAddr::new(host, listen.port()))
}

/// Returns the address of this machine in its network. No packet is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address reserved for documentation (RFC 5737).
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Query: where to go after the login, and the token of a one-time link.
#[derive(Debug, Deserialize)]
pub(super) struct LoginQuery {
    next: Option<String>,
    once: Option<String>,
}

/// The login form.
#[derive(Deserialize)]
pub(super) struct LoginForm {
    name: Option<String>,
    password: String,
    repeat: Option<String>,
    once: Option<String>,
    next: Option<String>,
}

/// `GET /login`.
pub(super) async fn page(cx: PageContext, Query(query): Query<LoginQuery>, headers: HeaderMap) -> Response {
    let next = local(query.next.as_deref());
    let work = async || {
        if let Some(once) = query.once {
            let error = (!cx.state.auth.link_lives(&once).await?).then_some(AuthError::DeadLink);
            let once = error.is_none().then_some(once);
            return shown(&cx, once, next, None, error).await;
        }
        let known = match session(&headers) {
            Some(token) => cx.state.auth.identify(Credential::Session(token)).await?,
            None => None,
        };
        if known.is_some() || !cx.state.auth.required() {
            return Ok(Redirect::to(&next).into_response());
        }
        shown(&cx, None, next, None, None).await
    };
    html::or_error(&cx, work().await)
}

/// `POST /login`.
pub(super) async fn log_in(
    cx: PageContext,
    client: ClientInfo,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Response {
    let from = client.address;
    let work = async || {
        let Form(form) = form?;
        let next = local(form.next.as_deref());
        let session = match &form.once {
            Some(_) if form.repeat.as_ref().is_some_and(|repeat| *repeat != form.password) => {
                Err(AuthError::Invalid("the two passwords are not the same".into()))
            }
            Some(once) => cx.state.auth.log_in_first(once, form.password, from).await,
            None => cx.state.auth.log_in(form.name.as_deref(), form.password, from).await,
        };
        match session {
            Ok(session) => {
                let life = SESSION_LIFE.as_secs();
                let cookie = format!("{COOKIE}={}; {}; Max-Age={life}", session.token, attributes(client));
                let name = form.name.filter(|name| !name.is_empty());
                let name = name.unwrap_or_else(|| "household".into());
                let response = ([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response();
                Ok(audit_layer::about(name, response))
            }
            Err(error) => {
                let once = form.once.filter(|_| !matches!(error, AuthError::DeadLink));
                shown(&cx, once, next, form.name, Some(error)).await
            }
        }
    };
    html::or_error(&cx, work().await)
}

/// `POST /logout`.
pub(super) async fn log_out(cx: PageContext, client: ClientInfo, request: Request) -> Response {
    let cookie = format!("{COOKIE}=; {}; Max-Age=0", attributes(client));
    let response = ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response();
    let Some(token) = session(request.headers()) else { return response };
    let work = async || {
        let who = cx.state.auth.identify(Credential::Session(token)).await?;
        cx.state.auth.log_out(token).await?;
        Ok(who)
    };
    match work().await {
        Ok(Some(who)) => with_identity(response, who),
        Ok(None) => response,
        Err(error) => html::or_error(&cx, Err(error)),
    }
}

/// Renders the page with the error. An internal failure is not the reader's and is returned as it is.
async fn shown(
    cx: &PageContext,
    once: Option<String>,
    next: String,
    name: Option<String>,
    error: Option<AuthError>,
) -> Result<Response, Failure> {
    let told = error.as_ref().map(ToString::to_string);
    let failure = error.map(Failure::from);
    if let Some(failure) = failure.clone().filter(|failure| failure.status.is_server_error()) {
        return Err(failure);
    }
    let page = html::render(&LoginPage {
        words: cx.words,
        title: cx.words.t(if once.is_some() { "login-choose-title" } else { "login-title" }),
        nothing_set: once.is_none() && !cx.state.auth.has_password().await?,
        once,
        next,
        named: cx.state.auth.has_users().await?,
        name: name.unwrap_or_default(),
        min_length: MIN_PASSWORD,
        error: told,
    })?;
    let Some(failure) = failure else { return Ok(page) };
    let wait = failure.retry_after_s.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
    Ok(match wait {
        Some(wait) => (failure.status, wait, page).into_response(),
        None => (failure.status, page).into_response(),
    })
}

/// Scripts cannot read the cookie, other sites' forms do not send it, and behind TLS it is sent only over
/// TLS.
fn attributes(client: ClientInfo) -> &'static str {
    if client.https { "Path=/; HttpOnly; SameSite=Lax; Secure" } else { "Path=/; HttpOnly; SameSite=Lax" }
}

/// Returns a path on this server, so that a login never redirects to another site.
fn local(next: Option<&str>) -> String {
    next.filter(|next| {
        next.starts_with('/')
            && !next.starts_with("//")
            && next.len() <= 2048
            && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && !next.starts_with("/login")
    })
    .unwrap_or("/")
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn the_way_back_never_leads_to_another_site() {
        assert_eq!(local(Some("/videos/1?t=3")), "/videos/1?t=3");
        for next in [
            None,
            Some(""),
            Some("//evil"),
            Some("https://evil"),
            Some("/\\evil"),
            Some("/a\nb"),
            Some("/login?next=/"),
        ] {
            assert_eq!(local(next), "/", "{next:?}");
        }
    }
}
