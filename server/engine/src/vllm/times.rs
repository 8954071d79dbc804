//! Chooses how the times of a clip's frames reach vLLM, whose prompt shows them as `<1.5 seconds>`: as indices and a rate
//! beside the frames (any times), or as the constant rate of a file (evenly spaced times from 0).
//!
//! Either is checked against the timestamps that the prompt must show.

use crate::{FrameRate, VideoInput};

/// Ticks per second where the clip's own indices and rate do not give its times (variable frame rate).
const TICKS: f64 = 1e6;
/// Half a unit of a timestamp's last digit.
const HALF: f64 = 0.05;
/// vLLM's loader for Qwen3-VL samples files by this rule, whatever the checkpoint says.
const LOADER: FrameRate = FrameRate { fps: 2.0, min_frames: 4, max_frames: 768 };
/// Highest sampling rate that a request can set.
const LOADER_MAX_FPS: f64 = 30.0;

/// `media_io_kwargs.video` of a clip that is sent as frames.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FrameIndices {
    pub(super) fps: f64,
    pub(super) indices: Vec<u64>,
    pub(super) total: u64,
    pub(super) duration_s: f64,
}

/// Frame rate of a file, as the fraction in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConstantRate {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

impl ConstantRate {
    fn new(fps: f64) -> Self {
        // The cast saturates, and the clamp excludes zero.
        Self { numerator: (fps.clamp(1e-3, 1e3) * TICKS).round() as u32, denominator: TICKS as u32 }
    }

    pub(super) fn fps(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// Returns the times that vLLM gives to the frames of a file of this rate.
    pub(super) fn times(self, frames: usize) -> Vec<f64> {
        if frames == 1 {
            // A file of one frame is sent with two equal frames, and the timestamp is their mean.
            return vec![0.5 / self.fps()];
        }
        (0..frames).map(|index| index as f64 / self.fps()).collect()
    }
}

/// How vLLM samples files, which limits the rates at which every frame is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum LoaderSampling {
    /// By the rules of the loader and the checkpoint's processor, because the replica accepts no settings.
    Own(FrameRate),
    /// Processor sampling off and the loader's rate at its maximum.
    Off,
}

impl LoaderSampling {
    fn keeps(self, frames: usize, fps: f64) -> bool {
        let retryable = |rule: FrameRate| {
            let wanted = (frames as f64 / fps * rule.fps).trunc() as usize;
            wanted.max(rule.min_frames).min(rule.max_frames) >= frames
        };
        match self {
            Self::Own(rule) => retryable(LOADER) && retryable(rule),
            Self::Off => retryable(FrameRate { fps: LOADER_MAX_FPS, ..LOADER }),
        }
    }

    /// Returns the highest rate at which all of `frames` are kept.
    fn limit(self) -> f64 {
        match self {
            Self::Own(rule) => rule.fps.min(LOADER.fps),
            Self::Off => LOADER_MAX_FPS,
        }
    }
}

/// Returns the timestamps of a clip's groups as they appear in the prompt.
pub(super) fn labels(times: &[f64], group: usize) -> Vec<String> {
    times.chunks(group).map(|times| format!("{:.1}", (times[0] + times[times.len() - 1]) / 2.0)).collect()
}

/// Returns the indices and rate under which vLLM shows the clip's times: its own where they do (and `own` allows it), or
/// ticks.
pub(super) fn by_indices(clip: &VideoInput, group: usize, own: bool) -> FrameIndices {
    let want = labels(&clip.times, group);
    let by_rate: Vec<f64> = clip.indices.iter().map(|&index| index as f64 / clip.native_fps).collect();
    let last = clip.indices.last().map_or(0, |&last| last + 1);
    let usable = own && clip.native_fps.is_normal() && clip.native_fps > 0.0;
    if usable && by_rate.len() == clip.times.len() && labels(&by_rate, group) == want {
        return FrameIndices {
            fps: clip.native_fps,
            indices: clip.indices.clone(),
            total: clip.total_frames.max(last).max(clip.frames.len() as u64),
            duration_s: clip.duration_s,
        };
    }
    let indices: Vec<u64> = clip.times.iter().map(|time| (time * TICKS).round() as u64).collect();
    let last = indices.last().map_or(0, |&last| last + 1);
    let total = last.max((clip.duration_s * TICKS) as u64).max(clip.frames.len() as u64);
    FrameIndices { fps: TICKS, indices, total, duration_s: total as f64 / TICKS }
}

/// Returns a rate of a file under which vLLM shows the timestamps of `times`; `None` means that there is none.
pub(super) fn by_rate(times: &[f64], group: usize, sampling: LoaderSampling) -> Option<ConstantRate> {
    let want = labels(times, group);
    let (mut low, mut high) = (0f64, f64::INFINITY);
    for (at, label) in want.iter().enumerate() {
        let first = at * group;
        let last = (first + group - 1).min(times.len() - 1);
        // A single frame is sent twice (see `ConstantRate::times`).
        let middle = if times.len() == 1 { 0.5 } else { (first + last) as f64 / 2.0 };
        let label: f64 = label.parse().ok()?;
        if middle > 0.0 {
            low = low.max(middle / (label + HALF));
            if label > HALF {
                high = high.min(middle / (label - HALF));
            }
        }
    }
    let natural = natural_fps(times);
    let inside = if natural > low && natural < high { natural } else { (low + high.min(2.0 * low)) / 2.0 };
    // Rounding decides at the ends of the interval: only a rate that gives exactly these timestamps counts.
    [inside, inside.min(sampling.limit())].into_iter().map(ConstantRate::new).find(|rate| {
        sampling.keeps(times.len(), rate.fps()) && labels(&rate.times(times.len()), group) == want
    })
}

/// Returns the rate closest to the clip's own at which a file keeps all frames, whatever timestamps result.
pub(super) fn nearest_rate(times: &[f64], sampling: LoaderSampling) -> ConstantRate {
    let rate = ConstantRate::new(natural_fps(times));
    if sampling.keeps(times.len(), rate.fps()) { rate } else { ConstantRate::new(sampling.limit()) }
}

fn natural_fps(times: &[f64]) -> f64 {
    match times {
        [first, .., last] if last > first => (times.len() - 1) as f64 / (last - first),
        _ => LOADER.fps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: LoaderSampling = LoaderSampling::Own(LOADER);

    fn clip(indices: Vec<u64>, fps: f64, times: Vec<f64>) -> VideoInput {
        let frame = crate::RgbImage::new(32, 32, vec![0; 3072].into());
        VideoInput {
            frames: vec![frame; times.len()],
            duration_s: times.last().copied().unwrap_or(0.0) + 1.0 / fps,
            total_frames: indices.last().copied().unwrap_or(0) + 1,
            times,
            indices,
            native_fps: fps,
            key: None,
        }
    }

    #[test]
    fn a_clip_of_constant_rate_keeps_its_own_indices() {
        let indices = vec![0, 8, 15, 23];
        let times = indices.iter().map(|&index| index as f64 / 24.0).collect();
        let got = by_indices(&clip(indices.clone(), 24.0, times), 2, true);
        assert_eq!((got.fps, got.indices, got.total), (24.0, indices, 24));
    }

    #[test]
    fn a_clip_of_variable_rate_travels_in_ticks() {
        let times = vec![0.0, 0.52, 3.1, 3.2, 9.75];
        let got = by_indices(&clip(vec![0, 3, 4, 5, 6], 2.0, times.clone()), 2, true);
        let seen: Vec<f64> = got.indices.iter().map(|&index| index as f64 / got.fps).collect();
        assert_eq!(labels(&seen, 2), labels(&times, 2));
        assert!(got.total > 9_750_000 && got.total >= got.indices.len() as u64);
    }

    #[test]
    fn a_window_in_the_middle_keeps_its_times_by_indices_but_has_no_rate() {
        let times = vec![30.0, 30.5, 31.0, 31.5];
        assert!(by_rate(&times, 2, OWN).is_none());
        let got = by_indices(&clip(vec![720, 732, 744, 756], 24.0, times), 2, true);
        assert_eq!(got.indices, [720, 732, 744, 756]);
    }

    #[test]
    fn evenly_spaced_times_have_a_rate_that_keeps_all_frames() {
        // 5 s at 24 frames per second, as transformers samples it.
        let times: Vec<f64> =
            [0, 13, 26, 40, 53, 66, 79, 93, 106, 119].iter().map(|&i| f64::from(i) / 24.0).collect();
        let rate = by_rate(&times, 2, OWN).unwrap();
        assert_eq!(labels(&rate.times(10), 2), labels(&times, 2));
        assert!(rate.fps() <= 2.0);
    }

    #[test]
    fn rates_that_would_lose_frames_are_not_found() {
        let times: Vec<f64> = (0..40).map(|index| f64::from(index) / 8.0).collect();
        assert!(by_rate(&times, 2, OWN).is_none());
        let rate = by_rate(&times, 2, LoaderSampling::Off).unwrap();
        assert!((rate.fps() - 8.0).abs() < 0.1);
        assert_eq!(nearest_rate(&times, OWN).fps(), 2.0);
    }

    #[test]
    fn short_clips_keep_their_four_frames_at_any_rate() {
        let times = [0.0, 8.0 / 24.0, 15.0 / 24.0, 23.0 / 24.0];
        let rate = by_rate(&times, 2, OWN).unwrap();
        assert_eq!(labels(&rate.times(4), 2), labels(&times, 2));
    }

    #[test]
    fn one_frame_is_its_own_group() {
        assert_eq!(labels(&[7.25], 2), ["7.2"]);
        for (time, sampling) in [(7.25, OWN), (0.0, LoaderSampling::Off)] {
            let rate = by_rate(&[time], 2, sampling).unwrap();
            assert_eq!(labels(&rate.times(1), 2), labels(&[time], 2));
        }
        assert_eq!(nearest_rate(&[7.25], OWN).fps(), 2.0);
    }
}
