//! The HTTP client of one replica: model list, health check by a real completion, and streamed answers. Dropping a
//! response closes its connection, which cancels the request in vLLM.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Body, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::errors::ErrorResponse;
use super::metrics;
use crate::upstream::{self, chain, read_at_most, retry_after_s};
use crate::{EngineError, ReplicaMetrics};

/// Timeout between two reads: the prefill of a long video on a slow machine takes minutes.
const SILENCE: Duration = Duration::from_secs(600);
/// Timeouts of `/v1/models` and `/metrics`, and of the health check's one-token completion.
const SHORT: Duration = Duration::from_secs(10);
const WORD: Duration = Duration::from_secs(120);
/// Bytes read of an error response or a model list.
const MAX_SHORT_BODY: usize = 256 << 10;
/// Bytes read of `/metrics`.
const MAX_METRICS: usize = 4 << 20;
/// Bytes of an error response that are logged.
const MAX_LOGGED: usize = 2000;

/// An entry of `/v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ModelCard {
    pub(super) id: String,
    /// Directory or hub id of the checkpoint, as seen by the replica.
    #[serde(default)]
    pub(super) root: Option<String>,
    #[serde(default)]
    pub(super) max_model_len: Option<usize>,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelCard>,
}

/// Why a request got no response to stream.
#[derive(Debug)]
pub(super) enum TransportError {
    /// The replica answered with an error status.
    Refused(ErrorResponse),
    /// The replica could not be reached, or did not answer with HTTP.
    Unreachable {
        /// Cause, for the log.
        cause: String,
        /// Whether the replica may have received the request.
        delivered: bool,
    },
}

/// Why a health check failed.
#[derive(Debug)]
pub(super) struct Unhealthy {
    /// Message for operators, without text from the replica.
    pub(super) message: String,
    /// Cause, for the log.
    pub(super) cause: String,
}

impl Unhealthy {
    fn unreachable(error: &reqwest::Error) -> Self {
        let message = if error.is_timeout() { "it does not answer in time" } else { "it can't be reached" };
        Self { message: message.into(), cause: chain(error) }
    }

    fn wrong(message: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { message: message.into(), cause: cause.into() }
    }
}

/// The HTTP client of one replica.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub(super) fn new(url: &Url) -> Result<Self, EngineError> {
        let (http, base) = (upstream::client(|client| client.read_timeout(SILENCE))?, upstream::base(url));
        Ok(Self { http, base })
    }

    /// Returns the entry of the model list with id `wanted`, or else the first.
    pub(super) async fn card(&self, wanted: Option<&str>) -> Result<ModelCard, Unhealthy> {
        let request = self.http.get(format!("{}/v1/models", self.base)).timeout(SHORT);
        let response = request.send().await.map_err(|error| Unhealthy::unreachable(&error))?;
        let status = response.status();
        let body = read_at_most(response, MAX_SHORT_BODY).await;
        if status != StatusCode::OK {
            let message = format!("it answers {} to /v1/models", status.as_u16());
            return Err(Unhealthy::wrong(message, String::from_utf8_lossy(&body.unwrap_or_default())));
        }
        let no_list = |cause: String| Unhealthy::wrong("its /v1/models is no list of models", cause);
        let body = body.map_err(no_list)?;
        let cards: ModelList = serde_json::from_slice(&body).map_err(|error| no_list(error.to_string()))?;
        let wanted = cards.data.iter().position(|card| Some(card.id.as_str()) == wanted).unwrap_or(0);
        cards.data.into_iter().nth(wanted).ok_or_else(|| Unhealthy::wrong("it lists no model", ""))
    }

    /// Requests a completion of one token that carries `media_io_kwargs`, and returns whether the replica accepts them. An
    /// error means that the replica does not complete requests (yet).
    pub(super) async fn accepts_mm_kwargs(&self, model: &str) -> Result<bool, Unhealthy> {
        let settings = json!({
            "media_io_kwargs": { "video": { "num_frames": -1 } },
            "mm_processor_kwargs": { "do_sample_frames": false },
        });
        self.accepts(model, settings, ErrorResponse::is_about_mm_kwargs).await
    }

    /// The same for a priority, which vLLM accepts only with `--scheduling-policy priority`.
    pub(super) async fn accepts_priority(&self, model: &str) -> Result<bool, Unhealthy> {
        // It completes requests without a priority, so whatever it rejects here is the priority.
        let rejected = |refusal: &ErrorResponse| matches!(refusal.status, 400 | 422);
        self.accepts(model, json!({ "priority": 1 }), rejected).await
    }

    /// Requests a completion of one token with `settings`; `is_about` recognizes their rejection.
    async fn accepts(
        &self,
        model: &str,
        settings: Value,
        is_about: impl Fn(&ErrorResponse) -> bool,
    ) -> Result<bool, Unhealthy> {
        let mut body = json!({
            "model": model, "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 1, "temperature": 0,
        });
        if let (Some(body), Value::Object(settings)) = (body.as_object_mut(), settings) {
            body.extend(settings);
        }
        let request = self.http.post(self.chat_url()).timeout(WORD).json(&body);
        match self.send(request).await {
            Ok(response) => match read_at_most(response, MAX_SHORT_BODY).await {
                Ok(_) => Ok(true),
                Err(cause) => {
                    Err(Unhealthy::wrong("it breaks off its answer to a question for one word", cause))
                }
            },
            Err(TransportError::Refused(refusal)) if is_about(&refusal) => Ok(false),
            Err(TransportError::Refused(ErrorResponse { status, body, .. })) => {
                Err(Unhealthy::wrong(format!("it answers {status} to a question for one word"), body))
            }
            Err(TransportError::Unreachable { cause, .. }) => {
                Err(Unhealthy::wrong("it does not answer a question for one word", cause))
            }
        }
    }

    /// Returns the replica's metrics; `None` where it exposes none.
    pub(super) async fn metrics(&self) -> Option<ReplicaMetrics> {
        let request = self.http.get(format!("{}/metrics", self.base)).timeout(SHORT);
        let response = request.send().await.ok().filter(|response| response.status() == StatusCode::OK)?;
        let body = read_at_most(response, MAX_METRICS).await.ok()?;
        Some(metrics::parse(&String::from_utf8_lossy(&body)))
    }

    /// Sends a request for a streamed answer. vLLM makes its own id of `request_id`, which must not be in use there.
    pub(super) async fn chat(
        &self,
        mut pieces: Vec<Bytes>,
        request_id: Option<&str>,
    ) -> Result<Response, TransportError> {
        let body = match pieces.len() {
            1 => Body::from(pieces.swap_remove(0)),
            _ => Body::wrap_stream(futures_util::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>))),
        };
        let request = self.http.post(self.chat_url()).header(header::CONTENT_TYPE, "application/json");
        let request = match request_id {
            None => request,
            Some(id) => request.header("x-request-id", format!("{id}-{:08x}", rand::random::<u32>())),
        };
        self.send(request.body(body)).await
    }

    fn chat_url(&self) -> String {
        format!("{}/v1/chat/completions", self.base)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, TransportError> {
        let response = request.send().await.map_err(|error| TransportError::Unreachable {
            delivered: !error.is_connect(),
            cause: chain(&error),
        })?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let retry_after_s = retry_after_s(response.headers());
        let body = read_at_most(response, MAX_SHORT_BODY).await.unwrap_or_default();
        let mut body = String::from_utf8_lossy(&body).into_owned();
        body.truncate(body.floor_char_boundary(MAX_LOGGED));
        Err(TransportError::Refused(ErrorResponse { status: status.as_u16(), retry_after_s, body }))
    }
}
