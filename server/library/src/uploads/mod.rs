//! Resumable uploads: rows of `uploads` and their files.
//!
//! **Invariant:** a row never counts bytes that are not durable; bytes in the file beyond the row's offset are truncated
//! before more are written. There is one writer at a time, and a newer one replaces an older one.

mod receiving;
pub(crate) mod slots;
mod storing;
mod upload;

pub use receiving::Receiving;
pub use storing::Storing;
pub use upload::{NewUpload, Upload, UploadState};

#[cfg(test)]
mod tests;
