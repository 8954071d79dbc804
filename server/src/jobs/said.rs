//! What is said in a part of a video, for its description. A description waits until that is known, but never in a way that
//! keeps the model from other work: its job is put back, and goes on when the transcription has come so far.

use std::time::Duration;

use homereel_library::Video;

use super::{context::JobContext, stop::Stop};
use crate::said;

/// How long a description waits at most before it looks again; usually the transcription wakes it.
pub(super) const WAIT: Duration = Duration::from_secs(30);

/// What is said in a part of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing that is known, and nothing to wait for.
    Nothing,
    /// It is being transcribed.
    ToCome,
    /// Lines with times.
    Text(String),
}

impl Said {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing | Self::ToCome => None,
        }
    }
}

/// Returns what is said between two seconds of a video. The demo model is told nothing: it was trained on shapes.
pub(super) async fn said(cx: &JobContext, video: &Video, (start, end): (f64, f64)) -> Result<Said, Stop> {
    let has_sound = video.probe.as_ref().is_some_and(|probe| probe.audio.is_some());
    let info = cx.answers.engine().info().ok().filter(|info| !info.demo);
    let (Some(info), true) = (info, has_sound) else { return Ok(Said::Nothing) };
    if cx.speech.is_some() {
        // Usually it is queued already.
        cx.library.queue_transcript(&video.id).await?;
        if !cx.library.transcript_progress(&video.id).await?.covers(end) {
            return Ok(Said::ToCome);
        }
    }
    let text = said::said(&cx.library, &video.id, (start, end), "", said::budget(&info)).await?;
    Ok(text.map_or(Said::Nothing, Said::Text))
}
