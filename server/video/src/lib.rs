//! Probes videos and decodes their frames. The only crate that uses ffmpeg.
//!
//! Three steps: [`probe`] reads the streams, the tags and the PTS of every frame, [`plan`] selects the frames that a
//! model should see, [`decode`] returns exactly those frames, upright, at the requested size, as RGB8.
//!
//! ffmpeg touches a user's bytes only in a worker process of the same program ([`worker::main`]), which enters a
//! [`Sandbox`], receives the file as an open descriptor, and is killed at its deadline, when it makes no progress, on cancel,
//! or when its reader leaves.
//!
//! ```no_run
//! # async fn example() -> Result<(), homereel_video::VideoError> {
//! use homereel_video::{DecodeRequest, FrameSampling, SamplingBounds, Worker, open, plan};
//! let worker = Worker::this_program()?;
//! let cancel = tokio_util::sync::CancellationToken::new();
//! # let file = std::fs::File::open("clip.mp4").unwrap();
//! let (clip, opened) = open(&worker, file, &cancel).await?;
//! let chosen = plan(&clip, &FrameSampling::default(), &SamplingBounds::default())?;
//! let request = DecodeRequest::new(&clip, &chosen, 640, 352);
//! let mut frames = opened.decode(request).await?;
//! while let Some(frame) = frames.next().await? {
//!     assert_eq!(frame.rgb.len(), 640 * 352 * 3);
//! }
//! let warnings = frames.end().map(|end| &end.warnings);
//! # Ok(()) }
//! ```

mod about;
mod choice;
mod client;
mod colour;
mod decode;
mod deinterlace;
mod derived;
mod disposable;
mod error;
mod ffmpeg;
pub mod fixtures;
mod frames;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod heartbeat;
mod info;
mod libraries;
mod metadata;
mod orient;
mod picker;
mod picture;
mod plan;
mod playable;
mod pool;
mod poster;
mod process;
mod random_access;
mod reader;
mod rendition;
mod request;
mod resize;
mod sandbox;
mod scan;
mod segments;
mod session;
mod sniff;
mod sound;
mod speech;
mod sprites;
mod still;
mod taken;
mod template;
mod timeline;
mod tonemap;
mod wire;
pub mod worker;

pub use about::libavcodec;
pub use client::{Limits, Opened, Posters, Worker, nvdec, open, poster, probe, sandbox};
pub use derived::{cut, rendition, sprites};
pub use error::{VideoError, VideoErrorKind};
pub use frames::{Frame, FrameStream, FramesEnd, decode};
pub use info::{
    AudioStream, CaptureDate, DateSource, FrameIndex, Location, Probe, ProbeSummary, RandomAccessPoint,
    Timebase, VideoStream,
};
pub use libraries::{LinkedLibrary, libraries, missing_decoders};
pub use picture::{Picture, picture};
pub use plan::{FrameSampling, Plan, SamplingBounds, plan};
pub use playable::playable;
pub use rendition::{Cut, Rendition, Span};
pub use request::{DecodeRequest, Decoder, Target};
pub use resize::resize;
pub use sandbox::Sandbox;
pub use segments::Segment;
pub use sniff::not_a_video;
pub use speech::{SPEECH_RATE, SampleStream, samples_of, sound_of};
pub use sprites::{Sprites, Tile};
pub use still::{OpenedPicture, open_picture};
pub use taken::{InvalidTakenTime, TakenTime, capture_date, is_credible};
