//! The result of a probe.

use serde::{Deserialize, Serialize};

use crate::{Segment, TakenTime};

/// Maximum duration in seconds; a longer one means that the file is damaged.
pub(crate) const MAX_DURATION: f64 = 30.0 * 86_400.0;
/// Frames per second that a clip may have.
pub(crate) const MIN_RATE: f64 = 1.0 / MAX_DURATION;
/// Frames per second that a clip may have.
pub(crate) const MAX_RATE: f64 = 1e15;

/// What is known of a clip before a frame is decoded (`homereel probe --json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The part that is stored.
    #[serde(flatten)]
    pub summary: ProbeSummary,
    /// The part that frames are planned from.
    #[serde(flatten)]
    pub index: FrameIndex,
}

impl std::ops::Deref for Probe {
    type Target = ProbeSummary;

    fn deref(&self) -> &ProbeSummary {
        &self.summary
    }
}

/// The facts of a clip without its frames, small enough for a database row. Frames cannot be planned from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProbeSummary {
    /// Container, by ffmpeg's short name (`mov,mp4,m4a,3gp,3g2,mj2`).
    pub container: String,
    /// Duration in seconds from the start of the first frame to the end of the last one, or of the sound if it lasts longer, by
    /// their packets.
    pub duration_s: f64,
    /// The selected video stream.
    pub video: VideoStream,
    /// The first audio stream, if any.
    pub audio: Option<AudioStream>,
    /// When the clip was taken by its tags, as [`TakenTime`] writes it, if known.
    pub creation_time: Option<String>,
    /// Source of the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_source: Option<DateSource>,
    /// Where the clip was taken, if known.
    pub location: Option<Location>,
    /// Make and model of the camera, if known.
    pub camera: Option<String>,
    /// Offset in seconds from the container's zero to the first frame.
    pub start_offset_s: f64,
    /// Why browsers would show the file otherwise than it is described here, if they would: at other times, another stream, or
    /// without a length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// Warnings for people (header and packets disagree, frames are broken, …).
    pub warnings: Vec<String>,
}

/// The frames of a clip: megabytes for a long one, and quickly read again from the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameIndex {
    /// PTS of every frame in presentation order, in seconds from the first frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frame_times: Vec<f64>,
    /// Random access points in order, proven for this file; at most a few thousand. Empty when none is proven, so that the clip
    /// must be decoded from the start.
    #[serde(default, rename = "entries", skip_serializing_if = "Vec::is_empty")]
    pub access_points: Vec<RandomAccessPoint>,
    /// How the times of the pictures' packets are moved, where the file's clock restarts or leaps; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// The same for the sound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sound_segments: Vec<Segment>,
}

/// The selected video stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VideoStream {
    /// Index in the container.
    pub index: usize,
    /// Codec, by ffmpeg's name.
    pub codec: String,
    /// ffmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Display width in pixels, after rotation and sample aspect ratio.
    pub width: u32,
    /// Display height in pixels.
    pub height: u32,
    /// Coded width in pixels.
    pub coded_width: u32,
    /// Coded height in pixels.
    pub coded_height: u32,
    /// Clockwise rotation for display, in degrees: 0, 90, 180, 270.
    pub rotation: u16,
    /// Mirrored left to right, after rotation.
    pub mirrored: bool,
    /// Frames per second: frames / duration.
    pub fps: f64,
    /// Number of frames, by packets.
    pub frame_count: u64,
    /// Whether the frame rate is constant (within one tick of the timebase).
    pub constant_rate: bool,
    /// Colour transfer, by ffmpeg's name (`bt709`, `smpte2084`, `arib-std-b67`, …), if tagged.
    pub transfer: Option<String>,
    /// Whether the header declares interlacing.
    pub interlaced: bool,
    /// The timebase.
    pub clock: Timebase,
}

/// The timebase of a stream, with which a decoder finds a frame of [`FrameIndex::frame_times`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timebase {
    /// Seconds per tick, numerator.
    pub num: i32,
    /// Seconds per tick, denominator.
    pub den: i32,
    /// Tick of the first frame shown.
    pub first: i64,
    /// Whether the packets have no times (old AVI), so that frames are counted and a tick is one frame.
    pub counted: bool,
}

impl Timebase {
    /// Returns the tick of frame `index` in `frame_times` (seconds from the first frame).
    #[must_use]
    pub fn ticks(&self, index: u64, frame_times: &[f64]) -> i64 {
        if self.counted {
            return index as i64;
        }
        let time = usize::try_from(index).ok().and_then(|i| frame_times.get(i)).copied().unwrap_or(0.0);
        self.first.saturating_add((time * f64::from(self.den) / f64::from(self.num)).round() as i64)
    }

    /// Returns the seconds from the clock's zero to the first frame.
    pub(crate) fn seconds_of_first(&self) -> f64 {
        self.first as f64 * f64::from(self.num) / f64::from(self.den)
    }

    /// Returns the seconds from the first frame to `ticks`.
    #[must_use]
    pub fn seconds(&self, ticks: i64) -> f64 {
        ticks.saturating_sub(self.first) as f64 * f64::from(self.num) / f64::from(self.den)
    }
}

/// A random access point: a packet at which decoding can start; pictures from its time on need nothing before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RandomAccessPoint {
    /// Its index among the packets of the stream.
    pub packet: u64,
    /// PTS in ticks of the stream.
    pub ticks: i64,
    /// Its position in the file as the demuxer reports it; -1 if unknown.
    pub position: i64,
    /// Its size in bytes.
    pub size: u64,
}

/// The audio stream that is played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AudioStream {
    /// Index of the stream in its container.
    #[serde(default)]
    pub index: usize,
    /// Codec, by ffmpeg's name.
    pub codec: String,
    /// Channels.
    pub channels: u32,
    /// Samples per second.
    pub sample_rate: u32,
}

/// Sources of the date, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DateSource {
    /// A person.
    Person,
    /// What the camera wrote: local time, mostly with its offset.
    Camera,
    /// The time in the container's header: UTC by the standard.
    Container,
    /// The file's name: a guess.
    FileName,
    /// The file's own time: a guess.
    FileTime,
}

impl DateSource {
    /// Returns whether the date is a guess.
    #[must_use]
    pub fn is_guess(self) -> bool {
        matches!(self, Self::FileName | Self::FileTime)
    }

    /// Returns the name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Camera => "camera",
            Self::Container => "container",
            Self::FileName => "file_name",
            Self::FileTime => "file_time",
        }
    }
}

/// When a clip was taken, and the source of that date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureDate {
    /// As exactly as it is known.
    pub time: TakenTime,
    /// The source.
    pub source: DateSource,
}

/// Geographic coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Location {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}
