//! Speech to text: Whisper on candle, or a server that speaks OpenAI's `/v1/audio/transcriptions`.
//!
//! [`open`] returns a [`Speech`], whose [`Speech::transcribe`] takes a stream of samples and reports segments as they are found.
//! Voice activity decides what is transcribed ([`VoiceDetector`]); the sound between is skipped, and times stay those of the
//! sound. A model is loaded when it is first needed and unloaded when it has been idle.

mod config;
mod decode;
mod languages;
mod mel;
mod model;
mod movement;
mod network;
mod planner;
mod remote;
mod segments;
mod tokens;
mod transcribe;
mod voice;
mod wav;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use url::Url;

use crate::candle::DeviceKind;
use crate::{EngineError, ModelSource};

pub use config::{Config, GenerationConfig, SAMPLE_RATE};
pub use decode::Decoded;
pub use languages::{code_of as language_code, name_of as language_name};
pub use mel::Mel;
pub use model::{SpeechModel, WindowInput};
pub use network::{Hidden, Model, Sequence};
pub use tokens::{SpecialTokens, first_largest};
pub use transcribe::{WindowRequest, WindowTranscriber};
pub use voice::{Voice, VoiceDetector};

/// What transcribes.
#[derive(Debug, Clone)]
pub enum SpeechSource {
    /// A Whisper checkpoint on this machine.
    Local {
        /// A directory or an id of the hub.
        model: ModelSource,
        /// Where it runs.
        device: DeviceKind,
        /// How long it stays loaded without work.
        idle: Duration,
    },
    /// A server.
    Remote {
        /// Its address, with or without `/v1`.
        url: Url,
        /// Id of its model.
        model: String,
        /// Sent as a bearer token, if there is one.
        api_key: Option<String>,
    },
}

impl SpeechSource {
    /// Returns a checkpoint on the CPU that is unloaded after 5 minutes without work.
    #[must_use]
    pub fn local(model: ModelSource) -> Self {
        Self::Local { model, device: DeviceKind::Cpu, idle: Duration::from_secs(300) }
    }
}

/// How sound is transcribed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TranscribeOptions {
    /// The second of the file at which the samples begin, which is added to all times. A transcription is resumed at the
    /// position that was reported last.
    pub start_s: f64,
    /// Code of the language, such as `en`. `None` means that it is detected, once for the whole sound.
    pub language: Option<String>,
}

/// A part of what is said.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Where it begins, in seconds of the file.
    pub start_s: f64,
    /// Where it ends.
    pub end_s: f64,
    /// What is said, without control characters.
    pub text: String,
    /// Code of the language; `None` where a server did not say it.
    pub language: Option<String>,
    /// The mean probability of its tokens, geometrically: 0 to 1.
    pub confidence: f32,
}

/// What a transcription has found since the last report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TranscriptProgress<'a> {
    /// New segments, behind all that were reported before.
    pub segments: &'a [Segment],
    /// All before this second of the file is transcribed. Resume here.
    pub position_s: f64,
    /// Code of the language of the whole sound, once it is certain.
    pub language: Option<&'a str>,
}

/// The text of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowText {
    /// Segments in order.
    pub segments: Vec<WindowSegment>,
    /// Seconds from the window's beginning to where the next one begins.
    pub consumed_s: f64,
    /// Its language, where the model says so.
    pub language: Option<WindowLanguage>,
}

/// A segment of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSegment {
    /// Seconds from the window's beginning.
    pub start_s: f64,
    /// Seconds from the window's beginning.
    pub end_s: f64,
    /// What is said.
    pub text: String,
    /// The mean probability of its tokens, geometrically.
    pub confidence: f32,
}

/// A language.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowLanguage {
    /// Code such as `en`.
    pub code: String,
    /// Its probability; 1 where it was given.
    pub probability: f32,
}

/// A handle to what transcribes; cheap to clone.
#[derive(Clone)]
pub struct Speech {
    transcriber: Arc<dyn WindowTranscriber>,
}

/// Opens `source`. Returns immediately: a model is loaded, and downloaded if need be, with the first window.
///
/// # Errors
/// `Failed` when the system gives no thread or no HTTP client.
pub fn open(source: SpeechSource) -> Result<Speech, EngineError> {
    let transcriber: Arc<dyn WindowTranscriber> = match source {
        SpeechSource::Local { model, device, idle } => Arc::new(worker::Worker::spawn(model, device, idle)?),
        SpeechSource::Remote { url, model, api_key } => {
            Arc::new(remote::RemoteSpeech::new(&url, model, api_key)?)
        }
    };
    Ok(Speech { transcriber })
}

impl Speech {
    /// Uses another transcriber of windows.
    #[must_use]
    pub fn new(transcriber: Arc<dyn WindowTranscriber>) -> Self {
        Self { transcriber }
    }

    /// Transcribes sound, given as a stream of samples: 16 kHz, mono, from -1 to 1, up to a minute per item. The stream is read
    /// about eight windows ahead. `on_progress` gets the segments in order. Dropping the future cancels.
    ///
    /// # Errors
    /// Those of the stream; `Invalid` for a language that the model does not know; `Model` when it cannot be loaded;
    /// `Unavailable` when the server cannot be reached. What was reported before stays valid.
    pub async fn transcribe(
        &self,
        samples: impl Stream<Item = Result<Vec<f32>, EngineError>> + Send,
        options: &TranscribeOptions,
        mut on_progress: impl FnMut(TranscriptProgress<'_>) + Send,
    ) -> Result<(), EngineError> {
        let samples = Box::pin(samples);
        transcribe::transcribe(&*self.transcriber, samples, options, &mut on_progress).await
    }

    /// Transcribes one window of at most 30 s.
    ///
    /// # Errors
    /// As [`Self::transcribe`].
    pub async fn window(&self, window: WindowRequest) -> Result<WindowText, EngineError> {
        self.transcriber.transcribe(window).await
    }
}
