//! A stub of a server that transcribes: answers each window of sound with one line that says its number, or as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Bytes of a second of sound in a WAV file: 16 kHz, 16 bits.
const SECOND: f64 = 32_000.0;

/// What the stub does and has seen.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// What is said in every window, instead of its number.
    pub(crate) text: Option<String>,
    /// Words that are said one after the other, each in a line of about 6 s, instead.
    pub(crate) words: Vec<&'static str>,
    /// Requests that came, answered or not.
    pub(crate) arrived: usize,
    /// Requests that were answered: seconds of sound, and the other fields as they were sent.
    pub(crate) requests: Vec<(f64, String)>,
}

/// A running stub; ends with its handle.
#[derive(Debug)]
pub(crate) struct StubSpeech {
    pub(crate) url: String,
    /// Permits of answers; every request takes one for good.
    pub(crate) permits: Arc<Semaphore>,
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl StubSpeech {
    /// Starts a stub that answers everything.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), Semaphore::MAX_PERMITS).await
    }

    /// Starts a stub that answers so many requests, and holds the others.
    pub(crate) async fn start_at(address: SocketAddr, answers: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (permits, inner) = (Arc::new(Semaphore::new(answers)), Arc::default());
        let router = Router::new()
            .route("/v1/audio/transcriptions", post(transcribe))
            .layer(DefaultBodyLimit::disable())
            .with_state((Arc::clone(&permits), Arc::clone(&inner)));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, permits, inner, task })
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StubSpeech {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn transcribe(
    State((permits, inner)): State<(Arc<Semaphore>, Arc<Mutex<Inner>>)>,
    body: Bytes,
) -> Response {
    let Some(start) = body.windows(4).position(|bytes| bytes == b"RIFF") else {
        return (StatusCode::BAD_REQUEST, "there is no WAV file").into_response();
    };
    let length = body[start + 4..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let end = (start + 8 + length as usize).min(body.len());
    let fields = [&body[..start], &body[end..]].concat();
    let fields = String::from_utf8_lossy(&fields).into_owned();
    let seconds = f64::from(length.saturating_sub(36)) / SECOND;
    inner.lock().unwrap_or_else(PoisonError::into_inner).arrived += 1;
    let Ok(permit) = permits.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    permit.forget();
    let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
    inner.requests.push((seconds, fields));
    let number = inner.requests.len();
    if !inner.words.is_empty() {
        let before =
            (inner.requests[..number - 1].iter().map(|(seconds, _)| lines_of(*seconds))).sum::<usize>();
        let count = lines_of(seconds);
        let line = |at: usize| {
            let word = inner.words[(before + at) % inner.words.len()];
            let (start, end) =
                (seconds * at as f64 / count as f64, seconds * (at + 1) as f64 / count as f64 - 0.5);
            json!({ "id": at, "start": start, "end": end, "text": format!("Now we say {word} to everybody.") })
        };
        let segments: Vec<_> = (0..count).map(line).collect();
        return Json(json!({ "language": "en", "duration": seconds, "text": "", "segments": segments }))
            .into_response();
    }
    let text = inner.text.clone().unwrap_or_else(|| format!("The frog jumps for the time number {number}."));
    let segment = json!({
        "id": 0, "start": 0.0, "end": seconds, "text": text, "avg_logprob": -0.25, "no_speech_prob": 0.01,
        "compression_ratio": 1.2,
    });
    Json(json!({ "task": "transcribe", "language": "english", "duration": seconds, "text": text, "segments": [segment] }))
        .into_response()
}

/// Returns the number of lines in so many seconds.
fn lines_of(seconds: f64) -> usize {
    ((seconds / 6.0).round() as usize).max(1)
}
