//! Receives the bytes of a resumable upload from one client: hashes them on arrival, and syncs them to disk before they
//! are acknowledged.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, Write as _},
};

use sha2::Digest as _;
use tokio::sync::{OwnedMutexGuard, watch};

use super::{
    slots::Hashing,
    upload::{KEEP, Upload, UploadState, millis, signed},
};
use crate::{error::LibraryError, incoming::reserve, library::Library, values::now_ms};

/// Bytes collected before each write on the blocking pool.
const CHUNK: usize = 1 << 20;

/// Bytes between two syncs, which limits what a crash can lose.
const CHECKPOINT: u64 = 16 << 20;

/// The write lock of an upload. If it is dropped without [`Receiving::accept`], the next writer truncates the bytes since
/// the last sync.
#[derive(Debug)]
pub struct Receiving {
    library: Library,
    newcomers: watch::Receiver<u64>,
    upload: Upload,
    /// `None` only while a chunk is being written, and after a failure.
    sink: Option<ResumableFile>,
    pending: Vec<u8>,
    /// Bytes received, including those not yet written.
    at: u64,
    /// Whether bytes count before all of a chunk has arrived (not under a checksum).
    piecemeal: bool,
}

#[derive(Debug)]
struct ResumableFile {
    file: File,
    hashing: OwnedMutexGuard<Hashing>,
    written: u64,
}

impl Library {
    /// Becomes the writer of an upload at `offset`. With `piecemeal`, bytes count although the rest may not arrive; without, only
    /// after [`Receiving::accept`].
    ///
    /// # Errors
    /// `NotFound`; `OffsetMismatch`; `Ended` when the upload is complete or rejected; `Busy` when another writer does not stop.
    pub async fn receive(&self, id: &str, offset: u64, piecemeal: bool) -> Result<Receiving, LibraryError> {
        self.upload(id).await?;
        let hashing = self.writer(id).await?;
        let newcomers = self.uploads.of(id).next.subscribe();
        // Read after the previous writer has stopped, which may have changed the offset.
        let upload = self.upload(id).await?;
        if upload.state != UploadState::Receiving && upload.state != UploadState::Storing {
            return Err(LibraryError::Ended(upload.error.unwrap_or_else(|| "the upload has ended".into())));
        }
        if upload.received != offset {
            return Err(LibraryError::OffsetMismatch { offset, received: upload.received });
        }
        let (path, received, length) = (self.upload_path(id), upload.received, upload.length);
        let sink = tokio::task::spawn_blocking(move || open(path, received, length, hashing)).await;
        let sink = sink.map_err(io::Error::other)??;
        Ok(Receiving {
            library: self.clone(),
            newcomers,
            upload,
            sink: Some(sink),
            pending: Vec::new(),
            at: received,
            piecemeal,
        })
    }

    /// Returns an upload after its writer, if any, has stopped, so that its offset is final.
    ///
    /// # Errors
    /// `NotFound`, `Busy`, `Database`.
    pub async fn settled_upload(&self, id: &str) -> Result<Upload, LibraryError> {
        let upload = self.upload(id).await?;
        if upload.state != UploadState::Receiving {
            return Ok(upload);
        }
        let _writer = self.writer(id).await?;
        self.upload(id).await
    }
}

/// Opens the file and truncates bytes that were never counted.
fn open(
    path: std::path::PathBuf,
    received: u64,
    length: u64,
    mut hashing: OwnedMutexGuard<Hashing>,
) -> io::Result<ResumableFile> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let there = file.metadata()?.len();
    if there < received {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file of an upload is shorter than its row says",
        ));
    }
    if there > received {
        file.set_len(received)?;
        // Truncating releases what was reserved beyond the offset.
        reserve(&file, length)?;
    }
    if hashing.at > received {
        // The hash covers bytes that were truncated, so it is computed again at the end.
        *hashing = Hashing::default();
    }
    file.seek(io::SeekFrom::Start(received))?;
    Ok(ResumableFile { file, hashing, written: received })
}

impl Receiving {
    /// Returns the upload as it was when this writer started.
    #[must_use]
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Completes when another client wants to write.
    pub async fn sent_away(&self) {
        let mut newcomers = self.newcomers.clone();
        // Fails only if no other client can come.
        if newcomers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `Invalid` beyond the announced length, `NoSpace`, `Io`.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LibraryError> {
        self.at += bytes.len() as u64;
        if self.at > self.upload.length {
            return Err(LibraryError::TooLarge { limit: self.upload.length });
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK {
            self.flush(false).await?;
        }
        if self.piecemeal && self.at - self.upload.received >= CHECKPOINT {
            self.flush(true).await?;
            self.count().await?;
        }
        Ok(())
    }

    /// Syncs and counts all bytes received. A complete upload can be stored then.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Database`.
    pub async fn accept(mut self) -> Result<Upload, LibraryError> {
        self.flush(true).await?;
        self.count().await?;
        self.library.upload(&self.upload.id).await
    }

    async fn flush(&mut self, durable: bool) -> Result<(), LibraryError> {
        let chunk = std::mem::take(&mut self.pending);
        let Some(mut sink) = self.sink.take() else {
            return Err(LibraryError::Conflict(
                "the upload failed before; ask for its offset and go on".into(),
            ));
        };
        let task = tokio::task::spawn_blocking(move || {
            let result = sink.write(&chunk, durable);
            (sink, result)
        });
        let (sink, result) = task.await.map_err(io::Error::other)?;
        self.sink = Some(sink);
        result.or_else(|error| self.library.or_full(error, self.upload.length))
    }

    async fn count(&mut self) -> Result<(), LibraryError> {
        sqlx::query(
            "UPDATE uploads SET received = ?1, expires_ms = ?2,
             state = CASE WHEN ?1 = length AND state = 'receiving' THEN 'storing' ELSE state END WHERE id = ?3",
        )
        .bind(signed(self.at))
        .bind(now_ms() + millis(KEEP))
        .bind(&self.upload.id)
        .execute(&self.library.pool)
        .await?;
        self.upload.received = self.at;
        Ok(())
    }
}

impl ResumableFile {
    fn write(&mut self, chunk: &[u8], durable: bool) -> io::Result<()> {
        self.file.write_all(chunk)?;
        if self.hashing.at == self.written {
            self.hashing.sha.update(chunk);
            self.hashing.at += chunk.len() as u64;
        }
        self.written += chunk.len() as u64;
        if durable { self.file.sync_data() } else { Ok(()) }
    }
}
