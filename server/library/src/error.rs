//! Errors of the library.

use std::path::PathBuf;

/// The class of an error, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibraryErrorKind {
    /// Not found.
    NotFound,
    /// The request conflicts with the present state.
    Conflict,
    /// The upload is too large.
    TooLarge,
    /// The request is invalid.
    Invalid,
    /// The disk or the quota is full.
    NoSpace,
    /// It existed but is gone.
    Gone,
    /// Another client or process is using it.
    Busy,
    /// Temporarily not available: retry after a few seconds.
    Unavailable,
    /// The database or the disk failed.
    Failed,
}

/// An error of the library.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// No row with this id.
    #[error("no {what} has the id {id}")]
    NotFound {
        /// `video`, `job`, `answer`.
        what: &'static str,
        /// The requested id.
        id: String,
    },
    /// The request conflicts with the present state.
    #[error("{0}")]
    Conflict(String),
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The upload exceeds the limit.
    #[error("the upload is larger than {limit} bytes, the limit for one file")]
    TooLarge {
        /// Maximum bytes of one upload.
        limit: u64,
    },
    /// The disk has no space for the upload.
    #[error("the disk is full: {needed} bytes are needed and {free} are free")]
    NoSpace {
        /// Bytes that the upload needs, as far as known.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The quota has no space for the upload.
    #[error(
        "the quota of {quota} bytes is used up: {needed} bytes are needed and {left} are left; empty the trash, or \
         raise --quota"
    )]
    OverQuota {
        /// Bytes that the upload needs, as far as known.
        needed: u64,
        /// Bytes left of the quota.
        left: u64,
        /// The quota in bytes.
        quota: u64,
    },
    /// The quota of files has no space for the upload.
    #[error(
        "the files of /v1/files may have {quota} bytes in all: {needed} bytes are needed and {left} are left; delete \
         files, or raise --files-max-bytes"
    )]
    FilesFull {
        /// Bytes that the upload needs, as far as known.
        needed: u64,
        /// Bytes left of the quota.
        left: u64,
        /// The quota in bytes.
        quota: u64,
    },
    /// Writing a file or the database failed because the disk is full.
    #[error("the disk is full: make room, and what waits goes on")]
    DiskFull,
    /// A chunk does not start where the upload ends.
    #[error("the piece begins at byte {offset}, but {received} bytes are here; go on from there")]
    OffsetMismatch {
        /// The client's offset.
        offset: u64,
        /// The upload's offset.
        received: u64,
    },
    /// The upload is complete or has failed.
    #[error("{0}")]
    Ended(String),
    /// Another connection is still writing.
    #[error("another connection is still writing to this upload; try again in a moment")]
    Busy,
    /// Another process has the directory open.
    #[error("the data directory {} is in use by another homereel; stop it or choose another with --data", directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
    },
    /// A column has a value that this version cannot parse.
    #[error("column {column} is damaged: {source}")]
    Damaged {
        /// Name of the column.
        column: &'static str,
        /// The parser's message.
        source: serde_json::Error,
    },
    /// A column that becomes part of a path has a value that could name another one.
    #[error("column {column} is {value:?}; {digits} lower-case hexadecimal digits would fit")]
    Malformed {
        /// Name of the column.
        column: &'static str,
        /// Its value, shortened.
        value: String,
        /// Number of digits of a valid value.
        digits: usize,
    },
    /// A statement waited too long: for the write lock, which another program holds, or for a free connection.
    #[error("the library's database is busy, perhaps locked by another program; try again in a moment")]
    Locked,
    /// SQLite failed.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The schema could not be migrated.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// An unreleased version created the library and did not apply all of its migrations.
    #[error(
        "the library was made before version 0.1.0 and has only the migrations {applied:?}; open it once with commit \
         c311871, which adds the others"
    )]
    OldSchema {
        /// Versions of the migrations that were applied.
        applied: Vec<i64>,
    },
    /// The file system failed.
    #[error("disk: {0}")]
    Io(std::io::Error),
}

impl LibraryError {
    /// Returns the class of this error.
    #[must_use]
    pub fn kind(&self) -> LibraryErrorKind {
        match self {
            Self::NotFound { .. } => LibraryErrorKind::NotFound,
            Self::Conflict(_) | Self::InUse { .. } | Self::OffsetMismatch { .. } => {
                LibraryErrorKind::Conflict
            }
            Self::Ended(_) => LibraryErrorKind::Gone,
            Self::Busy => LibraryErrorKind::Busy,
            Self::Locked => LibraryErrorKind::Unavailable,
            Self::Invalid(_) => LibraryErrorKind::Invalid,
            Self::TooLarge { .. } => LibraryErrorKind::TooLarge,
            Self::NoSpace { .. } | Self::OverQuota { .. } | Self::FilesFull { .. } | Self::DiskFull => {
                LibraryErrorKind::NoSpace
            }
            Self::Damaged { .. }
            | Self::Malformed { .. }
            | Self::Database(_)
            | Self::Migration(_)
            | Self::OldSchema { .. }
            | Self::Io(_) => LibraryErrorKind::Failed,
        }
    }
}

/// SQLite's codes for a full disk: no space for a page, or for the log's index.
const FULL: [i32; 2] = [13, 4874];

/// SQLite's primary codes, in the low byte, for a lock that another connection holds: `SQLITE_BUSY`, `SQLITE_LOCKED`.
const LOCKED: [i32; 2] = [5, 6];

impl From<sqlx::Error> for LibraryError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            // Every connection is in use, usually because all wait for the lock.
            return Self::Locked;
        }
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        match code {
            Some(code) if FULL.contains(&code) => Self::DiskFull,
            Some(code) if LOCKED.contains(&(code & 0xff)) => Self::Locked,
            _ => Self::Database(error),
        }
    }
}

impl From<std::io::Error> for LibraryError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}
