//! The crate's public functions: start a worker per file and validate everything that it returns.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    Decoder, Probe, Sandbox, VideoError,
    info::{MAX_DURATION, MAX_RATE, MIN_RATE},
    pool::WorkerPool,
    segments,
    session::Session,
    wire::{Reply, WorkerTask},
};

/// Maximum side of a requested frame, in pixels.
pub(crate) const MAX_SIDE: u32 = 16384;
/// Maximum bytes of a poster.
const MAX_POSTER: usize = 16 << 20;

/// Limits of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of one call, not counting the time in which a [`crate::FrameStream`] waits for its reader.
    pub deadline: Duration,
    /// Time without progress after which a worker is killed.
    pub stall: Duration,
    /// Processor time of one call, over all threads.
    pub cpu: Duration,
    /// Bytes of writable memory.
    pub memory: u64,
    /// Pixels of one coded picture.
    pub max_pixels: u64,
    /// Packets that a probe reads before it stops with a warning.
    pub max_packets: u64,
    /// Whether the worker runs at background priority.
    pub background: bool,
}

impl Default for Limits {
    /// Ten minutes; 30 s without progress (a sleeping disk wakes up faster); an hour of processor time; 3 GiB; 8K pictures; a day
    /// at 50 frames per second.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(600),
            stall: Duration::from_secs(30),
            cpu: Duration::from_secs(3600),
            memory: 3 << 30,
            max_pixels: 8192 * 4320,
            max_packets: 1 << 22,
            background: false,
        }
    }
}

/// A pool of worker processes. Cheap to clone; clones share the limit of concurrent workers.
#[derive(Debug, Clone)]
pub struct Worker(pub(crate) Arc<WorkerPool>);

impl Worker {
    /// Starts workers as `program args…`, which must call [`crate::worker::main`]. At most two run at once unless
    /// [`Worker::with_concurrency`] sets another limit.
    #[must_use]
    pub fn new(program: PathBuf, args: &[&str]) -> Self {
        let args = args.iter().map(Into::into).collect();
        Self(Arc::new(WorkerPool::new(program, args, Arc::new(Semaphore::new(2)))))
    }

    /// Starts workers as `<this program> video-worker`.
    ///
    /// # Errors
    /// `Worker` when the program's path is unknown.
    pub fn this_program() -> Result<Self, VideoError> {
        let program = std::env::current_exe()
            .map_err(|error| VideoError::Worker { message: format!("this program has no name: {error}") })?;
        Ok(Self::new(program, &["video-worker"]))
    }

    fn with(&self, change: impl FnOnce(&mut WorkerPool)) -> Self {
        let mut pool = self.0.reconfigured();
        change(&mut pool);
        Self(Arc::new(pool))
    }

    /// Sets the limits of a worker.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.with(|pool| pool.limits = limits)
    }

    /// Sets how many workers run at once; further calls wait.
    #[must_use]
    pub fn with_concurrency(self, workers: usize) -> Self {
        self.with(|pool| pool.slots = Arc::new(Semaphore::new(workers.max(1))))
    }

    /// Keeps one spare worker running, sandboxed and without a file, from the first call on.
    #[must_use]
    pub fn with_spare(self) -> Self {
        self.with(|pool| pool.ahead = true)
    }

    /// Selects hardware or software decoding.
    #[must_use]
    pub fn with_decoder(self, decoder: Decoder) -> Self {
        self.with(|pool| pool.decoder = decoder)
    }

    pub(crate) fn pool(&self) -> &Arc<WorkerPool> {
        &self.0
    }

    /// Returns the limits of a worker.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }
}

/// Starts a worker to find out which layers of the sandbox this machine has.
///
/// # Errors
/// `Worker` when it could not be started or died, `Cancelled`, `TimedOut`.
pub async fn sandbox(worker: &Worker, cancel: &CancellationToken) -> Result<Sandbox, VideoError> {
    let mut session = Session::open(&worker.0, false, cancel).await?;
    let sandbox = session.ready().await?;
    session.kill().await;
    Ok(sandbox)
}

/// Starts a worker to find out whether NVDEC is available; `Err` has the reason.
///
/// # Errors
/// As [`sandbox`].
pub async fn nvdec(worker: &Worker, cancel: &CancellationToken) -> Result<Result<(), String>, VideoError> {
    let mut session = Session::open(&worker.0, true, cancel).await?;
    session.ready().await?;
    let chip = session.chip().await?;
    session.kill().await;
    Ok(chip)
}

pub(crate) fn unexpected(what: &str) -> VideoError {
    VideoError::Worker { message: format!("it answered {what}") }
}

/// Probes `file`: streams, sizes, the time of every frame. Reads packets without decoding them.
///
/// # Errors
/// See [`VideoError`].
pub async fn probe(worker: &Worker, file: File, cancel: &CancellationToken) -> Result<Probe, VideoError> {
    Ok(open(worker, file, cancel).await?.0)
}

/// A probed file whose worker waits for a decode request. Dropping it kills the worker.
#[derive(Debug)]
pub struct Opened {
    pub(crate) file: File,
    pub(crate) session: Session,
}

/// Like [`probe`], but keeps the worker for [`Opened::decode`], which saves the start of another one. Decode soon: it
/// occupies one of the concurrent workers.
///
/// # Errors
/// See [`VideoError`].
pub async fn open(
    worker: &Worker,
    file: File,
    cancel: &CancellationToken,
) -> Result<(Probe, Opened), VideoError> {
    let copy = file.try_clone().map_err(|error| VideoError::Worker { message: error.to_string() })?;
    let mut session = Session::start(&worker.0, copy, WorkerTask::Probe, cancel).await?;
    let most = usize::try_from(worker.limits().max_packets).unwrap_or(usize::MAX).saturating_mul(8);
    let (reply, body) = session.reply(most).await?;
    let Reply::Probe(probe) = reply else { return Err(unexpected("something else than a probe")) };
    Ok((checked(*probe, &body)?, Opened { file, session }))
}

/// Puts the frame times into a worker's probe, after validating them.
pub(crate) fn checked(mut probe: Probe, body: &[u8]) -> Result<Probe, VideoError> {
    let (times, rest) = body.as_chunks::<8>();
    probe.index.frame_times = times.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let clock = probe.video.clock;
    let sane = rest.is_empty()
        && probe.index.frame_times.first() == Some(&0.0)
        && probe.index.frame_times.is_sorted()
        && probe.index.frame_times.last().is_some_and(|time| *time <= MAX_DURATION)
        && (MIN_RATE..=MAX_RATE).contains(&probe.video.fps)
        && probe.duration_s > 0.0
        && probe.duration_s <= MAX_DURATION
        && probe.video.frame_count == probe.index.frame_times.len() as u64
        && probe.video.width > 0
        && probe.video.height > 0
        && clock.num > 0
        && clock.den > 0
        && segments::sane(&probe.index.segments)
        && segments::sane(&probe.index.sound_segments);
    if sane { Ok(probe) } else { Err(unexpected("with impossible numbers")) }
}

/// A poster in two sizes, both JPEG.
#[derive(Debug, Clone)]
pub struct Posters<T = Bytes> {
    /// At the requested width.
    pub full: T,
    /// About 320 pixels wide, for lists.
    pub card: T,
}

/// Makes a poster: the best of a few frames, upright, at most `max_width` pixels wide.
///
/// # Errors
/// See [`VideoError`].
pub async fn poster(
    worker: &Worker,
    file: File,
    max_width: u32,
    cancel: &CancellationToken,
) -> Result<Posters, VideoError> {
    if max_width == 0 || max_width > MAX_SIDE {
        let message = format!("a poster {max_width} pixels wide was asked for; 1 to {MAX_SIDE} would fit");
        return Err(VideoError::BadRequest { message });
    }
    let mut session = Session::start(&worker.0, file, WorkerTask::Poster { max_width }, cancel).await?;
    let is_jpeg = |bytes: &Bytes| bytes.starts_with(&[0xff, 0xd8]);
    let card = match session.reply(MAX_POSTER).await? {
        (Reply::Card, jpeg) if is_jpeg(&jpeg) => jpeg,
        _ => return Err(unexpected("something else than a poster")),
    };
    match session.reply(MAX_POSTER).await? {
        (Reply::Poster, full) if is_jpeg(&full) => Ok(Posters { full, card }),
        _ => Err(unexpected("something else than a poster")),
    }
}
