//! Checks uploads against free disk space and the quota.

use std::sync::atomic::Ordering;

use crate::{
    error::LibraryError,
    library::Library,
    reservation::{RESERVE, Reservation, SpaceUse},
};

/// Bytes by which the reservation of an upload of unknown length grows.
const GROWTH: u64 = 16 << 20;

impl Library {
    /// Sets the quota in bytes for originals, including those in the trash, files, unfinished uploads, and media of kept responses.
    #[must_use]
    pub fn with_quota(self, quota: Option<u64>) -> Self {
        self.set_quota(quota);
        self
    }

    /// Changes the quota.
    pub fn set_quota(&self, quota: Option<u64>) {
        self.room.quota.store(quota.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Sets the quota in bytes for files, including unfinished uploads of them.
    #[must_use]
    pub fn with_files_quota(self, files_quota: u64) -> Self {
        self.set_files_quota(files_quota);
        self
    }

    /// Changes the quota for files.
    pub fn set_files_quota(&self, files_quota: u64) {
        self.room.files_quota.store(files_quota, Ordering::Relaxed);
    }

    /// Returns the quota; `None` means that only the disk limits originals.
    #[must_use]
    pub fn quota(&self) -> Option<u64> {
        Some(self.room.quota.load(Ordering::Relaxed)).filter(|quota| *quota < u64::MAX)
    }

    /// Returns the quota of files; `None` means that only the disk and the quota of originals limit them.
    fn files_quota(&self) -> Option<u64> {
        Some(self.room.files_quota.load(Ordering::Relaxed)).filter(|quota| *quota < u64::MAX)
    }

    /// Checks that an upload of `needed` bytes fits on the disk and into the quota.
    ///
    /// # Errors
    /// `NoSpace` and `OverQuota` with their numbers; `Database`, `Io`.
    pub async fn check_room(&self, needed: u64) -> Result<(), LibraryError> {
        self.check_disk(needed)?;
        let Some(quota) = self.quota() else { return Ok(()) };
        let left = quota.saturating_sub(self.used().await?);
        if left < needed {
            return Err(LibraryError::OverQuota { needed, left, quota });
        }
        Ok(())
    }

    /// Checks that a file of `needed` bytes fits on the disk and into both quotas.
    ///
    /// # Errors
    /// As [`Self::check_room`], and `FilesFull`.
    pub async fn check_room_for_file(&self, needed: u64) -> Result<(), LibraryError> {
        self.check_room(needed).await?;
        let Some(quota) = self.files_quota() else { return Ok(()) };
        let left = quota.saturating_sub(self.used_by_files().await?);
        if left < needed {
            return Err(LibraryError::FilesFull { needed, left, quota });
        }
        Ok(())
    }

    async fn check_room_of(&self, space_use: SpaceUse, needed: u64) -> Result<(), LibraryError> {
        match space_use {
            SpaceUse::Video => self.check_room(needed).await,
            SpaceUse::File => self.check_room_for_file(needed).await,
            SpaceUse::Scratch => self.check_disk(needed),
        }
    }

    /// Checks that `needed` bytes fit on the disk beside the bytes that are kept free.
    ///
    /// # Errors
    /// `NoSpace` with both numbers; `Io`.
    pub fn check_disk(&self, needed: u64) -> Result<(), LibraryError> {
        let free = self.free_bytes()?;
        if free < needed.saturating_add(RESERVE) {
            return Err(LibraryError::NoSpace { needed, free: free.saturating_sub(RESERVE) });
        }
        Ok(())
    }

    /// Reserves space for an upload of `bytes` bytes.
    pub(crate) async fn reserve_room(
        &self,
        space_use: SpaceUse,
        bytes: u64,
    ) -> Result<Reservation, LibraryError> {
        let _turn = self.room.turn.lock().await;
        self.check_room_of(space_use, bytes).await?;
        Ok(Reservation::new(&self.room, space_use, bytes))
    }

    /// Extends `reservation` to `bytes`, for an upload of unknown length.
    pub(crate) async fn extend_reservation(
        &self,
        reservation: &mut Reservation,
        bytes: u64,
    ) -> Result<(), LibraryError> {
        let space_use = reservation.space_use;
        let unlimited = match space_use {
            SpaceUse::Video => self.quota().is_none(),
            SpaceUse::File => self.quota().is_none() && self.files_quota().is_none(),
            SpaceUse::Scratch => false,
        };
        if unlimited || bytes <= reservation.bytes {
            return Ok(());
        }
        let _turn = self.room.turn.lock().await;
        let more = bytes - reservation.bytes;
        // Extends by more than needed where that fits, so that not every chunk runs a query.
        let more = match self.check_room_of(space_use, more.saturating_add(GROWTH)).await {
            Ok(()) => more + GROWTH,
            Err(_) => {
                self.check_room_of(space_use, more).await.map_err(|error| match error {
                    LibraryError::OverQuota { left, quota, .. } => {
                        LibraryError::OverQuota { needed: bytes, left: left + reservation.bytes, quota }
                    }
                    LibraryError::FilesFull { left, quota, .. } => {
                        LibraryError::FilesFull { needed: bytes, left: left + reservation.bytes, quota }
                    }
                    error => error,
                })?;
                more
            }
        };
        reservation.grow(more);
        Ok(())
    }

    /// Returns the bytes that count against the quota.
    async fn used(&self) -> Result<u64, LibraryError> {
        let sql = "SELECT bytes + trash_bytes +
                       (SELECT coalesce(sum(length), 0) FROM uploads WHERE state IN ('receiving', 'storing')) +
                       (SELECT coalesce(sum(size), 0) FROM response_media) FROM totals";
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        let reserved = self.room.reserved.load(Ordering::Relaxed);
        Ok(u64::try_from(rows)
            .unwrap_or_default()
            .saturating_add(self.files_bytes().await?)
            .saturating_add(reserved))
    }

    /// Returns the bytes that count against the quota of files.
    async fn used_by_files(&self) -> Result<u64, LibraryError> {
        let sql = "SELECT coalesce(sum(length), 0) FROM uploads
                   WHERE state IN ('receiving', 'storing') AND purpose IS NOT NULL";
        let uploads: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        let reserved = self.room.reserved_for_files.load(Ordering::Relaxed);
        Ok(u64::try_from(uploads)
            .unwrap_or_default()
            .saturating_add(self.files_bytes().await?)
            .saturating_add(reserved))
    }

    /// Returns the bytes of the contents of all files.
    pub(crate) async fn files_bytes(&self) -> Result<u64, LibraryError> {
        // Files with the same content share it.
        let sql = "SELECT coalesce(sum(size), 0) FROM (SELECT max(size) AS size FROM files GROUP BY sha256)";
        let bytes: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewUpload, tests::add};

    #[tokio::test]
    async fn a_quota_counts_videos_trash_and_what_is_on_its_way() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap().with_quota(Some(100));
        let video = add(&library, &[1; 40], "a.mp4").await.video;
        library.trash_video(&video.id).await.unwrap();
        let over = library.incoming(Some(61), 1000).await.unwrap_err();
        assert!(matches!(over, LibraryError::OverQuota { needed: 61, left: 60, quota: 100 }), "{over}");
        assert!(over.to_string().contains("61 bytes are needed and 60 are left"), "{over}");

        // Reserved while it arrives, given back when it breaks off.
        let first = library.incoming(Some(50), 1000).await.unwrap();
        let second = library.incoming(Some(50), 1000).await.unwrap_err();
        assert!(matches!(second, LibraryError::OverQuota { needed: 50, left: 10, .. }), "{second}");
        drop(first);
        let new = |length| NewUpload { name: "b".into(), length, ..NewUpload::default() };
        let upload = library.create_upload(new(50), 1000).await.unwrap();
        let third = library.create_upload(new(11), 1000).await.unwrap_err();
        assert!(matches!(third, LibraryError::OverQuota { needed: 11, left: 10, .. }), "{third}");
        assert_eq!(library.storage().await.unwrap().free_bytes, 10);
        library.delete_upload(&upload.id).await.unwrap();

        // Of unknown length: refused where it goes too far, and nothing stays.
        let mut unknown = library.incoming(None, 1000).await.unwrap();
        unknown.write(&[2; 60]).await.unwrap();
        let further = unknown.write(&[2; 1]).await.unwrap_err();
        assert!(matches!(further, LibraryError::OverQuota { needed: 61, left: 60, .. }), "{further}");
        drop(unknown);
        library.empty_trash().await.unwrap();
        let stored = add(&library, &[3; 100], "c.mp4").await;
        assert_eq!(library.room.reserved.load(Ordering::Relaxed), 0, "a stored video needs no reservation");
        assert_eq!(stored.video.size, 100);
        assert_eq!(library.storage().await.unwrap().quota_bytes, Some(100));
    }
}
