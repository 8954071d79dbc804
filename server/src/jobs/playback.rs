//! The job steps that make scrub sprites and, if browsers cannot play the original, a rendition. Both run in a
//! sandboxed worker. A video without them is still usable, so a failure is a warning of the job; only a cancellation, a busy
//! server or a full disk ends the attempt.

use std::time::{Duration, Instant};

use homereel_engine::Stage;
use homereel_library::{Change, Job, LibraryError, Step, Video};
use tokio_util::sync::CancellationToken;

use super::{context::JobContext, stop::Stop};

/// Minimum interval between progress events.
const PERIOD: Duration = Duration::from_millis(250);

/// Creates the scrub sprites unless they exist.
pub(super) async fn sprites(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    cancel: &CancellationToken,
) -> Result<Option<String>, Stop> {
    let library = &cx.library;
    if library.sprites(&video.sha256).await.is_some() {
        return Ok(None);
    }
    let mut progress = announcer(cx, job, Step::Sprites);
    let made = cx.answers.media().sprites(&cx.source(video), cancel, &mut progress).await;
    let stored = match made {
        Ok((layout, sheets)) => library.put_sprites(&video.sha256, layout, sheets).await.map_err(Stop::from),
        Err(error) => Err(Stop::from(error)),
    };
    ended(cx, video, stored, "no scrub sprites")
}

/// Creates the transcode unless it exists or browsers play the original.
pub(super) async fn rendition(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    cancel: &CancellationToken,
) -> Result<Option<String>, Stop> {
    let made = make(cx, job, video, cancel).await;
    let defects = made.as_ref().ok().cloned().flatten();
    let failure = ended(cx, video, made.map(|_| ()), "no version for browsers")?;
    Ok(failure.or(defects))
}

/// Returns a warning about defects of the transcode.
async fn make(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    cancel: &CancellationToken,
) -> Result<Option<String>, Stop> {
    let (library, media) = (&cx.library, cx.answers.media());
    let source = cx.source(video);
    let probe = media.probe(&source, cancel).await?;
    let Err(reason) = homereel_video::playable(&probe) else { return Ok(None) };
    if library.rendition_path(&video.sha256).exists() {
        return Ok(None);
    }
    tracing::info!(
        video.id,
        reason,
        "started to transcode a video, because browsers cannot play it as it is"
    );
    let most = crate::media::rendition_bytes(&probe);
    library.check_disk(most.min(video.size.saturating_mul(2).max(64 << 20)))?;
    let new = library.new_rendition(&video.sha256)?;
    let out = new.writer().map_err(LibraryError::from)?;
    let mut progress = announcer(cx, job, Step::Playback);
    let made = match media.rendition(&source, &probe, out, cancel, &mut progress).await {
        Ok(made) => made,
        Err(error) => {
            // The disk filled up, whatever error the worker reports.
            library.check_disk(0)?;
            return Err(error.into());
        }
    };
    for warning in &made.warnings {
        tracing::warn!(video.id, warning, "transcoded a video for browsers, but with a defect");
    }
    new.publish().await.map_err(LibraryError::from)?;
    let defects: Vec<_> =
        made.warnings.into_iter().filter(|warning| !probe.warnings.contains(warning)).collect();
    Ok((!defects.is_empty()).then(|| format!("the version for browsers: {}", defects.join("; "))))
}

/// Sends a progress event at most once per interval.
pub(super) fn announcer(cx: &JobContext, job: &Job, step: Step) -> impl FnMut(usize, usize) + Send {
    let library = cx.library.clone();
    let (job_id, video_id) = (job.id.clone(), job.video_id.clone());
    let mut last = None::<Instant>;
    move |done, total| {
        if last.is_some_and(|at| at.elapsed() < PERIOD) && done != total {
            return;
        }
        last = Some(Instant::now());
        let (job_id, video_id) = (job_id.clone(), video_id.clone());
        library.announce(Change::Progress {
            job_id,
            video_id,
            step,
            stage: Stage::Decode.as_str(),
            done,
            total,
        });
    }
}

/// Turns a failure into a warning. Only a cancellation, a busy server or a full disk ends the attempt.
fn ended(
    cx: &JobContext,
    video: &Video,
    outcome: Result<(), Stop>,
    what: &str,
) -> Result<Option<String>, Stop> {
    match outcome {
        Ok(()) => {
            cx.library.announce(Change::Video { id: video.id.clone() });
            Ok(None)
        }
        Err(Stop::Fatal(message) | Stop::Retry(message)) => Ok(Some(format!("{what}: {message}"))),
        Err(stop) => Err(stop),
    }
}
