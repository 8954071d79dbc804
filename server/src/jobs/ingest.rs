//! What is owed to a new video: probe, poster, what a player needs, then three texts by the model. Each step is stored when it is done.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Stop, parse, playback,
    question::{self, About},
    windows,
};
use crate::{
    app::AppState,
    library::{Job, Poster, Step, Text, TextKind, Video, now_ms},
    media::FrameSampling,
};

/// Pixels per row of a poster.
const POSTER_WIDTH: u32 = 640;

/// Runs the steps that are left and returns the warnings.
pub(super) async fn run(
    state: &AppState,
    job: &Job,
    cancel: &CancellationToken,
) -> Result<Vec<String>, Stop> {
    let library = &state.library;
    let video = library.video(&job.video_id).await?;
    let mut warnings = job.warnings.clone();
    let mut step = job.step;
    loop {
        if library.jobs_paused().await? {
            return Err(Stop::Later(Duration::ZERO));
        }
        match step {
            Step::Probe => {
                let probe = state.asker.media().probe(&library.source(&video), cancel).await;
                match probe {
                    Ok(probe) => library.set_probe(&video.id, &slim(&probe)).await?,
                    Err(error) => {
                        let stop = Stop::from(error);
                        if let Stop::Fatal(message) = &stop {
                            library.set_video_error(&video.id, message).await?;
                        }
                        return Err(stop);
                    }
                }
            }
            Step::Poster => warnings.extend(poster(state, &video, cancel).await?),
            Step::Sprites => warnings.extend(playback::sprites(state, job, &video, cancel).await?),
            Step::Playback => warnings.extend(playback::rendition(state, job, &video, cancel).await?),
            Step::Describe | Step::Moments | Step::Tags if windows::is_long(state, &video) => {
                warnings.extend(windows::run(state, job, &video, cancel).await?);
                return Ok(warnings);
            }
            Step::Describe => warnings.extend(text(state, job, &video, TextKind::Description, cancel).await?),
            Step::Moments => warnings.extend(text(state, job, &video, TextKind::Moments, cancel).await?),
            Step::Tags => warnings.extend(text(state, job, &video, TextKind::Tags, cancel).await?),
        }
        match step.next() {
            Some(next) => {
                step = next;
                library.advance_job(&job.id, step, &warnings).await?;
            }
            None => return Ok(warnings),
        }
    }
}

/// Leaves out the times of frames: megabytes for a long clip, and found again in a moment.
fn slim(probe: &homereel_video::Probe) -> homereel_video::Probe {
    homereel_video::Probe { frame_times: Vec::new(), entries: Vec::new(), ..probe.clone() }
}

/// Makes the poster. A video without one is still a video: what fails for good is a warning.
async fn poster(state: &AppState, video: &Video, cancel: &CancellationToken) -> Result<Option<String>, Stop> {
    let library = &state.library;
    match state.asker.media().poster(&library.source(video), POSTER_WIDTH, cancel).await {
        Ok(jpeg) => {
            write_poster(state, video, jpeg)
                .await
                .map_err(|error| Stop::Retry(format!("poster: {error}")))?;
            library.set_poster(&video.id, Poster::Ready).await?;
            Ok(None)
        }
        Err(error) => match Stop::from(error) {
            Stop::Cancelled => Err(Stop::Cancelled),
            Stop::Later(after) => Err(Stop::Later(after)),
            Stop::Fatal(message) | Stop::Retry(message) => {
                library.set_poster(&video.id, Poster::Failed).await?;
                Ok(Some(format!("no poster: {message}")))
            }
        },
    }
}

/// Writes beside the place and renames, so that no reader sees half a picture.
async fn write_poster(state: &AppState, video: &Video, jpeg: Bytes) -> std::io::Result<()> {
    let path = state.library.poster_path(&video.sha256);
    let scratch = path.with_extension("part");
    tokio::fs::write(&scratch, &jpeg).await?;
    tokio::fs::rename(&scratch, &path).await
}

/// Asks for one text and stores it with its model and settings.
async fn text(
    state: &AppState,
    job: &Job,
    video: &Video,
    kind: TextKind,
    cancel: &CancellationToken,
) -> Result<Option<String>, Stop> {
    let about = About { job, video, frames: FrameSampling::default(), kind };
    let asked = question::ask(state, about, cancel).await?;
    let duration = video.probe.as_ref().map_or(f64::INFINITY, |probe| probe.duration_s);
    let content = match kind {
        TextKind::Description => Some(asked.text.trim().to_owned()).filter(|text| !text.is_empty()),
        TextKind::Moments => {
            let read = if asked.whole { parse::moments } else { parse::moments_so_far };
            read(&asked.text, duration).map(|moments| json!(parse::joined(moments)).to_string())
        }
        TextKind::Tags => parse::tags(&asked.text).map(|tags| json!(tags).to_string()),
    };
    let warning = match &content {
        Some(_) => asked.warning.clone(),
        None => Some(question::unusable(video, kind, &asked.text)),
    };
    let text = Text {
        content,
        warning: warning.clone(),
        model: asked.model,
        settings: question::settings(kind, FrameSampling::default()),
        created_ms: now_ms(),
        edited_ms: None,
    };
    state.library.put_text(&video.id, kind, text).await?;
    Ok(warning)
}
