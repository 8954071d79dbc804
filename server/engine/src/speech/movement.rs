//! Whether sound changes as speech does. Syllables are louder than what is between them, and the pitch of a voice glides. Hum and
//! noise stay equally loud; tones of instruments stay as they are for longer than a tenth of a second.
//!
//! Measured on sentences of four voices of flite, alone and with noise, hum and music behind them, and on drawn sounds: the loudness
//! of speech has a range of at least 2.8 dB within a second (noise, hum and chords: 1 dB), and at most 30 % of its frames are steady
//! (melodies with chords: at least 50 %, with drums 32 to 48 %).

use std::collections::VecDeque;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

/// Samples of a frame: 16 ms.
pub(super) const FRAME: usize = 256;
/// Samples of the spectrum that ends with a frame: 64 ms.
const SPECTRUM: usize = 1024;
/// Frequencies that are compared: 110 Hz to 4 kHz.
const FIRST_BIN: usize = 7;
const BINS: usize = 250;
/// A frame is compared with the one this many before: 96 ms.
const LAG: usize = 6;
/// Cosine of two spectra from which on the later one is steady.
const STEADY: f32 = 0.93;
/// Frames on each side of one that belong to its surroundings: 0.5 s.
const AROUND: usize = 31;
/// Range of loudness, in decibels, that speech has at least around a frame.
const LEAST_RANGE_DB: f32 = 2.5;
/// Part of the loud frames around a frame of speech that may be steady.
const MOST_STEADY: f32 = 0.4;
/// Frames that are this much quieter than the loudest, in decibels, are not counted.
const LOUD_DB: f32 = 20.0;

#[derive(Clone, Copy)]
struct Frame {
    loudness_db: f32,
    is_steady: bool,
}

/// Judges frames by their surroundings, half a second later.
pub(super) struct Movement {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// The last samples.
    samples: VecDeque<f32>,
    /// Powers of the last frames, by which loudness is smoothed.
    powers: [f32; 4],
    /// The last spectra, normalized.
    spectra: VecDeque<Vec<f32>>,
    frames: VecDeque<Frame>,
    /// Where the next frame to judge is in `frames`.
    next: usize,
}

impl Default for Movement {
    fn default() -> Self {
        let step = std::f32::consts::TAU / SPECTRUM as f32;
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(SPECTRUM),
            window: (0..SPECTRUM).map(|i| 0.5 - 0.5 * (step * i as f32).cos()).collect(),
            samples: VecDeque::from(vec![0.0; SPECTRUM]),
            powers: [0.0; 4],
            spectra: VecDeque::with_capacity(LAG + 1),
            frames: VecDeque::with_capacity(2 * AROUND + 2),
            next: 0,
        }
    }
}

impl Movement {
    /// Takes a frame; returns whether one moves that came half a second before.
    pub(super) fn push(&mut self, frame: &[f32]) -> Option<bool> {
        self.samples.drain(..FRAME);
        self.samples.extend(frame);
        self.powers.rotate_left(1);
        self.powers[3] = frame.iter().map(|sample| sample * sample).sum::<f32>() / FRAME as f32;
        let loudness_db = 10.0 * (self.powers.iter().sum::<f32>() / 4.0 + 1e-12).log10();
        let spectrum = self.spectrum();
        let cosine = match self.spectra.len() {
            LAG => self.spectra[0].iter().zip(&spectrum).map(|(a, b)| a * b).sum(),
            _ => 0.0f32,
        };
        if self.spectra.len() == LAG {
            self.spectra.pop_front();
        }
        self.spectra.push_back(spectrum);
        self.frames.push_back(Frame { loudness_db, is_steady: cosine > STEADY });
        (self.frames.len() - self.next > AROUND).then(|| self.judge_next())
    }

    /// Returns whether the next frame moves, at the end of the sound; `None` when there is no other.
    pub(super) fn finish(&mut self) -> Option<bool> {
        (self.next < self.frames.len()).then(|| self.judge_next())
    }

    fn judge_next(&mut self) -> bool {
        let around = self.next.saturating_sub(AROUND)..(self.next + AROUND + 1).min(self.frames.len());
        let moves = moves(self.frames.range(around));
        self.next += 1;
        if self.next > AROUND {
            self.frames.pop_front();
            self.next -= 1;
        }
        moves
    }

    /// Returns the magnitudes of the last samples' spectrum, as a vector of length one.
    fn spectrum(&self) -> Vec<f32> {
        let mut input: Vec<f32> =
            self.samples.iter().zip(&self.window).map(|(sample, window)| sample * window).collect();
        let mut output = self.fft.make_output_vec();
        // It fails only for vectors of another length than its own.
        if self.fft.process(&mut input, &mut output).is_err() {
            return vec![0.0; BINS];
        }
        let mut magnitudes: Vec<f32> =
            output[FIRST_BIN..FIRST_BIN + BINS].iter().map(|value| value.norm()).collect();
        let length = magnitudes.iter().map(|value| value * value).sum::<f32>().sqrt() + 1e-9;
        magnitudes.iter_mut().for_each(|value| *value /= length);
        magnitudes
    }
}

fn moves<'a>(frames: impl Iterator<Item = &'a Frame> + Clone) -> bool {
    let mut loudness: Vec<f32> = frames.clone().map(|frame| frame.loudness_db).collect();
    loudness.sort_by(f32::total_cmp);
    let part = |tenths: usize| loudness[(loudness.len() - 1) * tenths / 10];
    if part(9) - part(1) < LEAST_RANGE_DB {
        return false;
    }
    let least = part(10) - LOUD_DB;
    let loud = frames.filter(|frame| frame.loudness_db > least);
    let (steady, all) =
        loud.fold((0, 0), |(steady, all), frame| (steady + u32::from(frame.is_steady), all + 1));
    steady as f32 <= MOST_STEADY * all as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the judgements of `seconds` of sound at 16 kHz, one per frame.
    fn judge(seconds: f32, sound: impl Fn(f32) -> f32) -> Vec<bool> {
        let samples: Vec<f32> =
            (0..(seconds * 16_000.0) as usize).map(|i| sound(i as f32 / 16_000.0)).collect();
        let mut movement = Movement::default();
        let mut judgements: Vec<bool> =
            samples.chunks_exact(FRAME).filter_map(|frame| movement.push(frame)).collect();
        while let Some(moves) = movement.finish() {
            judgements.push(moves);
        }
        assert_eq!(judgements.len(), samples.len() / FRAME);
        judgements
    }

    fn tone(hertz: f32, t: f32) -> f32 {
        (hertz * t * std::f32::consts::TAU).sin()
    }

    #[test]
    fn what_is_equally_loud_does_not_move() {
        for hertz in [50.0, 220.0, 3000.0] {
            let moving = judge(4.0, |t| 0.3 * tone(hertz, t)).into_iter().filter(|moves| *moves).count();
            // Its beginning is a change.
            assert!(moving <= 40, "{hertz} Hz: {moving}");
        }
        assert!(judge(2.0, |_| 0.0).iter().all(|moves| !moves));
    }

    #[test]
    fn notes_do_not_move_and_glides_do() {
        // Two notes a second that fade; the same with a pitch that glides by a third.
        let fade = |t: f32| (-4.0 * (t * 2.0).fract()).exp();
        let notes = judge(6.0, |t| 0.3 * fade(t) * (1..6).map(|n| tone(200.0 * n as f32, t)).sum::<f32>());
        let glides = judge(6.0, |t| {
            let phase =
                200.0 * t - 50.0 / (4.0 * std::f32::consts::PI) * (2.0 * std::f32::consts::TAU * t).cos();
            0.3 * fade(t) * (1..6).map(|n| (phase * n as f32 * std::f32::consts::TAU).sin()).sum::<f32>()
        });
        let middle = 60..notes.len() - 60;
        assert!(notes[middle.clone()].iter().all(|moves| !moves), "notes move");
        assert!(glides[middle].iter().all(|moves| *moves), "glides do not move");
    }
}
