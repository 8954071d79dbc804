//! Files made from a video: the poster, scrub sprites, and the version for browsers.

use std::{fs::File, time::Duration};

use homereel_video::{Limits, Posters, Probe, ProbeSummary, Rendition, Sprites};
use tokio_util::sync::CancellationToken;

use super::{MediaDecoder, Source};
use crate::ask_error::AskError;

/// Timeout of a transcode per second of video.
const RENDITION_PATIENCE: f64 = 60.0;

/// Maximum size of a transcode per second of video, slightly above the encoder's own limits.
const RENDITION_RATE: f64 = 1.5e6;

impl MediaDecoder {
    /// Creates a poster at most `max_width` pixels wide.
    ///
    /// # Errors
    /// See [`homereel_video::VideoError`].
    pub async fn poster(
        &self,
        source: &Source,
        max_width: u32,
        cancel: &CancellationToken,
    ) -> Result<Posters, AskError> {
        Ok(homereel_video::poster(&self.worker, source.open()?, max_width, cancel).await?)
    }

    /// Creates the scrub sprites of a source. `progress` gets the numbers of finished and all pictures.
    ///
    /// # Errors
    /// See [`homereel_video::VideoError`].
    pub async fn sprites(
        &self,
        source: &Source,
        cancel: &CancellationToken,
        progress: &mut (dyn FnMut(usize, usize) + Send),
    ) -> Result<(Sprites, Vec<bytes::Bytes>), AskError> {
        let limits = background(self.worker.limits(), Duration::ZERO);
        let worker = self.sprite_worker.clone().with_limits(limits);
        Ok(homereel_video::sprites(&worker, source.open()?, cancel, progress).await?)
    }

    /// Transcodes a source for browsers into `out`. `progress` gets the numbers of finished and all pictures.
    ///
    /// # Errors
    /// See [`homereel_video::VideoError`].
    pub async fn rendition(
        &self,
        source: &Source,
        probe: &Probe,
        out: File,
        cancel: &CancellationToken,
        progress: &mut (dyn FnMut(usize, usize) + Send),
    ) -> Result<Rendition, AskError> {
        let patience = Duration::from_secs_f64(probe.duration_s * RENDITION_PATIENCE);
        let worker = self.rendition_worker.clone().with_limits(background(self.worker.limits(), patience));
        let most = rendition_bytes(probe);
        let progress = |done: u64, total: u64| progress(count(done), count(total));
        Ok(homereel_video::rendition(&worker, source.open()?, None, out, most, cancel, progress).await?)
    }
}

/// Limits of a background task whose timeout is at least `patience`.
pub(super) fn background(limits: &Limits, patience: Duration) -> Limits {
    let deadline = limits.deadline.max(patience);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpu = limits.cpu.max(deadline.saturating_mul(u32::try_from(processors).unwrap_or(u32::MAX)));
    Limits { deadline, cpu, background: true, ..*limits }
}

/// Returns the maximum size of a transcode in bytes.
pub(crate) fn rendition_bytes(probe: &ProbeSummary) -> u64 {
    (64 << 20) + (probe.duration_s * RENDITION_RATE) as u64
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
