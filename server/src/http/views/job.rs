//! Jobs as pages show them.

use homereel_library::{Job, JobState, Step, Video};
use homereel_web::{
    Words, format,
    views::{self, StateKind, StateLabel},
};

use super::time;

/// A job that is created later than this after its video, in milliseconds, describes it again.
const AGAIN_MS: i64 = 60_000;

/// Steps of an ingest job, for `step 2 of 5`.
const STEPS: [Step; 7] =
    [Step::Probe, Step::Poster, Step::Sprites, Step::Describe, Step::Moments, Step::Tags, Step::Playback];

/// Returns the message of a step.
pub(super) fn step_words(step: Step) -> &'static str {
    match step {
        Step::Probe => "step-probe",
        Step::Poster => "step-poster",
        Step::Sprites | Step::LateSprites => "step-sprites",
        Step::Playback => "step-playback",
        Step::Describe => "step-describe",
        Step::Moments => "step-moments",
        Step::Tags => "step-tags",
        Step::Transcribe => "step-transcribe",
    }
}

/// The progress of a running job.
pub(in crate::http) fn step(words: &Words, job: &Job) -> Option<views::JobProgress> {
    if job.state != JobState::Running {
        return None;
    }
    // Sprites that are made late come right before the version for browsers.
    let present = if job.step == Step::LateSprites { Step::Playback } else { job.step };
    let index = STEPS.iter().position(|&step| step == present).unwrap_or_default();
    let seconds = |n: i64| u64::try_from(n).unwrap_or_default();
    if job.step == Step::Transcribe {
        let (done, total) = (seconds(job.parts_done), seconds(job.parts).max(1));
        let (at, end) = (format::clock(done), format::clock(total));
        let name = words.with("step-listening", &[("done", &at), ("total", &end)]);
        return Some(views::JobProgress { name, done: done.min(total), total, has_events: false });
    }
    if job.parts > 0 {
        // A long video: most of the time is spent on its windows.
        let part = (job.parts_done + 1).min(job.parts).to_string();
        let name = words.with("step-part", &[("part", &part), ("total", &job.parts.to_string())]);
        return Some(views::JobProgress {
            name,
            done: seconds(job.parts_done),
            total: seconds(job.parts),
            has_events: true,
        });
    }
    let (number, total) = ((index + 1).to_string(), STEPS.len().to_string());
    let step = words.t(step_words(job.step));
    let name = words.with("step-of", &[("step", &step), ("number", &number), ("total", &total)]);
    Some(views::JobProgress { name, done: index as u64, total: STEPS.len() as u64, has_events: true })
}

/// How much the model has still to watch, how fast it does, and when it will have done, in words; `None` if nothing is left.
pub(in crate::http) fn left(words: &Words, seconds: f64, rate: Option<f64>) -> Option<String> {
    if seconds < 1.0 {
        return None;
    }
    let time = format::duration(seconds);
    let Some(rate) = rate else { return Some(words.with("jobs-left", &[("time", &time)])) };
    let done = format::duration(seconds / rate);
    Some(words.with("jobs-left-rate", &[("time", &time), ("rate", &format!("{rate:.1}")), ("done", &done)]))
}

/// A job in the list; `before` counts those that come first while it waits.
pub(in crate::http) fn job(
    words: &Words,
    job: &Job,
    video: Option<&Video>,
    before: Option<usize>,
    now_ms: i64,
) -> views::JobView {
    let (kind, word) = match job.state {
        JobState::Queued if job.error.is_some() => (StateKind::Waiting, "job-retrying"),
        JobState::Queued if job.awaits_speech => (StateKind::Waiting, "job-awaits-speech"),
        JobState::Queued => (StateKind::Waiting, "job-waiting"),
        JobState::Running => (StateKind::Working, "job-running"),
        JobState::Done => (StateKind::Done, "job-done"),
        JobState::Failed => (StateKind::Failed, "job-failed"),
        JobState::Cancelled => (StateKind::Stopped, "job-cancelled"),
    };
    let end = if job.state == JobState::Running { now_ms } else { job.updated_ms };
    let elapsed = match job.state {
        JobState::Queued => match before {
            Some(0) => words.t("jobs-next"),
            Some(count) => words.n("jobs-ahead", count as u64),
            None => String::new(),
        },
        _ => {
            // A video that is described again was added long before.
            let again = video.is_some_and(|video| job.created_ms - video.created_ms > AGAIN_MS);
            let key = if again { "jobs-took-again" } else { "jobs-took" };
            words.with(key, &[("time", &format::duration((end - job.created_ms) as f64 / 1000.0))])
        }
    };
    let what = words.t(if job.step == Step::Transcribe { "jobs-transcribe" } else { "jobs-process" });
    let what = match job.attempts {
        ..=1 => what,
        attempt => words.with("jobs-attempt", &[("what", &what), ("attempt", &attempt.to_string())]),
    };
    let mut reasons: Vec<&str> = job.error.as_deref().into_iter().collect();
    reasons.extend(job.warnings.iter().map(String::as_str));
    views::JobView {
        id: job.id.clone(),
        video_id: job.video_id.clone(),
        video: video.map_or_else(|| job.video_id.clone(), |video| video.name.clone()),
        what,
        state: StateLabel { kind, word: words.t(word), detail: String::new() },
        step: step(words, job),
        elapsed,
        since: time(job.updated_ms),
        reason: reasons.join("; "),
        can_retry: matches!(job.state, JobState::Failed | JobState::Cancelled),
        can_cancel: matches!(job.state, JobState::Queued | JobState::Running),
        can_go_first: job.state == JobState::Queued && before.is_some_and(|count| count > 0),
    }
}
