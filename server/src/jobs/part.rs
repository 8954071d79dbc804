//! A part of a video that the model watches: a short video, or one window of a long one.

use std::sync::{Arc, Mutex, PoisonError};

use homereel_engine::Stage;
use homereel_library::{Job, Video};
use homereel_video::FrameSampling;
use tokio_util::sync::CancellationToken;

use super::{context::JobContext, playback, slots::JobSlot, stop::Stop};
use crate::media::PreparedClip;

/// A decoded part with a slot of the model. Dropping it frees the slot and the frames.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) frames: FrameSampling,
    pub(super) clip: Arc<PreparedClip>,
    _slot: JobSlot,
    _decoded: JobSlot,
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
    let announcer = Mutex::new(playback::announcer(cx, job, job.step));
    let progress = |stage, done, total| {
        if stage == Stage::Decode {
            announcer.lock().unwrap_or_else(PoisonError::into_inner)(done, total);
        }
    };
    let engine = &**cx.answers.engine();
    let clip = cx.answers.media().clip(engine, &cx.source(video), &frames, cancel, &progress).await?;
    let slot = cx.slots.model().await;
    Ok(Part { frames, clip, _slot: slot, _decoded: decoded })
}
