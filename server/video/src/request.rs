//! A decode request.

use serde::{Deserialize, Serialize};

use crate::{Plan, Probe, RandomAccessPoint, Segment, Timebase, VideoStream};

/// One frame to decode: its index in order of presentation and its time in ticks of the stream's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Index in order of presentation.
    pub index: u64,
    /// PTS in ticks of the stream.
    pub ticks: i64,
}

/// Hardware that decodes videos, with the same names on the command line, in the environment and in files.
///
/// Where there is no NVIDIA decoder, or it does not support the codec, the CPU decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// An NVIDIA hardware decoder if there is one and the frames are large, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA hardware decoder for every codec it supports.
    Nvdec,
}

impl Decoder {
    /// Returns whether to try NVDEC for a clip of which this many pixels are decoded at once.
    pub(crate) fn tries_chip(self, pixels: Option<u64>, present: impl FnOnce() -> bool) -> bool {
        match (self, pixels) {
            (Self::Cpu, _) | (_, None) => false,
            (Self::Nvdec, Some(_)) => true,
            (Self::Auto, Some(pixels)) => pixels >= CHIP_PIXELS && present(),
        }
    }
}

/// Pixels of a picture from which on NVDEC is faster than software, including its start.
const CHIP_PIXELS: u64 = 1280 * 720;

/// Pixels of a coded picture if NVDEC can be expected to decode it.
fn chip_pixels(video: &VideoStream) -> Option<u64> {
    let formats: &[&str] = match video.codec.as_str() {
        "h264" | "vp8" | "mpeg2video" | "mpeg1video" => &["yuv420p", "yuvj420p"],
        "hevc" | "vp9" => &["yuv420p", "yuvj420p", "yuv420p10le"],
        _ => return None,
    };
    // NVDEC returns fields in an order that the deinterlacer does not handle.
    (formats.contains(&video.pixel_format.as_str()) && !video.interlaced)
        .then(|| u64::from(video.coded_width) * u64::from(video.coded_height))
}

/// The frames to decode, and their output size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodeRequest {
    /// Stream of the container.
    pub stream: usize,
    /// The timebase of that stream.
    pub clock: Timebase,
    /// Requested frames, in presentation order.
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
    pub access_points: Vec<RandomAccessPoint>,
    /// How the times of the packets are moved ([`crate::FrameIndex::segments`]).
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// Frames per second, by which a frame's time may be off by a quarter of a frame and still be its time.
    pub fps: f64,
    /// Pixels of a coded picture, if NVIDIA's chip can be expected to decode it.
    #[serde(default)]
    pub chip_pixels: Option<u64>,
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
            .map(|&index| Target { index, ticks: clock.ticks(index, &probe.index.frame_times) })
            .collect();
        let before = |target: &Target| {
            let after = probe.index.access_points.partition_point(|entry| entry.ticks <= target.ticks);
            after.checked_sub(1).map(|at| probe.index.access_points[at])
        };
        let mut access_points: Vec<RandomAccessPoint> = targets.iter().filter_map(before).collect();
        access_points.dedup();
        Self {
            stream: probe.video.index,
            clock,
            targets,
            access_points,
            segments: probe.index.segments.clone(),
            width,
            height,
            rotation: probe.video.rotation,
            mirrored: probe.video.mirrored,
            fps: probe.video.fps,
            chip_pixels: chip_pixels(&probe.video),
        }
    }

    /// Returns the number of ticks of a second.
    pub(crate) fn second(&self) -> i64 {
        (i64::from(self.clock.den) / i64::from(self.clock.num).max(1)).max(1)
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

#[cfg(test)]
mod tests {
    use super::Decoder;

    #[test]
    fn the_chip_is_tried_where_it_is_wanted_and_helps() {
        let large = Some(1920 * 1080);
        assert!(Decoder::Auto.tries_chip(large, || true));
        assert!(!Decoder::Auto.tries_chip(large, || false), "there is none");
        assert!(!Decoder::Auto.tries_chip(Some(640 * 480), || true), "too small to be worth it");
        assert!(Decoder::Nvdec.tries_chip(Some(640 * 480), || false), "who asks for it is told why it fails");
        for decoder in [Decoder::Auto, Decoder::Cpu, Decoder::Nvdec] {
            assert!(!decoder.tries_chip(None, || true), "a codec that it does not know");
        }
        assert!(!Decoder::Cpu.tries_chip(large, || true));
    }
}
