//! A picture or video file to decode. Independent of URLs: a download is saved to a file first.

use std::{
    any::Any,
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
    /// A file that exists while its owner lives.
    Owned {
        path: PathBuf,
        is_kept: bool,
        _owner: Owner,
    },
}

struct Owner(#[expect(dead_code, reason = "it is held, not read")] Box<dyn Any + Send + Sync>);

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Owner")
    }
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

    /// Creates a source from a file that exists as long as `owner` lives. `is_kept` says whether its frames may be cached on
    /// disk.
    #[must_use]
    pub fn owned(path: PathBuf, sha256: String, is_kept: bool, owner: impl Any + Send + Sync) -> Self {
        let owned = SourceFile::Owned { path, is_kept, _owner: Owner(Box::new(owner)) };
        Self { path: Arc::new(owned), sha256: Some(sha256) }
    }

    /// Returns the hash of the content, if known.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        match &*self.path {
            SourceFile::Kept(path) | SourceFile::Owned { path, .. } => path,
            SourceFile::Scratch(path) => path,
        }
    }

    /// Returns the content hash of a permanent file. Content of temporary files must leave no traces in
    /// on-disk caches.
    pub(super) fn kept(&self) -> Option<&str> {
        let is_kept = matches!(*self.path, SourceFile::Kept(_) | SourceFile::Owned { is_kept: true, .. });
        self.sha256().filter(|_| is_kept)
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
