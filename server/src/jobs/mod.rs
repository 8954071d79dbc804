//! The job runner: processes the queue of background work in four lanes.
//!
//! The lane of media decodes (facts, posters, sprites), the lane of the model asks questions, several videos at once (see
//! [`JobSlots`]), the lane of renditions transcodes one video after the other, and the lane of speech transcribes one after the
//! other. The queue is the table `jobs`. A job is leased, its steps are stored as they finish, and after a crash it resumes at the
//! step where it stopped. Interactive questions take precedence. Independent of HTTP.

mod backoff;
mod context;
mod ingest;
mod pace;
mod parse;
mod part;
mod playback;
mod question;
mod repetition;
mod said;
mod slots;
mod stop;
mod texts;
mod transcribe;
mod windows;

use std::time::Duration;

use homereel_library::{Change, Job, JobState, Lane, LibraryError, LibraryErrorKind};
use tokio::{sync::broadcast, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use context::{JobContext, Jobs};
pub use slots::{JobSlots, JobsLimit};

use self::{ingest::Ended, stop::Stop};

/// Duration of a lease without a heartbeat.
const LEASE: Duration = Duration::from_secs(60);

/// Interval between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Interval between polls for jobs whose backoff is over.
const POLL: Duration = Duration::from_secs(2);

/// Delay before a job that ran out of disk space is retried.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// Runs jobs until the server drains. The running jobs are then released; their finished steps are kept.
pub async fn run(cx: JobContext) {
    let speech = async {
        match &cx.speech {
            Some(_) => run_lane(&cx, Lane::Speech).await,
            None => dismiss_transcripts(&cx).await,
        }
    };
    tokio::join!(
        run_lane(&cx, Lane::Media),
        run_lane(&cx, Lane::Model),
        run_lane(&cx, Lane::Rendition),
        speech
    );
}

/// Removes transcriptions that were queued while speech was on.
async fn dismiss_transcripts(cx: &JobContext) {
    if let Err(error) = cx.library.dismiss_transcripts().await {
        tracing::warn!(%error, "failed to remove transcriptions from the queue, although speech is off");
    }
}

async fn run_lane(cx: &JobContext, lane: Lane) {
    let soft = cx.lifecycle.soft();
    // Subscribes before it reads the queue, so that no new job is missed.
    let mut changes = cx.library.subscribe();
    let mut running = JoinSet::new();
    // Whether something happened after which there may be videos without a transcript.
    let mut is_fresh = true;
    while !soft.is_cancelled() {
        if lane == Lane::Model {
            cx.slots.follow(&**cx.answers.engine());
        }
        let full = running.len() >= capacity(cx, lane);
        metrics::gauge!("homereel_jobs_running", "lane" => lane.as_str()).set(gauge(running.len()));
        if lane == Lane::Model {
            metrics::gauge!("homereel_job_slots", "state" => "limit").set(gauge(cx.slots.limit()));
            metrics::gauge!("homereel_job_slots", "state" => "used").set(gauge(cx.slots.used()));
            metrics::gauge!("homereel_job_slots", "state" => "decoding").set(gauge(cx.slots.decoding()));
        }
        match if full { Ok(None) } else { next(cx, lane, std::mem::take(&mut is_fresh)).await } {
            Ok(Some(job)) => {
                let cx = cx.clone();
                running.spawn(async move { work(&cx, lane, job).await });
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "failed to read the queue of background jobs; will retry");
                tokio::time::sleep(POLL).await;
            }
        }
        tokio::select! {
            Some(ended) = running.join_next() => {
                is_fresh = true;
                report_panic(ended);
            }
            () = queued(&mut changes), if !full => is_fresh = true,
            () = tokio::time::sleep(POLL) => {}
            () = soft.cancelled() => {}
        }
    }
    while let Some(ended) = running.join_next().await {
        report_panic(ended);
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below 2^52")]
fn gauge(count: usize) -> f64 {
    count as f64
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a background job panicked; will run it again when its lease expires");
    }
}

/// Returns the number of jobs of a lane that run at once.
fn capacity(cx: &JobContext, lane: Lane) -> usize {
    match lane {
        Lane::Media => cx.media_jobs,
        Lane::Model => cx.slots.limit() + slots::AHEAD,
        Lane::Rendition | Lane::Speech => 1,
    }
}

/// Leases the next job of a lane. While the queue is paused or the model is not ready, the lane of the model stands still, and
/// so does that of speech while the queue is paused. `is_fresh` says that there may be videos without a transcript.
async fn next(cx: &JobContext, lane: Lane, is_fresh: bool) -> Result<Option<Job>, LibraryError> {
    let rests = match lane {
        Lane::Model => !cx.asks_model().await?,
        Lane::Speech => cx.library.jobs_paused().await?,
        Lane::Media | Lane::Rendition => false,
    };
    if rests {
        return Ok(None);
    }
    if lane == Lane::Speech && is_fresh {
        cx.library.queue_missing_transcripts().await?;
    }
    cx.library.lease_job(lane, LEASE, &cx.jobs.running()).await
}

/// Waits until a job is queued, or until the receiver has lagged and may have missed one.
async fn queued(changes: &mut broadcast::Receiver<Change>) {
    while let Ok(change) = changes.recv().await {
        let awaited = match change {
            Change::Job { job } => job.state == JobState::Queued,
            Change::Jobs => true,
            Change::Paused { paused } => !paused,
            _ => false,
        };
        if awaited {
            return;
        }
    }
}

/// Waits until a video is deleted. The next heartbeat notices a deletion that the receiver missed.
async fn deleted(cx: &JobContext, video_id: &str) {
    let mut changes = cx.library.subscribe();
    loop {
        match changes.recv().await {
            Ok(Change::VideoDeleted { id }) if id == video_id => return,
            // Perhaps this one, too.
            Ok(Change::Videos) => {
                let video = cx.library.video(video_id).await;
                if video.is_ok_and(|video| video.deleted_ms.is_some()) {
                    return;
                }
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            // Unreachable: the state holds a sender.
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Runs one leased job as far as its lane goes, and stores its result.
async fn work(cx: &JobContext, lane: Lane, job: Job) {
    let cancel = cx.lifecycle.soft().child_token();
    let running = cx.jobs.register(&job.id, cancel.clone());
    let started = std::time::Instant::now();
    let result = tokio::select! {
        result = run_job(cx, lane, &job, &cancel) => result,
        stop = keep(cx, &job.id) => Err(stop),
        () = deleted(cx, &job.video_id) => Err(Stop::Cancelled),
        () = cancel.cancelled() => Err(Stop::Cancelled),
    };
    if let Err(stop) = &result {
        log(&job, stop);
    }
    // While the database is locked, the result is kept until it can be stored.
    let (outcome, written) = loop {
        let (outcome, written) = store(cx, &job, &result).await;
        let locked = written.as_ref().is_err_and(|error| error.kind() == LibraryErrorKind::Unavailable);
        if !locked || cx.lifecycle.draining() {
            break (outcome, written);
        }
        tokio::time::sleep(POLL).await;
    };
    drop(running);
    metrics::counter!("homereel_jobs_total", "lane" => lane.as_str(), "outcome" => outcome).increment(1);
    metrics::histogram!("homereel_job_seconds", "lane" => lane.as_str())
        .record(started.elapsed().as_secs_f64());
    if let Err(error) = written {
        tracing::error!(%error, job.id, video.id = job.video_id, "failed to store the result of a background job; will run the job again when its lease expires");
    }
}

async fn run_job(cx: &JobContext, lane: Lane, job: &Job, cancel: &CancellationToken) -> Result<Ended, Stop> {
    match lane {
        Lane::Speech => transcribe::run(cx, job, cancel).await,
        Lane::Media | Lane::Model | Lane::Rendition => ingest::run(cx, job, cancel).await,
    }
}

/// Logs why an attempt ended early, if a person should know.
fn log(job: &Job, stop: &Stop) {
    let (id, video, attempts) = (&job.id, &job.video_id, job.attempts);
    match stop {
        Stop::Full(error) => {
            tracing::warn!(
                job.id = id,
                video.id = video,
                error,
                "postponed a background job until disk space is free"
            );
        }
        Stop::Away(error, delay) => {
            tracing::warn!(
                job.id = id,
                video.id = video,
                error,
                delay_s = delay.as_secs(),
                "postponed a background job, because a server that it needs is out of reach"
            );
        }
        Stop::Retry(error) => {
            tracing::warn!(
                job.id = id,
                video.id = video,
                attempts,
                error,
                "a background job failed; will retry"
            );
        }
        Stop::Fatal(error) => {
            tracing::warn!(
                job.id = id,
                video.id = video,
                error,
                "a background job failed; will not retry, and the video's page shows the error"
            );
        }
        Stop::Later(_) | Stop::Cancelled => {}
    }
}

/// Stores the result of an attempt; also returns its name in metrics.
async fn store(
    cx: &JobContext,
    job: &Job,
    result: &Result<Ended, Stop>,
) -> (&'static str, Result<(), LibraryError>) {
    let library = &cx.library;
    match result {
        Ok(Ended::Done(warnings)) => ("done", library.finish_job(&job.id, warnings).await),
        Ok(Ended::Lane(step, warnings)) => {
            ("handed_over", library.hand_over_job(&job.id, *step, warnings).await)
        }
        Err(_) if cx.lifecycle.draining() => {
            ("released", library.release_job(&job.id, Duration::ZERO, None).await)
        }
        Err(Stop::Later(after)) => ("released", library.release_job(&job.id, *after, None).await),
        Err(Stop::Away(error, after)) => {
            ("released", library.release_job(&job.id, *after, Some(error)).await)
        }
        Err(Stop::Full(error)) => ("full", library.release_job(&job.id, FULL_PAUSE, Some(error)).await),
        Err(Stop::Retry(error)) => {
            ("retry", library.fail_job(&job.id, error, Some(backoff(job.attempts))).await)
        }
        Err(Stop::Fatal(error)) => ("failed", library.fail_job(&job.id, error, None).await),
        // If a person cancelled the job, this changes nothing. If the video was deleted, the job waits in
        // case the video is restored.
        Err(Stop::Cancelled) => ("cancelled", library.release_job(&job.id, Duration::ZERO, None).await),
    }
}

/// Extends the lease until the job no longer belongs to this runner.
async fn keep(cx: &JobContext, id: &str) -> Stop {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        match cx.library.heartbeat(id, LEASE).await {
            Ok(true) => {}
            Ok(false) => return Stop::Cancelled,
            // The lease outlives three missed heartbeats.
            Err(error) => {
                tracing::warn!(%error, job.id = id, "failed to extend the lease of a running job; will retry, and the job runs again if its lease expires")
            }
        }
    }
}

/// Doubles from 5 s: most temporary failures are short.
fn backoff(attempts: i64) -> Duration {
    Duration::from_secs(5 << attempts.clamp(1, 8).saturating_sub(1))
}
