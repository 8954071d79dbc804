//! Checks uploads against free disk space and the quota.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    error::LibraryError,
    library::Library,
    reservation::{RESERVE, Reservation, Space},
};

/// Bytes by which the reservation of an upload of unknown length grows.
const GROWTH: u64 = 16 << 20;

impl Library {
    /// Sets the quota in bytes for originals, including those in the trash, unfinished uploads, and media of kept responses.
    #[must_use]
    pub fn with_quota(mut self, quota: Option<u64>) -> Self {
        self.room = Arc::new(Space { quota, ..Space::default() });
        self
    }

    /// Returns the quota; `None` means that only the disk limits originals.
    #[must_use]
    pub fn quota(&self) -> Option<u64> {
        self.room.quota
    }

    /// Checks that an upload of `needed` bytes fits on the disk and into the quota.
    ///
    /// # Errors
    /// `NoSpace` and `OverQuota` with their numbers; `Database`, `Io`.
    pub async fn check_room(&self, needed: u64) -> Result<(), LibraryError> {
        self.check_disk(needed)?;
        let Some(quota) = self.room.quota else { return Ok(()) };
        let left = quota.saturating_sub(self.used().await?);
        if left < needed {
            return Err(LibraryError::OverQuota { needed, left, quota });
        }
        Ok(())
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
    pub(crate) async fn reserve_room(&self, bytes: u64) -> Result<Reservation, LibraryError> {
        let _turn = self.room.turn.lock().await;
        self.check_room(bytes).await?;
        self.room.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(Reservation { space: Arc::clone(&self.room), bytes })
    }

    /// Extends `reservation` to `bytes`, for an upload of unknown length.
    pub(crate) async fn extend_reservation(
        &self,
        reservation: &mut Reservation,
        bytes: u64,
    ) -> Result<(), LibraryError> {
        if self.room.quota.is_none() || bytes <= reservation.bytes {
            return Ok(());
        }
        let _turn = self.room.turn.lock().await;
        let more = bytes - reservation.bytes;
        // Extends by more than needed where that fits, so that not every chunk runs a query.
        let more = match self.check_room(more.saturating_add(GROWTH)).await {
            Ok(()) => more + GROWTH,
            Err(_) => {
                self.check_room(more).await.map_err(|error| match error {
                    LibraryError::OverQuota { left, quota, .. } => {
                        LibraryError::OverQuota { needed: bytes, left: left + reservation.bytes, quota }
                    }
                    error => error,
                })?;
                more
            }
        };
        self.room.reserved.fetch_add(more, Ordering::Relaxed);
        reservation.bytes += more;
        Ok(())
    }

    /// Returns the bytes that count against the quota.
    async fn used(&self) -> Result<u64, LibraryError> {
        let sql = "SELECT bytes + trash_bytes +
                       (SELECT coalesce(sum(length), 0) FROM uploads WHERE state IN ('receiving', 'storing')) +
                       (SELECT coalesce(sum(size), 0) FROM response_media) FROM totals";
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        let reserved = self.room.reserved.load(Ordering::Relaxed);
        Ok(u64::try_from(rows).unwrap_or_default().saturating_add(reserved))
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
