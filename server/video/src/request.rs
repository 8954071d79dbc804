//! What a caller asks of the decoder. Plain data; knows no ffmpeg and no process.

use serde::{Deserialize, Serialize};

use crate::{Clock, Entry, Plan, Probe};

/// One frame to decode: its index in order of presentation and its time in ticks of the stream's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Index in order of presentation.
    pub index: u64,
    /// PTS in ticks of the stream.
    pub ticks: i64,
}

/// The frames to decode, and the size to give them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodeRequest {
    /// Stream of the container.
    pub stream: usize,
    /// How that stream counts time.
    pub clock: Clock,
    /// Frames wanted, in order of presentation.
    pub targets: Vec<Target>,
    /// Pixels per row of each frame that comes out.
    pub width: u32,
    /// Rows of each frame that comes out.
    pub height: u32,
    /// Degrees clockwise by which the coded picture is turned.
    pub rotation: u16,
    /// Mirrored left to right, after rotation.
    pub mirrored: bool,
    /// Where decoding may begin: for each target the last such packet before it, each once, in order. Without
    /// any, the clip is decoded from its beginning.
    pub entries: Vec<Entry>,
    /// Frames per second, by which a frame's time may be off by a quarter of a frame and still be its time.
    pub fps: f64,
}

impl DecodeRequest {
    /// Asks for the frames of `plan`, upright and resized to `width` × `height` (the caller keeps the
    /// proportions of [`crate::VideoStream::width`] and `height`, or not).
    #[must_use]
    pub fn new(probe: &Probe, plan: &Plan, width: u32, height: u32) -> Self {
        let clock = probe.video.clock;
        let targets: Vec<Target> = plan
            .indices
            .iter()
            .map(|&index| Target { index, ticks: clock.ticks(index, &probe.frame_times) })
            .collect();
        let before = |target: &Target| {
            let after = probe.entries.partition_point(|entry| entry.ticks <= target.ticks);
            after.checked_sub(1).map(|at| probe.entries[at])
        };
        let mut entries: Vec<Entry> = targets.iter().filter_map(before).collect();
        entries.dedup();
        Self {
            stream: probe.video.index,
            clock,
            targets,
            entries,
            width,
            height,
            rotation: probe.video.rotation,
            mirrored: probe.video.mirrored,
            fps: probe.video.fps,
        }
    }

    /// Returns how far, in ticks, a decoded picture may be from a target and still be that frame.
    pub(crate) fn slack(&self) -> i64 {
        if self.clock.counted || self.fps.is_nan() || self.fps <= 0.0 {
            return 0;
        }
        let frame = f64::from(self.clock.den) / f64::from(self.clock.num) / self.fps;
        (frame / 4.0).clamp(0.0, 1e15) as i64
    }
}
