//! A part of a video as a file of its own.

use std::{fs::File, time::Duration};

use homereel_video::{Cut, Probe, Rendition, Span};
use tokio_util::sync::CancellationToken;

use super::{MediaDecoder, Source, derived::background};
use crate::ask_error::AskError;

impl MediaDecoder {
    /// Copies a part of a source into `out` without encoding it again.
    ///
    /// # Errors
    /// See [`homereel_video::VideoError`].
    pub async fn copy_part(
        &self,
        source: &Source,
        cut: Cut,
        out: File,
        max_bytes: u64,
        cancel: &CancellationToken,
    ) -> Result<Rendition, AskError> {
        Ok(homereel_video::cut(&self.clip_worker, source.open()?, cut, out, max_bytes, cancel).await?)
    }

    /// Encodes a part of a source into `out`, as renditions are.
    ///
    /// # Errors
    /// See [`homereel_video::VideoError`].
    pub async fn encode_part(
        &self,
        source: &Source,
        probe: &Probe,
        span: Span,
        out: File,
        max_bytes: u64,
        cancel: &CancellationToken,
    ) -> Result<Rendition, AskError> {
        // Sound, and pictures without random access, are read from the beginning.
        let patience = Duration::from_secs_f64(probe.duration_s);
        let limits = background(self.worker.limits(), patience);
        let worker = self.clip_worker.clone().with_limits(limits);
        let (file, progress) = (source.open()?, |_, _| {});
        Ok(homereel_video::rendition(&worker, file, Some(span), out, max_bytes, cancel, progress).await?)
    }
}
