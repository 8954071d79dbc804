//! The client of a server that speaks OpenAI's `/v1/audio/transcriptions`, such as vLLM with a Whisper model: one window of sound
//! per request, as a WAV file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::multipart::{Form, Part};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::config::SAMPLE_RATE;
use super::decode::{LEAST_LOGPROB, MOST_COMPRESSION, MOST_NO_SPEECH};
use super::languages;
use super::transcribe::{WindowRequest, WindowTranscriber};
use super::{WindowLanguage, WindowSegment, WindowText, wav};
use crate::EngineError;
use crate::upstream::{self, chain, read_at_most};

/// Timeout of a window.
const WINDOW_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes read of a response; 30 s of speech have some 20 KB.
const MAX_BODY: usize = 1 << 20;
/// Bytes of an error response that are logged.
const MAX_LOGGED: usize = 2000;
/// Samples per request.
const WINDOW: usize = 30 * SAMPLE_RATE;
/// Requests at the same time.
const REQUESTS: usize = 4;
/// Segments of one window.
const MAX_SEGMENTS: usize = 512;
/// A segment that ends this near to the end of a full window, in seconds, may be cut off.
const CUT_S: f64 = 0.3;
/// Seconds for a retry where the server does not say.
const RETRY_AFTER_S: u64 = 5;
const MAX_RETRY_AFTER_S: u64 = 300;

/// A server's client.
pub(super) struct RemoteSpeech {
    http: reqwest::Client,
    url: String,
    model: String,
    api_key: Option<String>,
    /// Whether the server has refused segments, so that only text is asked for.
    text_only: AtomicBool,
}

/// A response; `json` has nothing but the text.
#[derive(Deserialize)]
struct Transcription {
    text: String,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    segments: Option<Vec<RemoteSegment>>,
}

#[derive(Deserialize)]
struct RemoteSegment {
    start: f64,
    end: f64,
    text: String,
    #[serde(default)]
    avg_logprob: Option<f32>,
    #[serde(default)]
    no_speech_prob: Option<f32>,
    #[serde(default)]
    compression_ratio: Option<f32>,
}

/// Why a request failed.
enum Refusal {
    /// The server does not return segments.
    NoSegments,
    /// Any other cause.
    Other(EngineError),
}

impl RemoteSpeech {
    /// Prepares requests to the server at `url`, with or without `/v1`.
    ///
    /// # Errors
    /// `Failed` when there is no TLS.
    pub(super) fn new(url: &Url, model: String, api_key: Option<String>) -> Result<Self, EngineError> {
        let http = upstream::client(|client| client.timeout(WINDOW_TIMEOUT))?;
        let base = upstream::base(url);
        let url = format!("{base}/v1/audio/transcriptions");
        Ok(Self { http, url, model, api_key, text_only: AtomicBool::new(false) })
    }

    async fn window(&self, window: WindowRequest) -> Result<WindowText, EngineError> {
        let samples = &window.samples[..window.samples.len().min(WINDOW)];
        let file = bytes::Bytes::from(wav::encode(samples));
        if !self.text_only.load(Ordering::Relaxed) {
            match self.request(file.clone(), &window, "verbose_json").await {
                Ok(transcription) => return Ok(text_of(transcription, &window, samples.len())),
                Err(Refusal::Other(error)) => return Err(error),
                Err(Refusal::NoSegments) => {
                    tracing::warn!(
                        "the speech server returns no segments; captions have the times of voice only"
                    );
                    self.text_only.store(true, Ordering::Relaxed);
                }
            }
        }
        match self.request(file, &window, "json").await {
            Ok(transcription) => Ok(text_of(transcription, &window, samples.len())),
            Err(Refusal::Other(error)) => Err(error),
            Err(Refusal::NoSegments) => {
                Err(EngineError::Failed("the speech server refuses the response_format json".into()))
            }
        }
    }

    async fn request(
        &self,
        file: bytes::Bytes,
        window: &WindowRequest,
        format: &'static str,
    ) -> Result<Transcription, Refusal> {
        let len = file.len() as u64;
        let part = Part::stream_with_length(file, len).file_name("window.wav").mime_str("audio/wav");
        let part = part.map_err(|error| Refusal::Other(EngineError::Failed(error.to_string())))?;
        let mut form = Form::new()
            .part("file", part)
            .text("model", self.model.clone())
            .text("response_format", format)
            .text("temperature", "0");
        if let Some(language) = &window.language {
            form = form.text("language", language.clone());
        }
        let mut request = self.http.post(&self.url).multipart(form);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(|error| {
            tracing::warn!(cause = chain(&error), "the speech server can't be reached");
            Refusal::Other(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S })
        })?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response, format).await);
        }
        let body = read_at_most(response, MAX_BODY).await.map_err(|cause| {
            tracing::warn!(cause, "the speech server broke off its answer");
            Refusal::Other(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S })
        })?;
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!("the speech server's answer is no transcription in {format}: {error}");
            Refusal::Other(EngineError::Failed(message))
        })
    }
}

impl WindowTranscriber for RemoteSpeech {
    fn window_samples(&self) -> usize {
        WINDOW
    }

    fn concurrency(&self) -> usize {
        REQUESTS
    }

    fn detects_language(&self) -> bool {
        false
    }

    fn transcribe(&self, window: WindowRequest) -> BoxFuture<'_, Result<WindowText, EngineError>> {
        self.window(window).boxed()
    }
}

/// Maps an error response. The cause is logged; the error has our own message, because a server's may contain paths and
/// addresses.
async fn refusal(response: Response, format: &str) -> Refusal {
    let status = response.status().as_u16();
    let retry_after_s = upstream::retry_after_s(response.headers());
    let retry_after_s = retry_after_s.unwrap_or(RETRY_AFTER_S).clamp(1, MAX_RETRY_AFTER_S);
    let body = read_at_most(response, MAX_LOGGED).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    let about_format = body.contains("response_format") || body.contains("verbose_json");
    if matches!(status, 400 | 422) && about_format && format != "json" {
        return Refusal::NoSegments;
    }
    tracing::warn!(status, %body, "the speech server answered with an error status");
    Refusal::Other(match status {
        429 => EngineError::Overloaded { queued: REQUESTS, retry_after_s },
        502..=504 => EngineError::Unavailable { retry_after_s },
        400 | 422 if body.contains("language") => {
            EngineError::invalid("language", "the speech server does not know this language")
        }
        _ => EngineError::Failed(format!("the speech server answered {status}")),
    })
}

/// Makes segments of a transcription of a window of `len` samples.
fn text_of(transcription: Transcription, window: &WindowRequest, len: usize) -> WindowText {
    let len_s = len as f64 / SAMPLE_RATE as f64;
    let code = transcription.language.as_deref().and_then(languages::code_of).map(str::to_owned);
    let language =
        code.or_else(|| window.language.clone()).map(|code| WindowLanguage { code, probability: 1.0 });
    let Some(segments) = transcription.segments else {
        let segment = WindowSegment { start_s: 0.0, end_s: len_s, text: transcription.text, confidence: 1.0 };
        return WindowText { segments: vec![segment], consumed_s: len_s, language };
    };
    let mut segments: Vec<RemoteSegment> = segments
        .into_iter()
        .take(MAX_SEGMENTS)
        .filter(|segment| segment.start.is_finite() && segment.end.is_finite())
        .collect();
    segments.sort_by(|a, b| a.start.total_cmp(&b.start));
    // The last segment of a full window may be cut off in the middle of a word: the next window begins with it.
    let mut consumed_s = len_s;
    if len == WINDOW
        && segments.len() > 1
        && let Some(last) = segments.pop_if(|last| last.end > len_s - CUT_S && last.start > 0.0)
    {
        consumed_s = last.start.min(len_s);
    }
    segments.retain(|segment| !is_rejected(segment));
    let segments = segments.into_iter().map(|segment| WindowSegment {
        start_s: segment.start.clamp(0.0, len_s),
        end_s: segment.end.clamp(0.0, len_s),
        text: segment.text,
        confidence: segment.avg_logprob.unwrap_or(0.0).exp().clamp(0.0, 1.0),
    });
    WindowText { segments: segments.collect(), consumed_s, language }
}

/// Returns whether Whisper's own rules reject a segment.
fn is_rejected(segment: &RemoteSegment) -> bool {
    let is_silent = segment.no_speech_prob.is_some_and(|probability| probability > MOST_NO_SPEECH)
        && segment.avg_logprob.is_some_and(|logprob| logprob < LEAST_LOGPROB);
    is_silent || segment.compression_ratio.is_some_and(|ratio| ratio > MOST_COMPRESSION)
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
