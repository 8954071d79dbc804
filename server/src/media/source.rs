//! A video file to decode. Independent of URLs: a download is saved to a file first.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempPath;

use crate::{ask_error::AskError, files};

/// A video file. A temporary file is deleted with its last clone.
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
    /// Creates a source from a permanent file. With the hash of its content, frames and features can be
    /// cached.
    #[must_use]
    pub fn file(path: PathBuf, sha256: Option<String>) -> Self {
        Self { path: Arc::new(SourceFile::Kept(path)), sha256 }
    }

    /// Creates a source from a temporary file.
    #[must_use]
    pub fn scratch(path: TempPath, sha256: Option<String>) -> Self {
        Self { path: Arc::new(SourceFile::Scratch(path)), sha256 }
    }

    /// Returns the hash of the content, if known.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        match &*self.path {
            SourceFile::Kept(path) => path,
            SourceFile::Scratch(path) => path,
        }
    }

    /// Returns the content hash of a permanent file. Content of temporary files must leave no traces in
    /// on-disk caches.
    pub(super) fn kept(&self) -> Option<&str> {
        self.sha256().filter(|_| matches!(*self.path, SourceFile::Kept(_)))
    }

    /// Opens the file. Directories, devices and pipes are refused, because a worker could wait for them
    /// forever.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(&self) -> Result<File, AskError> {
        Ok(files::open_regular(self.path())?)
    }
}
