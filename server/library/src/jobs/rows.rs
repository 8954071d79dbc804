//! Queries over `jobs`, and the insert for a new video.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::job::{Job, JobState, Step};
use crate::{
    error::LibraryError,
    library::Library,
    values::{new_id, shorten, to_json},
};

/// Queues the ingest of a new video in the transaction that inserts its row.
pub(crate) async fn insert_ingest(
    connection: &mut SqliteConnection,
    video_id: &str,
    step: Step,
    now: i64,
) -> Result<(), LibraryError> {
    sqlx::query(
        "INSERT INTO jobs (id, kind, video_id, state, step, run_after_ms, created_ms, updated_ms)
         VALUES (?, 'ingest', ?, 'queued', ?, ?, ?, ?)",
    )
    .bind(new_id())
    .bind(video_id)
    .bind(step.as_str())
    .bind(now)
    .bind(now)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Queues the transcription of a video in a transaction.
pub(crate) async fn insert_speech(
    connection: &mut SqliteConnection,
    video_id: &str,
    priority: i64,
    now: i64,
) -> Result<(), LibraryError> {
    sqlx::query(
        "INSERT INTO jobs (id, kind, video_id, state, step, run_after_ms, created_ms, updated_ms, priority)
         VALUES (?, 'speech', ?, 'queued', ?, ?, ?, ?, ?)",
    )
    .bind(new_id())
    .bind(video_id)
    .bind(Step::Transcribe.as_str())
    .bind(now)
    .bind(now)
    .bind(now)
    .bind(priority)
    .execute(connection)
    .await?;
    Ok(())
}

impl Library {
    /// Returns the newest jobs, at most `limit`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<Job>, LibraryError> {
        let rows = sqlx::query_as("SELECT * FROM jobs ORDER BY created_ms DESC, id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows)
    }

    /// Returns the jobs of a video, newest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn jobs_of(&self, video_id: &str) -> Result<Vec<Job>, LibraryError> {
        let rows = sqlx::query_as(
            "SELECT * FROM jobs INDEXED BY jobs_by_video WHERE video_id = ? ORDER BY created_ms DESC, id DESC LIMIT 20",
        )
        .bind(video_id)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// Returns the newest job that processes each of `video_ids`, if it has one that is not done. Transcriptions do not count.
    ///
    /// # Errors
    /// `Database`.
    pub async fn jobs_not_done(&self, video_ids: &[&str]) -> Result<HashMap<String, Job>, LibraryError> {
        // SQLite has no list parameters, so the ids are passed as a JSON array. A cross join is read in this order; otherwise SQLite
        // might read all jobs by age.
        let rows: Vec<Job> = sqlx::query_as(
            "SELECT j.* FROM json_each(?)
             CROSS JOIN jobs j ON j.video_id = value AND j.kind = 'ingest' AND j.state <> 'done'
             WHERE NOT EXISTS (SELECT 1 FROM jobs newer WHERE newer.video_id = j.video_id AND newer.kind = 'ingest'
                               AND (newer.created_ms, newer.id) > (j.created_ms, j.id))",
        )
        .bind(to_json("video ids", &video_ids)?)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|job| (job.video_id.clone(), job)).collect())
    }

    /// Counts all jobs by state.
    ///
    /// # Errors
    /// `Database`.
    pub async fn job_counts(&self) -> Result<Vec<(JobState, u64)>, LibraryError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, jobs FROM job_totals").fetch_all(&self.pool).await?;
        let count =
            |(state, n): (String, i64)| (JobState::parse(&state), u64::try_from(n).unwrap_or_default());
        Ok(rows.into_iter().map(count).collect())
    }

    /// Returns the job with this id.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn job(&self, id: &str) -> Result<Job, LibraryError> {
        let job =
            sqlx::query_as("SELECT * FROM jobs WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        job.ok_or_else(|| LibraryError::NotFound { what: "job", id: shorten(id) })
    }
}
