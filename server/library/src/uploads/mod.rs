//! Uploads that come in pieces: rows of `uploads` and their files, resumed after anything.
//!
//! Knows no protocol. **Invariant:** a row never counts bytes that are not durable; what lies in a file beyond its
//! row's count is cut off before more is written. One writer at a time; a newer one sends an older one away.

mod receiving;
pub(crate) mod slots;
mod storing;
mod upload;

pub use receiving::Receiving;
pub use storing::Storing;
pub use upload::{NewUpload, Upload, UploadState};

#[cfg(test)]
mod tests;
