//! Files of the OpenAI-compatible API: rows of `files`, and contents named by their SHA-256.
//!
//! **Invariant:** a row exists only after its content was fsynced and renamed into place; a content is removed with its last
//! row, or when the last request that reads it ends. Contents without a row are removed when a library is opened.

mod file;
pub(crate) mod pins;

pub(crate) use file::FILES;
pub use file::{FileQuery, NewFile, StoredFile};
pub use pins::PinnedFile;

#[cfg(test)]
mod tests;
