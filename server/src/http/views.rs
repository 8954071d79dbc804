//! Turns rows of the library into the view models of pages. All texts about lists of videos and
//! jobs are here; the page of a video has its own. Pure functions: rows in, strings out.

mod job;

use homereel_engine::{Engine, EngineError, Health};
use homereel_library::{Job, JobState, Poster, Video};
use homereel_video::TakenTime;
use homereel_web::{
    Words, format,
    views::{self, ModelStatus, StateKind, StateLabel, Time},
};
use jiff::{Timestamp, tz::TimeZone};
use job::step_words;
pub(super) use job::{job, left, step};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

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
fn date_note(words: &Words, video: &Video) -> String {
    match &video.taken {
        None => words.t("date-added"),
        Some(taken) if taken.guessed => words.t("date-guessed"),
        Some(_) => String::new(),
    }
}

/// The processing state of a video; `job` is its newest job.
pub(super) fn video_state(words: &Words, video: &Video, job: Option<&Job>) -> StateLabel {
    let state =
        |kind, word: &str, detail: &str| StateLabel { kind, word: words.t(word), detail: detail.into() };
    if let Some(error) = &video.error {
        return state(StateKind::Failed, "state-unreadable", error);
    }
    let Some(job) = job else { return state(StateKind::Done, "state-ready", "") };
    match job.state {
        JobState::Done => state(StateKind::Done, "state-ready", ""),
        JobState::Running => state(StateKind::Working, "state-working", &words.t(step_words(job.step))),
        JobState::Queued => match &job.error {
            Some(error) => state(StateKind::Waiting, "job-retrying", error),
            None if job.awaits_speech => state(StateKind::Waiting, "job-awaits-speech", ""),
            None => state(StateKind::Waiting, "job-waiting", ""),
        },
        JobState::Failed => {
            state(StateKind::Failed, "state-failed", job.error.as_deref().unwrap_or_default())
        }
        JobState::Cancelled => state(StateKind::Stopped, "state-cancelled", ""),
    }
}

/// Returns the URL of a video's picture in lists; `None` if there is none yet.
pub(super) fn card_url(video: &Video) -> Option<String> {
    (video.poster == Poster::Ready).then(|| format!("/api/videos/{}/card.jpg", video.id))
}

/// A video in the list.
pub(super) fn card(words: &Words, video: &Video, job: Option<&Job>) -> views::Card {
    views::Card {
        id: video.id.clone(),
        name: video.name.clone(),
        title: video.name.clone(),
        poster: card_url(video),
        posters: String::new(),
        length: video.probe.as_ref().map(|probe| format::duration(probe.duration_s)).unwrap_or_default(),
        size: format::size(video.size),
        date: date(video),
        date_note: date_note(words, video),
        favourite: video.favourite,
        state: video_state(words, video, job),
        later: false,
    }
}

/// Returns the URL of the page of a tag.
pub(super) fn tag_url(tag: &str) -> String {
    format!("/tags/{}", utf8_percent_encode(tag, NON_ALPHANUMERIC))
}
