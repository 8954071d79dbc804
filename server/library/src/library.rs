//! [`Library`], the handle of an open library: locks the data directory, opens the database and, after a killed
//! process, removes partial files and requeues interrupted jobs.

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
    changes::{Change, Changes},
    directories,
    error::LibraryError,
    files::{FILES, pins::Pins},
    migrations, private,
    reservation::Space,
    responses,
    search::recent::Recent,
    taken,
    uploads::slots::Slots,
};

/// How long to wait for the lock of a process that was just killed, and the polling interval.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PERIOD: Duration = Duration::from_millis(20);

/// Database connections. Queries are CPU-bound, so more connections than cores would only add latency.
const MIN_CONNECTIONS: usize = 4;
const MAX_CONNECTIONS: usize = 16;

/// Page cache per connection in KiB: the working set of searches over ten thousand videos.
const CACHE_KIB: u32 = 16 << 10;

/// The library. Cheap to clone; clones share one connection pool.
#[derive(Debug, Clone)]
pub struct Library {
    pub(crate) pool: SqlitePool,
    pub(crate) root: Arc<PathBuf>,
    pub(crate) changes: Changes,
    /// Held while an original, or the content of a file, and its row change together, so that an upload of bytes that are being
    /// deleted does not end as a row without a file.
    pub(crate) originals: Arc<Mutex<()>>,
    /// Held while files of kept responses and their rows change together.
    pub(crate) response_files: Arc<Mutex<()>>,
    /// Writers of resumable uploads.
    pub(crate) uploads: Arc<Slots>,
    /// Contents of files that requests are reading.
    pub(crate) pins: Arc<Pins>,
    /// Limits and reservations of disk space.
    pub(crate) room: Arc<Space>,
    /// Results of recent searches.
    pub(crate) searches: Arc<Recent>,
    /// Holds the data directory's lock while any clone lives.
    pub(crate) _lock: Arc<File>,
}

impl Library {
    /// Opens the library under `root`, creating what is missing, and recovers after a killed process: removes partial uploads,
    /// queues running jobs again, and marks running answers as failed.
    ///
    /// # Errors
    /// `InUse` when another process has the directory open; `Io` or `Database` otherwise.
    pub async fn open(root: &Path) -> Result<Self, LibraryError> {
        for directory in ["originals", "incoming", "uploads", FILES, responses::DIRECTORY] {
            private::create_dir(&root.join(directory))?;
        }
        private::tighten(root);
        let lock = lock(root).await?;
        directories::prepare(root)?;
        remove_leftovers(&root.join("incoming"))?;
        let library = Self {
            pool: connect(root).await?,
            root: Arc::new(root.to_owned()),
            changes: Changes::default(),
            originals: Arc::default(),
            response_files: Arc::default(),
            uploads: Arc::default(),
            pins: Arc::default(),
            room: Arc::default(),
            searches: Arc::default(),
            _lock: Arc::new(lock),
        };
        taken::settle(&library.pool).await?;
        library.requeue_running().await?;
        library.remove_nameless_uploads().await?;
        library.remove_nameless_contents().await?;
        library.remove_all_doomed().await?;
        library.remove_stray_media().await?;
        library.fail_running_answers().await?;
        Ok(library)
    }

    /// Returns the connection pool, for [`crate::Auth`].
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Subscribes to changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Returns how many changes were announced since the library was opened, without [`Change::Progress`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.count()
    }

    /// Sends a change to all listeners.
    pub fn announce(&self, change: Change) {
        self.changes.announce(change);
    }

    /// Returns the bytes that are free for uploads.
    ///
    /// # Errors
    /// `Io` where the file system does not report it.
    pub fn free_bytes(&self) -> Result<u64, LibraryError> {
        let stat = rustix::fs::statvfs(self.root.as_path()).map_err(std::io::Error::from)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Returns the free bytes of the library's disk, and its size in bytes.
    ///
    /// # Errors
    /// `Io` where the file system does not report it.
    pub fn disk(&self) -> Result<(u64, u64), LibraryError> {
        let stat = rustix::fs::statvfs(self.root.as_path()).map_err(std::io::Error::from)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    /// Returns the path of the original with this hash.
    #[must_use]
    pub fn original_path(&self, sha256: &str) -> PathBuf {
        self.root.join("originals").join(sha256)
    }

    /// Returns the path of the poster (JPEG) of the original with this hash; `None` means that there is none.
    #[must_use]
    pub fn poster_path(&self, sha256: &str) -> PathBuf {
        self.root.join("posters").join(format!("{sha256}.jpg"))
    }

    /// Returns the path of the small poster (JPEG) for lists; posters of earlier releases have none.
    #[must_use]
    pub fn card_path(&self, sha256: &str) -> PathBuf {
        self.root.join("posters").join(format!("{sha256}-card.jpg"))
    }

    /// Returns the directory for scratch files of requests: on the library's disk, and cleared at the next start.
    #[must_use]
    pub fn scratch_dir(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Begins a write transaction and takes its lock immediately: a transaction that reads first cannot wait for another writer
    /// later, and full-text tables read on their first use.
    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, LibraryError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Closes the database: waits for running statements and checkpoints the log.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Opens the SQLite file below `root`, creating it if necessary, and migrates its schema.
pub(crate) async fn connect(root: &Path) -> Result<SqlitePool, LibraryError> {
    let database = root.join("homereel.db");
    private::create_database(&database)?;
    let options = SqliteConnectOptions::new()
        .filename(database)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .row_buffer_size(1024)
        .pragma("cache_size", format!("-{CACHE_KIB}"));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let connections = u32::try_from(processors.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)).unwrap_or(1);
    // Connections to a local file cannot be lost, and checking them would double the round trips.
    let pool = SqlitePoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    migrations::run(&pool).await?;
    Ok(pool)
}

/// Locks the data directory; the kernel releases the lock when this process ends. Waits briefly, because a child that a
/// killed process had just forked holds the lock until its `exec`.
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

/// Removes uploads that were not finished: their clients never got an acknowledgement.
fn remove_leftovers(incoming: &Path) -> Result<(), LibraryError> {
    for entry in fs::read_dir(incoming)? {
        let path = entry?.path();
        if path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
