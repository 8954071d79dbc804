//! The ingest job of a new video: probe, poster, scrub sprites, three generated texts, and a rendition for
//! browsers. Each step is stored when it is done. A description that waits for what is said comes after all of them.

use std::time::Duration;

use homereel_library::{Job, Lane, Poster, Step, Text, TextKind, Video, now_ms};
use homereel_video::FrameSampling;
use tokio_util::sync::CancellationToken;

use super::{
    context::JobContext,
    part::{self, Part},
    playback,
    question::{self, Subject},
    said::{self, Said},
    stop::Stop,
    texts::{self, Content, PartText},
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

/// A short video, which the model watches as one part.
#[derive(Debug, Default)]
struct WholeVideo {
    /// The frames that all questions share.
    part: Option<Part>,
    /// This attempt stored all texts that can be there yet.
    is_described: bool,
}

/// Runs the remaining steps of the job's lane.
pub(super) async fn run(cx: &JobContext, job: &Job, cancel: &CancellationToken) -> Result<Ended, Stop> {
    let library = &cx.library;
    let video = library.video(&job.video_id).await?;
    let mut warnings = job.warnings.clone();
    let mut step = job.step;
    let mut whole = WholeVideo::default();
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
        let Some(next) = next_step(cx, job, &video, step, &whole).await? else {
            return Ok(Ended::Done(warnings));
        };
        if next.lane() != step.lane() {
            if let Some(part) = &mut whole.part {
                part.finish();
            }
            return Ok(Ended::Lane(next, warnings));
        }
        step = next;
        library.advance_job(&job.id, step, &warnings).await?;
    }
}

/// Returns the step after `step`; `None` after the last.
async fn next_step(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    step: Step,
    whole: &WholeVideo,
) -> Result<Option<Step>, Stop> {
    let next = match step.next() {
        // The model would wait for decoded frames meanwhile.
        Some(Step::Sprites) if cx.slots.is_starved() && cx.asks_model().await? => Some(Step::Describe),
        // All texts are there.
        Some(Step::Moments) if whole.is_described || windows::is_long(cx, video) => Some(Step::LateSprites),
        next => next,
    };
    Ok(match next {
        Some(Step::LateSprites) if cx.library.sprites(&video.sha256).await.is_some() => Some(Step::Playback),
        None if cx.library.job(&job.id).await?.awaits_speech => Some(Step::Describe),
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
    whole: &mut WholeVideo,
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
        // A job of its own.
        Step::Transcribe => Vec::new(),
        Step::Describe | Step::Moments | Step::Tags if windows::is_long(cx, video) => {
            windows::run(cx, job, video, cancel).await?
        }
        // One text after the other is how the demo model is asked, which is told nothing of what is said.
        Step::Describe if !texts::are_asked_one_by_one(cx) => {
            let warnings = describe(cx, job, video, whole, cancel).await?;
            whole.is_described = true;
            warnings
        }
        Step::Describe | Step::Moments | Step::Tags => {
            let part = match &mut whole.part {
                Some(part) => part,
                none => none.insert(part::open(cx, job, video, FrameSampling::default(), cancel).await?),
            };
            let about = Subject { job, video, part, said: None };
            let kind = match step {
                Step::Moments => TextKind::Moments,
                Step::Tags => TextKind::Tags,
                _ => TextKind::Description,
            };
            one(store(cx, video, texts::one(cx, about, kind, cancel).await?).await?)
        }
    })
}

/// Stores the texts about a short video, and returns their warnings. Where it is not known yet what is said, only the moments
/// and tags, and the description with the next attempt.
async fn describe(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    whole: &mut WholeVideo,
    cancel: &CancellationToken,
) -> Result<Vec<String>, Stop> {
    let duration = video.probe.as_ref().map_or(0.0, |probe| probe.duration_s);
    let said = said::said(cx, video, (0.0, duration)).await?;
    let awaited = cx.library.job(&job.id).await?.awaits_speech;
    if awaited && said == Said::ToCome {
        return Err(Stop::Later(said::WAIT));
    }
    let part = match &mut whole.part {
        Some(part) => part,
        none => none.insert(part::open(cx, job, video, FrameSampling::default(), cancel).await?),
    };
    let about = Subject { job, video, part, said: said.text() };
    let texts = match (&said, awaited) {
        (Said::ToCome, _) => texts::some(cx, about, &[TextKind::Moments, TextKind::Tags], cancel).await?,
        (_, true) => texts::some(cx, about, &[TextKind::Description], cancel).await?,
        (_, false) => texts::all(cx, about, cancel).await?,
    };
    let mut warnings = Vec::new();
    for text in texts {
        warnings.extend(store(cx, video, text).await?);
    }
    if awaited != (said == Said::ToCome) {
        cx.library.set_awaits_speech(&job.id, !awaited).await?;
    }
    Ok(warnings)
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
            stop @ (Stop::Later(_) | Stop::Away(..) | Stop::Full(_)) => Err(stop),
            Stop::Fatal(message) | Stop::Retry(message) => {
                library.set_poster(&video.id, Poster::Failed).await?;
                Ok(Some(format!("no poster: {message}")))
            }
        },
    }
}

/// Stores a text about a whole video, and returns its warning.
async fn store(cx: &JobContext, video: &Video, text: PartText) -> Result<Option<String>, Stop> {
    let warning = text.warning.clone();
    let row = Text {
        content: text.content.map(Content::stored),
        warning: text.warning,
        model: text.model,
        settings: question::settings(text.question, FrameSampling::default()),
        created_ms: now_ms(),
        edited_ms: None,
    };
    cx.library.put_text(&video.id, text.kind, row).await?;
    Ok(warning)
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
