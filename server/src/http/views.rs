//! Turns rows of the library into the view models of pages. All texts about videos, answers and jobs are
//! here. Pure functions: rows in, strings out.

mod job;

use homereel_engine::{Engine, EngineError, Health};
use homereel_library::{Answer, AnswerStatus, Job, JobState, Poster, Video};
use homereel_video::{DateSource, ProbeSummary, TakenTime};
use homereel_web::{
    Words, format,
    views::{self, Fact, Made, ModelStatus, StateKind, StateLabel, Time},
};
use jiff::{Timestamp, tz::TimeZone};
use job::step_words;
pub(super) use job::{job, left, step};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

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
fn date(video: &Video) -> Time {
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

/// When the clip was taken, with what is known of the zone, and who says so.
fn taken(video: &Video) -> String {
    let Some(taken) = &video.taken else { return "unknown".into() };
    let date = date(video).text;
    let zone = match taken.time {
        TakenTime::Day(_) => String::new(),
        TakenTime::Local(_) => ", time zone unknown".into(),
        TakenTime::Zoned(..) => format!(", UTC{}", &taken.time.to_string()[19..]),
        TakenTime::Instant(moment) => {
            let utc = TimeZone::UTC.to_datetime(moment).strftime("%H:%M");
            format!(" in the server's time zone ({utc} UTC, zone of the place unknown)")
        }
    };
    let source = match taken.source {
        DateSource::Person => ", entered by hand",
        DateSource::FileName => ", guessed from the file's name",
        DateSource::FileTime => ", guessed from the time of the file",
        DateSource::Camera | DateSource::Container => "",
    };
    format!("{date}{zone}{source}")
}

/// The fields of the form that corrects a date: day, time, zone.
pub(super) fn taken_fields(video: &Video) -> [String; 3] {
    let Some(taken) = &video.taken else { return Default::default() };
    let text = taken.time.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
    let zone = match taken.time {
        TakenTime::Instant(_) => "UTC".to_owned(),
        _ => text.get(19..).unwrap_or_default().to_owned(),
    };
    [part(0, 10), part(11, 19), zone]
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
        poster: card_url(video),
        length: video.probe.as_ref().map(|probe| format::duration(probe.duration_s)).unwrap_or_default(),
        size: format::size(video.size),
        date: date(video),
        date_note: date_note(video),
        state: video_state(words, video, job),
    }
}

/// A question and its answer; times in it link to a video of `duration` seconds.
pub(super) fn answer(answer: &Answer, duration: f64) -> views::AnswerView {
    let error = answer.error.clone().unwrap_or_default();
    let (kind, word, detail) = match answer.status {
        AnswerStatus::Running => (StateKind::Working, "being answered", String::new()),
        AnswerStatus::Done if answer.finish_reason.as_deref() == Some("length") => {
            (StateKind::Stopped, "cut off", "the answer reached its maximum length".into())
        }
        AnswerStatus::Done => (StateKind::Done, "answered", String::new()),
        AnswerStatus::Failed => (StateKind::Failed, "failed", error),
        AnswerStatus::Cancelled => (StateKind::Stopped, "stopped", "the text so far is kept".into()),
    };
    views::AnswerView {
        id: answer.id.clone(),
        question: answer.question.clone(),
        text: homereel_web::times::spans(&shortened(&answer.answer), duration),
        state: StateLabel { kind, word: word.into(), detail },
        model: answer.model.clone(),
        asked: time(answer.created_ms),
        facts: answer_facts(answer),
    }
}

/// Frames, tokens and stage times of an answer, as far as they are known.
fn answer_facts(answer: &Answer) -> Vec<Fact> {
    let mut facts = Vec::new();
    let media = answer.media.as_ref();
    if let Some(frames) = media.and_then(|media| media["frames"].as_u64()) {
        facts.push(Fact { name: "Frames seen", value: frames.to_string() });
    }
    let stage = |key: &str| answer.stages_ms.as_ref().and_then(|stages| stages[key].as_f64());
    for (name, key) in [
        ("Waiting", "queue"),
        ("Decoding", "decode"),
        ("Looking", "vision"),
        ("Reading the prompt", "prefill"),
        ("Time to first token", "ttft"),
        ("Answering", "generate"),
        ("Answered in", "total"),
    ] {
        if let Some(ms) = stage(key) {
            // Frames and vision features are cached between questions.
            let reused = ms == 0.0 && matches!(key, "decode" | "vision");
            facts.push(Fact { name, value: if reused { "cached".into() } else { seconds(ms) } });
        }
    }
    let tokens = |key: &str| answer.usage.as_ref().and_then(|usage| usage[key].as_u64());
    if let (Some(prompt), Some(completion)) = (tokens("prompt_tokens"), tokens("completion_tokens")) {
        facts.push(Fact { name: "Tokens", value: format!("{prompt} in, {completion} out") });
    }
    let warnings =
        media.and_then(|media| media["warnings"].as_array()).map(Vec::as_slice).unwrap_or_default();
    for warning in warnings.iter().filter_map(Value::as_str) {
        facts.push(Fact { name: "Note", value: warning.into() });
    }
    facts
}

fn seconds(ms: f64) -> String {
    if ms < 10_000.0 { format!("{:.2} s", ms / 1000.0) } else { format::duration(ms / 1000.0) }
}

/// Maximum number of characters of a text that a page shows; files and JSON have all of it.
pub(super) const SHOWN_CHARS: usize = 6000;

/// Truncates a text that would make a page heavy.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// Describes what the model saw.
pub(super) fn description(video: &Video) -> Option<Made> {
    let text = video.texts.description.as_ref()?;
    Some(Made {
        text: shortened(text.content.as_deref()?),
        model: text.model.clone(),
        edited: text.edited_ms.is_some(),
    })
}

/// Tags, each with a link to its album.
pub(super) fn tags(video: &Video) -> Vec<views::Link> {
    let words = video.texts.tags.as_ref().and_then(|text| text.content.as_deref()).unwrap_or_default();
    let link = |word: &String| views::Link { text: word.clone(), url: album_url(word) };
    words.iter().map(link).collect()
}

/// Moments for the page.
pub(super) fn moments(video: &Video) -> Vec<views::MomentView> {
    let moments = video.texts.moments.as_ref().and_then(|text| text.content.as_deref()).unwrap_or_default();
    let view = |moment: &homereel_library::Moment| views::MomentView {
        start: format::second(moment.start),
        at: format!("{}–{}", format::position(moment.start), format::position(moment.end)),
        text: moment.text.clone(),
    };
    moments.iter().map(view).collect()
}

/// Facts about the file.
pub(super) fn file_facts(video: &Video) -> Vec<Fact> {
    let mut facts = vec![
        Fact { name: "Taken", value: taken(video) },
        Fact { name: "File size", value: format::size(video.size) },
    ];
    if let Some(place) = &video.place {
        facts.push(Fact { name: "Place", value: place.clone() });
    }
    if let Some(probe) = &video.probe {
        facts.extend(probe_facts(probe));
    }
    facts
}

fn probe_facts(probe: &ProbeSummary) -> Vec<Fact> {
    let stream = &probe.video;
    let mut facts = vec![
        Fact { name: "Length", value: format::duration(probe.duration_s) },
        Fact { name: "Picture", value: format!("{} × {}", stream.width, stream.height) },
        Fact { name: "Frames", value: format!("{} ({:.2} per second)", stream.frame_count, stream.fps) },
        Fact { name: "Codec", value: stream.codec.clone() },
    ];
    let sound = probe.audio.as_ref().map_or_else(|| "none".to_owned(), |audio| audio.codec.clone());
    facts.push(Fact { name: "Sound", value: sound });
    if let Some(place) = probe.location {
        facts.push(Fact {
            name: "Coordinates",
            value: format!("{:.4}, {:.4}", place.latitude, place.longitude),
        });
    }
    if let Some(camera) = &probe.camera {
        facts.push(Fact { name: "Camera", value: camera.clone() });
    }
    facts
}

/// Returns the URL of the page of an album.
pub(super) fn album_url(tag: &str) -> String {
    format!("/albums/{}", utf8_percent_encode(tag, NON_ALPHANUMERIC))
}
