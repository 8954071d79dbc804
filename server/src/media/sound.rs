//! The sound of files as samples for speech recognition.

use std::time::Duration;

use homereel_video::{Limits, SampleStream};
use tokio_util::sync::CancellationToken;

use super::{MediaDecoder, Source, derived::background};
use crate::ask_error::AskError;

/// Timeout of decoding per second of video, not counting the time in which the reader does something else. Sound is decoded many
/// times faster than it plays, but the pictures between it are read, too.
const PATIENCE: f64 = 1.0;

impl MediaDecoder {
    /// Starts to read the sound of a video of `duration_s` seconds, from `from_s` seconds after its first picture on, at
    /// background priority.
    ///
    /// # Errors
    /// `Io`, and those of starting a worker. Those of the sound are in the stream.
    pub async fn samples(
        &self,
        source: &Source,
        duration_s: f64,
        from_s: f64,
        cancel: &CancellationToken,
    ) -> Result<SampleStream, AskError> {
        let limits = background(self.worker.limits(), Duration::from_secs_f64(duration_s * PATIENCE));
        let worker = self.sound_worker.clone().with_limits(limits);
        Ok(homereel_video::samples_of(&worker, source.open()?, from_s, cancel).await?)
    }

    /// Starts to read the sound of a file of a request, which may be sound alone.
    ///
    /// # Errors
    /// As [`Self::samples`].
    pub async fn sound(
        &self,
        source: &Source,
        patience: Duration,
        cancel: &CancellationToken,
    ) -> Result<SampleStream, AskError> {
        let limits = Limits { deadline: patience, ..*self.worker.limits() };
        let worker = self.worker.clone().with_limits(limits);
        Ok(homereel_video::sound_of(&worker, source.open()?, cancel).await?)
    }
}
