//! The job runner: processes the queue of background work, one job at a time.
//!
//! The queue is the table `jobs`. A job is leased, its steps are stored as they finish, and after a crash it
//! resumes at the step where it stopped. Interactive questions take precedence. Independent of HTTP.

mod context;
mod ingest;
mod parse;
mod playback;
mod question;
mod repetition;
mod stop;
mod windows;

use std::time::Duration;

use homereel_library::{Change, Job, JobState, LibraryError};
use tokio::sync::broadcast;

pub use context::{JobContext, Jobs};

use self::stop::Stop;

/// Duration of a lease without a heartbeat.
const LEASE: Duration = Duration::from_secs(60);

/// Interval between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Interval between polls for jobs whose backoff is over.
const POLL: Duration = Duration::from_secs(2);

/// Delay before a job that ran out of disk space is retried.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// Runs jobs until the server drains. The running job is then released; its finished steps are kept.
pub async fn run(cx: JobContext) {
    let soft = cx.lifecycle.soft();
    // Subscribes before it reads the queue, so that no new job is missed.
    let mut changes = cx.library.subscribe();
    while !soft.is_cancelled() {
        match next(&cx).await {
            Ok(Some(job)) => work(&cx, job).await,
            Ok(None) => {
                tokio::select! {
                    () = queued(&mut changes) => {}
                    () = tokio::time::sleep(POLL) => {}
                    () = soft.cancelled() => return,
                }
            }
            Err(error) => {
                tracing::error!(%error, "failed to read the job queue, will retry");
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// Leases the next job, unless the queue is paused.
async fn next(cx: &JobContext) -> Result<Option<Job>, LibraryError> {
    if cx.library.jobs_paused().await? {
        return Ok(None);
    }
    cx.library.lease_job(LEASE).await
}

/// Waits until a job is queued, or until the receiver has lagged and may have missed one.
async fn queued(changes: &mut broadcast::Receiver<Change>) {
    while let Ok(change) = changes.recv().await {
        let awaited = match change {
            Change::Job { job } => job.state == JobState::Queued,
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
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            // Unreachable: the state holds a sender.
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Runs one leased job and stores its result.
async fn work(cx: &JobContext, job: Job) {
    let cancel = cx.lifecycle.soft().child_token();
    cx.jobs.tokens().insert(job.id.clone(), cancel.clone());
    let started = std::time::Instant::now();
    let result = tokio::select! {
        result = ingest::run(cx, &job, &cancel) => result,
        stop = keep(cx, &job.id) => Err(stop),
        () = deleted(cx, &job.video_id) => Err(Stop::Cancelled),
        () = cancel.cancelled() => Err(Stop::Cancelled),
    };
    cx.jobs.tokens().remove(&job.id);
    let (outcome, written) = match result {
        Ok(warnings) => ("done", cx.library.finish_job(&job.id, &warnings).await),
        Err(_) if cx.lifecycle.draining() => {
            ("released", cx.library.release_job(&job.id, Duration::ZERO, None).await)
        }
        Err(Stop::Later(after)) => ("released", cx.library.release_job(&job.id, after, None).await),
        Err(Stop::Full(error)) => {
            tracing::warn!(
                job.id,
                video.id = job.video_id,
                error,
                "postponed a job until disk space is free"
            );
            ("full", cx.library.release_job(&job.id, FULL_PAUSE, Some(&error)).await)
        }
        Err(Stop::Retry(error)) => {
            tracing::warn!(
                job.id,
                video.id = job.video_id,
                job.attempts,
                error,
                "failed to run a job, will retry"
            );
            ("retry", cx.library.fail_job(&job.id, &error, Some(backoff(job.attempts))).await)
        }
        Err(Stop::Fatal(error)) => {
            tracing::warn!(job.id, video.id = job.video_id, error, "failed to run a job, will not retry");
            ("failed", cx.library.fail_job(&job.id, &error, None).await)
        }
        // If a person cancelled the job, this changes nothing. If the video was deleted, the job waits in
        // case the video is restored.
        Err(Stop::Cancelled) => ("cancelled", cx.library.release_job(&job.id, Duration::ZERO, None).await),
    };
    metrics::counter!("homereel_jobs_total", "outcome" => outcome).increment(1);
    metrics::histogram!("homereel_job_seconds").record(started.elapsed().as_secs_f64());
    if let Err(error) = written {
        tracing::error!(%error, job.id, "failed to store the result of a job, will run it again after its lease");
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
                tracing::warn!(%error, job.id = id, "failed to extend the lease of a job, will retry")
            }
        }
    }
}

/// Doubles from 5 s: most temporary failures are short.
fn backoff(attempts: i64) -> Duration {
    Duration::from_secs(5 << attempts.clamp(1, 8).saturating_sub(1))
}
