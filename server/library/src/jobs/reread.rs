//! New descriptions of videos that were described before: of one video, or of all that another model described. The old texts
//! stay until they are replaced.

use sqlx::SqliteConnection;

use super::{job::Step, rows::insert_ingest};
use crate::{
    batch::{CHOSEN, Changed, checked, counted},
    changes::Change,
    error::LibraryError,
    library::Library,
    values::now_ms,
};

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

    /// Queues new descriptions of videos, behind new ones. Videos that are queued already, and those in the trash, stay as they
    /// are.
    ///
    /// # Errors
    /// As [`Library::set_favourites`].
    pub async fn reread_videos(&self, ids: &[&str]) -> Result<Changed, LibraryError> {
        let json = checked(ids)?;
        let mut transaction = self.begin().await?;
        let sql = format!(
            "SELECT id FROM videos v WHERE {CHOSEN} AND deleted_ms IS NULL AND NOT EXISTS (
                 SELECT 1 FROM jobs j WHERE j.video_id = v.id AND j.kind = 'ingest' AND j.state IN ('queued', 'running'))
             ORDER BY created_ms, id"
        );
        let chosen: Vec<String> = sqlx::query_scalar(&sql).bind(&json).fetch_all(&mut *transaction).await?;
        let now = now_ms();
        for id in &chosen {
            sqlx::query("DELETE FROM windows WHERE video_id = ?").bind(id).execute(&mut *transaction).await?;
            insert_ingest(&mut transaction, id, Step::Describe, now).await?;
            put_behind(&mut transaction, id).await?;
        }
        let changed = counted(&mut transaction, &json, &chosen).await?;
        transaction.commit().await?;
        if !chosen.is_empty() {
            self.announce(Change::Jobs);
        }
        Ok(changed)
    }

    /// Counts the videos that another model than `model` described.
    ///
    /// # Errors
    /// `Database`.
    pub async fn count_of_other_models(&self, model: &str) -> Result<u64, LibraryError> {
        // Those that a job is going to describe again are subtracted: the queue is short, the library may be long.
        let sql = "SELECT (SELECT coalesce(sum(videos), 0) FROM facets WHERE kind = 'model' AND value <> ?1)
                   - (SELECT count(DISTINCT f.id) FROM jobs j JOIN facts f ON f.video_id = j.video_id
                      WHERE j.kind = 'ingest' AND j.state IN ('queued', 'running') AND f.deleted = 0 AND f.model <> ?1)";
        let count: i64 = sqlx::query_scalar(sql).bind(model).fetch_one(&self.pool).await?;
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
            put_behind(&mut transaction, id).await?;
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
        let sql = "SELECT coalesce(sum(f.duration_s * (1.0 - iif(j.parts > 0, 1.0 * j.parts_done / j.parts, 0.0))), 0.0)
                   FROM jobs j JOIN facts f ON f.video_id = j.video_id
                   WHERE j.kind = 'ingest' AND j.state IN ('queued', 'running') AND j.step <> 'playback' AND f.deleted = 0";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }
}

/// Moves the queued job of a video behind those of new videos.
async fn put_behind(connection: &mut SqliteConnection, video_id: &str) -> Result<(), LibraryError> {
    let sql = "UPDATE jobs SET priority = ? WHERE video_id = ? AND kind = 'ingest' AND state = 'queued'";
    sqlx::query(sql).bind(BEHIND_NEW).bind(video_id).execute(connection).await?;
    Ok(())
}
