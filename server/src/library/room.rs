//! Room for videos: what the disk has beside its reserve, and what the quota leaves. Bytes on their way are promised
//! before they come, so that two uploads at once are not given the same room. Knows no file.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

use super::{Library, LibraryError};

/// Bytes that stay free for the database, posters and the rest of the system.
pub(super) const RESERVE: u64 = 64 << 20;

/// Bytes by which the promise to an upload of unknown length grows.
const GROWTH: u64 = 16 << 20;

/// What is allowed and promised.
#[derive(Debug, Default)]
pub(super) struct Room {
    quota: Option<u64>,
    promised: AtomicU64,
    /// Held from the look at what is left to the promise.
    turn: Mutex<()>,
}

/// Room that is promised until this is dropped.
#[derive(Debug)]
pub(super) struct Promise {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.room.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Library {
    /// Lets originals, those in the trash and unfinished uploads included, take `quota` bytes and no more.
    #[must_use]
    pub fn with_quota(mut self, quota: Option<u64>) -> Self {
        self.room = Arc::new(Room { quota, ..Room::default() });
        self
    }

    /// Returns bytes that originals may take; none where only the disk bounds them.
    #[must_use]
    pub fn quota(&self) -> Option<u64> {
        self.room.quota
    }

    /// Checks that an upload of `needed` bytes fits on the disk and into the quota.
    ///
    /// # Errors
    /// `NoSpace` and `OverQuota`, each with its numbers; `Database`, `Io`.
    pub async fn check_room(&self, needed: u64) -> Result<(), LibraryError> {
        self.check_disk(needed)?;
        let Some(quota) = self.room.quota else { return Ok(()) };
        let left = quota.saturating_sub(self.used().await?);
        if left < needed {
            return Err(LibraryError::OverQuota { needed, left, quota });
        }
        Ok(())
    }

    /// Checks that `needed` bytes fit on the disk, beside what stays free for everything else.
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

    /// Promises room for an upload of `bytes` bytes.
    pub(super) async fn promise_room(&self, bytes: u64) -> Result<Promise, LibraryError> {
        let _turn = self.room.turn.lock().await;
        self.check_room(bytes).await?;
        self.room.promised.fetch_add(bytes, Ordering::Relaxed);
        Ok(Promise { room: Arc::clone(&self.room), bytes })
    }

    /// Sees to it that `promise` covers `bytes`, of an upload whose length nobody told.
    pub(super) async fn extend_promise(&self, promise: &mut Promise, bytes: u64) -> Result<(), LibraryError> {
        if self.room.quota.is_none() || bytes <= promise.bytes {
            return Ok(());
        }
        let _turn = self.room.turn.lock().await;
        let more = bytes - promise.bytes;
        // A little ahead where that fits: not a look for each piece.
        let more = match self.check_room(more.saturating_add(GROWTH)).await {
            Ok(()) => more + GROWTH,
            Err(_) => {
                self.check_room(more).await.map_err(|error| match error {
                    LibraryError::OverQuota { left, quota, .. } => {
                        LibraryError::OverQuota { needed: bytes, left: left + promise.bytes, quota }
                    }
                    error => error,
                })?;
                more
            }
        };
        self.room.promised.fetch_add(more, Ordering::Relaxed);
        promise.bytes += more;
        Ok(())
    }

    /// Returns bytes that count against the quota.
    async fn used(&self) -> Result<u64, LibraryError> {
        let sql = "SELECT bytes + trash_bytes +
                       (SELECT coalesce(sum(length), 0) FROM uploads WHERE state IN ('receiving', 'storing')) FROM totals";
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        let promised = self.room.promised.load(Ordering::Relaxed);
        Ok(u64::try_from(rows).unwrap_or_default().saturating_add(promised))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewUpload, tests::add};
    use super::*;

    #[tokio::test]
    async fn a_quota_counts_videos_trash_and_what_is_on_its_way() {
        let data = tempfile::tempdir().unwrap();
        let library = Library::open(data.path()).await.unwrap().with_quota(Some(100));
        let video = add(&library, &[1; 40], "a.mp4").await.video;
        library.trash_video(&video.id).await.unwrap();
        let over = library.incoming(Some(61), 1000).await.unwrap_err();
        assert!(matches!(over, LibraryError::OverQuota { needed: 61, left: 60, quota: 100 }), "{over}");
        assert!(over.to_string().contains("61 bytes are needed and 60 are left"), "{over}");

        // Promised while it comes, given back when it breaks off.
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
        assert_eq!(
            library.room.promised.load(Ordering::Relaxed),
            0,
            "what became a video is promised no more"
        );
        assert_eq!(stored.video.size, 100);
        assert_eq!(library.storage().await.unwrap().quota_bytes, Some(100));
    }
}
