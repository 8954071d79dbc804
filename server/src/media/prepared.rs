//! What is known of a clip that is decoded: its description, its key in caches, and how much work it was.

use homereel_engine::{RgbImage, VideoInput};
use homereel_video::{Plan, Probe};
use sha2::{Digest, Sha256};

use super::MediaReport;

/// Describes the frames of a plan.
pub(super) fn report(probe: &Probe, plan: &Plan, (width, height): (u32, u32)) -> MediaReport {
    MediaReport {
        frames: plan.indices.len(),
        timestamps: plan.times.clone(),
        width,
        height,
        duration_s: probe.duration_s,
        native_fps: probe.video.fps,
        total_frames: probe.video.frame_count,
        warnings: probe.warnings.clone(),
    }
}

/// Returns the frames of a plan as the engine takes them.
pub(super) fn clip(probe: &Probe, plan: Plan, frames: Vec<RgbImage>, key: Option<String>) -> VideoInput {
    VideoInput {
        frames,
        times: plan.times,
        indices: plan.indices,
        native_fps: probe.video.fps,
        total_frames: probe.video.frame_count,
        duration_s: probe.duration_s,
        key,
    }
}

/// Returns what decoding a plan consists of: one start, the pixels of the frames from the first to the last, which it goes
/// through, and those of the frames that it converts and resizes.
#[expect(clippy::cast_precision_loss, reason = "pixels are far below 2^52")]
pub(super) fn decoding_work(probe: &Probe, plan: &Plan) -> [f64; 3] {
    let (first, last) = (plan.indices.first(), plan.indices.last());
    let passed = last.zip(first).map_or(0, |(last, first)| last.saturating_sub(*first) + 1);
    let pixels = f64::from(probe.video.width) * f64::from(probe.video.height);
    [1.0, passed as f64 * pixels, plan.indices.len() as f64 * pixels]
}

/// Counts clips by the source of their frames: memory, disk, or the video.
pub(super) fn count_clip(frames_from: &'static str) {
    metrics::counter!("homereel_clips_total", "frames_from" => frames_from).increment(1);
}

/// Builds a cache key from content, frames and size: equal keys mean equal pixels.
pub(super) fn clip_key(sha256: &str, plan: &Plan, width: u32, height: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(sha256.as_bytes());
    hash.update(width.to_le_bytes());
    hash.update(height.to_le_bytes());
    for index in &plan.indices {
        hash.update(index.to_le_bytes());
    }
    for time in &plan.times {
        hash.update(time.to_le_bytes());
    }
    format!("{:x}", hash.finalize())
}
