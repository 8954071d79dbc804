//! HTTP errors: maps error kinds to statuses in one place and renders them as RFC 9457 for `/api`, in
//! OpenAI's format for `/v1`, and as HTML for pages. The text of a 5xx is fixed; its cause is logged once.

use axum::{
    Json,
    extract::{
        multipart::{MultipartError, MultipartRejection},
        rejection::{FormRejection, JsonRejection},
    },
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use homereel_engine::EngineError;
use homereel_library::{AuthError, AuthErrorKind, LibraryError, LibraryErrorKind};
use serde_json::json;

use crate::{
    ask_error::{AskError, AskErrorKind},
    fetch::FetchError,
    import::ImportError,
    net::RequestBodyError,
};

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub status: StatusCode,
    /// Code for programs (`not_found`, `context_length_exceeded`, …).
    pub code: &'static str,
    /// What is wrong, the value, and what would fit.
    pub message: String,
    /// Name of the invalid parameter.
    pub param: Option<String>,
    /// Seconds after which to retry.
    pub retry_after_s: Option<u64>,
}

impl Failure {
    /// Creates a failure without a parameter.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry_after_s: None }
    }

    /// Creates a 400 that names the invalid parameter.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(StatusCode::BAD_REQUEST, "invalid_value", message) }
    }

    /// Creates a 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Creates a 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// Creates a 500 with a fixed text and logs the cause.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "failed to handle a request because of an internal error; the client gets status 500");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error; the server's log has the cause",
        )
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let param = error.param().map(str::to_owned);
        let message = error.to_string();
        let failure = match error.kind() {
            AskErrorKind::Invalid if matches!(error, AskError::Engine(EngineError::ContextLength { .. })) => {
                Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message)
            }
            AskErrorKind::Invalid => Self::new(StatusCode::BAD_REQUEST, "invalid_value", message),
            AskErrorKind::Overloaded => Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message),
            AskErrorKind::NotReady => Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message),
            // 499 is nginx's status for a client that left; it only appears in the log.
            AskErrorKind::Cancelled => {
                Self::new(StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST), "cancelled", message)
            }
            AskErrorKind::TimedOut => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "timed_out", message),
            AskErrorKind::Failed => Self::internal(message),
        };
        let retry_after_s = match error {
            AskError::Engine(
                EngineError::Overloaded { retry_after_s, .. } | EngineError::Unavailable { retry_after_s },
            ) => Some(retry_after_s),
            AskError::Engine(EngineError::NotReady) => Some(5),
            _ => None,
        };
        Self { param, retry_after_s, ..failure }
    }
}

impl From<LibraryError> for Failure {
    fn from(error: LibraryError) -> Self {
        let (status, code) = match error.kind() {
            LibraryErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            LibraryErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            LibraryErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid_value"),
            LibraryErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            LibraryErrorKind::Gone => (StatusCode::GONE, "gone"),
            LibraryErrorKind::Busy => (StatusCode::LOCKED, "locked"),
            LibraryErrorKind::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
            LibraryErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            LibraryErrorKind::Failed => return Self::internal(error),
        };
        let retry_after_s = (error.kind() == LibraryErrorKind::Unavailable).then_some(5);
        Self { retry_after_s, ..Self::new(status, code, error.to_string()) }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        let (status, code) = match error.kind() {
            AuthErrorKind::Refused => (StatusCode::UNAUTHORIZED, "unauthorized"),
            AuthErrorKind::Throttled => (StatusCode::TOO_MANY_REQUESTS, "too_many_tries"),
            AuthErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid_value"),
            AuthErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            AuthErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            AuthErrorKind::Failed => {
                return match error {
                    AuthError::Library(error) => error.into(),
                    _ => Self::internal(error),
                };
            }
        };
        let retry_after_s = match error {
            AuthError::TooManyTries { retry_after_s } => Some(retry_after_s),
            _ => None,
        };
        Self { retry_after_s, ..Self::new(status, code, error.to_string()) }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            // The file is invalid, not a parameter of the request.
            ImportError::Probe(error) => Self { param: None, ..Self::from(error) },
            ImportError::Library(error) => error.into(),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let (status, code) = match error {
            FetchError::Library(error) => return error.into(),
            FetchError::Disabled { .. } | FetchError::Form(_) | FetchError::Host { .. } => {
                (StatusCode::BAD_REQUEST, "unsupported_url")
            }
            FetchError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            FetchError::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            FetchError::Local
            | FetchError::Redirect
            | FetchError::Redirects
            | FetchError::Unreachable
            | FetchError::Status
            | FetchError::Encoded
            | FetchError::Broken
            | FetchError::TooSlow
            | FetchError::Empty => (StatusCode::BAD_REQUEST, "fetch_failed"),
        };
        Self { retry_after_s: error.retry_after_s(), ..Self::new(status, code, error.to_string()) }
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        rejected("invalid_json", rejection.status(), &rejection.body_text(), &rejection)
    }
}

impl From<FormRejection> for Failure {
    fn from(rejection: FormRejection) -> Self {
        rejected("invalid_form", rejection.status(), &rejection.body_text(), &rejection)
    }
}

impl From<MultipartRejection> for Failure {
    fn from(rejection: MultipartRejection) -> Self {
        rejected("invalid_form", rejection.status(), &rejection.body_text(), &rejection)
    }
}

impl From<MultipartError> for Failure {
    fn from(error: MultipartError) -> Self {
        rejected("invalid_form", error.status(), &error.body_text(), &error)
    }
}

/// A body that axum's extractors rejected.
fn rejected(
    code: &'static str,
    status: StatusCode,
    text: &str,
    cause: &(dyn std::error::Error + 'static),
) -> Failure {
    too_slow(cause).unwrap_or_else(|| Failure::new(status, code, lower_first(text)))
}

/// Failure of a request whose body broke off after `received` bytes.
pub(super) fn broken_body(cause: &(dyn std::error::Error + 'static), received: u64) -> Failure {
    too_slow(cause).unwrap_or_else(|| {
        let message = format!("the connection was lost after {received} bytes of the body: {cause}");
        Failure::new(StatusCode::BAD_REQUEST, "incomplete_body", message)
    })
}

/// Returns the failure if the body arrived too slowly.
fn too_slow(cause: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    RequestBodyError::is_too_slow(cause).then(|| {
        Failure::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", RequestBodyError::TooSlow.to_string())
    })
}

/// Renders a failure as RFC 9457 problem details.
#[derive(Debug)]
pub struct Problem(pub Failure);

/// Renders a failure in OpenAI's format.
#[derive(Debug)]
pub struct OpenAiError(pub Failure);

impl<E: Into<Failure>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<E: Into<Failure>> From<E> for OpenAiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl OpenAiError {
    /// Returns the body, which is the same in a response and in the last event of a failed stream.
    #[must_use]
    pub fn body(&self) -> serde_json::Value {
        let kind = match self.0.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        json!({ "error": {
            "message": self.0.message, "type": kind, "param": self.0.param, "code": self.0.code,
        }})
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let body = Json(self.body());
        with_retry((self.0.status, body).into_response(), self.0.retry_after_s)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Failure { status, code, message, param, retry_after_s } = self.0;
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": message,
            "code": code,
        });
        if let Some(param) = param {
            body["param"] = param.into();
        }
        let mut response = (status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        with_retry(response, retry_after_s)
    }
}

fn with_retry(mut response: Response, seconds: Option<u64>) -> Response {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Returns whether `path` belongs to an API, whose errors are JSON for every client.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/v1/") || path == "/mcp"
}

/// Renders a failure in the format of `path`.
pub fn render(path: &str, failure: Failure) -> Response {
    if path.starts_with("/v1/") {
        OpenAiError(failure).into_response()
    } else {
        Problem(failure).into_response()
    }
}

/// Response to a URL without a route.
pub async fn no_such_url(method: Method, uri: Uri) -> Response {
    let message = format!("there is nothing at {method} {}", shown(uri.path()));
    render(uri.path(), Failure::not_found(message))
}

/// Response to a method that the URL does not support.
pub async fn no_such_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not support {method}", shown(uri.path()));
    render(uri.path(), Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message))
}

/// Truncates and quotes text of the caller, so that messages stay short.
pub fn shown(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_answers_429_and_says_when_to_come_back() {
        let error = AskError::Engine(EngineError::Overloaded { queued: 8, retry_after_s: 3 });
        let response = OpenAiError(error.into()).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }

    #[test]
    fn causes_of_5xx_stay_in_the_log() {
        let failure = Failure::from(AskError::Engine(EngineError::Failed("/root/secret".into())));
        assert_eq!(failure.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!failure.message.contains("secret"));
    }

    #[test]
    fn a_prompt_that_is_too_long_has_openai_s_code() {
        let error =
            EngineError::ContextLength { prompt_tokens: 9, context: 8, hint: "use fewer frames".into() };
        let failure = Failure::from(AskError::Engine(error));
        assert_eq!(failure.code, "context_length_exceeded");
        assert_eq!(failure.param.as_deref(), Some("messages"));
    }
}
