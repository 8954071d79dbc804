//! The library's handle: opens the database and the data directory, and repairs what a killed process left behind.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, broadcast};

use crate::{
    changes::Change, directories, error::LibraryError, migrations, reservation::Space,
    search::recent::Recent, uploads::slots::Slots,
};

/// Changes that are buffered for a slow listener before it gets an error ([`broadcast::error::RecvError::Lagged`]).
pub(crate) const CHANGES: usize = 256;

/// How long a data directory may seem to be in use after its process was killed, and how often that is looked at.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PERIOD: Duration = Duration::from_millis(20);

/// Connections: queries compute rather than wait, so more than processors only make each of them later.
const MIN_CONNECTIONS: usize = 4;
const MAX_CONNECTIONS: usize = 16;

/// KiB of the database that each connection keeps: all that a search in ten thousand videos touches again and again.
const CACHE_KIB: u32 = 16 << 10;

/// The library. Cheap to clone; all clones share one pool of connections.
#[derive(Debug, Clone)]
pub struct Library {
    pub(crate) pool: SqlitePool,
    pub(crate) root: Arc<PathBuf>,
    pub(crate) changes: broadcast::Sender<Change>,
    /// Held while originals and their rows change together: an upload of the bytes that are just being deleted
    /// must not end as a row without a file.
    pub(crate) originals: Arc<Mutex<()>>,
    /// Who writes to which upload.
    pub(crate) uploads: Arc<Slots>,
    /// What uploads may take.
    pub(crate) room: Arc<Space>,
    /// What was found of late.
    pub(crate) searches: Arc<Recent>,
    /// Holds the data directory's lock as long as any clone lives.
    pub(crate) _lock: Arc<File>,
}

impl Library {
    /// Opens the library under `root`, creating what is missing, and repairs what a killed process left:
    /// half uploads are removed, running jobs queued again, running answers marked as failed.
    ///
    /// # Errors
    /// `InUse` when another process has the directory open; `Io` or `Database` otherwise.
    pub async fn open(root: &Path) -> Result<Self, LibraryError> {
        for directory in ["originals", "incoming", "uploads"] {
            fs::create_dir_all(root.join(directory))?;
        }
        let lock = lock(root).await?;
        directories::prepare(root)?;
        remove_leftovers(&root.join("incoming"))?;
        let library = Self {
            pool: connect(root).await?,
            root: Arc::new(root.to_owned()),
            changes: broadcast::Sender::new(CHANGES),
            originals: Arc::default(),
            uploads: Arc::default(),
            room: Arc::default(),
            searches: Arc::default(),
            _lock: Arc::new(lock),
        };
        library.requeue_running().await?;
        library.remove_nameless_uploads().await?;
        library.remove_all_doomed().await?;
        library.fail_running_answers().await?;
        Ok(library)
    }

    /// Returns the connections, for the tables of [`crate::Auth`].
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Listens to changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Sends a change to all listeners; without listeners it is a no-op.
    pub fn announce(&self, change: Change) {
        // An error only says that nobody listens.
        let _ = self.changes.send(change);
    }

    /// Returns bytes that are free for uploads.
    ///
    /// # Errors
    /// `Io` where the file system does not tell.
    pub fn free_bytes(&self) -> Result<u64, LibraryError> {
        let stat = rustix::fs::statvfs(self.root.as_path()).map_err(std::io::Error::from)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Returns where the original with this hash lies.
    #[must_use]
    pub fn original_path(&self, sha256: &str) -> PathBuf {
        self.root.join("originals").join(sha256)
    }

    /// Returns where the poster (JPEG) of the original with this hash lies, once there is one.
    #[must_use]
    pub fn poster_path(&self, sha256: &str) -> PathBuf {
        self.root.join("posters").join(format!("{sha256}.jpg"))
    }

    /// Returns where the small poster (JPEG) for lists lies; posters made by earlier releases have none.
    #[must_use]
    pub fn card_path(&self, sha256: &str) -> PathBuf {
        self.root.join("posters").join(format!("{sha256}-card.jpg"))
    }

    /// Returns where scratch files of requests go: on the library's own disk, removed at the next start.
    #[must_use]
    pub fn scratch_dir(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Begins a transaction that writes. Its lock is taken at once: one that reads first cannot wait for another
    /// writer later, and full-text tables read when a connection first meets them.
    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, LibraryError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Closes the database: waits for running statements and checkpoints the log.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Opens the one SQLite file below `root`, making it where it is missing, and brings its schema up to date.
pub(crate) async fn connect(root: &Path) -> Result<SqlitePool, LibraryError> {
    let options = SqliteConnectOptions::new()
        .filename(root.join("homereel.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", format!("-{CACHE_KIB}"));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let connections = u32::try_from(processors.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)).unwrap_or(1);
    // A connection of ours cannot be lost: asking whether it lives would double the round trips.
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    migrations::run(&pool).await?;
    Ok(pool)
}

/// Takes the data directory's lock, which the kernel frees when this process ends in any way. Waits a little: a child
/// that a killed process had just forked holds the lock until it has become the program that it was forked for.
pub(crate) async fn lock(root: &Path) -> Result<File, LibraryError> {
    let file = File::create(root.join("lock"))?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => tokio::time::sleep(LOCK_PERIOD).await,
            Err(TryLockError::WouldBlock) => return Err(LibraryError::InUse { directory: root.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Uploads that were not finished are nobody's: their clients never got an acknowledgement.
fn remove_leftovers(incoming: &Path) -> Result<(), LibraryError> {
    for entry in fs::read_dir(incoming)? {
        let path = entry?.path();
        if path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
