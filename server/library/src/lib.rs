//! The library: one SQLite file and a directory of originals that are named by their SHA-256; also users, sessions and
//! API keys, which are rows of the same file.
//!
//! The crate depends on neither HTTP nor an engine, and never decodes a video.
//! **Invariant:** a row of `videos` exists only after its original was fsynced and renamed into place; at most one
//! process has a data directory open (see [`Library::open`]).
//!
//! An upload passes through three types: [`Incoming`] is being written, [`Sealed`] is durable, [`Stored`] is a video, or
//! [`StoredFile`] a file that requests name by its id.

mod albums;
mod answers;
mod auth;
mod backup;
mod batch;
mod cache;
mod changes;
mod derived;
mod directories;
mod embeddings;
mod error;
mod files;
mod incoming;
mod jobs;
mod library;
mod lists;
mod migrations;
mod neighbours;
mod private;
mod questions;
mod reservation;
mod responses;
mod restore;
mod retention;
mod room;
mod search;
mod taken;
mod text;
mod texts;
mod transcripts;
mod trash;
mod unnamed;
mod uploads;
mod values;
mod video;
mod videos;
mod watched;
mod windows;

pub use albums::{Album, AlbumChange, Collection, MAX_ALBUM_NAME, MAX_ALBUM_VIDEOS, MAX_ALBUMS, Tag};
pub use answers::{Answer, AnswerEnd, AnswerStatus, NewAnswer};
pub use auth::{
    ApiKey, Auth, AuthError, AuthErrorKind, Credential, HOUSEHOLD, Identity, LINK_LIFE, MAX_PASSWORD,
    MIN_PASSWORD, NewKey, NewSession, Role, SESSION_LIFE, User,
};
pub use backup::{Backup, backup};
pub use batch::{Changed, MAX_BATCH};
pub use cache::ByteCache;
pub use changes::Change;
pub use derived::NewRendition;
pub use embeddings::{EmbeddingCounts, EmbeddingModel, PendingText, PieceVector, StoredVector};
pub use error::{LibraryError, LibraryErrorKind};
pub use files::{FileQuery, NewFile, PinnedFile, StoredFile};
pub use incoming::{Incoming, Sealed, Stored};
pub use jobs::{Job, JobState, Lane, Step};
pub use library::Library;
pub use lists::{
    Counted, Cursor, FacetKind, FacetValue, LengthClass, ListFilter, ListKey, Order, Period, VideoList,
};
pub use neighbours::Neighbours;
pub use questions::LibraryAnswer;
pub use responses::{NewResponse, ResponseMedia, StoredResponse};
pub use restore::{Restored, restore};
pub use retention::Expired;
pub use search::{
    Documents, Filter, Found, Hit, MAX_RANKED, MeaningQuery, Near, PieceKind, Recalled, Results, SnippetPart,
    Why,
};
pub use taken::{Taken, local_ms, local_time};
pub use text::{Moment, Text, TextKind, Texts};
pub use transcripts::{
    MAX_LINE_CHARS, MAX_LINES, NewLine, Transcript, TranscriptLine, TranscriptProgress, TranscriptState,
};
pub use trash::Storage;
pub use uploads::{NewUpload, Receiving, Storing, Upload, UploadState};
pub use values::{new_id, now_ms};
pub use video::{Poster, Video};
pub use windows::Window;

#[cfg(test)]
mod tests;
