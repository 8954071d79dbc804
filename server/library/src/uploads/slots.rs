//! The writers of resumable uploads, and the running hash of each upload.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as AsyncMutex, watch};

/// The write lock of each upload, and its running hash while this process lives.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    writers: Mutex<HashMap<String, Arc<WriterSlot>>>,
    /// Held while an upload is created.
    pub(super) creation: AsyncMutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct WriterSlot {
    pub(super) writer: Arc<AsyncMutex<Hashing>>,
    /// Counts the writers that wait for the current one to stop.
    pub(super) next: watch::Sender<u64>,
}

/// The hash of the first `at` bytes.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    pub(super) sha: Sha256,
    pub(super) at: u64,
}

impl Slots {
    pub(super) fn of(&self, id: &str) -> Arc<WriterSlot> {
        let mut slots = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id.to_owned()).or_default())
    }

    pub(super) fn forget(&self, id: &str) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Hashing {
    /// Hashes the bytes that an earlier process received.
    pub(super) fn catch_up(&mut self, path: &std::path::Path, length: u64) -> io::Result<()> {
        use std::io::{Read as _, Seek as _};
        if self.at == length {
            return Ok(());
        }
        let mut file = File::open(path)?;
        if self.at > length {
            *self = Self::default();
        }
        file.seek(io::SeekFrom::Start(self.at))?;
        let mut buffer = vec![0; 1 << 20];
        while self.at < length {
            let most = usize::try_from(length - self.at).unwrap_or(usize::MAX).min(buffer.len());
            let read = file.read(&mut buffer[..most])?;
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file of an upload is shorter than its row says",
                ));
            }
            self.sha.update(&buffer[..read]);
            self.at += read as u64;
        }
        Ok(())
    }
}
