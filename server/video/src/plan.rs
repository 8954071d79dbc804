//! Which frames a model sees. Knows times and counts only.

use serde::{Deserialize, Serialize};

use crate::{Probe, VideoError};

/// How to sample a clip. `fps` and `num_frames` exclude each other; with neither, the model's own rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Frames per second of video.
    pub fps: Option<f64>,
    /// Exactly so many frames (or all, if the clip has fewer).
    pub num_frames: Option<usize>,
    /// From this second on.
    pub start: Option<f64>,
    /// Up to this second.
    pub end: Option<f64>,
    /// Rate when neither `fps` nor `num_frames` is given.
    pub default_fps: f64,
    /// Frames at least, as far as the clip has them.
    pub min_frames: usize,
    /// Frames at most.
    pub max_frames: usize,
}

impl Default for Sampling {
    /// Qwen3-VL's own: 2 frames per second, 4 to 768 frames, the whole clip.
    fn default() -> Self {
        Self { fps: None, num_frames: None, start: None, end: None, default_fps: 2.0, min_frames: 4, max_frames: 768 }
    }
}

/// The frames to decode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Index of each frame in order of presentation.
    pub indices: Vec<u64>,
    /// Time of each frame for the model, seconds from the first frame of the clip.
    pub times: Vec<f64>,
}

/// Chooses frames: on constant-rate clips exactly as transformers does (n = trunc(total / native_fps * fps)
/// clamped to [min, max, total], `linspace(0, total - 1, n)` rounded half to even, time = index / native_fps);
/// on others the frames nearest to evenly spaced times.
///
/// # Errors
/// `BadRequest` when the settings leave no frame or contradict each other.
pub fn plan(_probe: &Probe, _sampling: &Sampling) -> Result<Plan, VideoError> {
    Err(VideoError::BadRequest { message: "not written yet".into() })
}
