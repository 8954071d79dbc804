//! Leases, advances, retries and cancels jobs. Each change is one statement and sends a notification.

use std::time::Duration;

use super::job::{Job, JobState, Lane, MAX_ATTEMPTS, Step};
use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{now_ms, to_json},
};

/// Longer than any delay of a job.
const MAX_DELAY: Duration = Duration::from_secs(3600);

impl Library {
    /// Leases the first job of `lane` that is due, or whose lease has expired although it is not among `running`. Renditions
    /// come after the other steps of their lane. A job whose delay is longer than any that this server sets is due as well:
    /// the system clock was set back meanwhile.
    ///
    /// # Errors
    /// `Database`.
    pub async fn lease_job(
        &self,
        lane: Lane,
        lease: Duration,
        running: &[String],
    ) -> Result<Option<Job>, LibraryError> {
        let now = now_ms();
        let job: Option<Job> = sqlx::query_as(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, lease_ms = ?1, updated_ms = ?2
             WHERE id = (SELECT j.id FROM jobs j JOIN videos v ON v.id = j.video_id
                         WHERE v.deleted_ms IS NULL AND j.step IN (SELECT value FROM json_each(?3))
                         AND ((j.state = 'queued' AND (j.run_after_ms <= ?2 OR j.run_after_ms > ?4))
                         OR (j.state = 'running' AND j.lease_ms < ?2
                             AND j.id NOT IN (SELECT value FROM json_each(?5))))
                         ORDER BY j.step = 'late_sprites', j.priority DESC, j.run_after_ms, j.id LIMIT 1)
             RETURNING *",
        )
        .bind(now + millis(lease))
        .bind(now)
        .bind(lane.steps())
        .bind(now + millis(MAX_DELAY))
        .bind(to_json("running jobs", &running)?)
        .fetch_optional(&self.pool)
        .await?;
        if let Some(job) = &job {
            self.announce(Change::Job { job: job.clone() });
        }
        Ok(job)
    }

    /// Queues a running job for the other lane, where it continues at `step`. It keeps its place in the queue.
    ///
    /// # Errors
    /// `Database`.
    pub async fn hand_over_job(&self, id: &str, step: Step, warnings: &[String]) -> Result<(), LibraryError> {
        sqlx::query(
            "UPDATE jobs SET state = 'queued', step = ?, warnings = ?, attempts = 0, error = NULL, lease_ms = NULL,
             updated_ms = ? WHERE id = ? AND state = 'running'",
        )
        .bind(step.as_str())
        .bind(to_json("jobs.warnings", &warnings)?)
        .bind(now_ms())
        .bind(id)
        .execute(&self.pool)
        .await?;
        self.announce_job(id).await
    }

    /// Extends the lease of a running job; false if the job was cancelled or deleted.
    ///
    /// # Errors
    /// `Database`.
    pub async fn heartbeat(&self, id: &str, lease: Duration) -> Result<bool, LibraryError> {
        let result = sqlx::query("UPDATE jobs SET lease_ms = ? WHERE id = ? AND state = 'running'")
            .bind(now_ms() + millis(lease))
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(result.rows_affected() > 0)
    }

    /// Records that a running job has reached `step`, where a retry will resume, with its warnings so far. Attempts are counted
    /// per step.
    ///
    /// # Errors
    /// `Database`.
    pub async fn advance_job(&self, id: &str, step: Step, warnings: &[String]) -> Result<(), LibraryError> {
        let query = sqlx::query(
            "UPDATE jobs SET step = ?, warnings = ?, attempts = 1, error = NULL, updated_ms = ? WHERE id = ?",
        )
        .bind(step.as_str())
        .bind(to_json("jobs.warnings", &warnings)?)
        .bind(now_ms())
        .bind(id);
        query.execute(&self.pool).await?;
        self.announce_job(id).await
    }

    /// Records that a running job is done.
    ///
    /// # Errors
    /// `Database`.
    pub async fn finish_job(&self, id: &str, warnings: &[String]) -> Result<(), LibraryError> {
        sqlx::query(
            "UPDATE jobs SET state = 'done', error = NULL, lease_ms = NULL, warnings = ?, updated_ms = ?
             WHERE id = ? AND state = 'running'",
        )
        .bind(to_json("jobs.warnings", &warnings)?)
        .bind(now_ms())
        .bind(id)
        .execute(&self.pool)
        .await?;
        self.announce_job(id).await
    }

    /// Records a failed attempt: the job is queued again after `backoff`, or has failed if `retry` is false or no attempts are
    /// left.
    ///
    /// # Errors
    /// `Database`.
    pub async fn fail_job(&self, id: &str, error: &str, retry: Option<Duration>) -> Result<(), LibraryError> {
        let now = now_ms();
        sqlx::query(
            "UPDATE jobs SET state = CASE WHEN ?1 AND attempts < ?2 THEN 'queued' ELSE 'failed' END,
             run_after_ms = ?3, error = ?4, lease_ms = NULL, updated_ms = ?5 WHERE id = ?6 AND state = 'running'",
        )
        .bind(retry.is_some())
        .bind(MAX_ATTEMPTS)
        .bind(now + millis(retry.unwrap_or_default()))
        .bind(error)
        .bind(now)
        .bind(id)
        .execute(&self.pool)
        .await?;
        self.announce_job(id).await
    }

    /// Returns a running job to the queue without counting the attempt (shutdown, busy engine, full disk), with a message for
    /// people.
    ///
    /// # Errors
    /// `Database`.
    pub async fn release_job(
        &self,
        id: &str,
        after: Duration,
        reason: Option<&str>,
    ) -> Result<(), LibraryError> {
        let now = now_ms();
        sqlx::query(
            "UPDATE jobs SET state = 'queued', attempts = attempts - 1, run_after_ms = ?, lease_ms = NULL,
             error = coalesce(?, error), updated_ms = ? WHERE id = ? AND state = 'running'",
        )
        .bind(now + millis(after))
        .bind(reason)
        .bind(now)
        .bind(id)
        .execute(&self.pool)
        .await?;
        self.announce_job(id).await
    }

    /// Records how many windows of a long video, or seconds of a transcription, are done.
    ///
    /// # Errors
    /// `Database`.
    pub async fn set_job_parts(&self, id: &str, done: usize, parts: usize) -> Result<(), LibraryError> {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE jobs SET attempts = CASE WHEN parts_done < ?1 THEN 1 ELSE attempts END,
             error = CASE WHEN parts_done < ?1 THEN NULL ELSE error END, parts_done = ?1, parts = ?2,
             updated_ms = ?3 WHERE id = ?4",
        )
        .bind(number(done))
        .bind(number(parts))
        .bind(now_ms())
        .bind(id)
        .execute(&self.pool)
        .await?;
        self.announce_job(id).await
    }

    /// Stores whether the description of a job waits for what is said.
    ///
    /// # Errors
    /// `Database`.
    pub async fn set_awaits_speech(&self, id: &str, awaits: bool) -> Result<(), LibraryError> {
        let sql = "UPDATE jobs SET awaits_speech = ?, updated_ms = ? WHERE id = ?";
        sqlx::query(sql).bind(awaits).bind(now_ms()).bind(id).execute(&self.pool).await?;
        self.announce_job(id).await
    }

    /// Moves a queued job to the front.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not queued; `Database`.
    pub async fn put_job_first(&self, id: &str) -> Result<Job, LibraryError> {
        let job = self.job(id).await?;
        if job.state != JobState::Queued {
            return Err(LibraryError::Conflict("only a job that waits can be put first".into()));
        }
        sqlx::query(
            "UPDATE jobs SET priority = 1 + (SELECT coalesce(max(priority), 0) FROM jobs WHERE state = 'queued'),
             updated_ms = ? WHERE id = ? AND state = 'queued'",
        )
        .bind(now_ms())
        .bind(id)
        .execute(&self.pool)
        .await?;
        self.announce_job(id).await?;
        self.job(id).await
    }

    /// Pauses or resumes all jobs; the running one stops after its current step.
    ///
    /// # Errors
    /// `Database`.
    pub async fn pause_jobs(&self, paused: bool) -> Result<(), LibraryError> {
        sqlx::query("INSERT OR REPLACE INTO settings (name, value) VALUES ('jobs_paused', ?)")
            .bind(if paused { "1" } else { "0" })
            .execute(&self.pool)
            .await?;
        // Notifies the runner and the pages.
        self.announce(Change::Paused { paused });
        Ok(())
    }

    /// Returns whether all jobs are paused.
    ///
    /// # Errors
    /// `Database`.
    pub async fn jobs_paused(&self) -> Result<bool, LibraryError> {
        let sql = "SELECT value = '1' FROM settings WHERE name = 'jobs_paused'";
        Ok(sqlx::query_scalar(sql).fetch_optional(&self.pool).await?.unwrap_or(false))
    }

    /// Cancels a queued or running job.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it has finished; `Database`.
    pub async fn cancel_job(&self, id: &str) -> Result<Job, LibraryError> {
        self.change_job(id, "cancelled", &[JobState::Queued, JobState::Running], "cancelled").await
    }

    /// Queues a failed or cancelled job again; it resumes at the step where it stopped.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is queued, running or done; `Database`.
    pub async fn retry_job(&self, id: &str) -> Result<Job, LibraryError> {
        self.change_job(id, "queued", &[JobState::Failed, JobState::Cancelled], "retried").await
    }

    async fn change_job(
        &self,
        id: &str,
        to: &'static str,
        from: &[JobState],
        verb: &str,
    ) -> Result<Job, LibraryError> {
        let job = self.job(id).await?;
        let words = |state: JobState| format!("{state:?}").to_lowercase();
        let now = now_ms();
        let result = sqlx::query(
            "UPDATE jobs SET state = ?, attempts = 0, run_after_ms = ?, lease_ms = NULL, updated_ms = ?
             WHERE id = ? AND state IN (?, ?)",
        )
        .bind(to)
        .bind(now)
        .bind(now)
        .bind(id)
        .bind(from.first().copied().map(words))
        .bind(from.last().copied().map(words))
        .execute(&self.pool)
        .await?;
        if result.rows_affected() == 0 {
            return Err(LibraryError::Conflict(format!(
                "the job is {} and cannot be {verb}",
                words(job.state)
            )));
        }
        self.announce_job(id).await?;
        self.job(id).await
    }

    async fn announce_job(&self, id: &str) -> Result<(), LibraryError> {
        match self.job(id).await {
            Ok(job) => self.announce(Change::Job { job }),
            // The video was deleted meanwhile, and its job with it.
            Err(LibraryError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(crate) async fn announce_jobs_of(&self, video_id: &str) -> Result<(), LibraryError> {
        for job in self.jobs_of(video_id).await? {
            self.announce(Change::Job { job });
        }
        Ok(())
    }

    /// Queues the jobs that a killed process left running. The directory's lock shows that it is gone.
    pub(crate) async fn requeue_running(&self) -> Result<(), LibraryError> {
        let now = now_ms();
        sqlx::query(
            "UPDATE jobs SET state = CASE WHEN attempts < ? THEN 'queued' ELSE 'failed' END,
             error = 'the server stopped while the job ran', lease_ms = NULL, run_after_ms = ?, updated_ms = ?
             WHERE state = 'running'",
        )
        .bind(MAX_ATTEMPTS)
        .bind(now)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
