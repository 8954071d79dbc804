//! The client of another server's `/v1/embeddings`, in OpenAI's shapes. Its answers are untrusted: a vector of another
//! dimension, a value that is no number, or a missing vector is an error, and nothing of the answer is used.

mod wire;

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::queue::Vectors;
use super::{Embedded, Identity, Prompts, Purpose};
use crate::EngineError;
use crate::upstream::{self, chain, read_at_most};
use wire::{EmbeddingRequest, ModelList};

/// Timeouts of a request: a person waits for a query, and a busy server may queue passages.
const QUERY: Duration = Duration::from_secs(10);
const PASSAGES: Duration = Duration::from_secs(120);
/// Texts per request, and their bytes unless one text has more.
const BATCH_TEXTS: usize = 64;
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of a text that are sent.
const MAX_TEXT: usize = 64 << 10;
/// Bytes read of an answer: 64 vectors of the largest dimension with 24 characters per value.
const MAX_BODY: usize = BATCH_TEXTS * wire::MAX_DIMENSION * 24;
const MAX_SHORT_BODY: usize = 256 << 10;
/// Bytes of an error response that are logged.
const MAX_LOGGED: usize = 2000;
/// Further requests per call for texts that the server finds too long.
const RETRIES: usize = 64;
/// Characters below which a text is not shortened further.
const MIN_CHARS: usize = 256;
/// Seconds after which a retry makes sense where the server names none.
const RETRY_AFTER: u64 = 5;

/// Another server.
#[derive(Debug)]
pub(super) struct Server {
    http: reqwest::Client,
    base: String,
    /// The model that was asked for.
    wanted: Option<String>,
    prompts: Prompts,
    /// The model that it has.
    model: OnceLock<String>,
    dimension: OnceLock<usize>,
}

/// Why a request gave no vectors.
enum Trouble {
    /// The server finds the texts too long, or something else about them.
    Texts(u16, String),
    Other(EngineError),
}

impl Embedded {
    fn extend(&mut self, more: Self) {
        self.vectors.extend(more.vectors);
        self.tokens = self.tokens.saturating_add(more.tokens);
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::Other(error)
    }
}

impl Server {
    /// Creates the client; `url` may end with `/v1`.
    ///
    /// # Errors
    /// `Failed` when there is no HTTP client.
    pub(super) fn new(url: &Url, model: Option<String>, prompts: Prompts) -> Result<Self, EngineError> {
        let (http, base) = (upstream::client(|client| client)?, upstream::base(url));
        let (known, dimension) = (OnceLock::new(), OnceLock::new());
        Ok(Self { http, base, wanted: model, prompts, model: known, dimension })
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        let (model, dimension) = (self.model.get()?, *self.dimension.get()?);
        // Other prompts give other vectors.
        let model_id = match self.prompts == Prompts::default() {
            true => model.clone(),
            false => format!("{model} {:?}", self.prompts),
        };
        Some(Identity { name: model.clone(), model_id, dimension })
    }

    /// Returns one vector per text.
    pub(super) async fn embed(
        &self,
        texts: Vec<String>,
        purpose: Purpose,
        cancel: &CancellationToken,
    ) -> Vectors {
        let all = async {
            let model = self.model().await?;
            let texts: Vec<String> = texts.iter().map(|text| self.prompts.apply(purpose, text)).collect();
            let (mut embedded, mut retries) = (Embedded::default(), RETRIES);
            for batch in batches(&texts) {
                embedded.extend(self.batch(&model, batch.to_vec(), purpose, &mut retries).await?);
            }
            Ok::<_, EngineError>(embedded)
        };
        tokio::select! {
            embedded = all => embedded,
            () = cancel.cancelled() => Err(EngineError::Cancelled),
        }
    }

    /// Returns the vectors of a batch. Servers differ in what they do with a text that is longer than their limit: one that is
    /// refused is sent again alone, and then shortened.
    async fn batch(&self, model: &str, texts: Vec<String>, purpose: Purpose, retries: &mut usize) -> Vectors {
        let mut waiting = vec![texts];
        let mut embedded = Embedded::default();
        while let Some(mut texts) = waiting.pop() {
            let (status, cause) = match self.request(model, &texts, purpose).await {
                Ok(own) => {
                    embedded.extend(own);
                    continue;
                }
                Err(Trouble::Other(error)) => return Err(error),
                Err(Trouble::Texts(status, cause)) => (status, cause),
            };
            let longest = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
            if *retries == 0 || (texts.len() == 1 && longest <= MIN_CHARS) {
                tracing::warn!(status, cause, "the embedding server refused texts");
                return Err(self.wrong(model, format!("its server answers {status} to texts")));
            }
            *retries -= 1;
            if texts.len() == 1 {
                texts[0] = texts[0].chars().take((longest / 2).max(MIN_CHARS)).collect();
                waiting.push(texts);
            } else {
                let second = texts.split_off(texts.len() / 2);
                waiting.extend([second, texts]);
            }
        }
        Ok(embedded)
    }

    async fn request(&self, model: &str, texts: &[String], purpose: Purpose) -> Result<Embedded, Trouble> {
        let timeout = match purpose {
            Purpose::Query => QUERY,
            Purpose::Passage | Purpose::Plain => PASSAGES,
        };
        let input = texts.iter().map(|text| &text[..text.floor_char_boundary(MAX_TEXT)]).collect();
        let request = self
            .http
            .post(format!("{}/v1/embeddings", self.base))
            .timeout(timeout)
            .json(&EmbeddingRequest { model, input, encoding_format: "float" });
        let response = request.send().await.map_err(|error| unreachable_server(&error))?;
        let status = response.status();
        if status == StatusCode::OK {
            let body = read_whole(response, MAX_BODY).await?;
            let embedded = wire::vectors(&body, texts.len(), self.dimension.get().copied())
                .map_err(|message| self.wrong(model, message))?;
            let dimension = embedded.vectors.first().map_or(0, Vec::len);
            // Two first requests at the same time may disagree.
            let known = *self.dimension.get_or_init(|| dimension);
            if known != dimension {
                return Err(self.wrong(model, wire::other_dimension(dimension, known)).into());
            }
            return Ok(embedded);
        }
        let retry_after_s = upstream::retry_after_s(response.headers());
        let cause = logged(&read_at_most(response, MAX_SHORT_BODY).await.unwrap_or_default());
        match status.as_u16() {
            status @ (400 | 413 | 422) => Err(Trouble::Texts(status, cause)),
            status @ (429 | 502 | 503 | 504) => {
                tracing::warn!(status, cause, "the embedding server is busy");
                let retry_after_s = retry_after_s.unwrap_or(RETRY_AFTER).clamp(1, 300);
                Err(EngineError::Unavailable { retry_after_s }.into())
            }
            status => {
                tracing::warn!(status, cause, "the embedding server refused a request");
                Err(self.wrong(model, format!("its server answers {status} to /v1/embeddings")).into())
            }
        }
    }

    /// Returns the model's name, which the server is asked for once.
    async fn model(&self) -> Result<String, EngineError> {
        if let Some(known) = self.wanted.as_ref().or_else(|| self.model.get()) {
            return Ok(self.model.get_or_init(|| known.clone()).clone());
        }
        let request = self.http.get(format!("{}/v1/models", self.base)).timeout(QUERY);
        let response = request.send().await.map_err(|error| unreachable_server(&error))?;
        let status = response.status();
        let fail = |message: String| self.wrong("of --embed-url", message);
        if status != StatusCode::OK {
            return Err(fail(format!("its server answers {} to /v1/models", status.as_u16())));
        }
        let body = read_whole(response, MAX_SHORT_BODY).await?;
        let list: ModelList = serde_json::from_slice(&body)
            .map_err(|error| fail(format!("its server's /v1/models is no list of models: {error}")))?;
        let first = list.data.into_iter().next().ok_or_else(|| fail("its server lists no model".into()))?;
        Ok(self.model.get_or_init(|| first.id).clone())
    }

    fn wrong(&self, model: &str, message: String) -> EngineError {
        EngineError::Model { model: model.to_owned(), message }
    }
}

/// Splits texts into batches of at most [`BATCH_TEXTS`], and [`BATCH_BYTES`] unless one text has more.
fn batches(texts: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (end, text) in texts.iter().enumerate() {
        if end > start && (end - start == BATCH_TEXTS || bytes + text.len() > BATCH_BYTES) {
            batches.push(&texts[start..end]);
            (start, bytes) = (end, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

fn unreachable_server(error: &reqwest::Error) -> EngineError {
    broken_off(chain(error))
}

fn broken_off(cause: String) -> EngineError {
    tracing::warn!(cause, "the embedding server can't be reached");
    EngineError::Unavailable { retry_after_s: RETRY_AFTER }
}

/// Reads a body of at most `limit` bytes.
async fn read_whole(response: Response, limit: usize) -> Result<Vec<u8>, EngineError> {
    let body = read_at_most(response, limit + 1).await.map_err(broken_off)?;
    if body.len() > limit {
        let message = format!("its server's answer has more than {limit} bytes");
        return Err(EngineError::Model { model: "of --embed-url".into(), message });
    }
    Ok(body)
}

fn logged(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    text.truncate(text.floor_char_boundary(MAX_LOGGED));
    text
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
