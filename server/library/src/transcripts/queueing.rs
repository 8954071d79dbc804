//! Jobs that transcribe: for new videos, for those that were here before speech was switched on, and again for one.

use super::video_id;
use crate::{
    changes::Change, error::LibraryError, jobs::rows::insert_speech, library::Library, values::now_ms,
};

/// Priority of videos that were described before: new ones go first.
const BEHIND_NEW: i64 = -1;

/// Jobs of videos that were here before which wait at the same time, so that pages that list jobs stay short.
const MAX_WAITING: i64 = 50;

/// A video whose transcript is not complete, and which has no job for it.
const NEVER_QUEUED: &str =
    "NOT EXISTS (SELECT 1 FROM transcripts t WHERE t.video_id = v.id AND t.state <> 'listening')
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.video_id = v.id AND j.kind = 'speech')";

impl Library {
    /// Queues the transcription of a video, unless that was done before.
    ///
    /// # Errors
    /// `Database`.
    pub async fn queue_transcript(&self, id: &str) -> Result<(), LibraryError> {
        let mut transaction = self.begin().await?;
        let sql = format!("SELECT 1 FROM videos v WHERE v.id = ? AND {NEVER_QUEUED}");
        if sqlx::query(&sql).bind(id).fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(());
        }
        insert_speech(&mut transaction, id, 0, now_ms()).await?;
        transaction.commit().await?;
        self.announce_jobs_of(id).await
    }

    /// Queues transcriptions of videos that have none, newest first; those that are not being described go behind the others.
    /// Where many videos have none, some of them are queued; call it again when these are done. Returns the number of new jobs.
    ///
    /// # Errors
    /// `Database`.
    pub async fn queue_missing_transcripts(&self) -> Result<usize, LibraryError> {
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM jobs WHERE kind = 'speech' AND state = 'queued'")
                .fetch_one(&self.pool)
                .await?;
        let room = MAX_WAITING.saturating_sub(waiting);
        if room <= 0 {
            return Ok(0);
        }
        let sql = format!(
            "SELECT v.id AS video_id, EXISTS (SELECT 1 FROM jobs j WHERE j.video_id = v.id AND j.kind = 'ingest'
                 AND j.state IN ('queued', 'running')) AS is_new
             FROM videos v WHERE v.deleted_ms IS NULL AND v.error IS NULL AND {NEVER_QUEUED}
             ORDER BY v.created_ms DESC, v.id DESC LIMIT ?"
        );
        // Read first: usually there is nothing to do, and no lock is taken.
        let videos = sqlx::query(&sql).bind(room).fetch_all(&self.pool).await?;
        if videos.is_empty() {
            return Ok(0);
        }
        let now = now_ms();
        let mut transaction = self.begin().await?;
        let mut queued = 0;
        for row in &videos {
            let id = video_id(row)?;
            let sql = format!("SELECT 1 FROM videos v WHERE v.id = ? AND {NEVER_QUEUED}");
            // Queued or deleted since it was read.
            if sqlx::query(&sql).bind(&id).fetch_optional(&mut *transaction).await?.is_none() {
                continue;
            }
            let is_new: bool = sqlx::Row::try_get(row, "is_new")?;
            insert_speech(&mut transaction, &id, if is_new { 0 } else { BEHIND_NEW }, now).await?;
            queued += 1;
        }
        transaction.commit().await?;
        if queued > 0 {
            self.announce(Change::Jobs);
        }
        Ok(queued)
    }

    /// Removes the transcriptions that wait, because nothing transcribes at present. They are queued again when something does.
    ///
    /// # Errors
    /// `Database`.
    pub async fn dismiss_transcripts(&self) -> Result<(), LibraryError> {
        sqlx::query("DELETE FROM jobs WHERE kind = 'speech' AND state = 'queued'")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes the transcript of a video, also what people have corrected, and queues a new transcription.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while one is queued or running; `Database`.
    pub async fn transcribe_again(&self, id: &str) -> Result<(), LibraryError> {
        self.video(id).await?;
        let mut transaction = self.begin().await?;
        let sql = "SELECT count(*) FROM jobs WHERE video_id = ? AND kind = 'speech' AND state IN ('queued', 'running')";
        let open: i64 = sqlx::query_scalar(sql).bind(id).fetch_one(&mut *transaction).await?;
        if open > 0 {
            return Err(LibraryError::Conflict(
                "the video is being transcribed, or waits for it, already".into(),
            ));
        }
        sqlx::query("DELETE FROM transcripts WHERE video_id = ?").bind(id).execute(&mut *transaction).await?;
        insert_speech(&mut transaction, id, 0, now_ms()).await?;
        transaction.commit().await?;
        self.announce(Change::Video { id: id.into() });
        self.announce_jobs_of(id).await
    }

    /// Lets a description that waits for what is said in a video go on at once.
    ///
    /// # Errors
    /// `Database`.
    pub async fn wake_description(&self, id: &str) -> Result<(), LibraryError> {
        let woken = sqlx::query(
            "UPDATE jobs SET run_after_ms = ?1 WHERE video_id = ?2 AND kind = 'ingest' AND state = 'queued'
             AND awaits_speech = 1 AND error IS NULL AND run_after_ms > ?1",
        )
        .bind(now_ms())
        .bind(id)
        .execute(&self.pool)
        .await?;
        if woken.rows_affected() > 0 {
            self.announce_jobs_of(id).await?;
        }
        Ok(())
    }
}
