//! Plans what is transcribed at a time: chunks of a stream of samples that begin and end in pauses and fit into a window. Where
//! somebody speaks for longer without a pause, the chunk is open: the next one begins where the transcript of this one says.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};

use super::config::SAMPLE_RATE;
use super::voice::{Voice, VoiceDetector};
use crate::EngineError;

/// Sound around voice that belongs to a chunk: quiet consonants are not voice to the detector.
const PADDING: u64 = SAMPLE_RATE as u64 / 5;
/// Longest pause within a chunk: 5 s. A longer one is not transcribed, so that nothing is made up for it.
const LONGEST_PAUSE: u64 = 5 * SAMPLE_RATE as u64;
/// Samples that one item of the stream may have: 1 min.
const MOST_SAMPLES: usize = 60 * SAMPLE_RATE;

/// A stream of samples: 16 kHz, mono, from -1 to 1.
pub(super) type Samples<'a> = Pin<Box<dyn Stream<Item = Result<Vec<f32>, EngineError>> + Send + 'a>>;

/// A part of the sound to transcribe.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    /// Its first sample in the sound.
    pub(super) start: u64,
    /// Its samples, at most those of a window.
    pub(super) samples: Vec<f32>,
    /// Where somebody speaks in it, in samples of the sound.
    pub(super) voice: Vec<Voice>,
    /// Whether somebody speaks at its end; [`Planner::seek`] then says where the next one begins.
    pub(super) open: bool,
}

/// Reads samples and cuts them into chunks. Memory is bounded by two windows and one item of the stream.
pub(super) struct Planner<'a> {
    source: Samples<'a>,
    /// Samples of a window.
    window: u64,
    voice: VoiceDetector,
    /// Samples from `base` on.
    buffer: Vec<f32>,
    base: u64,
    /// What is before this sample has been planned.
    position: u64,
    ended: bool,
}

impl<'a> Planner<'a> {
    /// Plans windows of `window` samples.
    #[must_use]
    pub(super) fn new(source: Samples<'a>, window: usize) -> Self {
        Self {
            source,
            window: window as u64,
            voice: VoiceDetector::default(),
            buffer: Vec::new(),
            base: 0,
            position: 0,
            ended: false,
        }
    }

    /// Returns the sample up to which the sound has been planned.
    #[must_use]
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Goes back within an open chunk to where the next one begins.
    pub(super) fn seek(&mut self, position: u64) {
        self.position = position.max(self.base);
    }

    /// Returns the next chunk; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of the stream; `Failed` for an item that is too long.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, EngineError> {
        loop {
            self.voice.forget(self.position);
            let first = self.voice.spans().front().map(|span| span.start).or(self.voice.open());
            let Some(first) = first else {
                // Nothing but silence so far; its end may be the padding of what comes.
                self.position = self.position.max(self.voice.decided().saturating_sub(PADDING));
                if self.ended {
                    self.position = self.end();
                    return Ok(None);
                }
                self.drop_planned();
                self.read().await?;
                continue;
            };
            let start = self.position.max(first.saturating_sub(PADDING));
            if !self.ended && self.voice.decided() < start + self.window + PADDING {
                self.position = start;
                self.drop_planned();
                self.read().await?;
                continue;
            }
            // Voice that ends with the sound leaves nothing behind it.
            if start >= self.end() {
                self.position = self.end();
                return Ok(None);
            }
            return Ok(Some(self.chunk(start)));
        }
    }

    /// Cuts the chunk that begins at `start`. The sound is known up to the end of its window.
    fn chunk(&mut self, start: u64) -> Chunk {
        let limit = (start + self.window).min(self.end());
        let mut spans = self.voice.spans().iter().copied().collect::<Vec<_>>();
        // What goes on does not end within the window.
        spans.extend(self.voice.open().map(|start| Voice { start, end: u64::MAX }));
        let (mut voice, mut end): (Vec<Voice>, u64) = (Vec::new(), start);
        for (index, span) in spans.iter().enumerate() {
            let pause_before = span.start.saturating_sub(end);
            // Half of a short pause is the next chunk's.
            let pause = spans.get(index + 1).map_or(u64::MAX, |next| next.start.saturating_sub(span.end));
            let padded = span.end.saturating_add(PADDING.min(pause / 2));
            let fits = padded <= limit || (self.ended && span.end <= limit);
            if !voice.is_empty() && (pause_before > LONGEST_PAUSE || !fits) {
                break;
            }
            voice.push(Voice { start: span.start.max(start), end: span.end.min(limit) });
            if !fits {
                return self
                    .take(Chunk { start, samples: Vec::new(), voice, open: limit < self.end() }, limit);
            }
            end = padded.min(limit);
        }
        self.take(Chunk { start, samples: Vec::new(), voice, open: false }, end)
    }

    fn take(&mut self, mut chunk: Chunk, end: u64) -> Chunk {
        chunk.samples = self.buffer[(chunk.start - self.base) as usize..(end - self.base) as usize].to_vec();
        self.position = if chunk.open { chunk.start } else { end };
        chunk
    }

    /// Returns the sample behind the last one that has been read.
    fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    fn drop_planned(&mut self) {
        let planned = (self.position - self.base).min(self.buffer.len() as u64);
        self.buffer.drain(..planned as usize);
        self.base += planned;
    }

    async fn read(&mut self) -> Result<(), EngineError> {
        match self.source.next().await.transpose()? {
            Some(samples) if samples.len() > MOST_SAMPLES => Err(EngineError::Failed(format!(
                "{} samples came at once; at most {MOST_SAMPLES} would fit",
                samples.len()
            ))),
            Some(samples) => {
                self.voice.push(&samples);
                self.buffer.extend_from_slice(&samples);
                Ok(())
            }
            None => {
                self.voice.finish();
                self.ended = true;
                Ok(())
            }
        }
    }
}
