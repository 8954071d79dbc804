//! The ingest job of a new video: probe, poster, scrub sprites, three generated texts, and a rendition for
//! browsers. Each step is stored when it is done.

use std::time::Duration;

use homereel_library::{Job, Lane, Poster, Step, Text, TextKind, Video, now_ms};
use homereel_video::FrameSampling;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    context::JobContext,
    parse,
    part::{self, Part},
    playback,
    question::{self, TextRequest},
    stop::Stop,
    windows,
};

/// Maximum width of a poster in pixels.
const POSTER_WIDTH: u32 = 640;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All steps are done, with these warnings.
    Done(Vec<String>),
    /// The next step belongs to the other lane.
    Lane(Step, Vec<String>),
}

/// Runs the remaining steps of the job's lane.
pub(super) async fn run(cx: &JobContext, job: &Job, cancel: &CancellationToken) -> Result<Ended, Stop> {
    let library = &cx.library;
    let video = library.video(&job.video_id).await?;
    let mut warnings = job.warnings.clone();
    let mut step = job.step;
    // The part that all questions about a short video share.
    let mut whole = None;
    loop {
        if step.lane() == Lane::Model && library.jobs_paused().await? {
            return Err(Stop::Later(Duration::ZERO));
        }
        match run_step(cx, job, &video, step, &mut whole, cancel).await {
            Ok(more) => warnings.extend(more),
            Err(stop) => {
                // The job will not be retried, so the steps without the model run nevertheless.
                if is_text(step) && (matches!(stop, Stop::Fatal(_)) || is_last(job, &stop)) {
                    drop(whole);
                    playback::sprites(cx, job, &video, cancel).await?;
                    playback::rendition(cx, job, &video, cancel).await?;
                }
                return Err(stop);
            }
        }
        let Some(next) = next_step(cx, &video, step).await? else { return Ok(Ended::Done(warnings)) };
        if next.lane() != step.lane() {
            if let Some(part) = &mut whole {
                part.finish();
            }
            return Ok(Ended::Lane(next, warnings));
        }
        step = next;
        library.advance_job(&job.id, step, &warnings).await?;
    }
}

/// Returns the step after `step`; `None` after the last.
async fn next_step(cx: &JobContext, video: &Video, step: Step) -> Result<Option<Step>, Stop> {
    let next = match step.next() {
        // The model would wait for decoded frames meanwhile.
        Some(Step::Sprites) if cx.slots.is_starved() && cx.asks_model().await? => Some(Step::Describe),
        // The windows produce all three texts.
        Some(Step::Moments) if windows::is_long(cx, video) => Some(Step::LateSprites),
        next => next,
    };
    Ok(match next {
        Some(Step::LateSprites) if cx.library.sprites(&video.sha256).await.is_some() => Some(Step::Playback),
        next => next,
    })
}

fn is_text(step: Step) -> bool {
    matches!(step, Step::Describe | Step::Moments | Step::Tags)
}

fn is_last(job: &Job, stop: &Stop) -> bool {
    matches!(stop, Stop::Retry(_)) && job.is_last_try()
}

/// Runs one step and returns its warnings.
async fn run_step(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    step: Step,
    whole: &mut Option<Part>,
    cancel: &CancellationToken,
) -> Result<Vec<String>, Stop> {
    // Sprites that failed are tried again after the texts.
    let one =
        |warning: Option<String>| warning.filter(|text| !job.warnings.contains(text)).into_iter().collect();
    Ok(match step {
        Step::Probe => {
            probe(cx, video, cancel).await?;
            Vec::new()
        }
        Step::Poster => one(poster(cx, video, cancel).await?),
        Step::Sprites | Step::LateSprites => one(playback::sprites(cx, job, video, cancel).await?),
        Step::Playback => one(playback::rendition(cx, job, video, cancel).await?),
        Step::Describe | Step::Moments | Step::Tags if windows::is_long(cx, video) => {
            windows::run(cx, job, video, cancel).await?
        }
        Step::Describe | Step::Moments | Step::Tags => {
            let part = match whole {
                Some(part) => part,
                None => whole.insert(part::open(cx, job, video, FrameSampling::default(), cancel).await?),
            };
            let kind = match step {
                Step::Moments => TextKind::Moments,
                Step::Tags => TextKind::Tags,
                _ => TextKind::Description,
            };
            one(text(cx, job, video, part, kind, cancel).await?)
        }
    })
}

async fn probe(cx: &JobContext, video: &Video, cancel: &CancellationToken) -> Result<(), Stop> {
    let library = &cx.library;
    match cx.answers.media().probe(&cx.source(video), cancel).await {
        Ok(probe) => Ok(library.set_probe(&video.id, &probe.summary).await?),
        Err(error) => {
            let stop = Stop::from(error);
            if let Stop::Fatal(message) = &stop {
                library.set_video_error(&video.id, message).await?;
            }
            Err(stop)
        }
    }
}

/// Creates the poster. A video works without one, so a permanent failure is only a warning.
async fn poster(cx: &JobContext, video: &Video, cancel: &CancellationToken) -> Result<Option<String>, Stop> {
    let library = &cx.library;
    match cx.answers.media().poster(&cx.source(video), POSTER_WIDTH, cancel).await {
        Ok(posters) => {
            library.put_poster(&video.sha256, posters).await?;
            library.set_poster(&video.id, Poster::Ready).await?;
            Ok(None)
        }
        Err(error) => match Stop::from(error) {
            Stop::Cancelled => Err(Stop::Cancelled),
            stop @ (Stop::Later(_) | Stop::Full(_)) => Err(stop),
            Stop::Fatal(message) | Stop::Retry(message) => {
                library.set_poster(&video.id, Poster::Failed).await?;
                Ok(Some(format!("no poster: {message}")))
            }
        },
    }
}

/// Generates one text and stores it with its model and settings.
async fn text(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    part: &Part,
    kind: TextKind,
    cancel: &CancellationToken,
) -> Result<Option<String>, Stop> {
    let about = TextRequest { job, video, part, kind };
    let asked = question::ask(cx, about, cancel).await?;
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
    cx.library.put_text(&video.id, kind, text).await?;
    Ok(warning)
}
