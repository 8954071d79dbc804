//! The trash, which keeps deleted videos for 30 days, and disk usage.

use serde::Serialize;

use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    reservation::RESERVE,
    values::now_ms,
    video::{COLUMNS, Video},
};

/// Retention of the trash.
const TRASH_DAYS: i64 = 30;

/// The same in milliseconds.
const TRASH_MS: i64 = TRASH_DAYS * 24 * 3600 * 1000;

/// Disk usage in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Storage {
    /// Number of videos, not counting the trash.
    pub videos: u64,
    /// Originals of the library.
    pub videos_bytes: u64,
    /// Originals in the trash.
    pub trash_bytes: u64,
    /// Space reserved by unfinished uploads.
    pub uploads_bytes: u64,
    /// Contents of the files of `/v1/files`.
    pub files_bytes: u64,
    /// Media of kept responses of the Responses API.
    pub responses_bytes: u64,
    /// Free for new videos.
    pub free_bytes: u64,
    /// Kept free for the database and the rest of the system.
    pub reserve_bytes: u64,
    /// Size of the disk.
    pub disk_bytes: u64,
    /// The quota; `None` means that only the disk limits uploads.
    pub quota_bytes: Option<u64>,
}

impl Library {
    /// Moves a video to the trash.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn trash_video(&self, id: &str) -> Result<Video, LibraryError> {
        self.set_deleted(id, Some(now_ms())).await
    }

    /// Restores a video from the trash.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn restore_video(&self, id: &str) -> Result<Video, LibraryError> {
        self.set_deleted(id, None).await
    }

    async fn set_deleted(&self, id: &str, at: Option<i64>) -> Result<Video, LibraryError> {
        // The first deletion counts: deleting again does not extend the retention.
        sqlx::query(
            "UPDATE videos SET deleted_ms = CASE WHEN ?1 IS NULL THEN NULL ELSE coalesce(deleted_ms, ?1) END
             WHERE id = ?2",
        )
        .bind(at)
        .bind(id)
        .execute(&self.pool)
        .await?;
        let video = self.video(id).await?;
        self.announce(match at {
            Some(_) => Change::VideoDeleted { id: id.into() },
            None => Change::Video { id: id.into() },
        });
        Ok(video)
    }

    /// Returns the videos in the trash, the last deleted first, without their texts.
    ///
    /// # Errors
    /// `Database`.
    pub async fn trash(&self, limit: u32, offset: u32) -> Result<Vec<Video>, LibraryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM videos WHERE deleted_ms IS NOT NULL ORDER BY deleted_ms DESC, id DESC LIMIT ? OFFSET ?"
        );
        Ok(sqlx::query_as(&sql).bind(limit).bind(offset).fetch_all(&self.pool).await?)
    }

    /// Returns the number of videos in the trash and the bytes of their originals.
    ///
    /// # Errors
    /// `Database`.
    pub async fn trash_size(&self) -> Result<(u64, u64), LibraryError> {
        let sql = "SELECT trash, trash_bytes FROM totals";
        let (videos, bytes): (i64, i64) = sqlx::query_as(sql).fetch_one(&self.pool).await?;
        let unsigned = |number| u64::try_from(number).unwrap_or_default();
        Ok((unsigned(videos), unsigned(bytes)))
    }

    /// Deletes everything in the trash permanently; returns the number of videos.
    ///
    /// # Errors
    /// `Database`.
    pub async fn empty_trash(&self) -> Result<usize, LibraryError> {
        self.delete_trashed_before(i64::MAX).await
    }

    /// Deletes what has been in the trash for 30 days at the retention time `now`; returns the number of videos.
    pub(crate) async fn expire_trash(&self, now: i64) -> Result<usize, LibraryError> {
        self.delete_trashed_before(now.saturating_sub(TRASH_MS)).await
    }

    async fn delete_trashed_before(&self, ms: i64) -> Result<usize, LibraryError> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM videos WHERE deleted_ms < ?")
            .bind(ms)
            .fetch_all(&self.pool)
            .await?;
        let mut deleted = 0;
        for id in &ids {
            // Restored meanwhile, so it stays.
            match self.delete_trashed_video(id).await {
                Ok(()) => deleted += 1,
                Err(LibraryError::NotFound { .. } | LibraryError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deleted)
    }

    /// Returns when a video deleted at `deleted_ms` will be removed permanently.
    #[must_use]
    pub fn gone_ms(deleted_ms: i64) -> i64 {
        deleted_ms.saturating_add(TRASH_MS)
    }

    /// Returns the disk usage.
    ///
    /// # Errors
    /// `Database`, `Io`.
    pub async fn storage(&self) -> Result<Storage, LibraryError> {
        let (count, videos, trash, uploads, responses): (i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT videos, bytes, trash_bytes,
                 (SELECT coalesce(sum(length), 0) FROM uploads WHERE state IN ('receiving', 'storing')),
                 (SELECT coalesce(sum(size), 0) FROM response_media) FROM totals",
        )
        .fetch_one(&self.pool)
        .await?;
        let files = self.files_bytes().await?;
        let stat = rustix::fs::statvfs(self.root.as_path()).map_err(std::io::Error::from)?;
        let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
        let free = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(RESERVE);
        let used = bytes(videos + trash + uploads + responses).saturating_add(files);
        let left = self.quota().map_or(u64::MAX, |quota| quota.saturating_sub(used));
        Ok(Storage {
            videos: bytes(count),
            videos_bytes: bytes(videos),
            trash_bytes: bytes(trash),
            uploads_bytes: bytes(uploads),
            files_bytes: files,
            responses_bytes: bytes(responses),
            free_bytes: free.min(left),
            reserve_bytes: RESERVE,
            disk_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            quota_bytes: self.quota(),
        })
    }
}
