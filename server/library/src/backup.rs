//! Backups: copies the database to one file with a list of originals, and opens a library read-only beside a running server.
//! [`crate::restore`] is the way back.

use std::{
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

use crate::{
    changes::Changes, directories::remove_file, error::LibraryError, library::Library, private, values::hash,
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
    remove_file(&part)?;
    // SQLite accepts an empty file, which keeps its mode.
    private::create_file(&part)?;
    let name = part.to_str().ok_or_else(|| LibraryError::Invalid("the file's name is no UTF-8".into()))?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await?;
    connection.close().await?;

    let mut copy = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&part)).await?;
    clear_files(&mut copy).await?;
    let rows = sqlx::query("SELECT sha256, size FROM videos ORDER BY sha256").fetch_all(&mut copy).await?;
    copy.close().await?;
    let list = beside(file, "sha256");
    let (mut lines, mut bytes) = (String::new(), 0_u64);
    for row in &rows {
        let sha256 = hash(row, "sha256")?;
        lines.push_str(&format!("{sha256}  originals/{sha256}\n"));
        bytes += u64::try_from(row.try_get::<i64, _>("size")?).unwrap_or_default();
    }
    remove_file(&list)?;
    let mut out = private::create_file(&list)?;
    out.write_all(lines.as_bytes())?;
    out.sync_all()?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, file)?;
    Ok(Backup { videos: rows.len(), bytes, list })
}

/// Deletes the files of `/v1/files` from a copy: they are temporary, and their contents are not backed up. A database that no
/// server of this version opened has none.
pub(crate) async fn clear_files(copy: &mut SqliteConnection) -> Result<(), LibraryError> {
    let table = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'files'");
    if table.fetch_optional(&mut *copy).await?.is_some() {
        sqlx::query("DELETE FROM files").execute(&mut *copy).await?;
    }
    Ok(())
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
            changes: Changes::default(),
            originals: Arc::default(),
            response_files: Arc::default(),
            uploads: Arc::default(),
            pins: Arc::default(),
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
pub(crate) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
