//! Speech to text for jobs and requests: the engine that transcribes, its name, and what it has done so far. Independent of HTTP
//! and the library.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{Stream, stream};
use homereel_engine::{
    EngineError, ModelSource,
    speech::{self, Speech, SpeechSource, TranscribeOptions, TranscriptProgress},
};
use homereel_video::{SampleStream, VideoError};

use crate::{
    ask_error::AskError,
    config::{SpeechBackend, SpeechConfig},
};

/// Niceness of a model in this process: pages and answers go first.
const NICE: i32 = 10;

/// Environment variable with the API key of `--speech-url`.
const API_KEY: &str = "HOMEREEL_SPEECH_API_KEY";

/// First and longest delay after a failure of the server.
const FIRST_DELAY_S: u64 = 5;
const MAX_DELAY_S: u64 = 300;

/// For whom sound is transcribed, as metrics call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechUse {
    /// A job.
    Job,
    /// A request to `/v1/audio/transcriptions`.
    Request,
}

impl SpeechUse {
    fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Request => "request",
        }
    }
}

/// Transcribes sound. Cheap to clone.
#[derive(Clone)]
pub struct SpeechService {
    speech: Speech,
    name: Arc<str>,
    language: Option<String>,
    /// Failures of the server since it last answered.
    failures: Arc<AtomicU32>,
}

impl std::fmt::Debug for SpeechService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeechService").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SpeechService {
    /// Opens what the settings name. Returns at once: a model is loaded when it is first needed.
    ///
    /// # Errors
    /// When the system gives no thread or no HTTP client.
    pub fn open(config: &SpeechConfig) -> anyhow::Result<Self> {
        let (source, name) = match &config.backend {
            SpeechBackend::Model(model) => (SpeechSource::local(model.clone()), model_name(model)),
            SpeechBackend::Server { url, model } => {
                let api_key = std::env::var(API_KEY).ok().filter(|key| !key.is_empty());
                let remote = SpeechSource::Remote { url: url.clone(), model: model.clone(), api_key };
                (remote, model.clone())
            }
        };
        // Threads inherit the priority of the thread that starts them.
        let opening = std::thread::Builder::new().spawn(move || {
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::debug!(%error, "failed to lower the CPU priority of the speech model; continuing at normal priority");
            }
            speech::open(source)
        })?;
        let opened = opening.join().map_err(|_| anyhow::anyhow!("opening the speech model panicked"))?;
        let speech = opened.context("failed to open the speech model")?;
        Ok(Self::new(&name, speech, config.language.clone()))
    }

    /// Creates a service from its parts.
    #[must_use]
    pub fn new(name: &str, speech: Speech, language: Option<String>) -> Self {
        Self { speech, name: name.into(), language, failures: Arc::default() }
    }

    /// Returns the name of the model.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the language that the settings name.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }

    /// Returns how long to wait before the next attempt after `error`; `None` means that it is not temporary. Doubles with every
    /// failure until something succeeds.
    pub(crate) fn delay(&self, error: &AskError) -> Option<Duration> {
        let AskError::Engine(
            EngineError::Unavailable { retry_after_s } | EngineError::Overloaded { retry_after_s, .. },
        ) = error
        else {
            return None;
        };
        let before = self.failures.fetch_add(1, Ordering::Relaxed).min(10);
        let seconds = (FIRST_DELAY_S << before).max(*retry_after_s).min(MAX_DELAY_S);
        Some(Duration::from_secs(seconds))
    }

    /// Transcribes a stream of samples. `on_progress` gets the lines in order. Dropping the future cancels.
    ///
    /// # Errors
    /// Those of the stream, and of the engine.
    pub async fn transcribe(
        &self,
        samples: impl Stream<Item = Result<Vec<f32>, AskError>> + Send,
        options: TranscribeOptions,
        purpose: SpeechUse,
        mut on_progress: impl FnMut(TranscriptProgress<'_>) + Send,
    ) -> Result<(), AskError> {
        let mut heard = Heard::new(purpose, options.start_s);
        // The engine's streams have the engine's errors, so those of the decoder are kept aside.
        let failure = Mutex::new(None);
        let samples = futures_util::StreamExt::map(samples, |block| {
            block.map_err(|error| {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                EngineError::Failed("the sound could not be read".into())
            })
        });
        let done = self
            .speech
            .transcribe(samples, &options, |progress| {
                heard.position_s = progress.position_s;
                self.failures.store(0, Ordering::Relaxed);
                on_progress(progress);
            })
            .await;
        let unread = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        let result = match unread {
            Some(error) => Err(error),
            None => done.map_err(AskError::from),
        };
        if result.as_ref().is_err_and(|error| !matches!(error, AskError::Video(_))) {
            metrics::counter!("homereel_speech_failures_total", "for" => purpose.as_str()).increment(1);
        }
        result
    }
}

/// Returns the samples of a decoder as a stream.
pub(crate) fn stream_of(samples: SampleStream) -> impl Stream<Item = Result<Vec<f32>, AskError>> + Send {
    stream::unfold(Some(samples), |samples| async {
        let mut samples = samples?;
        match samples.next().await {
            Ok(Some(block)) => Some((Ok(block), Some(samples))),
            Ok(None) => None,
            Err(error) => Some((Err(AskError::Video(error)), None)),
        }
    })
}

/// Returns why a file has no sound to transcribe, if that is what an error says: such a file is not a failure.
pub(crate) fn no_sound(error: &AskError) -> Option<String> {
    match error {
        AskError::Video(VideoError::NoSound { message }) => Some(message.clone()),
        AskError::Video(error) if error.kind() == homereel_video::VideoErrorKind::BadVideo => {
            Some(error.to_string())
        }
        _ => None,
    }
}

fn model_name(model: &ModelSource) -> String {
    match model {
        ModelSource::Dir(directory) => {
            let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
            absolute.file_name().map_or_else(|| "whisper".into(), |name| name.to_string_lossy().into_owned())
        }
        ModelSource::Hub { id, .. } => id.clone(),
        ModelSource::Demo => "whisper".into(),
    }
}

/// Counts what was transcribed when it ends, however it ends.
struct Heard {
    purpose: SpeechUse,
    started: Instant,
    start_s: f64,
    position_s: f64,
}

impl Heard {
    fn new(purpose: SpeechUse, start_s: f64) -> Self {
        Self { purpose, started: Instant::now(), start_s, position_s: start_s }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let seconds = (self.position_s - self.start_s).max(0.0).round() as u64;
        let purpose = self.purpose.as_str();
        metrics::counter!("homereel_speech_sound_seconds_total", "for" => purpose).increment(seconds);
        metrics::histogram!("homereel_speech_transcription_seconds", "for" => purpose)
            .record(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
pub(crate) mod tests;
