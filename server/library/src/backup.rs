//! Backups: copies the database to one file with a list of originals, restores it, and opens a library read-only beside a
//! running server.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection as _, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::sync::broadcast;

use crate::{
    error::LibraryError,
    library::{CHANGES, Library, lock},
};

/// The result of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Number of videos, including those in the trash.
    pub videos: usize,
    /// Bytes of their originals, which are not in the copy.
    pub bytes: u64,
    /// The list of originals, in the format of `sha256sum --check`.
    pub list: PathBuf,
}

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Number of videos in the copy.
    pub videos: usize,
    /// Hashes of originals that are not in the data directory.
    pub missing: Vec<String>,
}

/// Writes a consistent copy of the database of the library in `data` to `file`, which must not exist, and the list of
/// originals beside it. A server may be using the library meanwhile.
///
/// # Errors
/// `Conflict` when `file` exists, `NotFound` when there is no library, `Database`, `Io`.
pub async fn backup(data: &Path, file: &Path) -> Result<Backup, LibraryError> {
    if file.exists() {
        return Err(LibraryError::Conflict(format!("{} exists; name a new file", file.display())));
    }
    let mut connection = SqliteConnection::connect_with(&readable(data)?).await?;
    // Written under a temporary name, so that an interrupted backup is not mistaken for a complete one.
    let part = beside(file, "part");
    if part.exists() {
        fs::remove_file(&part)?;
    }
    let name = part.to_str().ok_or_else(|| LibraryError::Invalid("the file's name is no UTF-8".into()))?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await?;
    connection.close().await?;

    let mut copy = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&part)).await?;
    let rows = sqlx::query("SELECT sha256, size FROM videos ORDER BY sha256").fetch_all(&mut copy).await?;
    copy.close().await?;
    let list = beside(file, "sha256");
    let (mut lines, mut bytes) = (String::new(), 0_u64);
    for row in &rows {
        let sha256: &str = row.try_get("sha256")?;
        lines.push_str(&format!("{sha256}  originals/{sha256}\n"));
        bytes += u64::try_from(row.try_get::<i64, _>("size")?).unwrap_or_default();
    }
    let mut out = fs::File::create(&list)?;
    out.write_all(lines.as_bytes())?;
    out.sync_all()?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, file)?;
    Ok(Backup { videos: rows.len(), bytes, list })
}

/// Replaces the database of the library in `data` by the copy `file`. No server may be using it; an existing database is kept
/// as `homereel.db.before-restore`.
///
/// # Errors
/// `InUse` while a server has it open, `Invalid` when `file` is no backup, `Conflict` when an earlier database was
/// kept already, `Database`, `Io`.
pub async fn restore(data: &Path, file: &Path) -> Result<Restored, LibraryError> {
    let invalid = |why: &str| LibraryError::Invalid(format!("{} is no backup: {why}", file.display()));
    if !file.is_file() {
        return Err(invalid("there is no such file"));
    }
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let hashes = async {
        let mut copy = SqliteConnection::connect_with(&options).await?;
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut copy).await?;
        if sound != "ok" {
            return Err(sqlx::Error::Protocol(sound));
        }
        let hashes: Vec<String> =
            sqlx::query_scalar("SELECT sha256 FROM videos").fetch_all(&mut copy).await?;
        copy.close().await?;
        Ok(hashes)
    };
    let hashes = hashes.await.map_err(|error| invalid(&error.to_string()))?;
    fs::create_dir_all(data)?;
    let _lock = lock(data).await?;
    let database = data.join("homereel.db");
    let kept = data.join("homereel.db.before-restore");
    if database.exists() {
        if kept.exists() {
            return Err(LibraryError::Conflict(format!(
                "{} is there from an earlier restore; move it away first",
                kept.display()
            )));
        }
        // The write-ahead log of a database that was not closed holds part of its contents.
        let mut old =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&database)).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut old).await?;
        old.close().await?;
        fs::rename(&database, &kept)?;
    }
    for log in ["homereel.db-wal", "homereel.db-shm"] {
        match fs::remove_file(data.join(log)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let part = beside(&database, "part");
    fs::copy(file, &part)?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, &database)?;
    let there: HashSet<String> = match fs::read_dir(data.join("originals")) {
        Ok(entries) => {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
        Err(_) => HashSet::new(),
    };
    let videos = hashes.len();
    let missing = hashes.into_iter().filter(|hash| !there.contains(hash)).collect();
    Ok(Restored { videos, missing })
}

impl Library {
    /// Opens the library under `root` read-only, also while a server has it open.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Database`.
    pub async fn peek(root: &Path) -> Result<Self, LibraryError> {
        let options = readable(root)?;
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        Ok(Self {
            pool,
            root: Arc::new(root.to_owned()),
            changes: broadcast::Sender::new(CHANGES),
            originals: Arc::default(),
            uploads: Arc::default(),
            room: Arc::default(),
            searches: Arc::default(),
            _lock: Arc::new(fs::File::open(root.join("homereel.db"))?),
        })
    }
}

fn readable(data: &Path) -> Result<SqliteConnectOptions, LibraryError> {
    let database = data.join("homereel.db");
    if !database.is_file() {
        return Err(LibraryError::NotFound { what: "library", id: data.display().to_string() });
    }
    Ok(SqliteConnectOptions::new().filename(database).read_only(true).busy_timeout(Duration::from_secs(30)))
}

/// Appends `ending` to the file name.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::add;

    #[tokio::test]
    async fn a_backup_of_a_library_at_work_brings_it_back() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let library = Library::open(data.path()).await.unwrap();
        let video = add(&library, b"bytes", "a.mp4").await.video;
        let file = other.path().join("copy.db");
        let made = backup(data.path(), &file).await.unwrap();
        assert_eq!((made.videos, made.bytes), (1, 5));
        let list = fs::read_to_string(&made.list).unwrap();
        assert_eq!(list, format!("{0}  originals/{0}\n", video.sha256));
        assert!(
            matches!(backup(data.path(), &file).await, Err(LibraryError::Conflict(_))),
            "never written over"
        );
        // What comes after the backup is not in it.
        add(&library, b"more", "b.mp4").await;
        assert!(matches!(restore(data.path(), &file).await, Err(LibraryError::InUse { .. })));
        library.close().await;
        drop(library);
        let back = restore(data.path(), &file).await.unwrap();
        assert_eq!(back, Restored { videos: 1, missing: Vec::new() });
        let library = Library::open(data.path()).await.unwrap();
        assert_eq!(library.videos(9, 0).await.unwrap().len(), 1);
        assert_eq!(library.video(&video.id).await.unwrap().name, "a.mp4");
        assert!(data.path().join("homereel.db.before-restore").is_file());
        drop(library);
        // Elsewhere the originals are missing, and it says which.
        let empty = other.path().join("new");
        assert_eq!(restore(&empty, &file).await.unwrap().missing, [video.sha256]);
    }

    #[tokio::test]
    async fn what_is_no_backup_restores_nothing() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("x");
        fs::write(&file, b"not a database at all, but long enough to have a header of one").unwrap();
        for file in [file, data.path().join("none")] {
            let refused = restore(&data.path().join("library"), &file).await;
            assert!(matches!(refused, Err(LibraryError::Invalid(_))), "{refused:?}");
        }
        assert!(!data.path().join("library").exists());
        let none = backup(&data.path().join("library"), &data.path().join("y")).await;
        assert!(matches!(none, Err(LibraryError::NotFound { .. })));
    }
}
