//! Log-mel features of sound, equal to those of transformers' `WhisperFeatureExtractor`: Slaney's mel scale, a periodic Hann
//! window, reflected ends, eight decades below the loudest value.

use std::f64::consts::PI;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::{RealFftPlanner, RealToComplex};

use super::config::{FFT, HOP, SAMPLE_RATE};

/// Smallest power, of which the logarithm is taken.
const FLOOR: f32 = 1e-10;
/// Below the loudest value, in decades, nothing is told apart.
const DECADES: f32 = 8.0;
/// Frames that one thread computes at least.
const FRAMES_AT_ONCE: usize = 128;

/// Computes features.
pub struct Mel {
    bins: Vec<Filter>,
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
}

/// A triangular filter: the first frequency that it weights, and the weights from there on.
struct Filter {
    first: usize,
    weights: Vec<f32>,
}

impl Mel {
    /// Prepares features of `bins` values per frame.
    #[must_use]
    pub fn new(bins: usize) -> Self {
        let step = 2.0 * PI / FFT as f64;
        Self {
            bins: filters(bins),
            window: (0..FFT).map(|i| 0.5 - 0.5 * (step * i as f64).cos()).collect(),
            fft: RealFftPlanner::new().plan_fft_forward(FFT),
        }
    }

    /// Returns the features [frames, bins] of `samples` (16 kHz, mono, from -1 to 1), as if zeros followed them up to
    /// `frames * 160` samples. Further samples are ignored, and those that are no numbers count as zero.
    #[must_use]
    pub fn features(&self, samples: &[f32], frames: usize) -> Vec<f32> {
        let bins = self.bins.len();
        let samples = Padded { samples: &samples[..samples.len().min(frames * HOP)], len: frames * HOP };
        let mut features = vec![FLOOR.log10(); frames * bins];
        // The frames behind these contain zeros only.
        let sounding = (samples.samples.len() + FFT / 2).div_ceil(HOP).min(frames);
        let parts = features[..sounding * bins].par_chunks_mut(FRAMES_AT_ONCE * bins);
        parts.enumerate().for_each(|(part, features)| {
            self.frames(&samples, part * FRAMES_AT_ONCE, features);
        });
        let loudest = features.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for value in &mut features {
            *value = (value.max(loudest - DECADES) + 4.0) / 4.0;
        }
        features
    }

    /// Computes the logarithms of frame `first` and those that follow it.
    fn frames(&self, samples: &Padded<'_>, first: usize, features: &mut [f32]) {
        let mut input = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut power = vec![0f32; FFT / 2 + 1];
        for (index, features) in features.chunks_exact_mut(self.bins.len()).enumerate() {
            let start = ((first + index) * HOP) as isize - FFT as isize / 2;
            for (at, (input, window)) in input.iter_mut().zip(&self.window).enumerate() {
                *input = window * f64::from(samples.at(start + at as isize));
            }
            // It fails only for vectors of another length than its own.
            if self.fft.process_with_scratch(&mut input, &mut spectrum, &mut scratch).is_err() {
                return;
            }
            for (power, value) in power.iter_mut().zip(&spectrum) {
                *power = value.norm_sqr() as f32;
            }
            for (feature, filter) in features.iter_mut().zip(&self.bins) {
                let pairs = filter.weights.iter().zip(&power[filter.first..]);
                let sum: f32 = pairs.map(|(weight, power)| weight * power).sum();
                *feature = sum.max(FLOOR).log10();
            }
        }
    }
}

/// Samples with zeros behind them, and reflected at both ends.
struct Padded<'a> {
    samples: &'a [f32],
    len: usize,
}

impl Padded<'_> {
    fn at(&self, index: isize) -> f32 {
        let last = self.len as isize - 1;
        let inside = if index < 0 {
            -index
        } else if index > last {
            2 * last - index
        } else {
            index
        };
        let value = self.samples.get(inside.max(0) as usize).copied().unwrap_or(0.0);
        if value.is_finite() { value } else { 0.0 }
    }
}

/// Returns the filters: triangles between neighbouring points of the mel scale, each with the same area.
fn filters(bins: usize) -> Vec<Filter> {
    let highest = mel_of(SAMPLE_RATE as f64 / 2.0);
    let point = |index: usize| hertz_of(highest * index as f64 / (bins + 1) as f64);
    let frequencies: Vec<f64> =
        (0..=FFT / 2).map(|bin| bin as f64 * SAMPLE_RATE as f64 / FFT as f64).collect();
    let filter = |bin: usize| {
        let (low, centre, high) = (point(bin), point(bin + 1), point(bin + 2));
        let weight = |&frequency: &f64| {
            let (up, down) = ((frequency - low) / (centre - low), (high - frequency) / (high - centre));
            (up.min(down).max(0.0) * 2.0 / (high - low)) as f32
        };
        let weights: Vec<f32> = frequencies.iter().map(weight).collect();
        let first = weights.iter().position(|&weight| weight > 0.0).unwrap_or(0);
        let end = weights.iter().rposition(|&weight| weight > 0.0).map_or(first, |last| last + 1);
        Filter { first, weights: weights[first..end].to_vec() }
    };
    (0..bins).map(filter).collect()
}

/// Where Slaney's scale turns from linear to logarithmic: in hertz, and in mel.
const BREAK_HERTZ: f64 = 1000.0;
const BREAK_MEL: f64 = 15.0;

/// The logarithm of the step by which one mel multiplies a frequency above the break.
fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn mel_of(hertz: f64) -> f64 {
    match hertz < BREAK_HERTZ {
        true => hertz * BREAK_MEL / BREAK_HERTZ,
        false => BREAK_MEL + (hertz / BREAK_HERTZ).ln() / log_step(),
    }
}

fn hertz_of(mel: f64) -> f64 {
    match mel < BREAK_MEL {
        true => mel * BREAK_HERTZ / BREAK_MEL,
        false => BREAK_HERTZ * ((mel - BREAK_MEL) * log_step()).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_and_its_inverse_fit() {
        for hertz in [0.0, 200.0, 999.0, 1000.0, 4000.0, 8000.0] {
            assert!((hertz_of(mel_of(hertz)) - hertz).abs() < 1e-9);
        }
    }

    #[test]
    fn a_tone_is_loudest_in_its_own_filter() {
        let tone: Vec<f32> =
            (0..SAMPLE_RATE).map(|i| (2.0 * PI * 440.0 * i as f64 / 16_000.0).sin() as f32).collect();
        let features = Mel::new(80).features(&tone, 100);
        assert_eq!(features.len(), 8000);
        let frame = &features[50 * 80..][..80];
        let loudest = (0..80).max_by(|&a, &b| frame[a].total_cmp(&frame[b])).unwrap();
        let centre = hertz_of(mel_of(8000.0) * (loudest + 1) as f64 / 81.0);
        assert!((centre - 440.0).abs() < 40.0, "{centre} Hz");
        // Eight decades are two units.
        let least = features.iter().copied().fold(f32::INFINITY, f32::min);
        assert!(frame[loudest] - least <= 2.0 + 1e-6);
    }

    #[test]
    fn silence_and_what_is_no_number_are_flat() {
        let mel = Mel::new(128);
        for samples in [vec![], vec![0.0; 500], vec![f32::NAN, f32::INFINITY]] {
            let features = mel.features(&samples, 10);
            assert_eq!(features, vec![-1.5; 1280]);
        }
    }

    #[test]
    fn what_is_past_the_window_does_not_count() {
        let sound: Vec<f32> = (0..4000).map(|i| (i as f32 * 0.1).sin()).collect();
        let mel = Mel::new(80);
        assert_eq!(mel.features(&sound, 10), mel.features(&sound[..1600], 10));
    }
}
