//! Deletes what was kept long enough: expired uploads, files and responses, and videos after 30 days in the trash.
//!
//! A wrong system clock must not delete anything. Retention therefore has its own time, stored in the library: it follows
//! the system clock, but advances by at most six hours per call of [`Library::expire`], which the server makes once per hour.
//! With a clock that is a year ahead by mistake, the server has to run for five days before it empties the trash too early.

use crate::{error::LibraryError, library::Library, values::now_ms};

/// Maximum advance of the retention time per call. A server that runs four hours per day still keeps up.
const MAX_STEP_MS: i64 = 6 * 3600 * 1000;

/// Name of the setting that holds the retention time, in milliseconds since 1970.
const SETTING: &str = "retention_ms";

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Number of uploads.
    pub uploads: usize,
    /// Number of files.
    pub files: usize,
    /// Number of videos.
    pub videos: usize,
    /// Number of responses of the Responses API.
    pub responses: usize,
}

impl Library {
    /// Deletes expired uploads, files and responses, and videos that have been in the trash for 30 days. Call it once per hour of
    /// uptime, and not
    /// at the start: restarts must not advance the retention time.
    ///
    /// # Errors
    /// `Database`.
    pub async fn expire(&self) -> Result<Expired, LibraryError> {
        self.expire_at(now_ms()).await
    }

    pub(crate) async fn expire_at(&self, system_ms: i64) -> Result<Expired, LibraryError> {
        let now = self.advance_retention(system_ms).await?;
        Ok(Expired {
            uploads: self.expire_uploads(now).await?,
            files: self.expire_files(now).await?,
            videos: self.expire_trash(now).await?,
            responses: self.expire_responses(now).await?,
        })
    }

    /// Advances the retention time and returns it.
    async fn advance_retention(&self, system_ms: i64) -> Result<i64, LibraryError> {
        let sql = "SELECT CAST(value AS INTEGER) FROM settings WHERE name = ?";
        let last: Option<i64> = sqlx::query_scalar(sql).bind(SETTING).fetch_optional(&self.pool).await?;
        let now = last.map_or(system_ms, |last| system_ms.min(last.saturating_add(MAX_STEP_MS)));
        sqlx::query("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)")
            .bind(SETTING)
            .bind(now.to_string())
            .execute(&self.pool)
            .await?;
        if now < system_ms {
            tracing::info!(
                system_ms,
                retention_ms = now,
                "postponed the expiry of trash, uploads and responses, because the system clock jumped ahead or the server was off"
            );
        }
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewUpload, tests::add};

    const HOUR: i64 = 3600 * 1000;
    const DAY: i64 = 24 * HOUR;

    #[tokio::test]
    async fn a_clock_that_jumps_ahead_deletes_nothing_for_days() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap();
        let video = add(&library, b"bytes", "a.mp4").await.video;
        library.trash_video(&video.id).await.unwrap();
        let upload = NewUpload { length: 5, ..NewUpload::default() };
        library.create_upload(upload, u64::MAX).await.unwrap();
        let now = now_ms();
        assert_eq!(library.expire_at(now).await.unwrap(), Expired::default());
        // A year ahead for ten hours: neither the three days of an upload are over nor the 30 of the trash.
        for hour in 1..=10 {
            assert_eq!(library.expire_at(now + 365 * DAY + hour * HOUR).await.unwrap(), Expired::default());
        }
        // Corrected: as if nothing had happened.
        assert_eq!(library.expire_at(now + 11 * HOUR).await.unwrap(), Expired::default());
        let sql = "SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'retention_ms'";
        let stored: i64 = sqlx::query_scalar(sql).fetch_one(&library.pool).await.unwrap();
        assert_eq!(stored, now + 11 * HOUR);
        assert!(library.original_path(&video.sha256).exists());
    }

    #[tokio::test]
    async fn a_server_that_was_off_for_months_catches_up_step_by_step() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap();
        let video = add(&library, b"bytes", "a.mp4").await.video;
        library.trash_video(&video.id).await.unwrap();
        // Surely after the deletion.
        let now = now_ms() + 1;
        library.expire_at(now).await.unwrap();
        let mut hours = 0;
        while library.expire_at(now + 90 * DAY + hours * HOUR).await.unwrap().videos == 0 {
            hours += 1;
            assert!(hours < 1000);
        }
        assert_eq!(hours + 1, 30 * 4, "hourly calls until 30 days were over");
        assert!(!library.original_path(&video.sha256).exists());
    }
}
