//! The result of a probe.

use serde::{Deserialize, Serialize};

/// Seconds that a clip may last: what claims more is damaged.
pub(crate) const MAX_DURATION: f64 = 30.0 * 86_400.0;
/// Frames per second that a clip may have.
pub(crate) const MIN_RATE: f64 = 1.0 / MAX_DURATION;
/// Frames per second that a clip may have.
pub(crate) const MAX_RATE: f64 = 1e15;

/// Everything that is known of a clip before a frame is decoded (`homereel probe --json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// What is worth storing.
    #[serde(flatten)]
    pub summary: ProbeSummary,
    /// What frames are planned from.
    #[serde(flatten)]
    pub index: FrameIndex,
}

impl std::ops::Deref for Probe {
    type Target = ProbeSummary;

    fn deref(&self) -> &ProbeSummary {
        &self.summary
    }
}

/// The facts of a clip without its frames: small enough for a row of the library. Frames cannot be planned from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeSummary {
    /// Container, by ffmpeg's short name (`mov,mp4,m4a,3gp,3g2,mj2`).
    pub container: String,
    /// Length of the video stream in seconds, by its packets (last frame's end minus first frame's start).
    pub duration_s: f64,
    /// The chosen video stream.
    pub video: VideoStream,
    /// The first audio stream, if any.
    pub audio: Option<AudioStream>,
    /// When the clip was taken (RFC 3339; without an offset where the file gives none), if the file says so.
    pub creation_time: Option<String>,
    /// Where the time comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_source: Option<DateSource>,
    /// Where the clip was taken, if the file says so.
    pub location: Option<Location>,
    /// Make and model of the camera, if the file says so.
    pub camera: Option<String>,
    /// Seconds between the container's zero and the first frame.
    pub start_offset_s: f64,
    /// What a person should know (header and packets disagree, frames are broken, …).
    pub warnings: Vec<String>,
}

/// The frames of a clip: megabytes for a long one, and read again from the file within a moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameIndex {
    /// PTS of every frame in order of presentation, seconds, relative to the first frame shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frame_times: Vec<f64>,
    /// Where decoding may begin, in order: proven for this file, at most a few thousand. Empty when nothing
    /// is proven, so that the clip has to be decoded from its beginning.
    #[serde(default, rename = "entries", skip_serializing_if = "Vec::is_empty")]
    pub access_points: Vec<RandomAccessPoint>,
}

/// The chosen video stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoStream {
    /// Index in the container.
    pub index: usize,
    /// Codec, by ffmpeg's name.
    pub codec: String,
    /// ffmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Pixels per row as a person sees it: after rotation and sample aspect ratio.
    pub width: u32,
    /// Rows as a person sees it.
    pub height: u32,
    /// Pixels per row as coded.
    pub coded_width: u32,
    /// Rows as coded.
    pub coded_height: u32,
    /// Degrees clockwise by which the coded picture has to be turned: 0, 90, 180, 270.
    pub rotation: u16,
    /// Mirrored left to right, after rotation.
    pub mirrored: bool,
    /// Frames per second: frames / duration.
    pub fps: f64,
    /// Frames that the packets hold.
    pub frame_count: u64,
    /// Whether all frames are equally far apart (within one tick of the timebase).
    pub constant_rate: bool,
    /// Colour transfer, by ffmpeg's name (`bt709`, `smpte2084`, `arib-std-b67`, …), if tagged.
    pub transfer: Option<String>,
    /// Interlaced, as far as the header says.
    pub interlaced: bool,
    /// How the stream counts time.
    pub clock: Clock,
}

/// How a stream counts time: what a decoder needs to find a frame of [`FrameIndex::frame_times`] again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Seconds per tick, numerator.
    pub num: i32,
    /// Seconds per tick, denominator.
    pub den: i32,
    /// Tick of the first frame shown.
    pub first: i64,
    /// The packets carry no times (old AVI), so frames are counted: a tick is one frame.
    pub counted: bool,
}

impl Clock {
    /// Returns the tick of frame `index`, whose times are `frame_times` (seconds from the first frame).
    #[must_use]
    pub fn ticks(&self, index: u64, frame_times: &[f64]) -> i64 {
        if self.counted {
            return index as i64;
        }
        let time = usize::try_from(index).ok().and_then(|i| frame_times.get(i)).copied().unwrap_or(0.0);
        self.first.saturating_add((time * f64::from(self.den) / f64::from(self.num)).round() as i64)
    }

    /// Returns the seconds from the first frame to `ticks`.
    #[must_use]
    pub fn seconds(&self, ticks: i64) -> f64 {
        ticks.saturating_sub(self.first) as f64 * f64::from(self.num) / f64::from(self.den)
    }
}

/// A random access point: a packet at which a decoder may begin, what is shown from its time on needs nothing before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RandomAccessPoint {
    /// Its number among the packets of the stream.
    pub packet: u64,
    /// PTS in ticks of the stream.
    pub ticks: i64,
    /// Where it lies in the file, by the demuxer's count; -1 if that does not tell.
    pub position: i64,
    /// Bytes.
    pub size: u64,
}

/// An audio stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioStream {
    /// Codec, by ffmpeg's name.
    pub codec: String,
    /// Channels.
    pub channels: u32,
    /// Samples per second.
    pub sample_rate: u32,
}

/// Sources of the capture date, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateSource {
    /// The camera's own local time with its offset (QuickTime).
    Camera,
    /// The container's time, UTC by the standard.
    Container,
    /// The name of the file: local time.
    FileName,
    /// The time at which the file was written.
    FileTime,
}

/// When a clip was taken, with the source of that date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureDate {
    /// RFC 3339; without an offset where the zone is not known, and without a time where only the day is.
    pub time: String,
    /// Where it comes from.
    pub source: DateSource,
}

/// A place on earth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}
