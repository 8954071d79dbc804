//! Follows the clips of a measurement: polls the lists of videos and jobs, at most twice per second, until a condition holds
//! for each clip.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Slots};
use super::server::Server;

/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(500);

/// Videos in one answer, at most.
const PAGE: usize = 100;

/// Videos that others may add meanwhile. The list begins with the newest.
const MARGIN: usize = 8;

/// Failed requests in a row after which the measurement fails.
const MAX_ERRORS: usize = 20;

/// The fields of a video that are its texts.
const TEXTS: [&str; 3] = ["description", "moments", "tags"];

/// One clip on the server. Times are in seconds after the start; `None` means not yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progress {
    /// Id of the video.
    pub(super) id: String,
    /// Length of the clip in seconds.
    pub(super) duration_s: f64,
    /// When the poster was made, or could not be made.
    pub(super) poster_s: Option<f64>,
    /// When all three texts were there.
    pub(super) texts_s: Option<f64>,
    /// When the job ended.
    pub(super) job_s: Option<f64>,
    /// Texts for which the model gave no usable answer.
    pub(super) unusable: usize,
    /// Why the job failed.
    pub(super) failure: Option<String>,
}

/// What the progress of clips is followed with.
#[derive(Clone, Copy)]
pub(super) struct Watch<'a> {
    pub(super) server: &'a Server,
    /// Start of the measurement.
    pub(super) began: Instant,
    /// Time after the start at which it ends, whatever is missing.
    pub(super) limit: Duration,
    /// Ends it at once.
    pub(super) stop: &'a CancellationToken,
    /// Called with the number of clips that have their texts.
    pub(super) on_described: &'a dyn Fn(usize),
}

impl Progress {
    /// Whether the texts are there, or will not come.
    pub(super) fn is_settled(&self) -> bool {
        self.texts_s.is_some() || self.failure.is_some()
    }

    /// Whether nothing more is done for the clip.
    pub(super) fn is_over(&self) -> bool {
        self.job_s.is_some()
    }
}

impl Watch<'_> {
    fn now_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.began.elapsed() > self.limit
    }
}

/// Polls until `done` holds for each of `clips`, or the watch is over. Returns samples of the slots.
///
/// # Errors
/// When the server fails to answer many times in a row.
pub(super) async fn follow(
    watch: Watch<'_>,
    clips: &mut [Progress],
    done: fn(&Progress) -> bool,
) -> anyhow::Result<Vec<Slots>> {
    let mut samples = Vec::new();
    let (mut turn, mut errors) = (0_usize, 0_usize);
    while !clips.iter().all(done) && !watch.is_over() {
        let result = match turn % 4 {
            1 => look_at_jobs(watch, clips).await,
            3 => {
                samples.extend(watch.server.metrics().await.map(|metrics| metrics::slots(&metrics)));
                Ok(())
            }
            _ => look_at_videos(watch, clips).await,
        };
        match result {
            Ok(()) => errors = 0,
            Err(error) if errors + 1 >= MAX_ERRORS => return Err(error),
            Err(_) => errors += 1,
        }
        (watch.on_described)(clips.iter().filter(|clip| clip.texts_s.is_some()).count());
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(samples)
}

/// Lists the newest videos and records what is there.
pub(super) async fn look_at_videos(watch: Watch<'_>, clips: &mut [Progress]) -> anyhow::Result<()> {
    let wanted = clips.len() + MARGIN;
    for page in 0..wanted.div_ceil(PAGE) {
        if page > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let path = format!("/api/videos?limit={}&offset={}", wanted.min(PAGE), page * PAGE);
        let list = watch.server.json(&path).await?;
        see_videos(clips, &list, watch.now_s());
    }
    Ok(())
}

async fn look_at_jobs(watch: Watch<'_>, clips: &mut [Progress]) -> anyhow::Result<()> {
    let list = watch.server.json("/api/jobs").await?;
    see_jobs(clips, &list, watch.now_s());
    Ok(())
}

fn see_videos(clips: &mut [Progress], list: &Value, now_s: f64) {
    for video in list["videos"].as_array().into_iter().flatten() {
        let Some(clip) = clips.iter_mut().find(|clip| video["id"] == *clip.id) else { continue };
        if video["poster"].as_str().is_some_and(|state| state != "pending") {
            clip.poster_s.get_or_insert(now_s);
        }
        if TEXTS.iter().all(|&text| video[text].is_object()) {
            clip.texts_s.get_or_insert(now_s);
            clip.unusable = TEXTS.iter().filter(|&&text| video[text]["content"].is_null()).count();
        }
    }
}

fn see_jobs(clips: &mut [Progress], list: &Value, now_s: f64) {
    for job in list["jobs"].as_array().into_iter().flatten() {
        let Some(clip) = clips.iter_mut().find(|clip| job["video_id"] == *clip.id) else { continue };
        let state = job["state"].as_str().unwrap_or_default();
        if !matches!(state, "done" | "failed" | "cancelled") {
            continue;
        }
        clip.job_s.get_or_insert(now_s);
        if state != "done" {
            let error = job["error"].as_str().unwrap_or("no reason is given");
            clip.failure.get_or_insert_with(|| format!("job {state}: {error}"));
        }
    }
}

/// Returns the latest of the clips' times. `None` means that one is missing, or that there are no clips.
pub(super) fn latest<'a>(
    mut clips: impl Iterator<Item = &'a Progress>,
    time: fn(&Progress) -> Option<f64>,
) -> Option<f64> {
    let first = time(clips.next()?)?;
    clips.try_fold(first, |latest, clip| Some(latest.max(time(clip)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clips(ids: &[&str]) -> Vec<Progress> {
        ids.iter().map(|&id| Progress { id: id.into(), ..Progress::default() }).collect()
    }

    #[test]
    fn a_clip_is_described_when_it_has_three_texts_usable_or_not() {
        let mut clips = clips(&["a", "b"]);
        let text = |content: Value| json!({ "content": content, "warning": null });
        let list = |poster: &str, tags: Value| {
            json!({ "videos": [
                { "id": "other", "poster": "ready" },
                { "id": "a", "poster": poster, "description": text(json!("x")), "moments": text(Value::Null), "tags": tags },
                { "id": "b", "poster": "pending", "description": null, "moments": null, "tags": null },
            ]})
        };
        see_videos(&mut clips, &list("pending", Value::Null), 1.0);
        assert_eq!((clips[0].poster_s, clips[0].texts_s), (None, None));
        see_videos(&mut clips, &list("ready", text(json!(["x"]))), 2.0);
        see_videos(&mut clips, &list("ready", text(json!(["x"]))), 3.0);
        assert_eq!((clips[0].poster_s, clips[0].texts_s, clips[0].unusable), (Some(2.0), Some(2.0), 1));
        assert!(clips[0].is_settled() && !clips[1].is_settled());
        assert_eq!(latest(clips.iter(), |clip| clip.texts_s), None);
        assert_eq!(latest(clips.iter().take(1), |clip| clip.texts_s), Some(2.0));
    }

    #[test]
    fn a_failed_job_settles_its_clip_and_keeps_its_reason() {
        let mut clips = clips(&["a", "b", "c"]);
        let list = json!({ "jobs": [
            { "video_id": "a", "state": "failed", "error": "broken" },
            { "video_id": "b", "state": "running", "error": null },
            { "video_id": "c", "state": "done", "error": null },
        ]});
        see_jobs(&mut clips, &list, 4.0);
        assert_eq!((clips[0].job_s, clips[0].failure.as_deref()), (Some(4.0), Some("job failed: broken")));
        assert!(clips[0].is_settled() && !clips[1].is_over() && clips[2].is_over());
        assert_eq!(clips[2].failure, None);
    }
}
