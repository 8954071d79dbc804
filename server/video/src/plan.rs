//! Frame sampling: selects the frames of a clip that a model sees.

use serde::{Deserialize, Serialize};

use crate::{Probe, VideoError};

/// How a caller wants a clip sampled. `fps` and `num_frames` are mutually exclusive; with neither, the default rate applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameSampling {
    /// Frames per second of video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Exact number of frames (or all, if the clip has fewer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_frames: Option<usize>,
    /// Start of the range in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// End of the range in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
}

/// The default rate of a model, and the bounds on its number of frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingBounds {
    /// Rate when neither `fps` nor `num_frames` is given.
    pub default_fps: f64,
    /// Minimum number of frames, as far as the clip has them.
    pub min_frames: usize,
    /// Maximum number of frames.
    pub max_frames: usize,
}

impl Default for SamplingBounds {
    /// Qwen3-VL's: 2 frames per second, 4 to 768 frames.
    fn default() -> Self {
        Self { default_fps: 2.0, min_frames: 4, max_frames: 768 }
    }
}

/// The frames to decode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Index of each frame in presentation order.
    pub indices: Vec<u64>,
    /// Time of each frame in seconds from the first frame of the clip.
    pub times: Vec<f64>,
}

/// Chooses frames: on constant-rate clips exactly as transformers does (n = trunc(total / native_fps * fps)
/// clamped to [min, max, total], `linspace(0, total - 1, n)` rounded half to even, time = index / native_fps);
/// on others the frames nearest to evenly spaced times. A range (`start`, `end`) is treated as a clip of its own
/// whose times are those of the whole.
///
/// # Errors
/// `BadRequest` when the settings leave no frame or contradict each other.
pub fn plan(probe: &Probe, sampling: &FrameSampling, bounds: &SamplingBounds) -> Result<Plan, VideoError> {
    let rate = rate(sampling, bounds)?;
    let times: Vec<f64> = if probe.video.constant_rate {
        (0..probe.index.frame_times.len()).map(|index| index as f64 / probe.video.fps).collect()
    } else {
        probe.index.frame_times.clone()
    };
    let (first, window) = window(&times, probe.duration_s, sampling)?;
    let total = window.len();
    let count = match rate {
        RateChoice::Frames(count) => count.min(total),
        RateChoice::Fps(fps) => {
            let wanted = if probe.video.constant_rate {
                total as f64 / probe.video.fps * fps
            } else {
                span(probe, first, total) * fps
            };
            // `as` truncates and saturates, as `int()` truncates.
            (wanted as usize).max(bounds.min_frames).min(bounds.max_frames).min(total).max(1)
        }
    };
    let chosen = if probe.video.constant_rate { spread(count, total) } else { nearest(window, count) };
    Ok(Plan {
        times: chosen.iter().map(|&index| window[index]).collect(),
        indices: chosen.into_iter().map(|index| (first + index) as u64).collect(),
    })
}

enum RateChoice {
    Fps(f64),
    Frames(usize),
}

fn refuse<T>(message: String) -> Result<T, VideoError> {
    Err(VideoError::BadRequest { message })
}

fn rate(sampling: &FrameSampling, bounds: &SamplingBounds) -> Result<RateChoice, VideoError> {
    let SamplingBounds { default_fps, min_frames: min, max_frames: max } = *bounds;
    if max == 0 || min > max {
        return refuse(format!(
            "between {min} and {max} frames were asked for; the first has to be the smaller, and 1 frame is the least"
        ));
    }
    match (sampling.fps, sampling.num_frames) {
        (Some(_), Some(_)) => refuse("fps and num_frames exclude each other; give one of them".into()),
        (None, Some(0)) => refuse(format!("num_frames is 0; 1 to {max} would fit")),
        (None, Some(count)) if count > max => refuse(format!("num_frames is {count}; 1 to {max} would fit")),
        (None, Some(count)) => Ok(RateChoice::Frames(count)),
        (fps, None) => {
            let fps = fps.unwrap_or(default_fps);
            if fps.is_finite() && fps > 0.0 {
                Ok(RateChoice::Fps(fps))
            } else {
                refuse(format!("fps is {fps}; a number above 0 would fit"))
            }
        }
    }
}

/// Returns the frames within the requested range: the index of the first, and their times.
fn window<'a>(
    times: &'a [f64],
    duration: f64,
    sampling: &FrameSampling,
) -> Result<(usize, &'a [f64]), VideoError> {
    let (start, end) = (sampling.start.unwrap_or(0.0), sampling.end.unwrap_or(f64::INFINITY));
    if !start.is_finite() || start < 0.0 {
        return refuse(format!("start is {start} s; 0 to {duration:.3} s would fit"));
    }
    if end.is_nan() || end <= start {
        return refuse(format!("end is {end} s and start is {start} s; the end has to be later"));
    }
    let Some(&last) = times.last() else { return refuse("the clip has no frames".into()) };
    if start >= duration {
        return refuse(format!("start is {start} s; the clip is {duration:.3} s long"));
    }
    // A range between two frames, or within the last one, shows the frame before it.
    let near = 1e-6;
    let first = times.partition_point(|time| *time < start - near);
    let after = times.partition_point(|time| *time <= end + near);
    if first < after {
        return Ok((first, &times[first..after]));
    }
    let shown = if start >= last { times.len() - 1 } else { first.saturating_sub(1) };
    Ok((shown, &times[shown..=shown]))
}

/// Returns the seconds for which `total` frames from `first` on are shown.
fn span(probe: &Probe, first: usize, total: usize) -> f64 {
    let until = probe.index.frame_times.get(first + total).copied().unwrap_or(probe.duration_s);
    until - probe.index.frame_times[first]
}

/// numpy's `linspace(0, total - 1, count).round()`.
fn spread(count: usize, total: usize) -> Vec<usize> {
    if count == 1 {
        return vec![0];
    }
    let last = (total - 1) as f64;
    let step = last / (count - 1) as f64;
    let mut chosen: Vec<usize> = (0..count).map(|i| (i as f64 * step).round_ties_even() as usize).collect();
    chosen[count - 1] = total - 1;
    chosen
}

/// Returns the frames nearest to `count` evenly spaced times, each once; where the clip has gaps, other frames complete the
/// number.
fn nearest(times: &[f64], count: usize) -> Vec<usize> {
    if count == 1 {
        return vec![0];
    }
    let (begin, end) = (times[0], times[times.len() - 1]);
    let mut taken = vec![false; times.len()];
    let mut missing = 0usize;
    for i in 0..count {
        let wanted = begin + (end - begin) * i as f64 / (count - 1) as f64;
        let after = times.partition_point(|time| *time < wanted).min(times.len() - 1);
        let before = after.saturating_sub(1);
        let at = if wanted - times[before] <= times[after] - wanted { before } else { after };
        missing += usize::from(std::mem::replace(&mut taken[at], true));
    }
    let free: Vec<usize> = (0..times.len()).filter(|index| !taken[*index]).collect();
    for pick in spread(missing.max(1), free.len().max(1)).into_iter().take(missing) {
        taken[free[pick]] = true;
    }
    (0..times.len()).filter(|index| taken[*index]).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
