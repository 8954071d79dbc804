//! A part of a video that the model watches: a short video, or one window of a long one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use homereel_engine::Stage;
use homereel_library::{Job, Video};
use homereel_video::FrameSampling;
use tokio_util::sync::CancellationToken;

use super::{
    context::JobContext,
    playback,
    slots::{JobSlot, JobSlots},
    stop::Stop,
};
use crate::media::{ClipRequest, PreparedClip};

/// A decoded part with a slot of the model. Dropping it frees the slot and the frames.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) frames: FrameSampling,
    pub(super) clip: Arc<PreparedClip>,
    /// Seconds of video that were described.
    described_s: f64,
    slots: JobSlots,
    _slot: JobSlot,
    _decoded: JobSlot,
}

impl Part {
    /// Returns the start and the end of the part, in seconds of the whole video.
    pub(super) fn bounds(&self) -> (f64, f64) {
        let duration = self.clip.report.duration_s;
        (self.frames.start.unwrap_or(0.0), self.frames.end.unwrap_or(duration).min(duration))
    }

    /// Records that all questions about this part were answered.
    pub(super) fn finish(&mut self) {
        let (start, end) = self.bounds();
        self.described_s = (end - start).max(0.0);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.slots.pace().end(Instant::now(), self.described_s);
    }
}

/// Decodes a part, then waits for a slot: while the model watches others, this one is decoded.
pub(super) async fn open(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    frames: FrameSampling,
    cancel: &CancellationToken,
) -> Result<Part, Stop> {
    let decoded = cx.slots.decoded().await;
    let started = Instant::now();
    let announcer = Mutex::new(playback::announcer(cx, job, job.step));
    let progress = |stage, done, total| {
        if stage == Stage::Decode {
            announcer.lock().unwrap_or_else(PoisonError::into_inner)(done, total);
        }
    };
    let engine = &**cx.answers.engine();
    let request = ClipRequest { sampling: frames, budget: cx.budget, background: true };
    let clip = cx.answers.media().clip(engine, &cx.source(video), request, cancel, &progress).await?;
    let ready = Instant::now();
    let slot = cx.slots.model().await;
    let waits = [("decoder", ready - started), ("model", ready.elapsed())];
    for (what, wait) in waits {
        metrics::histogram!("homereel_job_wait_seconds", "for" => what).record(wait.as_secs_f64());
    }
    cx.slots.pace().start(Instant::now());
    Ok(Part { frames, clip, described_s: 0.0, slots: cx.slots.clone(), _slot: slot, _decoded: decoded })
}

#[cfg(test)]
impl Part {
    /// A part without frames, of a video of `duration_s` seconds.
    pub(super) async fn without_frames(cx: &JobContext, duration_s: f64) -> Self {
        let clip = homereel_engine::VideoInput {
            frames: Vec::new(),
            times: Vec::new(),
            indices: Vec::new(),
            native_fps: 25.0,
            total_frames: 0,
            duration_s,
            key: None,
        };
        let report = crate::media::MediaReport { duration_s, ..Default::default() };
        let clip = PreparedClip { clip, report, probe_ms: 0.0, decode_ms: 0.0 };
        let (decoded, slot) = (cx.slots.decoded().await, cx.slots.model().await);
        cx.slots.pace().start(Instant::now());
        Self {
            frames: FrameSampling::default(),
            clip: Arc::new(clip),
            described_s: 0.0,
            slots: cx.slots.clone(),
            _slot: slot,
            _decoded: decoded,
        }
    }
}
