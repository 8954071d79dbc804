//! Stores a complete resumable upload as a video or a file.

use std::{io, path::PathBuf, sync::Arc};

use sha2::Digest as _;
use tokio::sync::OwnedMutexGuard;

use super::{
    slots::Hashing,
    upload::{REMEMBER, Upload, UploadState, millis},
};
use crate::{
    changes::Change,
    directories::remove_file,
    error::LibraryError,
    incoming::{Sealed, Stored},
    library::Library,
    values::{is_hash, now_ms},
};

/// A complete upload that is being stored.
#[derive(Debug)]
pub enum Storing {
    /// The bytes, locked against other writers.
    Bytes {
        /// The bytes, which are kept until the upload is stored or rejected.
        sealed: Box<Sealed>,
        /// The write lock.
        _writer: Box<dyn std::any::Any + Send + Sync>,
    },
    /// The video exists already.
    Known(Box<Stored>),
}

impl Library {
    /// Returns complete uploads that are not yet added to the library or rejected.
    ///
    /// # Errors
    /// `Database`.
    pub async fn uploads_to_store(&self) -> Result<Vec<Upload>, LibraryError> {
        let sql = "SELECT * FROM uploads WHERE state = 'storing' ORDER BY id LIMIT 100";
        Ok(sqlx::query_as(sql).fetch_all(&self.pool).await?)
    }

    /// Takes the bytes of a complete upload, hashed. `None` means that the video exists already and only the row was not updated
    /// (the process was killed in between).
    ///
    /// # Errors
    /// `Conflict` while it is being written or stored, `Io`, `Database`.
    pub async fn seal_upload(&self, upload: &Upload) -> Result<Storing, LibraryError> {
        let slot = self.uploads.of(&upload.id);
        let writer = Arc::clone(&slot.writer);
        let Ok(mut hashing) = writer.try_lock_owned() else {
            return Err(LibraryError::Conflict("the upload is being stored".into()));
        };
        // Read again, because it may have been stored while this waited.
        let upload = self.upload(&upload.id).await?;
        if upload.state != UploadState::Storing {
            return Err(LibraryError::Conflict("the upload is not complete".into()));
        }
        let path = self.upload_path(&upload.id);
        if !path.exists() {
            let known: Option<String> = sqlx::query_scalar("SELECT sha256 FROM uploads WHERE id = ?")
                .bind(&upload.id)
                .fetch_one(&self.pool)
                .await?;
            let lost = || LibraryError::NotFound { what: "file of the upload", id: upload.id.clone() };
            let sha256 = known.filter(|sha256| is_hash(sha256)).ok_or_else(lost)?;
            if upload.purpose.is_some() {
                return self.renamed(self.content_path(&sha256), sha256, &upload, hashing).ok_or_else(lost);
            }
            if let Some(video) = self.video_by_hash(&sha256).await? {
                let stored = Stored { video, duplicate: false, restored: false };
                return Ok(Storing::Known(Box::new(stored)));
            }
            return self.renamed(self.original_path(&sha256), sha256, &upload, hashing).ok_or_else(lost);
        }
        let (length, file) = (upload.length, path.clone());
        let (sha, hashing) = tokio::task::spawn_blocking(move || {
            hashing.catch_up(&file, length).map(|()| (hashing.sha.clone(), hashing))
        })
        .await
        .map_err(io::Error::other)??;
        let sha256 = format!("{:x}", sha.finalize());
        sqlx::query("UPDATE uploads SET sha256 = ? WHERE id = ?")
            .bind(&sha256)
            .bind(&upload.id)
            .execute(&self.pool)
            .await?;
        let mut sealed = Sealed::of_upload(self.clone(), path, sha256, upload.length);
        sealed.modified_ms = upload.modified_ms;
        Ok(Storing::Bytes { sealed: Box::new(sealed), _writer: Box::new(hashing) })
    }

    /// Takes the bytes that a killed process renamed before it inserted their row. `None` means that they are lost.
    fn renamed(
        &self,
        path: PathBuf,
        sha256: String,
        upload: &Upload,
        writer: OwnedMutexGuard<Hashing>,
    ) -> Option<Storing> {
        if !path.exists() {
            return None;
        }
        let mut sealed = Sealed::of_upload(self.clone(), path, sha256, upload.length);
        sealed.modified_ms = upload.modified_ms;
        Some(Storing::Bytes { sealed: Box::new(sealed), _writer: Box::new(writer) })
    }

    /// Records that an upload became a video.
    ///
    /// # Errors
    /// `Database`.
    pub async fn upload_done(&self, id: &str, stored: &Stored) -> Result<(), LibraryError> {
        self.end_upload(id, "done", Some(stored), None).await?;
        self.announce(Change::Video { id: stored.video.id.clone() });
        Ok(())
    }

    /// Records that an upload became a file.
    ///
    /// # Errors
    /// `Database`.
    pub async fn upload_became_file(&self, id: &str) -> Result<(), LibraryError> {
        self.end_upload(id, "done", None, None).await
    }

    /// Records why an upload was rejected.
    ///
    /// # Errors
    /// `Database`.
    pub async fn upload_refused(&self, id: &str, error: &str) -> Result<(), LibraryError> {
        self.end_upload(id, "refused", None, Some(error)).await
    }

    /// Keeps the row for a while, so that clients can read the result; removes the bytes.
    async fn end_upload(
        &self,
        id: &str,
        state: &str,
        stored: Option<&Stored>,
        error: Option<&str>,
    ) -> Result<(), LibraryError> {
        sqlx::query(
            "UPDATE uploads SET state = ?, video_id = ?, duplicate = ?, error = ?, expires_ms = ? WHERE id = ?",
        )
        .bind(state)
        .bind(stored.map(|stored| &stored.video.id))
        .bind(stored.is_some_and(|stored| stored.duplicate))
        .bind(error)
        .bind(now_ms() + millis(REMEMBER))
        .bind(id)
        .execute(&self.pool)
        .await?;
        self.uploads.forget(id);
        Ok(remove_file(&self.upload_path(id))?)
    }
}
