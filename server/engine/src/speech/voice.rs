//! Voice activity: where somebody speaks, so that silence, hum, noise and music are not transcribed. The crate earshot judges each
//! 16 ms; what changes too little to be speech is excluded by [`Movement`]; this file makes spans of the rest.

use std::collections::VecDeque;

use earshot::Detector;

use super::movement::{FRAME, Movement};

/// Score from which on a frame is voice, and below which it no longer is.
const ON: f32 = 0.5;
const OFF: f32 = 0.35;
/// Frames of voice in a row that begin a span: 48 ms.
const FRAMES_ON: u64 = 3;
/// Frames without voice that end a span: 0.3 s, longer than the stops within words.
const FRAMES_OFF: u64 = 19;
/// Frames that a span has at least: 0.11 s. Clicks and knocks are shorter, words are not.
const LEAST_FRAMES: u64 = 7;
/// A mean square below this, -70 dBFS, is silence, whatever it resembles.
const LEAST_POWER: f32 = 1e-7;

/// A span of voice, in samples from the beginning of the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice {
    /// First sample.
    pub start: u64,
    /// The sample behind the last one.
    pub end: u64,
}

/// Finds spans of voice in a stream of samples.
pub struct VoiceDetector {
    detector: Box<Detector>,
    movement: Movement,
    /// Scores of the frames whose movement is not known yet.
    scores: VecDeque<f32>,
    /// Samples of a frame that is not complete.
    pending: Vec<f32>,
    /// Samples that came, without the silence that completes the last frame.
    samples: u64,
    /// Frames that have been judged.
    frames: u64,
    /// Frames of voice in a row, while there is no span.
    on: u64,
    /// The span in progress: its first frame, and the one behind its last frame of voice.
    open: Option<(u64, u64)>,
    spans: VecDeque<Voice>,
}

impl Default for VoiceDetector {
    fn default() -> Self {
        Self {
            detector: Detector::default_boxed(),
            movement: Movement::default(),
            scores: VecDeque::new(),
            pending: Vec::with_capacity(FRAME),
            samples: 0,
            frames: 0,
            on: 0,
            open: None,
            spans: VecDeque::new(),
        }
    }
}

impl VoiceDetector {
    /// Judges samples (16 kHz, mono, from -1 to 1).
    pub fn push(&mut self, samples: &[f32]) {
        self.samples += samples.len() as u64;
        for sample in samples {
            // What is no number is silence; the detector accepts -1 to 1 only.
            self.pending.push(if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) });
            if self.pending.len() == FRAME {
                self.frame();
            }
        }
    }

    /// Judges what is left at the end of the sound.
    pub fn finish(&mut self) {
        if !self.pending.is_empty() {
            self.pending.resize(FRAME, 0.0);
            self.frame();
        }
        while let Some(moves) = self.movement.finish() {
            self.judge(moves);
        }
        self.close();
    }

    /// Returns finished spans, in order.
    #[must_use]
    pub fn spans(&self) -> &VecDeque<Voice> {
        &self.spans
    }

    /// Returns the beginning of the span in progress.
    #[must_use]
    pub fn open(&self) -> Option<u64> {
        self.open.map(|(first, _)| first * FRAME as u64)
    }

    /// Returns the sample before which all is decided: no span that is not known yet begins before it.
    #[must_use]
    pub fn decided(&self) -> u64 {
        (self.frames - self.on) * FRAME as u64
    }

    /// Forgets the spans that end before the sample `until`.
    pub fn forget(&mut self, until: u64) {
        while self.spans.front().is_some_and(|span| span.end <= until) {
            self.spans.pop_front();
        }
    }

    /// Takes a complete frame.
    fn frame(&mut self) {
        let power = self.pending.iter().map(|sample| sample * sample).sum::<f32>() / FRAME as f32;
        // Silent frames are judged as well, since the detector looks back.
        let score = self.detector.predict_f32(&self.pending);
        self.scores.push_back(if power < LEAST_POWER { 0.0 } else { score });
        let moves = self.movement.push(&self.pending);
        self.pending.clear();
        if let Some(moves) = moves {
            self.judge(moves);
        }
    }

    /// Judges the next frame, given whether the sound around it changes as speech does.
    fn judge(&mut self, moves: bool) {
        let score = self.scores.pop_front().filter(|_| moves).unwrap_or(0.0);
        self.frames += 1;
        match &mut self.open {
            None => {
                self.on = if score >= ON { self.on + 1 } else { 0 };
                if self.on >= FRAMES_ON {
                    self.open = Some((self.frames - self.on, self.frames));
                    self.on = 0;
                }
            }
            Some((_, end)) => {
                if score >= OFF {
                    *end = self.frames;
                } else if self.frames - *end >= FRAMES_OFF {
                    self.close();
                }
            }
        }
    }

    fn close(&mut self) {
        if let Some((first, end)) = self.open.take()
            && end - first >= LEAST_FRAMES
        {
            let end = (end * FRAME as u64).min(self.samples);
            self.spans.push_back(Voice { start: first * FRAME as u64, end });
        }
    }
}
