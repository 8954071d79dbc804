//! Turns rows of the library into the view models of pages. All texts about lists of videos and
//! jobs are here; the page of a video has its own. Pure functions: rows in, strings out.

use homereel_engine::{Engine, EngineError, Health};
use homereel_library::{Job, JobState, Poster, Step, Video};
use homereel_video::TakenTime;
use homereel_web::{
    format,
    views::{self, ModelStatus, StateKind, StateLabel, Time},
};
use jiff::{Timestamp, tz::TimeZone};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Steps of an ingest job, for `step 2 of 5`.
const STEPS: [Step; 7] =
    [Step::Probe, Step::Poster, Step::Sprites, Step::Describe, Step::Moments, Step::Tags, Step::Playback];

/// Describes the engine's state.
pub(super) fn model(engine: &dyn Engine) -> ModelStatus {
    match (engine.health(), engine.info()) {
        (Health::Failed(_), _) => {
            ModelStatus::Failed { reason: "The model could not be loaded; see the server's log.".into() }
        }
        (Health::Loading, _) | (_, Err(EngineError::NotReady)) => ModelStatus::Loading,
        (_, Ok(info)) if info.demo => ModelStatus::Demo { id: info.id },
        (_, Ok(info)) => ModelStatus::Ready { id: info.id },
        (_, Err(_)) => {
            ModelStatus::Failed { reason: "The model could not be loaded; see the server's log.".into() }
        }
    }
}

/// A point in time for `<time>`.
pub(super) fn time(ms: i64) -> Time {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let text = at.to_zoned(TimeZone::UTC).strftime("%-d %b %Y, %H:%M UTC").to_string();
    Time { iso: at.to_string(), text }
}

/// The local time at which the clip was taken, otherwise when it was added.
pub(super) fn date(video: &Video) -> Time {
    let Some(taken) = &video.taken else { return time(video.created_ms) };
    let local = taken.local;
    match taken.time {
        TakenTime::Day(day) => Time { iso: day.to_string(), text: day.strftime("%-d %b %Y").to_string() },
        _ => Time { iso: local.to_string(), text: local.strftime("%-d %b %Y, %H:%M").to_string() },
    }
}

/// What a list says about a date that is not sure.
fn date_note(video: &Video) -> &'static str {
    match &video.taken {
        None => "added",
        Some(taken) if taken.guessed => "a guess",
        Some(_) => "",
    }
}

/// The processing state of a video; `job` is its newest job.
pub(super) fn video_state(video: &Video, job: Option<&Job>) -> StateLabel {
    let state =
        |kind, word: &str, detail: &str| StateLabel { kind, word: word.into(), detail: detail.into() };
    if let Some(error) = &video.error {
        return state(StateKind::Failed, "cannot be read", error);
    }
    let Some(job) = job else { return state(StateKind::Done, "ready", "") };
    match job.state {
        JobState::Done => state(StateKind::Done, "ready", ""),
        JobState::Running => state(StateKind::Working, "processing", step_words(job.step)),
        JobState::Queued => match &job.error {
            Some(error) => state(StateKind::Waiting, "will be retried", error),
            None if job.awaits_speech => state(StateKind::Waiting, "waiting", "waits for what is said"),
            None => state(StateKind::Waiting, "waiting", ""),
        },
        JobState::Failed => {
            state(StateKind::Failed, "processing failed", job.error.as_deref().unwrap_or_default())
        }
        JobState::Cancelled => state(StateKind::Stopped, "processing was cancelled", ""),
    }
}

/// Describes a step.
fn step_words(step: Step) -> &'static str {
    match step {
        Step::Probe => "reading the file",
        Step::Poster => "making the poster",
        Step::Sprites | Step::LateSprites => "making the scrub thumbnails",
        Step::Playback => "making a version for browsers",
        Step::Describe => "describing it",
        Step::Moments => "finding the moments",
        Step::Tags => "choosing tags",
        Step::Transcribe => "listening to it",
    }
}

/// The progress of a running job.
pub(super) fn step(job: &Job) -> Option<views::JobProgress> {
    if job.state != JobState::Running {
        return None;
    }
    // Sprites that are made late come right before the version for browsers.
    let present = if job.step == Step::LateSprites { Step::Playback } else { job.step };
    let index = STEPS.iter().position(|&step| step == present).unwrap_or_default();
    let seconds = |n: i64| u64::try_from(n).unwrap_or_default();
    if job.step == Step::Transcribe {
        let (done, total) = (seconds(job.parts_done), seconds(job.parts).max(1));
        let name = format!("Listening… {} of {}", format::clock(done), format::clock(total));
        return Some(views::JobProgress { name, done: done.min(total), total, has_events: false });
    }
    if job.parts > 0 {
        // A long video: most of the time is spent on its windows.
        let name = format!("watching part {} of {}", (job.parts_done + 1).min(job.parts), job.parts);
        return Some(views::JobProgress {
            name,
            done: seconds(job.parts_done),
            total: seconds(job.parts),
            has_events: true,
        });
    }
    let name = format!("{}, step {} of {}", step_words(job.step), index + 1, STEPS.len());
    Some(views::JobProgress { name, done: index as u64, total: STEPS.len() as u64, has_events: true })
}

/// Returns the URL of a video's picture in lists; `None` if there is none yet.
pub(super) fn card_url(video: &Video) -> Option<String> {
    (video.poster == Poster::Ready).then(|| format!("/api/videos/{}/card.jpg", video.id))
}

/// A video in the list.
pub(super) fn card(video: &Video, job: Option<&Job>) -> views::Card {
    views::Card {
        id: video.id.clone(),
        name: video.name.clone(),
        poster: card_url(video),
        length: video.probe.as_ref().map(|probe| format::duration(probe.duration_s)).unwrap_or_default(),
        size: format::size(video.size),
        date: date(video),
        date_note: date_note(video),
        state: video_state(video, job),
    }
}

/// How much the model has still to watch, how fast it does, and when it will have done, in words; `None` if nothing is left.
pub(super) fn left(seconds: f64, rate: Option<f64>) -> Option<String> {
    if seconds < 1.0 {
        return None;
    }
    let left = format!("{} of video left to watch", format::duration(seconds));
    Some(match rate {
        Some(rate) => format!(
            "{left}, {rate:.1} hours of video per hour, done in about {}",
            format::duration(seconds / rate)
        ),
        None => left,
    })
}

/// A job in the list; `before` counts those that come first while it waits.
pub(super) fn job(job: &Job, video: Option<&Video>, before: Option<usize>, now_ms: i64) -> views::JobView {
    let (kind, word) = match job.state {
        JobState::Queued if job.error.is_some() => (StateKind::Waiting, "will be retried"),
        JobState::Queued if job.awaits_speech => (StateKind::Waiting, "waits for what is said"),
        JobState::Queued => (StateKind::Waiting, "waiting"),
        JobState::Running => (StateKind::Working, "running"),
        JobState::Done => (StateKind::Done, "done"),
        JobState::Failed => (StateKind::Failed, "failed"),
        JobState::Cancelled => (StateKind::Stopped, "cancelled"),
    };
    let end = if job.state == JobState::Running { now_ms } else { job.updated_ms };
    let elapsed = match job.state {
        JobState::Queued => match before {
            Some(0) => "next".into(),
            Some(count) => format!("{} ahead", format::count(count as u64, "job")),
            None => String::new(),
        },
        _ => format!("{} since it was added", format::duration((end - job.created_ms) as f64 / 1000.0)),
    };
    let tries = if job.attempts > 1 { format!(" (attempt {})", job.attempts) } else { String::new() };
    let mut reasons: Vec<&str> = job.error.as_deref().into_iter().collect();
    reasons.extend(job.warnings.iter().map(String::as_str));
    views::JobView {
        id: job.id.clone(),
        video_id: job.video_id.clone(),
        video: video.map_or_else(|| job.video_id.clone(), |video| video.name.clone()),
        what: format!(
            "{}{tries}",
            if job.step == Step::Transcribe { "Transcribe the sound" } else { "Process the video" }
        ),
        state: StateLabel { kind, word: word.into(), detail: String::new() },
        step: step(job),
        elapsed,
        since: time(job.updated_ms),
        reason: reasons.join("; "),
        can_retry: matches!(job.state, JobState::Failed | JobState::Cancelled),
        can_cancel: matches!(job.state, JobState::Queued | JobState::Running),
        can_go_first: job.state == JobState::Queued && before.is_some_and(|count| count > 0),
    }
}

/// Returns the URL of the page of an album.
pub(super) fn album_url(tag: &str) -> String {
    format!("/albums/{}", utf8_percent_encode(tag, NON_ALPHANUMERIC))
}
