//! Dependencies of the job runner and its steps, and the handle by which requests cancel and retry jobs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use homereel_engine::VideoBudget;
use homereel_library::{Job, Library, LibraryError, Video};
use tokio_util::sync::CancellationToken;

use super::slots::JobSlots;
use crate::{answer::AnswerService, media::Source, shutdown::Lifecycle, speech::SpeechService};

/// Dependencies of jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// Videos and the queue.
    pub library: Library,
    /// Decoder and engine.
    pub answers: AnswerService,
    /// Handle of the running jobs.
    pub jobs: Jobs,
    /// Shutdown state of the process.
    pub lifecycle: Lifecycle,
    /// Length of one window of a long video, in seconds.
    pub window_s: f64,
    /// Visual tokens that a part may take.
    pub budget: VideoBudget,
    /// Slots of the model's lane.
    pub slots: JobSlots,
    /// Number of jobs in the lane of media.
    pub media_jobs: usize,
    /// Transcribes. `None` means that nothing does.
    pub speech: Option<SpeechService>,
}

impl JobContext {
    /// Returns whether the model is ready and its lane is not paused.
    pub(super) async fn asks_model(&self) -> Result<bool, LibraryError> {
        Ok(self.answers.engine().info().is_ok() && !self.library.jobs_paused().await?)
    }

    /// Returns a video's original as a source to decode.
    pub(super) fn source(&self, video: &Video) -> Source {
        Source::file(self.library.original_path(&video.sha256), Some(video.sha256.clone()))
    }
}

/// Cancels and retries jobs. Cheap to clone; clones share the list of running jobs.
#[derive(Debug, Clone)]
pub struct Jobs {
    library: Library,
    running: Arc<Mutex<HashMap<String, CancellationToken>>>,
}

impl Jobs {
    /// Creates a handle without running jobs; [`super::run`] adds them.
    #[must_use]
    pub fn new(library: Library) -> Self {
        Self { library, running: Arc::default() }
    }

    /// Cancels a job that runs or waits.
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

    /// Adds a running job until the result is dropped.
    pub(super) fn register(&self, id: &str, cancel: CancellationToken) -> Running {
        self.tokens().insert(id.to_owned(), cancel);
        Running { jobs: self.clone(), id: id.to_owned() }
    }

    /// Returns the ids of the running jobs.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.tokens().keys().cloned().collect()
    }

    pub(super) fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that runs in this process.
#[derive(Debug)]
pub(super) struct Running {
    jobs: Jobs,
    id: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs.tokens().remove(&self.id);
    }
}
