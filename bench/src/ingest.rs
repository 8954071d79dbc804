//! Measures how fast a running server describes clips, and the latency of an interactive question meanwhile.
//!
//! [`clips`] makes the clips, [`server`] sends requests to Homereel, and [`direct`] asks a vLLM the same questions, as the
//! peer.

pub mod clips;
pub mod direct;
mod metrics;
mod progress;
mod question;
pub mod server;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use metrics::{ServerWork, Slots};
pub use question::{QuestionLatency, QuestionLoad};

use crate::serve::client::TargetServer;
use clips::MediaFile;
use progress::{Progress, Watch};
use server::Server;

/// Concurrent uploads.
const UPLOADS: usize = 4;

/// Most clips of a measurement. The server lists its 200 newest jobs.
pub const MAX_CLIPS: usize = 200;

/// What a server is given to do.
#[derive(Debug, Clone)]
pub struct IngestLoad {
    /// The clips.
    pub clips: Vec<MediaFile>,
    /// The interactive question. `None` asks none.
    pub question: Option<QuestionLoad>,
    /// Time after which the measurement ends, whatever is missing.
    pub limit: Duration,
}

/// A measurement of a server. Times are in seconds from the start of the uploads, and up to two seconds late. `None` means that
/// a value was not reached or not measured.
#[derive(Debug, Clone, Serialize)]
pub struct IngestRun {
    /// Address of the server.
    pub base_url: String,
    /// The model that answered.
    pub model_id: String,
    /// Clips that the server was given.
    pub clips: usize,
    /// Clips that have their three texts.
    pub described: usize,
    /// Length of these clips in seconds.
    pub video_s: f64,
    /// Texts of these clips for which the model gave no usable answer.
    pub unusable_texts: usize,
    /// Uploads and jobs that failed.
    pub failed: usize,
    /// Message of the first failure.
    pub failure: Option<String>,
    /// When all clips were uploaded.
    pub upload_s: f64,
    /// When every uploaded clip had a poster.
    pub posters_s: Option<f64>,
    /// When the last of the described clips had its texts.
    pub texts_s: Option<f64>,
    /// When all jobs had ended, renditions included.
    pub jobs_s: Option<f64>,
    /// Hours of video per hour, until `texts_s`.
    pub hours_per_hour: Option<f64>,
    /// Answered questions per second, without the interactive ones.
    pub questions_per_s: Option<f64>,
    /// Their prompt tokens per second.
    pub prompt_tokens_per_s: Option<f64>,
    /// Their generated tokens per second.
    pub generation_tokens_per_s: Option<f64>,
    /// What the server did until then, by its own metrics.
    pub work: ServerWork,
    /// Means of the slots of the jobs that ask the model, until then.
    pub slots: Slots,
    /// The interactive question to the idle server.
    pub alone: Option<QuestionLatency>,
    /// The interactive question while the server describes the clips.
    pub beside: Option<QuestionLatency>,
    /// How many times as long as alone the first token takes, by the medians.
    pub ttft_ratio: Option<f64>,
    /// Whether the server's prompts are those that [`direct`] asks: otherwise the two cannot be compared.
    pub prompts_of_direct: Option<bool>,
    /// The time limit or a person ended the measurement.
    pub interrupted: bool,
}

/// The clips on the server.
struct Given {
    clips: Vec<Progress>,
    upload_s: f64,
    /// Messages of uploads that failed.
    refused: Vec<String>,
    /// Samples of the slots.
    slots: Vec<Slots>,
}

/// Gives the clips of `load` to `server`, and asks `target`, the same server, the interactive question. `stop` ends the
/// measurement early. `on_described` is called with the number of clips that have their texts.
///
/// # Errors
/// When there are too many clips, the interactive question fails on the idle server, or the server is unreachable for long.
pub async fn measure(
    server: &Server,
    target: &TargetServer,
    load: &IngestLoad,
    stop: &CancellationToken,
    on_described: impl Fn(usize),
) -> anyhow::Result<IngestRun> {
    let count = load.clips.len();
    ensure!(count <= MAX_CLIPS, "{count} clips are too many; at most {MAX_CLIPS} would fit");
    let question = match &load.question {
        Some(question) => Some(question::prepare(server, target, question, stop).await?),
        None => None,
    };
    let alone = match &question {
        Some(question) => Some(question::latency(&question.ask_alone().await)),
        None => None,
    };
    let before = server.metrics().await;
    let watch = Watch { server, began: Instant::now(), limit: load.limit, stop, on_described: &on_described };
    let ended = CancellationToken::new();
    let work = async {
        let given = give(watch, &load.clips).await;
        ended.cancel();
        given
    };
    let asking = async {
        match &question {
            Some(question) => question.ask_until(&ended).await,
            None => Vec::new(),
        }
    };
    let (given, asked) = tokio::join!(work, asking);
    let mut given = given?;
    // The interactive questions have ended as well, so that their tokens can be subtracted.
    let after = server.metrics().await;
    let done = before.zip(after).map(|(before, after)| metrics::work(&before, &after, &asked));
    progress::follow(watch, &mut given.clips, Progress::is_over).await?;
    let beside = question.is_some().then(|| question::latency(&asked));
    let interrupted = stop.is_cancelled() || !given.clips.iter().all(Progress::is_over);
    let run = summarize(count, &given, done.unwrap_or_default());
    Ok(IngestRun {
        base_url: server.base().to_owned(),
        model_id: target.model.clone(),
        ttft_ratio: ratio(beside.as_ref(), alone.as_ref()),
        alone,
        beside,
        prompts_of_direct: prompts_of_direct(server, &given.clips).await,
        interrupted,
        ..run
    })
}

/// Uploads the clips and waits until each has its texts, or will not get them.
async fn give(watch: Watch<'_>, clips: &[MediaFile]) -> anyhow::Result<Given> {
    let uploads: Vec<Result<Progress, String>> = stream::iter(clips)
        .map(async |clip| upload(watch.server, clip).await)
        .buffer_unordered(UPLOADS)
        .take_until(watch.stop.cancelled())
        .collect()
        .await;
    let upload_s = watch.began.elapsed().as_secs_f64();
    let (mut clips, mut refused) = (Vec::new(), Vec::new());
    for upload in uploads {
        match upload {
            Ok(clip) => clips.push(clip),
            Err(message) => refused.push(message),
        }
    }
    let slots = progress::follow(watch, &mut clips, Progress::is_settled).await?;
    // A clip whose job failed may have texts that were not seen yet; an error leaves them unseen.
    let _ = progress::look_at_videos(watch, &mut clips).await;
    Ok(Given { clips, upload_s, refused, slots })
}

async fn upload(server: &Server, clip: &MediaFile) -> Result<Progress, String> {
    let name = clip.path.display();
    let uploaded = server.upload(&clip.path).await.with_context(|| format!("failed to upload {name}"));
    let uploaded = uploaded.map_err(|error| format!("{error:#}"))?;
    if uploaded.duplicate {
        return Err(format!("the library has {name} already; another --seed or an empty library would fit"));
    }
    Ok(Progress { id: uploaded.id, duration_s: clip.duration_s, ..Progress::default() })
}

/// Computes the figures. Server, model and interactive question are left empty.
fn summarize(count: usize, given: &Given, work: ServerWork) -> IngestRun {
    let clips = &given.clips;
    let described = || clips.iter().filter(|clip| clip.texts_s.is_some());
    let video_s: f64 = described().map(|clip| clip.duration_s).sum();
    let texts_s = progress::latest(described(), |clip| clip.texts_s);
    let failures = || given.refused.iter().chain(clips.iter().filter_map(|clip| clip.failure.as_ref()));
    IngestRun {
        base_url: String::new(),
        model_id: String::new(),
        clips: count,
        described: described().count(),
        video_s,
        unusable_texts: described().map(|clip| clip.unusable).sum(),
        failed: failures().count(),
        failure: failures().next().cloned(),
        upload_s: given.upload_s,
        posters_s: progress::latest(clips.iter(), |clip| clip.poster_s),
        texts_s,
        jobs_s: progress::latest(clips.iter(), |clip| clip.job_s),
        hours_per_hour: per_second(Some(video_s), texts_s),
        questions_per_s: per_second(work.questions, texts_s),
        prompt_tokens_per_s: per_second(work.prompt_tokens, texts_s),
        generation_tokens_per_s: per_second(work.generation_tokens, texts_s),
        work,
        slots: metrics::mean(&given.slots),
        alone: None,
        beside: None,
        ttft_ratio: None,
        prompts_of_direct: None,
        interrupted: false,
    }
}

fn per_second(amount: Option<f64>, seconds: Option<f64>) -> Option<f64> {
    amount.zip(seconds).map(|(amount, seconds)| amount / seconds.max(1e-9))
}

fn ratio(beside: Option<&QuestionLatency>, alone: Option<&QuestionLatency>) -> Option<f64> {
    Some(beside?.median_ttft_ms? / alone?.median_ttft_ms?.max(1e-9))
}

/// Compares the prompts that the server stored with a described clip. `None` means that there is no such clip.
async fn prompts_of_direct(server: &Server, clips: &[Progress]) -> Option<bool> {
    let described = clips.iter().find(|clip| clip.texts_s.is_some())?;
    let video = server.json(&format!("/api/videos/{}", described.id)).await.ok()?;
    Some(direct::QUESTIONS.iter().all(|&(text, prompt)| video[text]["settings"]["prompt"] == *prompt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_only_described_clips_and_every_failure() {
        let described = Progress {
            duration_s: 60.0,
            poster_s: Some(1.0),
            texts_s: Some(20.0),
            job_s: Some(30.0),
            ..Progress::default()
        };
        let failed = Progress {
            duration_s: 600.0,
            poster_s: Some(2.0),
            job_s: Some(4.0),
            failure: Some("job failed: broken".into()),
            ..Progress::default()
        };
        let given = Given {
            clips: vec![described, failed],
            upload_s: 0.5,
            refused: vec!["failed to upload c.mp4".into()],
            slots: Vec::new(),
        };
        let work = ServerWork { questions: Some(3.0), ..ServerWork::default() };
        let run = summarize(3, &given, work);
        assert_eq!((run.clips, run.described, run.failed), (3, 1, 2));
        assert_eq!(run.failure.as_deref(), Some("failed to upload c.mp4"));
        assert_eq!((run.posters_s, run.texts_s, run.jobs_s), (Some(2.0), Some(20.0), Some(30.0)));
        assert_eq!((run.hours_per_hour, run.questions_per_s), (Some(3.0), Some(0.15)));
        assert_eq!(run.prompt_tokens_per_s, None);
    }

    #[test]
    fn a_ratio_needs_both_medians() {
        let latency = |median| QuestionLatency {
            completed: 1,
            failed: 0,
            failure: None,
            median_ttft_ms: median,
            p95_ttft_ms: median,
        };
        assert_eq!(ratio(Some(&latency(Some(300.0))), Some(&latency(Some(200.0)))), Some(1.5));
        assert_eq!(ratio(Some(&latency(None)), Some(&latency(Some(200.0)))), None);
        assert_eq!(ratio(None, None), None);
    }
}
