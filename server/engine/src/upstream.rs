//! HTTP to servers that the operator names: vLLM, and those that transcribe or embed. One policy for connections, and answers
//! that are read with limits, because servers are untrusted.

use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Client, ClientBuilder, Response};
use url::Url;

use crate::EngineError;

/// Timeout for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Below the 5 s after which vLLM closes idle connections: a request on a connection that is just closing would fail.
const IDLE: Duration = Duration::from_secs(4);

/// Creates a client; `settings` adds timeouts.
///
/// # Errors
/// `Failed` when there is no TLS.
pub(crate) fn client(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client, EngineError> {
    let builder = Client::builder()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .http1_only()
        .tcp_nodelay(true)
        // reqwest's keep-alive probes notice a lost machine within a minute.
        // No proxy and no redirects: a family's data go to the configured server only.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    settings(builder).build().map_err(|error| EngineError::Failed(format!("no HTTP client: {error}")))
}

/// Returns the address without a trailing slash and `/v1`: both http://HOST:PORT and the base URL of OpenAI's clients are
/// accepted.
pub(crate) fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').trim_end_matches("/v1").to_owned()
}

/// Returns the seconds of `Retry-After`.
pub(crate) fn retry_after_s(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Reads at most the first `limit` bytes of a body.
///
/// # Errors
/// The cause, for the log.
pub(crate) async fn read_at_most(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == limit {
            break;
        }
    }
    Ok(body)
}

/// Formats an error with its causes, which reqwest's own text omits.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
