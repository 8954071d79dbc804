//! The HTTP client of one upstream: which model it serves, whether it takes settings of media, and answers as
//! streams of bytes. Dropping a response closes its connection, which is how an upstream learns of a cancel.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Body, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::failure::Refusal;
use super::gauges;
use crate::{EngineError, UpstreamMetrics};

/// How long the upstream may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may be silent: the prefill of a long video on a slow machine lies within.
const SILENCE: Duration = Duration::from_secs(600);
/// How long it may take to tell its models, and to answer one word.
const SHORT: Duration = Duration::from_secs(10);
const WORD: Duration = Duration::from_secs(120);
/// Less than the five seconds after which vLLM closes an idle connection: one that is just closing loses a request.
const IDLE: Duration = Duration::from_secs(4);
/// Bytes of a refusal and of a list of models that are read.
const MAX_SHORT_BODY: usize = 256 << 10;
/// Bytes of `/metrics`.
const MAX_METRICS: usize = 4 << 20;
/// Bytes of a refusal that are logged.
const MAX_LOGGED: usize = 2000;

/// One model of the upstream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Card {
    pub(super) id: String,
    /// Directory or hub id of the checkpoint, in the upstream's eyes.
    #[serde(default)]
    pub(super) root: Option<String>,
    #[serde(default)]
    pub(super) max_model_len: Option<usize>,
}

#[derive(Deserialize)]
struct Cards {
    data: Vec<Card>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The upstream refused.
    Refused(Refusal),
    /// The upstream can't be reached, or its answer is no HTTP.
    Unreachable {
        /// For the log.
        cause: String,
        /// It may have got the request.
        delivered: bool,
    },
}

/// Why an upstream does not serve.
#[derive(Debug)]
pub(super) struct Gone {
    /// For operators; nothing that the upstream wrote.
    pub(super) told: String,
    /// For the log.
    pub(super) cause: String,
}

impl Gone {
    fn unreachable(error: &reqwest::Error) -> Self {
        let told = if error.is_timeout() { "it does not answer in time" } else { "it can't be reached" };
        Self { told: told.into(), cause: chain(error) }
    }

    fn wrong(told: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { told: told.into(), cause: cause.into() }
    }
}

/// An upstream.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub(super) fn new(url: &Url) -> Result<Self, EngineError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .pool_idle_timeout(IDLE)
            .http1_only()
            .tcp_nodelay(true)
            // reqwest's keep-alive probes notice within a minute when the other machine lost its power.
            // Frames of somebody's home go to the named server and nowhere else.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| EngineError::Failed(format!("no HTTP client: {error}")))?;
        // Both http://HOST:PORT and the base URL of OpenAI's clients are understood.
        let base = url.as_str().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Ok(Self { http, base })
    }

    /// Returns the upstream's model: the one called `wanted` if there is one, else the first.
    pub(super) async fn card(&self, wanted: Option<&str>) -> Result<Card, Gone> {
        let request = self.http.get(format!("{}/v1/models", self.base)).timeout(SHORT);
        let response = request.send().await.map_err(|error| Gone::unreachable(&error))?;
        let status = response.status();
        let body = beginning(response, MAX_SHORT_BODY).await;
        if status != StatusCode::OK {
            let told = format!("it answers {} to /v1/models", status.as_u16());
            return Err(Gone::wrong(told, String::from_utf8_lossy(&body.unwrap_or_default())));
        }
        let no_list = |cause: String| Gone::wrong("its /v1/models is no list of models", cause);
        let body = body.map_err(no_list)?;
        let cards: Cards = serde_json::from_slice(&body).map_err(|error| no_list(error.to_string()))?;
        let wanted = cards.data.iter().position(|card| Some(card.id.as_str()) == wanted).unwrap_or(0);
        cards.data.into_iter().nth(wanted).ok_or_else(|| Gone::wrong("it lists no model", ""))
    }

    /// Asks for one word, with settings of media: tells whether the upstream takes them. An error means that it
    /// does not answer at all yet, or any more.
    pub(super) async fn is_trusting(&self, model: &str) -> Result<bool, Gone> {
        let body = json!({
            "model": model, "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 1, "temperature": 0,
            "media_io_kwargs": { "video": { "num_frames": -1 } },
            "mm_processor_kwargs": { "do_sample_frames": false },
        });
        let request = self.http.post(self.chat_url()).timeout(WORD).json(&body);
        match self.answered(request).await {
            Ok(response) => match beginning(response, MAX_SHORT_BODY).await {
                Ok(_) => Ok(true),
                Err(cause) => Err(Gone::wrong("it breaks off its answer to a question for one word", cause)),
            },
            Err(Trouble::Refused(refusal)) if refusal.is_of_settings() => Ok(false),
            Err(Trouble::Refused(Refusal { status, body, .. })) => {
                Err(Gone::wrong(format!("it answers {status} to a question for one word"), body))
            }
            Err(Trouble::Unreachable { cause, .. }) => {
                Err(Gone::wrong("it does not answer a question for one word", cause))
            }
        }
    }

    /// Returns what the upstream tells of itself; none where it tells nothing.
    pub(super) async fn metrics(&self) -> Option<UpstreamMetrics> {
        let request = self.http.get(format!("{}/metrics", self.base)).timeout(SHORT);
        let response = request.send().await.ok().filter(|response| response.status() == StatusCode::OK)?;
        let body = beginning(response, MAX_METRICS).await.ok()?;
        Some(gauges::parse(&String::from_utf8_lossy(&body)))
    }

    /// Sends a request for a streamed answer.
    pub(super) async fn chat(&self, mut pieces: Vec<Bytes>) -> Result<Response, Trouble> {
        let body = match pieces.len() {
            1 => Body::from(pieces.swap_remove(0)),
            _ => Body::wrap_stream(futures_util::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>))),
        };
        let request =
            self.http.post(self.chat_url()).header(header::CONTENT_TYPE, "application/json").body(body);
        self.answered(request).await
    }

    fn chat_url(&self) -> String {
        format!("{}/v1/chat/completions", self.base)
    }

    async fn answered(&self, request: reqwest::RequestBuilder) -> Result<Response, Trouble> {
        let response = request
            .send()
            .await
            .map_err(|error| Trouble::Unreachable { delivered: !error.is_connect(), cause: chain(&error) })?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = beginning(response, MAX_SHORT_BODY).await.unwrap_or_default();
        let mut body = String::from_utf8_lossy(&body).into_owned();
        body.truncate(body.floor_char_boundary(MAX_LOGGED));
        Err(Trouble::Refused(Refusal { status: status.as_u16(), retry_after_s, body }))
    }
}

/// Reads the first `limit` bytes of a body, at most.
async fn beginning(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
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

/// An error with its causes: reqwest's own text hides them.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
