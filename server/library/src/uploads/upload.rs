//! Rows of `uploads` and their files.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};
use tokio::sync::OwnedMutexGuard;

use super::slots::Hashing;
use crate::{
    directories::remove_file,
    error::LibraryError,
    incoming::{Scratch, display_name, reserve},
    library::Library,
    reservation::SpaceUse,
    values::{id, new_id, now_ms, shorten},
};

/// Retention of an upload that has stopped.
pub(super) const KEEP: Duration = Duration::from_secs(3 * 24 * 3600);

/// Retention of the row of a finished upload.
pub(super) const REMEMBER: Duration = Duration::from_secs(24 * 3600);

/// Maximum number of unfinished uploads of everybody.
const MAX_OPEN: i64 = 1000;

/// Maximum number of unfinished uploads of one user or API key, so that nobody can stop the uploads of others.
pub(super) const MAX_OPEN_EACH: i64 = 100;

/// How long a new writer waits for the previous one to stop.
const HANDOVER: Duration = Duration::from_secs(10);

/// State of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// Bytes are missing.
    Receiving,
    /// Complete; the file is being probed.
    Storing,
    /// It became a video.
    Done,
    /// It was rejected; see the error.
    Refused,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Upload {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// Name of the file, without directories.
    pub name: String,
    /// Bytes of the whole file.
    pub length: u64,
    /// Durable bytes received.
    pub received: u64,
    /// `Upload-Metadata` as received.
    #[serde(skip)]
    pub metadata: String,
    /// The user or API key that started it.
    #[serde(skip)]
    pub owner: Option<String>,
    /// Purpose of the file that it becomes, with the id of the upload. `None` means that it becomes a video of the library.
    #[serde(skip)]
    pub purpose: Option<String>,
    /// The file's own time, in milliseconds since 1970 (UTC). `None` means that it is unknown.
    #[serde(skip)]
    pub modified_ms: Option<i64>,
    /// State.
    pub state: UploadState,
    /// Id of the resulting video.
    pub video_id: Option<String>,
    /// Whether the library held these bytes already.
    pub duplicate: bool,
    /// Why it was rejected.
    pub error: Option<String>,
    /// When it started, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it expires.
    pub expires_ms: i64,
}

impl FromRow<'_, SqliteRow> for Upload {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let bytes = |column| -> Result<u64, sqlx::Error> {
            Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
        };
        Ok(Self {
            id: id(row, "id")?,
            name: row.try_get("name")?,
            length: bytes("length")?,
            received: bytes("received")?,
            metadata: row.try_get("metadata")?,
            owner: row.try_get("owner")?,
            purpose: row.try_get("purpose")?,
            modified_ms: row.try_get("modified_ms")?,
            state: match row.try_get::<&str, _>("state")? {
                "receiving" => UploadState::Receiving,
                "storing" => UploadState::Storing,
                "done" => UploadState::Done,
                _ => UploadState::Refused,
            },
            video_id: row.try_get("video_id")?,
            duplicate: row.try_get("duplicate")?,
            error: row.try_get("error")?,
            created_ms: row.try_get("created_ms")?,
            expires_ms: row.try_get("expires_ms")?,
        })
    }
}

/// The start of an upload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewUpload {
    /// Name of the file.
    pub name: String,
    /// Bytes of the whole file.
    pub length: u64,
    /// `Upload-Metadata` as received.
    pub metadata: String,
    /// SHA-256 as declared by the client.
    pub claimed: Option<String>,
    /// The user or API key ([`crate::Identity::account`]); `None` where no login is required.
    pub owner: Option<String>,
    /// Purpose of the file that it becomes. `None` means that it becomes a video of the library.
    pub purpose: Option<String>,
    /// The file's own time, in milliseconds since 1970 (UTC). `None` means that it is unknown.
    pub modified_ms: Option<i64>,
}

impl Library {
    /// Starts an upload and reserves disk space for all of it, so that it cannot run out of space halfway.
    ///
    /// # Errors
    /// `Invalid` for an empty upload, `TooLarge`, `NoSpace`, `OverQuota` and `FilesFull` with their numbers, `Conflict` when too
    /// many are open.
    pub async fn create_upload(&self, new: NewUpload, limit: u64) -> Result<Upload, LibraryError> {
        if new.length == 0 {
            return Err(LibraryError::Invalid("the upload is empty: its length is 0 bytes".into()));
        }
        if new.length > limit {
            return Err(LibraryError::TooLarge { limit });
        }
        // Held until the row exists, so that concurrent requests cannot pass the limits together.
        let _turn = self.uploads.creation.lock().await;
        self.check_open(new.owner.as_deref()).await?;
        let space_use = if new.purpose.is_some() { SpaceUse::File } else { SpaceUse::Video };
        let _reservation = self.reserve_room(space_use, new.length).await?;
        let id = new_id();
        let path = Scratch::new(self.upload_path(&id));
        let (library, length) = (self.clone(), new.length);
        let path = tokio::task::spawn_blocking(move || -> Result<Scratch, LibraryError> {
            let file = File::create_new(path.path())?;
            reserve(&file, length).or_else(|error| library.or_full(error, length))?;
            file.sync_all()?;
            Ok(path)
        })
        .await
        .map_err(io::Error::other)??;
        let now = now_ms();
        sqlx::query(
            "INSERT INTO uploads (id, name, length, metadata, claimed, owner, purpose, modified_ms, created_ms, expires_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(display_name(&new.name))
        .bind(signed(new.length))
        .bind(&new.metadata)
        .bind(&new.claimed)
        .bind(&new.owner)
        .bind(&new.purpose)
        .bind(new.modified_ms)
        .bind(now)
        .bind(now + millis(KEEP))
        .execute(&self.pool)
        .await?;
        // From here on the file belongs to the row.
        path.keep();
        self.upload(&id).await
    }

    /// Checks the number of unfinished uploads before another starts.
    async fn check_open(&self, owner: Option<&str>) -> Result<(), LibraryError> {
        let sql = "SELECT count(*), count(*) FILTER (WHERE owner = ?) FROM uploads WHERE state = 'receiving'";
        let (all, own): (i64, i64) = sqlx::query_as(sql).bind(owner).fetch_one(&self.pool).await?;
        let (open, limit, whose) = if own >= MAX_OPEN_EACH {
            (own, MAX_OPEN_EACH, "of your uploads")
        } else {
            (all, MAX_OPEN, "uploads")
        };
        if open < limit {
            return Ok(());
        }
        Err(LibraryError::Conflict(format!(
            "{open} {whose} are unfinished, and at most {limit} may be; finish or delete some first"
        )))
    }

    /// Returns the upload with this id.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn upload(&self, id: &str) -> Result<Upload, LibraryError> {
        let row =
            sqlx::query_as("SELECT * FROM uploads WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        row.ok_or_else(|| LibraryError::NotFound { what: "upload", id: shorten(id) })
    }

    /// Returns the uploads to the library that `owner` started: unfinished ones, and those that were refused within the last day;
    /// newest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn uploads_of(&self, owner: Option<&str>, limit: u32) -> Result<Vec<Upload>, LibraryError> {
        let sql = "SELECT * FROM uploads WHERE owner IS ? AND purpose IS NULL
                   AND (state IN ('receiving', 'storing') OR (state = 'refused' AND expires_ms > ?))
                   ORDER BY id DESC LIMIT ?";
        Ok(sqlx::query_as(sql).bind(owner).bind(now_ms()).bind(limit).fetch_all(&self.pool).await?)
    }

    /// Returns the unfinished upload to the library whose client declared this hash.
    ///
    /// # Errors
    /// `Database`.
    pub async fn upload_claimed(&self, sha256: &str, length: u64) -> Result<Option<Upload>, LibraryError> {
        let sql =
            "SELECT * FROM uploads WHERE claimed = ? AND length = ? AND state IN ('receiving', 'storing')
                   AND purpose IS NULL ORDER BY received DESC LIMIT 1";
        Ok(sqlx::query_as(sql).bind(sha256).bind(signed(length)).fetch_optional(&self.pool).await?)
    }

    /// Cancels an upload: removes its row and bytes.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when a writer does not stop, `Database`.
    pub async fn delete_upload(&self, id: &str) -> Result<(), LibraryError> {
        self.upload(id).await?;
        let _writer = self.writer(id).await?;
        sqlx::query("DELETE FROM uploads WHERE id = ?").bind(id).execute(&self.pool).await?;
        self.uploads.forget(id);
        remove_file(&self.upload_path(id))?;
        Ok(())
    }

    /// Deletes the uploads that have expired at the retention time `now`; returns their number.
    pub(crate) async fn expire_uploads(&self, now: i64) -> Result<usize, LibraryError> {
        let sql = "SELECT id FROM uploads WHERE expires_ms < ? AND state <> 'storing' LIMIT 1000";
        let ids: Vec<String> = sqlx::query_scalar(sql).bind(now).fetch_all(&self.pool).await?;
        for id in &ids {
            // An upload that is being written has a new expiry.
            if let Err(error) = self.delete_upload(id).await {
                tracing::warn!(%error, upload.id = id, "failed to delete an expired upload; will retry");
            }
        }
        Ok(ids.len())
    }

    /// Removes files in `uploads/` without a row: their client never got an id.
    pub(crate) async fn remove_nameless_uploads(&self) -> Result<(), LibraryError> {
        for entry in fs::read_dir(self.root.join("uploads"))? {
            let entry = entry?;
            let id = entry.file_name().to_string_lossy().into_owned();
            let known: i64 = sqlx::query_scalar("SELECT count(*) FROM uploads WHERE id = ?")
                .bind(&id)
                .fetch_one(&self.pool)
                .await?;
            if known == 0 {
                remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Becomes the only writer; asks the present one to stop.
    pub(super) async fn writer(&self, id: &str) -> Result<OwnedMutexGuard<Hashing>, LibraryError> {
        let slot = self.uploads.of(id);
        slot.next.send_modify(|count| *count += 1);
        let lock = Arc::clone(&slot.writer).lock_owned();
        tokio::time::timeout(HANDOVER, lock).await.map_err(|_| LibraryError::Busy)
    }

    pub(super) fn upload_path(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    /// Maps a full disk to its error.
    pub(crate) fn or_full(&self, error: io::Error, needed: u64) -> Result<(), LibraryError> {
        if error.kind() == io::ErrorKind::StorageFull {
            return Err(LibraryError::NoSpace { needed, free: self.free_bytes()? });
        }
        Err(error.into())
    }
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
