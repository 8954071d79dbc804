//! New descriptions of videos that were described before: of one video, or of all that another model described. The old texts
//! stay until they are replaced.

use super::{job::Step, rows::insert_ingest};
use crate::{changes::Change, error::LibraryError, library::Library, values::now_ms};

/// Priority of jobs that describe videos again: new videos go first.
const BEHIND_NEW: i64 = -1;

/// Videos with a description by another model, which no job is going to replace. The index `texts_by_model` covers it.
const OF_OTHER_MODELS: &str = "FROM texts t JOIN videos v ON v.id = t.video_id
    WHERE t.kind = 'description' AND t.model <> ? AND v.deleted_ms IS NULL
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.video_id = v.id AND j.kind = 'ingest' AND j.state IN ('queued', 'running'))";

impl Library {
    /// Queues a new description of a video by the present model; the old texts stay until then.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while one is queued or running; `Database`.
    pub async fn reread_video(&self, video_id: &str) -> Result<(), LibraryError> {
        self.video(video_id).await?;
        let mut transaction = self.begin().await?;
        let sql = "SELECT count(*) FROM jobs WHERE video_id = ? AND kind = 'ingest'
                   AND state IN ('queued', 'running')";
        let open: i64 = sqlx::query_scalar(sql).bind(video_id).fetch_one(&mut *transaction).await?;
        if open > 0 {
            return Err(LibraryError::Conflict("the video is being read, or waits for it, already".into()));
        }
        sqlx::query("DELETE FROM windows WHERE video_id = ?")
            .bind(video_id)
            .execute(&mut *transaction)
            .await?;
        insert_ingest(&mut transaction, video_id, Step::Describe, now_ms()).await?;
        transaction.commit().await?;
        self.announce_jobs_of(video_id).await
    }

    /// Counts the videos that another model than `model` described.
    ///
    /// # Errors
    /// `Database`.
    pub async fn count_of_other_models(&self, model: &str) -> Result<u64, LibraryError> {
        let sql = format!("SELECT count(*) {OF_OTHER_MODELS}");
        let count: i64 = sqlx::query_scalar(&sql).bind(model).fetch_one(&self.pool).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Queues new descriptions of all videos that another model than `model` described, behind new videos; returns their
    /// number.
    ///
    /// # Errors
    /// `Database`.
    pub async fn reread_other_models(&self, model: &str) -> Result<u64, LibraryError> {
        let mut transaction = self.begin().await?;
        let sql = format!("SELECT v.id {OF_OTHER_MODELS} ORDER BY v.created_ms, v.id");
        let ids: Vec<String> = sqlx::query_scalar(&sql).bind(model).fetch_all(&mut *transaction).await?;
        let now = now_ms();
        for id in &ids {
            sqlx::query("DELETE FROM windows WHERE video_id = ?").bind(id).execute(&mut *transaction).await?;
            insert_ingest(&mut transaction, id, Step::Describe, now).await?;
            sqlx::query(
                "UPDATE jobs SET priority = ? WHERE video_id = ? AND kind = 'ingest' AND state = 'queued'",
            )
            .bind(BEHIND_NEW)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        if !ids.is_empty() {
            self.announce(Change::Jobs);
        }
        Ok(ids.len() as u64)
    }

    /// Returns the seconds of video that the model has not watched yet: of videos that are queued or running before their
    /// last text.
    ///
    /// # Errors
    /// `Database`.
    pub async fn unwatched_seconds(&self) -> Result<f64, LibraryError> {
        let sql = "SELECT coalesce(sum(v.duration_s * (1.0 - iif(j.parts > 0, 1.0 * j.parts_done / j.parts, 0.0))), 0.0)
                   FROM jobs j JOIN videos v ON v.id = j.video_id
                   WHERE j.kind = 'ingest' AND j.state IN ('queued', 'running') AND j.step <> 'playback' AND v.deleted_ms IS NULL";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }
}
