//! Calls of the HTTP API on behalf of a tool: within this process, or of a running server for `homereel mcp`.
//!
//! Tools read the library through the API alone, so they have its roles, limits and errors.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Extensions, HeaderMap, HeaderName, Method, Request, StatusCode, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tower::ServiceExt as _;
use url::Url;

use crate::net::ClientInfo;

/// Maximum size of an answer in bytes; the largest is a video with a hundred answers.
const MAX_ANSWER: usize = 8 << 20;

/// Timeouts of calls of another server: to connect, and between two reads, which include keep-alives.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(120);

/// Headers that say who calls, from where, and in which request.
const PASSED_ON: [HeaderName; 6] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    header::COOKIE,
    header::HOST,
    HeaderName::from_static("x-request-id"),
];

/// Where the API is.
#[derive(Debug, Clone)]
pub(crate) enum Api {
    /// In this process.
    Local(Router),
    /// At the address of a running server.
    Remote {
        /// The client.
        http: reqwest::Client,
        /// The server's base URL.
        server: Url,
        /// The API key, if there is one.
        key: Option<String>,
    },
}

/// An answer of the API.
#[derive(Debug)]
pub(super) struct ApiAnswer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl ApiAnswer {
    /// Parses the body.
    pub(super) fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ApiError::Transport(format!("the answer is no JSON: {error}")))
    }
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The API refuses the call.
    #[error("{message} (status {})", status.as_u16())]
    Refused { status: StatusCode, message: String },
    /// There is no complete answer.
    #[error("{0}")]
    Transport(String),
}

impl Api {
    /// Returns the API of the server at `server`.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub(crate) fn remote(server: Url, key: Option<String>) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
        Ok(Self::Remote { http, server, key })
    }

    /// Calls `GET url`.
    pub(super) async fn get(&self, caller: Option<&Parts>, url: &str) -> Result<ApiAnswer, ApiError> {
        self.call(caller, Method::GET, url, None).await
    }

    /// Calls `POST url` with a JSON body. Of an endpoint that streams, the answer is the whole stream.
    pub(super) async fn post(
        &self,
        caller: Option<&Parts>,
        url: &str,
        body: &Value,
    ) -> Result<ApiAnswer, ApiError> {
        self.call(caller, Method::POST, url, Some(body)).await
    }

    async fn call(
        &self,
        caller: Option<&Parts>,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<ApiAnswer, ApiError> {
        let (status, headers, body) = match self {
            Self::Local(router) => in_process(router, caller, method, url, body).await?,
            Self::Remote { http, server, key } => {
                let url = server.join(url.trim_start_matches('/')).map_err(|error| broken(&error))?;
                let mut request = http.request(method, url);
                if let Some(key) = key {
                    request = request.bearer_auth(key);
                }
                if let Some(body) = body {
                    request = request.json(body);
                }
                over_the_network(request).await?
            }
        };
        if status.is_success() {
            return Ok(ApiAnswer { headers, body });
        }
        Err(ApiError::Refused { status, message: message(&body) })
    }
}

type Raw = (StatusCode, HeaderMap, Bytes);

async fn in_process(
    router: &Router,
    caller: Option<&Parts>,
    method: Method,
    url: &str,
    body: Option<&Value>,
) -> Result<Raw, ApiError> {
    let mut request = Request::builder().method(method).uri(url);
    let (headers, extensions) = caller.map_or_else(Default::default, credentials);
    if let Some(own) = request.headers_mut() {
        *own = headers;
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let mut request = request.body(body).map_err(|error| broken(&error))?;
    *request.extensions_mut() = extensions;
    let response = router.clone().oneshot(request).await.map_err(|error| broken(&error))?;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER).await.map_err(|error| broken(&error))?;
    Ok((parts.status, parts.headers, body))
}

/// Returns what identifies the caller of a tool. The origin of a page is left out: it was checked for the call of the tool.
fn credentials(caller: &Parts) -> (HeaderMap, Extensions) {
    let mut headers = HeaderMap::new();
    for name in PASSED_ON {
        for value in caller.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let mut extensions = Extensions::new();
    if let Some(client) = caller.extensions.get::<ClientInfo>() {
        extensions.insert(*client);
    }
    (headers, extensions)
}

async fn over_the_network(request: reqwest::RequestBuilder) -> Result<Raw, ApiError> {
    let mut response = request.send().await.map_err(|error| broken(&error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ApiError::Transport(format!("the answer has more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, headers, body.freeze()))
}

/// Describes an error with its causes.
fn broken(error: &dyn std::error::Error) -> ApiError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    ApiError::Transport(text)
}

/// Returns the message of an error in the format of `/api` or of `/v1`.
fn message(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = body["detail"].as_str().or_else(|| body["error"]["message"].as_str());
    message.unwrap_or("the server gives no reason").to_owned()
}
