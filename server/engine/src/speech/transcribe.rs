//! Transcribes sound of any length: chunks of it at the same time, each window after window from the last complete timestamp on,
//! as Whisper's sequential algorithm does, so that no word is lost or doubled. Windows do not see the text before them: that
//! makes repetitions spread, and keeps windows from being independent.

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};

use super::config::SAMPLE_RATE;
use super::planner::{Chunk, Planner, Samples};
use super::voice::Voice;
use super::{Segment, TranscribeOptions, TranscriptProgress, WindowText};
use crate::EngineError;

/// Windows per chunk. A window that consumes nearly nothing would take for ever.
const MOST_WINDOWS: usize = 16;
/// Samples that a window of an open chunk consumes at least, for the same reason: 1 s.
const LEAST_STEP: u64 = SAMPLE_RATE as u64;
/// Voice shorter than this behind the last timestamp of a chunk is its padding.
const REST: u64 = SAMPLE_RATE as u64 / 5;
/// How far a segment may reach beyond voice, in seconds.
const SLACK_S: f64 = 0.1;
/// Seconds of a span of voice that are in the segment to which it belongs, unless it is shorter.
const OVERLAP_S: f64 = 0.2;
/// A segment that is both shorter than this, in seconds, and less probable than [`IMPROBABLE`] is dropped: for a noise that passes
/// for voice, Whisper writes a short phrase such as "Thank you." in which it has no confidence.
const BRIEF_S: f64 = 1.5;
/// Confidence at the mean log-probability of -1, below which Whisper's own rule doubts a text.
const IMPROBABLE: f32 = 0.367_879_44;
/// From this probability on, a window's language is that of the whole sound.
const CERTAIN: f32 = 0.5;
/// Characters of a segment's text; people speak 25 a second.
const MOST_TEXT: usize = 2000;

/// A window to transcribe.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowRequest {
    /// 16 kHz, mono, from -1 to 1.
    pub samples: Vec<f32>,
    /// Code of its language; `None` means that it is detected.
    pub language: Option<String>,
}

/// What transcribes single windows: a model on this machine, or a server.
pub trait WindowTranscriber: Send + Sync {
    /// Returns the samples of the longest window.
    fn window_samples(&self) -> usize;

    /// Returns how many windows are worth having at the same time.
    fn concurrency(&self) -> usize;

    /// Returns whether it says with certainty what language a window has, so that the first one decides for all.
    fn detects_language(&self) -> bool;

    /// Transcribes a window. Dropping the future cancels it.
    fn transcribe(&self, window: WindowRequest) -> BoxFuture<'_, Result<WindowText, EngineError>>;
}

/// The segments of a chunk.
struct Done {
    segments: Vec<Segment>,
    /// The sample up to which it is transcribed.
    end: u64,
    open: bool,
    /// Its language, if that is certain.
    language: Option<String>,
}

/// Transcribes `samples`; see [`super::Speech::transcribe`].
pub(super) async fn transcribe(
    transcriber: &dyn WindowTranscriber,
    samples: Samples<'_>,
    options: &TranscribeOptions,
    on_progress: &mut (dyn FnMut(TranscriptProgress<'_>) + Send),
) -> Result<(), EngineError> {
    let seconds = |sample: u64| options.start_s + sample as f64 / SAMPLE_RATE as f64;
    let mut planner = Planner::new(samples, transcriber.window_samples());
    let mut running = FuturesOrdered::new();
    let mut language = options.language.clone();
    let (mut ended, mut waits) = (false, false);
    let mut last_end_s = options.start_s;
    loop {
        let reads = !ended && !waits && running.len() < transcriber.concurrency();
        tokio::select! {
            biased;
            Some(done) = running.next(), if !running.is_empty() => {
                let mut done: Done = done?;
                language = language.or(done.language);
                if done.open {
                    planner.seek(done.end);
                }
                waits = false;
                for segment in &mut done.segments {
                    segment.start_s = (options.start_s + segment.start_s).max(last_end_s);
                    segment.end_s = (options.start_s + segment.end_s).max(segment.start_s);
                    last_end_s = segment.end_s;
                }
                on_progress(TranscriptProgress {
                    segments: &done.segments,
                    position_s: seconds(done.end),
                    language: language.as_deref(),
                });
            }
            chunk = planner.next(), if reads => match chunk? {
                Some(chunk) => {
                    // The next chunk needs the end of an open one, and the language of the first.
                    waits = chunk.open || (language.is_none() && transcriber.detects_language());
                    running.push_back(transcribe_chunk(transcriber, chunk, language.clone()).boxed());
                }
                None => ended = true,
            },
            else => break,
        }
    }
    let end_s = seconds(planner.position());
    on_progress(TranscriptProgress { segments: &[], position_s: end_s, language: language.as_deref() });
    Ok(())
}

/// Transcribes one chunk. Times are in seconds from the beginning of the sound.
async fn transcribe_chunk(
    transcriber: &dyn WindowTranscriber,
    chunk: Chunk,
    language: Option<String>,
) -> Result<Done, EngineError> {
    let mut done =
        Done { segments: Vec::new(), end: chunk.start, open: chunk.open, language: language.clone() };
    let chunk_end = chunk.start + chunk.samples.len() as u64;
    for attempt in 1.. {
        let samples = chunk.samples[(done.end - chunk.start) as usize..].to_vec();
        let request = WindowRequest { samples, language: language.clone() };
        let WindowText { segments, consumed_s, language: found } = transcriber.transcribe(request).await?;
        let from_s = done.end as f64 / SAMPLE_RATE as f64;
        let code = found.as_ref().map(|found| found.code.clone());
        done.segments.extend(segments.into_iter().filter_map(|segment| {
            let times = (from_s + segment.start_s, from_s + segment.end_s);
            let (start_s, end_s) = within_voice(&chunk.voice, times)?;
            let text = printable(&segment.text).filter(|_| is_said(end_s - start_s, segment.confidence))?;
            Some(Segment { start_s, end_s, text, language: code.clone(), confidence: segment.confidence })
        }));
        let certain = found.filter(|found| found.probability >= CERTAIN).map(|found| found.code);
        done.language = done.language.or(certain);
        let consumed = (consumed_s.max(0.0) * SAMPLE_RATE as f64) as u64;
        let consumed = if chunk.open && consumed > 0 { consumed.max(LEAST_STEP) } else { consumed };
        done.end = (done.end + consumed).min(chunk_end);
        let rest = chunk.voice.last().map_or(0, |voice| voice.end.saturating_sub(done.end));
        if chunk.open && consumed > 0 {
            break;
        }
        if rest <= REST || consumed == 0 || attempt == MOST_WINDOWS {
            done.end = chunk_end;
            break;
        }
    }
    Ok(done)
}

/// Returns the part of a segment in which somebody speaks: Whisper's first timestamp is often that of the window, and the next
/// ones are often where the segment before ends. `None` if nobody does.
fn within_voice(voice: &[Voice], (start_s, end_s): (f64, f64)) -> Option<(f64, f64)> {
    let seconds = |sample: u64| sample as f64 / SAMPLE_RATE as f64;
    let touches =
        |voice: &&Voice| seconds(voice.start) - SLACK_S < end_s && seconds(voice.end) + SLACK_S > start_s;
    // What only touches the segment is said in the one beside it.
    let overlaps = |voice: &&Voice| {
        let overlap = end_s.min(seconds(voice.end)) - start_s.max(seconds(voice.start));
        overlap >= OVERLAP_S.min(seconds(voice.end - voice.start))
    };
    let first = voice.iter().find(overlaps).or_else(|| voice.iter().find(touches))?;
    let last = voice.iter().rev().find(overlaps).or_else(|| voice.iter().rev().find(touches))?;
    let start_s = start_s.max(seconds(first.start) - SLACK_S).max(0.0);
    Some((start_s, end_s.min(seconds(last.end) + SLACK_S).max(start_s)))
}

/// Returns whether a segment of `len_s` seconds is taken for speech.
fn is_said(len_s: f64, confidence: f32) -> bool {
    len_s >= BRIEF_S || confidence >= IMPROBABLE
}

/// Returns text without control characters, of bounded length: models and servers may return anything. `None` if nothing is
/// left.
fn printable(text: &str) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_TEXT).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
#[path = "transcribe_tests.rs"]
mod tests;
