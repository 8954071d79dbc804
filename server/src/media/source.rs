//! A file of video to decode. Knows no URL: a download is saved to a file first.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempPath;

use crate::ask_error::AskError;

/// A file of video. A scratch file is removed with its last clone.
#[derive(Debug, Clone)]
pub struct Source {
    path: Arc<SourceFile>,
    sha256: Option<String>,
}

#[derive(Debug)]
enum SourceFile {
    Kept(PathBuf),
    Scratch(TempPath),
}

impl Source {
    /// Names a file that stays; with the hash of its content, frames and features can be reused.
    #[must_use]
    pub fn file(path: PathBuf, sha256: Option<String>) -> Self {
        Self { path: Arc::new(SourceFile::Kept(path)), sha256 }
    }

    /// Names a file that nobody needs afterwards.
    #[must_use]
    pub fn scratch(path: TempPath, sha256: Option<String>) -> Self {
        Self { path: Arc::new(SourceFile::Scratch(path)), sha256 }
    }

    /// Returns the hash of the content, if known.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Returns the hash of the content of a file that stays: only what is kept anyway leaves traces on disk.
    pub(super) fn kept(&self) -> Option<&str> {
        self.sha256().filter(|_| matches!(*self.path, SourceFile::Kept(_)))
    }

    /// Opens the file. Directories, devices and pipes are refused: a worker could wait for them for ever.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(&self) -> Result<File, AskError> {
        let path: &Path = match &*self.path {
            SourceFile::Kept(path) => path,
            SourceFile::Scratch(path) => path,
        };
        // Asked before opening: opening a pipe waits for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(AskError::Io(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        Ok(File::open(path)?)
    }
}
