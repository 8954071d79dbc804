//! Turns a list of pictures into a clip: the frames of a video that a client sampled itself.

use std::{sync::Arc, time::Instant};

use homereel_engine::{Engine, RgbImage, Stage, VideoBudget, VideoInput};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{MAX_PICTURE_PIXELS, MediaDecoder, MediaReport, PreparedClip, Source, ms};
use crate::ask_error::AskError;

impl MediaDecoder {
    /// Decodes the frames, `fps` per second, at the model's size for the first one. `progress` gets (stage, done, total).
    ///
    /// # Errors
    /// `Video` when a frame is not a picture or too large; `Engine` when the model supports no such size.
    pub async fn frame_list(
        &self,
        engine: &dyn Engine,
        frames: &[Source],
        fps: f64,
        budget: VideoBudget,
        cancel: &CancellationToken,
        progress: &(dyn Fn(Stage, usize, usize) + Sync),
    ) -> Result<Arc<PreparedClip>, AskError> {
        let started = Instant::now();
        let total = frames.len();
        let mut decoded: Vec<RgbImage> = Vec::with_capacity(total);
        for source in frames {
            progress(Stage::Decode, decoded.len(), total);
            let file = source.open()?;
            let opened = homereel_video::open_picture(&self.worker, file, MAX_PICTURE_PIXELS, cancel).await?;
            let (width, height) = match decoded.first() {
                Some(first) => (first.width, first.height),
                None => engine.video_size(total, opened.width(), opened.height(), budget)?,
            };
            let frame = RgbImage::new(width, height, opened.resize(width, height).await?.rgb);
            engine.preencode_frame(&frame);
            decoded.push(frame);
        }
        progress(Stage::Decode, total, total);
        #[expect(clippy::cast_precision_loss, reason = "at most 768 frames")]
        let times: Vec<f64> = (0..total).map(|at| at as f64 / fps).collect();
        let (width, height) = decoded.first().map_or((0, 0), |first| (first.width, first.height));
        let duration_s = times.last().map_or(0.0, |last| last + 1.0 / fps);
        let report = MediaReport {
            frames: total,
            timestamps: times.clone(),
            width,
            height,
            duration_s,
            native_fps: fps,
            total_frames: total as u64,
            warnings: Vec::new(),
        };
        let clip = VideoInput {
            frames: decoded,
            times,
            indices: (0..total as u64).collect(),
            native_fps: fps,
            total_frames: total as u64,
            duration_s,
            key: list_key(frames, fps, width, height),
        };
        Ok(Arc::new(PreparedClip { clip, report, probe_ms: 0.0, decode_ms: ms(started) }))
    }
}

/// Builds a cache key from the content of all frames, their rate and size; `None` when a hash is unknown.
fn list_key(frames: &[Source], fps: f64, width: u32, height: u32) -> Option<String> {
    let mut hash = Sha256::new();
    for frame in frames {
        hash.update(frame.sha256()?.as_bytes());
    }
    hash.update(fps.to_le_bytes());
    hash.update(width.to_le_bytes());
    hash.update(height.to_le_bytes());
    Some(format!("{:x}", hash.finalize()))
}
