//! Turns a video file into a clip for an engine: probes, plans, decodes, resizes, caches.
//!
//! Used by the command line, the OpenAI endpoint, pages and jobs. Depends on neither HTTP nor the library.

mod clip;
mod derived;
mod frame_at;
mod frame_list;
mod frames;
mod kind;
mod outline;
mod prepared;
mod sound;
mod source;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use homereel_engine::{Engine, RgbImage, Stage, VideoBudget, VideoInput};
use homereel_library::ByteCache;
use homereel_video::{
    DecodeRequest, FrameSampling, FrameStream, Opened, Plan, Probe, SamplingBounds, VideoError, Worker,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{ask_error::AskError, rate::Rate};
pub(crate) use derived::rendition_bytes;
pub use frame_at::StillFrame;
use frames::FrameCache;
pub(crate) use kind::{MAX_PICTURE, is_picture};
pub use outline::Outline;
use prepared::{clip, clip_key, count_clip, decoding_work, report};
pub use source::Source;

/// Maximum number of pixels of an image in a request.
const MAX_PICTURE_PIXELS: u64 = 64 << 20;

/// Maximum number of frames of a clip.
const MAX_FRAMES: usize = 768;

/// Size of the in-memory cache of decoded clips.
const CACHE_BYTES: usize = 384 << 20;

/// What the model saw of a video.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MediaReport {
    /// Number of frames that the model sees.
    pub frames: usize,
    /// Times of the frames, in seconds from the first frame of the video.
    pub timestamps: Vec<f64>,
    /// Width of the frames as the model sees them, in pixels.
    pub width: u32,
    /// Height of the frames as the model sees them, in pixels.
    pub height: u32,
    /// Duration of the whole video in seconds.
    pub duration_s: f64,
    /// Frame rate of the video.
    pub native_fps: f64,
    /// Number of frames of the whole video.
    pub total_frames: u64,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Which frames of a source are wanted, and for whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClipRequest {
    /// Which frames.
    pub sampling: FrameSampling,
    /// Limit of their size.
    pub budget: VideoBudget,
    /// Whether a job asks. Its frames are not cached in memory, where those of people's questions would have to leave.
    pub background: bool,
}

impl From<FrameSampling> for ClipRequest {
    /// Returns a person's request with the full budget.
    fn from(sampling: FrameSampling) -> Self {
        Self { sampling, ..Self::default() }
    }
}

/// A clip that is ready for the engine.
#[derive(Debug, Clone)]
pub struct PreparedClip {
    /// The frames.
    pub clip: VideoInput,
    /// Description of the frames.
    pub report: MediaReport,
    /// Duration of the probe in milliseconds; 0 if it was cached.
    pub probe_ms: f64,
    /// Duration of decoding in milliseconds; 0 if the frames were cached.
    pub decode_ms: f64,
}

/// Decodes videos into clips. Cheap to clone; clones share limits and caches.
#[derive(Debug, Clone)]
pub struct MediaDecoder {
    worker: Worker,
    /// A separate worker for sprites, so that questions never wait for it.
    sprite_worker: Worker,
    /// Another one for renditions, which take long.
    rendition_worker: Worker,
    /// Another one for single pictures, of which a program may want many.
    still_worker: Worker,
    /// Another one for parts of videos that people save.
    clip_worker: Worker,
    /// And one for sound, which is read as slowly as it is transcribed.
    sound_worker: Worker,
    probes: Arc<ByteCache<Probe>>,
    clips: Arc<ByteCache<PreparedClip>>,
    store: Arc<FrameCache>,
    /// Time per pixel of the videos' own frames, skipped ones included.
    decode_rate: Arc<Rate<3>>,
    /// Frames decoded since the start.
    frames_decoded: Arc<AtomicU64>,
}

/// A clip whose frames are chosen, but not decoded.
struct PlannedClip {
    probe: Arc<Probe>,
    /// The worker that has the file open, if the probe was not cached.
    opened: Option<Opened>,
    plan: Plan,
    /// Width and height for the model.
    size: (u32, u32),
    /// Duration of the probe in milliseconds.
    probe_ms: f64,
}

impl MediaDecoder {
    /// Creates a decoder that uses `worker`.
    #[must_use]
    pub fn new(worker: Worker) -> Self {
        Self {
            sprite_worker: worker.clone().with_concurrency(1),
            rendition_worker: worker.clone().with_concurrency(1),
            still_worker: worker.clone().with_concurrency(1),
            clip_worker: worker.clone().with_concurrency(2),
            sound_worker: worker.clone().with_concurrency(1),
            worker,
            probes: Arc::new(ByteCache::new(64 << 20)),
            clips: Arc::new(ByteCache::new(CACHE_BYTES)),
            store: Arc::default(),
            decode_rate: Arc::default(),
            frames_decoded: Arc::default(),
        }
    }

    /// Also caches decoded frames on disk, in at most `budget` bytes below `directory`.
    ///
    /// # Errors
    /// When the directory cannot be created or cleaned up.
    pub fn with_frames_in(mut self, directory: &Path, budget: u64) -> io::Result<Self> {
        self.store = Arc::new(FrameCache::open(directory, budget)?);
        Ok(self)
    }

    /// Probes a source. The result is cached by content.
    ///
    /// # Errors
    /// See [`VideoError`]; `Io` when the file cannot be opened.
    pub async fn probe(&self, source: &Source, cancel: &CancellationToken) -> Result<Arc<Probe>, AskError> {
        Ok(self.open(source, cancel).await?.0)
    }

    /// Like [`Self::probe`], and returns the worker that probed if there was no cached result.
    async fn open(
        &self,
        source: &Source,
        cancel: &CancellationToken,
    ) -> Result<(Arc<Probe>, Option<Opened>), AskError> {
        if let Some(known) = source.sha256().and_then(|sha256| self.probes.get(sha256)) {
            return Ok((known, None));
        }
        let kept = match source.kept() {
            Some(sha256) => self.store.probe(sha256).await,
            None => None,
        };
        let (probe, opened) = match kept {
            Some(probe) => (Arc::new(probe), None),
            None => {
                let (probe, opened) = homereel_video::open(&self.worker, source.open()?, cancel).await?;
                (Arc::new(probe), Some(opened))
            }
        };
        if let Some(sha256) = source.sha256() {
            let bytes = 8 * probe.index.frame_times.len() + 4096;
            self.probes.put(sha256.to_owned(), Arc::clone(&probe), bytes);
        }
        Ok((probe, opened))
    }

    /// Returns which layers of the sandbox this machine supports.
    ///
    /// # Errors
    /// When no worker process starts.
    pub async fn sandbox(&self, cancel: &CancellationToken) -> Result<homereel_video::Sandbox, AskError> {
        Ok(homereel_video::sandbox(&self.worker, cancel).await?)
    }

    /// Chooses frames by the model's own rule, as far as `sampling` does not override it.
    ///
    /// # Errors
    /// `Invalid` when the settings select no frame or contradict each other.
    pub fn plan(engine: &dyn Engine, probe: &Probe, sampling: &FrameSampling) -> Result<Plan, AskError> {
        let rate = engine.info()?.frame_rate;
        if let Some(frames) = sampling.num_frames
            && frames > MAX_FRAMES
        {
            return Err(AskError::invalid(
                "num_frames",
                format!("num_frames is {frames}; at most {MAX_FRAMES} frames of one video would fit"),
            ));
        }
        let bounds = SamplingBounds {
            default_fps: rate.fps,
            min_frames: rate.min_frames,
            max_frames: rate.max_frames.min(MAX_FRAMES),
        };
        Ok(homereel_video::plan(probe, sampling, &bounds)?)
    }

    /// Turns a source into a clip at the model's size within the budget. `progress` gets (stage, done, total).
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn clip(
        &self,
        engine: &dyn Engine,
        source: &Source,
        request: ClipRequest,
        cancel: &CancellationToken,
        progress: &(dyn Fn(Stage, usize, usize) + Sync),
    ) -> Result<Arc<PreparedClip>, AskError> {
        progress(Stage::Probe, 0, 1);
        let PlannedClip { probe, opened, plan, size: (width, height), probe_ms } =
            self.planned(engine, source, request, cancel).await?;
        progress(Stage::Probe, 1, 1);
        let key = source.sha256().map(|sha256| clip_key(sha256, &plan, width, height));
        if let Some(known) = key.as_deref().and_then(|key| self.clips.get(key)) {
            progress(Stage::Decode, plan.indices.len(), plan.indices.len());
            count_clip("memory");
            return Ok(Arc::new(PreparedClip { probe_ms, decode_ms: 0.0, ..(*known).clone() }));
        }
        if let (Some(sha256), Some(key)) = (source.kept(), key.as_deref())
            && let Some(kept) = self.store.clip(sha256, key).await
        {
            kept.clip.frames.iter().for_each(|frame| engine.preencode_frame(frame));
            progress(Stage::Decode, plan.indices.len(), plan.indices.len());
            count_clip("disk");
            let kept = Arc::new(PreparedClip { probe_ms, ..kept });
            if !request.background {
                self.cache_clip(key, &kept);
            }
            return Ok(kept);
        }

        let started = Instant::now();
        let decode = DecodeRequest::new(&probe, &plan, width, height);
        let total = plan.indices.len();
        progress(Stage::Decode, 0, total);
        let stream = match opened {
            Some(opened) => opened.decode(decode).await?,
            None => homereel_video::decode(&self.worker, source.open()?, decode, cancel).await?,
        };
        let (frames, mut warnings) = self.frames_of(engine, stream, total, progress).await?;
        let decode_ms = ms(started);
        self.decode_rate.record(decoding_work(&probe, &plan), decode_ms);
        let mut report = report(&probe, &plan, (width, height));
        report.warnings.append(&mut warnings);
        let clip = clip(&probe, plan, frames, key.clone());
        let prepared = Arc::new(PreparedClip { clip, report, probe_ms, decode_ms });
        count_clip("video");
        if let Some(key) = key {
            if !request.background {
                self.cache_clip(&key, &prepared);
            }
            if let Some(sha256) = source.kept() {
                self.store.keep(sha256, &key, &prepared, &probe);
            }
        }
        Ok(prepared)
    }

    /// Probes a source and plans its frames.
    async fn planned(
        &self,
        engine: &dyn Engine,
        source: &Source,
        request: ClipRequest,
        cancel: &CancellationToken,
    ) -> Result<PlannedClip, AskError> {
        let started = Instant::now();
        let (probe, opened) = self.open(source, cancel).await?;
        let probe_ms = ms(started);
        let plan = Self::plan(engine, &probe, &request.sampling)?;
        let size =
            engine.video_size(plan.indices.len(), probe.video.width, probe.video.height, request.budget)?;
        Ok(PlannedClip { probe, opened, plan, size, probe_ms })
    }

    /// Collects all frames of a stream and its warnings. The engine may start with each frame as it arrives.
    async fn frames_of(
        &self,
        engine: &dyn Engine,
        mut stream: FrameStream,
        total: usize,
        progress: &(dyn Fn(Stage, usize, usize) + Sync),
    ) -> Result<(Vec<RgbImage>, Vec<String>), AskError> {
        let mut frames = Vec::with_capacity(total);
        while let Some(frame) = stream.next().await? {
            let frame = RgbImage::new(frame.width, frame.height, frame.rgb);
            engine.preencode_frame(&frame);
            frames.push(frame);
            self.frames_decoded.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("homereel_frames_decoded_total").increment(1);
            progress(Stage::Decode, frames.len(), total);
        }
        if frames.len() != total {
            let message = format!("the decoder returned {} of {total} frames", frames.len());
            return Err(VideoError::Worker { message }.into());
        }
        let warnings = stream.end().map(|end| end.warnings.clone()).unwrap_or_default();
        Ok((frames, warnings))
    }

    /// Returns how many frames were decoded for the model since the start.
    #[must_use]
    pub fn frames_decoded(&self) -> u64 {
        self.frames_decoded.load(Ordering::Relaxed)
    }

    fn cache_clip(&self, key: &str, prepared: &Arc<PreparedClip>) {
        let bytes = prepared.clip.frames.iter().map(RgbImage::bytes).sum();
        self.clips.put(key.to_owned(), Arc::clone(prepared), bytes);
    }

    /// Decodes an image of a request and resizes it for the model.
    ///
    /// # Errors
    /// `Video` when the bytes are not an image or the image is too large; `Engine` when the model supports no
    /// such size.
    pub async fn picture(
        &self,
        engine: &Arc<dyn Engine>,
        source: &Source,
        cancel: &CancellationToken,
    ) -> Result<RgbImage, AskError> {
        let opened =
            homereel_video::open_picture(&self.worker, source.open()?, MAX_PICTURE_PIXELS, cancel).await?;
        let (width, height) = engine.image_size(opened.width(), opened.height())?;
        let picture = opened.resize(width, height).await?;
        Ok(RgbImage::new(width, height, picture.rgb))
    }
}

/// Returns the milliseconds since `started`.
pub(crate) fn ms(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}
