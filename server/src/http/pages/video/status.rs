//! The state of a video's analysis, in the line under its title.

use homereel_library::{Job, JobState, Step, Video};
use homereel_web::{
    Words, format,
    views::{JobProgress, StateKind, StateLabel},
};

/// Steps of an analysis, in order.
const STEPS: [Step; 7] =
    [Step::Probe, Step::Poster, Step::Sprites, Step::Describe, Step::Moments, Step::Tags, Step::Playback];

/// The state of a video; `job` is its newest analysis.
pub(super) fn state(words: &Words, video: &Video, job: Option<&Job>) -> StateLabel {
    let state =
        |kind, key: &str, detail: &str| StateLabel { kind, word: words.t(key), detail: detail.into() };
    if let Some(error) = &video.error {
        return state(StateKind::Failed, "state-unreadable", error);
    }
    let Some(job) = job else { return state(StateKind::Done, "state-ready", "") };
    let error = job.error.as_deref().unwrap_or_default();
    match job.state {
        JobState::Done => state(StateKind::Done, "state-ready", ""),
        JobState::Running => state(StateKind::Working, "state-working", ""),
        JobState::Queued if !error.is_empty() => state(StateKind::Waiting, "state-retried", error),
        JobState::Queued if job.awaits_speech => state(StateKind::Waiting, "state-awaits-speech", ""),
        JobState::Queued => state(StateKind::Waiting, "state-waiting", ""),
        JobState::Failed => state(StateKind::Failed, "state-failed", error),
        JobState::Cancelled => state(StateKind::Stopped, "state-cancelled", ""),
    }
}

/// The progress of a running analysis.
pub(super) fn progress(words: &Words, job: &Job) -> Option<JobProgress> {
    if job.state != JobState::Running {
        return None;
    }
    let count = |n: i64| u64::try_from(n).unwrap_or_default();
    if job.step == Step::Transcribe {
        let (done, total) = (count(job.parts_done), count(job.parts).max(1));
        let values = [("at", format::clock(done)), ("length", format::clock(total))];
        let name =
            words.with("step-transcribe", &values.each_ref().map(|(name, value)| (*name, value.as_str())));
        return Some(JobProgress { name, done: done.min(total), total, has_events: false });
    }
    if job.parts > 0 {
        // A long video: most of the time is spent on its windows.
        let (part, parts) = ((job.parts_done + 1).min(job.parts).to_string(), job.parts.to_string());
        let name = words.with("step-part", &[("part", &part), ("parts", &parts)]);
        return Some(JobProgress {
            name,
            done: count(job.parts_done),
            total: count(job.parts),
            has_events: true,
        });
    }
    // Sprites that are made late come right before the version for browsers.
    let present = if job.step == Step::LateSprites { Step::Playback } else { job.step };
    let index = STEPS.iter().position(|&step| step == present).unwrap_or_default();
    Some(JobProgress {
        name: words.t(step(job.step)),
        done: index as u64,
        total: STEPS.len() as u64,
        has_events: true,
    })
}

/// The key of a step's message.
fn step(step: Step) -> &'static str {
    match step {
        Step::Probe => "step-probe",
        Step::Poster => "step-poster",
        Step::Sprites | Step::LateSprites => "step-sprites",
        Step::Playback => "step-playback",
        Step::Describe => "step-describe",
        Step::Moments => "step-moments",
        Step::Tags | Step::Transcribe => "step-tags",
    }
}
