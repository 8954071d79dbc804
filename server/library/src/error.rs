//! What can go wrong in the library. Knows no HTTP status.

use std::path::PathBuf;

/// The class of an error: what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibraryErrorKind {
    /// There is no such thing.
    NotFound,
    /// The request does not fit the present state.
    Conflict,
    /// The upload is too large.
    TooLarge,
    /// The request is at fault.
    Invalid,
    /// The disk or the quota is full.
    NoSpace,
    /// It was there and is no more.
    Gone,
    /// Somebody else is at it.
    Busy,
    /// Database or disk failed.
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
        /// The id asked for.
        id: String,
    },
    /// The request does not fit the present state.
    #[error("{0}")]
    Conflict(String),
    /// The request is at fault.
    #[error("{0}")]
    Invalid(String),
    /// More bytes than an upload may have.
    #[error("the upload is larger than {limit} bytes, the limit for one file")]
    TooLarge {
        /// Bytes that one upload may have.
        limit: u64,
    },
    /// The disk cannot hold the upload.
    #[error("the disk is full: {needed} bytes are needed and {free} are free")]
    NoSpace {
        /// Bytes that the upload needs, as far as known.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The quota leaves too little for the upload.
    #[error(
        "the quota of {quota} bytes is used up: {needed} bytes are needed and {left} are left; empty the trash, or \
         raise --quota"
    )]
    OverQuota {
        /// Bytes that the upload needs, as far as known.
        needed: u64,
        /// Bytes that are left of the quota.
        left: u64,
        /// Bytes that originals may take.
        quota: u64,
    },
    /// The disk, or the database on it, could not write.
    #[error("the disk is full: make room, and what waits goes on")]
    DiskFull,
    /// A piece of an upload does not begin where the last one ended.
    #[error("the piece begins at byte {offset}, but {received} bytes are here; go on from there")]
    OffsetMismatch {
        /// Where the client thinks it is.
        offset: u64,
        /// Where it is.
        received: u64,
    },
    /// The upload takes no more bytes.
    #[error("{0}")]
    Ended(String),
    /// Another writer does not leave.
    #[error("another connection is still writing to this upload; try again in a moment")]
    Busy,
    /// Another process has the directory open.
    #[error("the data directory {} is in use by another homereel; stop it or choose another with --data", directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
    },
    /// A column holds what this version cannot read.
    #[error("column {column} is damaged: {source}")]
    Damaged {
        /// Name of the column.
        column: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// SQLite failed.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// An unreleased version made the library and did not bring its schema up to date.
    #[error(
        "the library was made before version 0.1.0 and has only the migrations {applied:?}; open it once with commit \
         c311871, which adds the others"
    )]
    OldSchema {
        /// Versions of the migrations that it has.
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
            Self::Invalid(_) => LibraryErrorKind::Invalid,
            Self::TooLarge { .. } => LibraryErrorKind::TooLarge,
            Self::NoSpace { .. } | Self::OverQuota { .. } | Self::DiskFull => LibraryErrorKind::NoSpace,
            Self::Damaged { .. }
            | Self::Database(_)
            | Self::Migration(_)
            | Self::OldSchema { .. }
            | Self::Io(_) => LibraryErrorKind::Failed,
        }
    }
}

/// SQLite's codes for a full disk: no room for a page, and none for the log's index.
const FULL: [&str; 2] = ["13", "4874"];

impl From<sqlx::Error> for LibraryError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        match code {
            Some(code) if FULL.contains(&&*code) => Self::DiskFull,
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
