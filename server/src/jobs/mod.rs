//! Background work: one runner that pays what is owed to videos, one job at a time.
//!
//! Rows of `jobs` are the truth; what is here dies with the process and is taken up again at the next start, at
//! the step where it stopped. Interactive questions go first. Knows no HTTP.

mod ingest;
mod parse;
mod playback;
mod question;
mod repetition;
mod windows;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    app::AppState,
    ask::{AskError, Kind},
    library::{Change, Job, JobState, Library, LibraryError},
};

/// How long a job belongs to its runner without a heartbeat.
const LEASE: Duration = Duration::from_secs(60);

/// How often the runner says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the runner looks for jobs whose backoff ran out.
const POLL: Duration = Duration::from_secs(2);

/// How long a job waits that found the disk full.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// The face of the runner. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    library: Library,
    running: Arc<Mutex<HashMap<String, CancellationToken>>>,
}

/// Why a job's try ended early.
#[derive(Debug)]
enum Stop {
    /// The try failed; another may not.
    Retry(String),
    /// No try will succeed.
    Fatal(String),
    /// The engine or the server has no time for it now.
    Later(Duration),
    /// The disk has no room for what it makes; it goes on when somebody has made some.
    Full(String),
    /// A person cancelled it or deleted its video.
    Cancelled,
}

impl Jobs {
    /// Makes the face; [`run`] is the body.
    #[must_use]
    pub fn new(library: Library) -> Self {
        Self { library, running: Arc::default() }
    }

    /// Cancels a job, at work or not.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it has ended; `Database`.
    pub async fn cancel(&self, id: &str) -> Result<Job, LibraryError> {
        let job = self.library.cancel_job(id).await?;
        if let Some(token) = self.tokens().get(id) {
            token.cancel();
        }
        Ok(job)
    }

    /// Queues a failed or cancelled job again.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it waits, runs or is done; `Database`.
    pub async fn retry(&self, id: &str) -> Result<Job, LibraryError> {
        self.library.retry_job(id).await
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs jobs until the server drains. The one at work then is given back, its finished steps kept.
pub async fn run(state: AppState) {
    let soft = state.lifecycle.soft();
    // Listens before it looks: what is queued in between is heard.
    let mut changes = state.library.subscribe();
    while !soft.is_cancelled() {
        match next(&state).await {
            Ok(Some(job)) => work(&state, job).await,
            Ok(None) => {
                tokio::select! {
                    () = queued(&mut changes) => {}
                    () = tokio::time::sleep(POLL) => {}
                    () = soft.cancelled() => return,
                }
            }
            Err(error) => {
                tracing::error!(%error, "failed to look for jobs");
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// Leases the next job, unless all of them are paused.
async fn next(state: &AppState) -> Result<Option<Job>, LibraryError> {
    if state.library.jobs_paused().await? {
        return Ok(None);
    }
    state.library.lease_job(LEASE).await
}

/// Waits until a job is queued, or so much happens that one may have been.
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

/// Waits until a video is deleted. One that is missed in a flood of changes is found by the next heartbeat.
async fn deleted(state: &AppState, video_id: &str) {
    let mut changes = state.library.subscribe();
    loop {
        match changes.recv().await {
            Ok(Change::VideoDeleted { id }) if id == video_id => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            // Cannot be: the state holds a sender.
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Runs one leased job and writes down how it ended.
async fn work(state: &AppState, job: Job) {
    let cancel = state.lifecycle.soft().child_token();
    state.jobs.tokens().insert(job.id.clone(), cancel.clone());
    let started = std::time::Instant::now();
    let result = tokio::select! {
        result = ingest::run(state, &job, &cancel) => result,
        stop = keep(state, &job.id) => Err(stop),
        () = deleted(state, &job.video_id) => Err(Stop::Cancelled),
        () = cancel.cancelled() => Err(Stop::Cancelled),
    };
    state.jobs.tokens().remove(&job.id);
    let (outcome, written) = match result {
        Ok(warnings) => ("done", state.library.finish_job(&job.id, &warnings).await),
        Err(_) if state.lifecycle.draining() => {
            ("released", state.library.release_job(&job.id, Duration::ZERO, None).await)
        }
        Err(Stop::Later(after)) => ("released", state.library.release_job(&job.id, after, None).await),
        Err(Stop::Full(error)) => {
            tracing::warn!(job.id, error, "a job waits for room on the disk");
            ("full", state.library.release_job(&job.id, FULL_PAUSE, Some(&error)).await)
        }
        Err(Stop::Retry(error)) => {
            tracing::warn!(job.id, job.attempts, error, "a job failed and is tried again");
            ("retry", state.library.fail_job(&job.id, &error, Some(backoff(job.attempts))).await)
        }
        Err(Stop::Fatal(error)) => {
            tracing::warn!(job.id, error, "a job failed");
            ("failed", state.library.fail_job(&job.id, &error, None).await)
        }
        // A person cancelled it, then this changes nothing; or threw its video away, then it waits in case that
        // comes back.
        Err(Stop::Cancelled) => ("cancelled", state.library.release_job(&job.id, Duration::ZERO, None).await),
    };
    metrics::counter!("homereel_jobs_total", "outcome" => outcome).increment(1);
    metrics::histogram!("homereel_job_seconds").record(started.elapsed().as_secs_f64());
    if let Err(error) = written {
        tracing::error!(%error, job.id, "failed to write down how a job ended; its lease will run out");
    }
}

/// Extends the lease for ever; ends when the job is no longer ours.
async fn keep(state: &AppState, id: &str) -> Stop {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        match state.library.heartbeat(id, LEASE).await {
            Ok(true) => {}
            Ok(false) => return Stop::Cancelled,
            // The lease outlives three missed heartbeats.
            Err(error) => tracing::warn!(%error, "failed to extend a job's lease"),
        }
    }
}

/// Doubles from 5 s: most trouble that passes, passes soon.
fn backoff(attempts: i64) -> Duration {
    Duration::from_secs(5 << attempts.clamp(1, 8).saturating_sub(1))
}

impl From<AskError> for Stop {
    fn from(error: AskError) -> Self {
        match error.kind() {
            Kind::Invalid => Self::Fatal(error.to_string()),
            Kind::Overloaded => Self::Later(Duration::from_secs(5)),
            // Later rather than waited for: posters of other videos need no model.
            Kind::NotReady => Self::Later(Duration::from_secs(2)),
            Kind::Cancelled => Self::Cancelled,
            Kind::TimedOut | Kind::Failed => Self::Retry(error.to_string()),
        }
    }
}

impl From<LibraryError> for Stop {
    fn from(error: LibraryError) -> Self {
        match error.kind() {
            crate::library::Kind::NotFound => Self::Cancelled,
            crate::library::Kind::NoSpace => Self::Full(error.to_string()),
            _ => Self::Retry(error.to_string()),
        }
    }
}
