//! Contents of files that requests are reading: a content that is deleted meanwhile stays until the last of them ends.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::directories::remove_file;

/// The contents that are being read, by their SHA-256.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<HashMap<String, Pin>>);

#[derive(Debug, Default)]
struct Pin {
    readers: usize,
    /// Whether the content has no row any more.
    doomed: bool,
}

/// The content of a file, which stays readable while this lives.
#[derive(Debug)]
pub struct PinnedFile {
    pins: Arc<Pins>,
    path: PathBuf,
    /// SHA-256 of the content, in lower-case hexadecimal.
    pub sha256: String,
    /// Number of bytes.
    pub size: u64,
}

impl PinnedFile {
    pub(super) fn new(pins: &Arc<Pins>, path: PathBuf, sha256: String, size: u64) -> Self {
        pins.of().entry(sha256.clone()).or_default().readers += 1;
        Self { pins: Arc::clone(pins), path, sha256, size }
    }

    /// Returns the path of the content.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PinnedFile {
    fn drop(&mut self) {
        let mut pins = self.pins.of();
        let Some(pin) = pins.get_mut(&self.sha256) else { return };
        pin.readers -= 1;
        if pin.readers > 0 {
            return;
        }
        let doomed = pin.doomed;
        pins.remove(&self.sha256);
        if doomed {
            remove(&self.path);
        }
    }
}

impl Pins {
    fn of(&self) -> MutexGuard<'_, HashMap<String, Pin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a content without a row, now or when its last reader ends.
    pub(super) fn doom(&self, sha256: &str, path: &Path) {
        match self.of().get_mut(sha256) {
            Some(pin) => pin.doomed = true,
            None => remove(path),
        }
    }

    /// Keeps a content that is about to get a row again. Returns whether it is there.
    pub(super) fn spare(&self, sha256: &str, path: &Path) -> bool {
        let mut pins = self.of();
        if let Some(pin) = pins.get_mut(sha256) {
            pin.doomed = false;
        }
        path.exists()
    }
}

fn remove(path: &Path) {
    if let Err(error) = remove_file(path) {
        tracing::warn!(
            %error,
            path = %path.display(),
            "failed to remove the content of a deleted file; the next start of the server removes it"
        );
    }
}
