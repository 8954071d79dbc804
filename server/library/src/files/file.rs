//! Rows of `files` and their contents.

use std::{collections::HashSet, fs, io, path::PathBuf};

use sqlx::{FromRow, Row as _, sqlite::SqliteRow};

use super::pins::PinnedFile;
use crate::{
    directories::remove_file,
    error::LibraryError,
    incoming::{Sealed, display_name, rename_durably},
    library::Library,
    values::{hash, id, is_id, now_ms, shorten},
};

/// Directory of the contents.
pub(crate) const FILES: &str = "files";

/// Maximum number of files of one owner.
const MAX_EACH: i64 = 10_000;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// SHA-256 of the content, in lower-case hexadecimal.
    pub sha256: String,
    /// Name, without directories.
    pub name: String,
    /// What the client wants it for.
    pub purpose: String,
    /// Number of bytes.
    pub size: u64,
    /// When it was uploaded, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it expires.
    pub expires_ms: i64,
}

impl FromRow<'_, SqliteRow> for StoredFile {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: id(row, "id")?,
            sha256: hash(row, "sha256")?,
            name: row.try_get("name")?,
            purpose: row.try_get("purpose")?,
            size: u64::try_from(row.try_get::<i64, _>("size")?).unwrap_or_default(),
            created_ms: row.try_get("created_ms")?,
            expires_ms: row.try_get("expires_ms")?,
        })
    }
}

/// A file that is about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its id; that of its upload for a resumable one.
    pub id: String,
    /// The user or API key ([`crate::Identity::account`]); `None` where no login is required.
    pub owner: Option<String>,
    /// Name of the file.
    pub name: String,
    /// What the client wants it for.
    pub purpose: String,
    /// How long it is kept, in milliseconds.
    pub keep_ms: i64,
}

/// Which files to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileQuery {
    /// Only files with this purpose.
    pub purpose: Option<String>,
    /// Only files behind the one with this id, in the order of the list.
    pub after: Option<String>,
    /// Whether the oldest file comes first.
    pub ascending: bool,
    /// Maximum number.
    pub limit: u32,
}

impl Library {
    /// Returns an owner's file. One that has expired is not found, although housekeeping may delete it later.
    ///
    /// # Errors
    /// `NotFound`, also for files of other owners; `Database`.
    pub async fn file(&self, id: &str, owner: Option<&str>) -> Result<StoredFile, LibraryError> {
        let sql = "SELECT * FROM files WHERE id = ? AND owner IS ? AND expires_ms > ?";
        let row = sqlx::query_as(sql).bind(id).bind(owner).bind(now_ms()).fetch_optional(&self.pool).await?;
        row.ok_or_else(|| LibraryError::NotFound { what: "file", id: format!("file-{}", shorten(id)) })
    }

    /// Returns an owner's file with its content, which stays readable when the file is deleted meanwhile.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub async fn open_file(
        &self,
        id: &str,
        owner: Option<&str>,
    ) -> Result<(StoredFile, PinnedFile), LibraryError> {
        // Between the row and the pin, the content must not go.
        let _originals = self.originals.lock().await;
        let file = self.file(id, owner).await?;
        let path = self.content_path(&file.sha256);
        let content = PinnedFile::new(&self.pins, path, file.sha256.clone(), file.size);
        Ok((file, content))
    }

    /// Returns an owner's files in the order of their ids, which sort by time.
    ///
    /// # Errors
    /// `Database`.
    pub async fn files(
        &self,
        owner: Option<&str>,
        query: &FileQuery,
    ) -> Result<Vec<StoredFile>, LibraryError> {
        let sql = if query.ascending {
            "SELECT * FROM files WHERE owner IS ?1 AND expires_ms > ?2 AND (?3 IS NULL OR purpose = ?3)
             AND (?4 IS NULL OR id > ?4) ORDER BY id LIMIT ?5"
        } else {
            "SELECT * FROM files WHERE owner IS ?1 AND expires_ms > ?2 AND (?3 IS NULL OR purpose = ?3)
             AND (?4 IS NULL OR id < ?4) ORDER BY id DESC LIMIT ?5"
        };
        let rows = sqlx::query_as(sql)
            .bind(owner)
            .bind(now_ms())
            .bind(&query.purpose)
            .bind(&query.after)
            .bind(query.limit);
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// Deletes an owner's file, and its content if it is the last with it.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub async fn delete_file(&self, id: &str, owner: Option<&str>) -> Result<(), LibraryError> {
        let _originals = self.originals.lock().await;
        let file = self.file(id, owner).await?;
        self.remove_file_row(&file.id, &file.sha256).await
    }

    /// Deletes the files that have expired at the retention time `now`; returns their number.
    pub(crate) async fn expire_files(&self, now: i64) -> Result<usize, LibraryError> {
        let sql = "SELECT id, sha256 FROM files WHERE expires_ms < ? LIMIT 1000";
        let mut deleted = 0;
        loop {
            let _originals = self.originals.lock().await;
            let expired: Vec<(String, String)> = sqlx::query_as(sql).bind(now).fetch_all(&self.pool).await?;
            if expired.is_empty() {
                return Ok(deleted);
            }
            for (id, sha256) in expired {
                self.remove_file_row(&id, &sha256).await?;
                deleted += 1;
            }
        }
    }

    /// Deletes a row, then what no other row has. Whoever calls it holds the lock of the originals.
    async fn remove_file_row(&self, id: &str, sha256: &str) -> Result<(), LibraryError> {
        sqlx::query("DELETE FROM files WHERE id = ?").bind(id).execute(&self.pool).await?;
        let used = async |sql: &'static str| -> Result<bool, LibraryError> {
            Ok(sqlx::query(sql).bind(sha256).fetch_optional(&self.pool).await?.is_some())
        };
        if used("SELECT 1 FROM files WHERE sha256 = ?").await? {
            return Ok(());
        }
        self.pins.doom(sha256, &self.content_path(sha256));
        if !used("SELECT 1 FROM videos WHERE sha256 = ?").await? {
            self.remove_derived(sha256).await;
        }
        Ok(())
    }

    /// Returns the path of the content of files with this hash.
    pub(crate) fn content_path(&self, sha256: &str) -> PathBuf {
        self.root.join(FILES).join(sha256)
    }

    /// Removes contents without a row: the process was killed before it acknowledged or after it deleted them.
    pub(crate) async fn remove_nameless_contents(&self) -> Result<(), LibraryError> {
        let known: Vec<String> = sqlx::query_scalar(
            "SELECT sha256 FROM files
             UNION SELECT sha256 FROM uploads WHERE state = 'storing' AND purpose IS NOT NULL AND sha256 IS NOT NULL",
        )
        .fetch_all(&self.pool)
        .await?;
        let known: HashSet<String> = known.into_iter().collect();
        for entry in fs::read_dir(self.root.join(FILES))? {
            let entry = entry?;
            if !known.contains(entry.file_name().to_string_lossy().as_ref()) {
                remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    async fn check_file_count(&self, owner: Option<&str>) -> Result<(), LibraryError> {
        let sql = "SELECT count(*) FROM files WHERE owner IS ?";
        let count: i64 = sqlx::query_scalar(sql).bind(owner).fetch_one(&self.pool).await?;
        if count < MAX_EACH {
            return Ok(());
        }
        let message = format!("you have {count} files, and at most {MAX_EACH} are kept; delete some first");
        Err(LibraryError::Conflict(message))
    }
}

impl Sealed {
    /// Stores the upload as a file, in a row after a durable rename. Files with the same content share it. A file with this
    /// id that exists already is returned as it is: the process was killed before its upload was marked as done.
    ///
    /// # Errors
    /// `Conflict` when the owner has too many files, `NoSpace`, `Io`, `Database`.
    pub async fn commit_file(self, new: NewFile) -> Result<StoredFile, LibraryError> {
        if !is_id(&new.id) {
            return Err(LibraryError::Invalid(format!("{} is not an id", shorten(&new.id))));
        }
        let library = self.library.clone();
        let _originals = library.originals.lock().await;
        let known = sqlx::query_as("SELECT * FROM files WHERE id = ?").bind(&new.id);
        if let Some(known) = known.fetch_optional(&library.pool).await? {
            return Ok(known);
        }
        library.check_file_count(new.owner.as_deref()).await?;
        let target = library.content_path(&self.sha256);
        if !library.pins.spare(&self.sha256, &target) {
            let source = self.path().to_owned();
            tokio::task::spawn_blocking(move || rename_durably(&source, &target))
                .await
                .map_err(io::Error::other)??;
        }
        let created_ms = now_ms();
        let inserted = sqlx::query(
            "INSERT INTO files (id, owner, sha256, name, purpose, size, created_ms, expires_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.owner)
        .bind(&self.sha256)
        .bind(display_name(&new.name))
        .bind(&new.purpose)
        .bind(i64::try_from(self.size).unwrap_or(i64::MAX))
        .bind(created_ms)
        .bind(created_ms.saturating_add(new.keep_ms))
        .execute(&library.pool)
        .await;
        if let Err(error) = inserted {
            // Nothing was acknowledged. What cannot be cleaned up now, the next start removes.
            let row = sqlx::query("SELECT 1 FROM files WHERE sha256 = ?").bind(&self.sha256);
            if let Ok(None) = row.fetch_optional(&library.pool).await {
                library.pins.doom(&self.sha256, &library.content_path(&self.sha256));
            }
            return Err(error.into());
        }
        library.file(&new.id, new.owner.as_deref()).await
    }
}
