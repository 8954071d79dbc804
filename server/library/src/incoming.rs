//! Incoming uploads: bytes are hashed while they are written, and synced to disk before the upload is acknowledged.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use homereel_video::ProbeSummary;
use sha2::{Digest, Sha256};

use crate::{
    changes::Change,
    error::LibraryError,
    jobs::{job::Step, rows::insert_ingest},
    library::Library,
    reservation::{Reservation, SpaceUse},
    taken::DateFacts,
    values::{is_hash, new_id, now_ms, to_json},
    video::Video,
};

/// Bytes collected before each write on the blocking pool.
const CHUNK: usize = 1 << 20;

/// Maximum bytes of a file name, as in common file systems.
const NAME_BYTES: usize = 255;

/// Maximum bytes of an extension (`.mp4`) that is kept when a name is truncated.
const ENDING_BYTES: usize = 12;

/// An upload that is being written. Dropping it removes its file.
#[derive(Debug)]
pub struct Incoming {
    library: Library,
    /// `None` only while a chunk is being written.
    sink: Option<UploadFile>,
    pending: Vec<u8>,
    size: u64,
    limit: u64,
    reservation: Reservation,
}

/// A durable upload that is not yet part of the library. Dropping it removes its file.
#[derive(Debug)]
pub struct Sealed {
    pub(crate) library: Library,
    path: Scratch,
    /// SHA-256 of the bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Number of bytes.
    pub size: u64,
    /// The file's own time, in milliseconds since 1970 (UTC). `None` means that it is unknown.
    pub modified_ms: Option<i64>,
    /// Space reserved until a row counts it. `None` for a resumable upload, whose row counts it already.
    _reservation: Option<Reservation>,
}

/// The result of an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The new video, or the one that already held the same bytes.
    pub video: Video,
    /// Whether the library already held these bytes.
    pub duplicate: bool,
    /// Whether it was in the trash and has been restored.
    pub restored: bool,
}

#[derive(Debug)]
struct UploadFile {
    file: File,
    hash: Sha256,
    path: Scratch,
}

/// A file that is removed on drop, unless [`keep`](Self::keep) was called.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    ours: bool,
}

impl Scratch {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, ours: true }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the file when this is dropped.
    pub(crate) fn keep(mut self) {
        self.ours = false;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                %error,
                path = %self.path.display(),
                "failed to remove the file of an unfinished upload; the next start of the server removes it"
            );
        }
    }
}

impl Library {
    /// Starts an upload of at most `limit` bytes; `expected` is the announced length.
    ///
    /// # Errors
    /// `TooLarge`, `NoSpace` and `OverQuota` immediately if `expected` exceeds a limit; `Io`.
    pub async fn incoming(&self, expected: Option<u64>, limit: u64) -> Result<Incoming, LibraryError> {
        self.incoming_for(SpaceUse::Video, expected, limit).await
    }

    /// Does the same for a file that requests name by its id.
    ///
    /// # Errors
    /// As [`Self::incoming`], and `FilesFull`.
    pub async fn incoming_file(&self, expected: Option<u64>, limit: u64) -> Result<Incoming, LibraryError> {
        self.incoming_for(SpaceUse::File, expected, limit).await
    }

    /// Does the same for a file of one request, which is not stored. Quotas do not count it.
    ///
    /// # Errors
    /// As [`Self::incoming`].
    pub async fn incoming_scratch(
        &self,
        expected: Option<u64>,
        limit: u64,
    ) -> Result<Incoming, LibraryError> {
        self.incoming_for(SpaceUse::Scratch, expected, limit).await
    }

    async fn incoming_for(
        &self,
        space_use: SpaceUse,
        expected: Option<u64>,
        limit: u64,
    ) -> Result<Incoming, LibraryError> {
        let needed = expected.unwrap_or(0);
        if needed > limit {
            return Err(LibraryError::TooLarge { limit });
        }
        let reservation = self.reserve_room(space_use, needed).await?;
        let path = Scratch::new(self.root.join("incoming").join(new_id()));
        let file = File::create_new(path.path())?;
        if needed > 0 {
            reserve(&file, needed).or_else(|error| self.or_full(error, needed))?;
        }
        let sink = UploadFile { file, hash: Sha256::new(), path };
        Ok(Incoming {
            library: self.clone(),
            sink: Some(sink),
            pending: Vec::new(),
            size: 0,
            limit,
            reservation,
        })
    }

    /// Returns the video with this hash, restoring it if it is in the trash.
    ///
    /// # Errors
    /// `Database`.
    pub async fn known(&self, sha256: &str) -> Result<Option<Stored>, LibraryError> {
        let Some(video) = self.video_by_hash(sha256).await? else { return Ok(None) };
        let restored = video.deleted_ms.is_some();
        let video = if restored { self.restore_video(&video.id).await? } else { video };
        Ok(Some(Stored { video, duplicate: true, restored }))
    }

    /// Returns originals without a row: the process was killed between file and row, or an older copy of the database was
    /// restored. They are user data.
    ///
    /// # Errors
    /// `Database`, `Io`.
    pub async fn nameless_originals(&self) -> Result<Vec<Sealed>, LibraryError> {
        let known: Vec<String> = sqlx::query_scalar(
            "SELECT sha256 FROM videos UNION SELECT sha256 FROM doomed
             UNION SELECT sha256 FROM uploads WHERE state = 'storing' AND sha256 IS NOT NULL",
        )
        .fetch_all(&self.pool)
        .await?;
        let known: HashSet<String> = known.into_iter().collect();
        let mut nameless = Vec::new();
        for entry in fs::read_dir(self.root.join("originals"))? {
            let entry = entry?;
            let sha256 = entry.file_name().to_string_lossy().into_owned();
            if is_hash(&sha256) && !known.contains(&sha256) {
                let size = entry.metadata()?.len();
                nameless.push(Sealed::of_upload(self.clone(), entry.path(), sha256, size));
            }
        }
        Ok(nameless)
    }
}

impl Incoming {
    /// Returns the number of bytes received.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `TooLarge` beyond the limit, `OverQuota`, `NoSpace` when the disk is full. The upload cannot be continued then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LibraryError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.limit {
            return Err(LibraryError::TooLarge { limit: self.limit });
        }
        self.library.extend_reservation(&mut self.reservation, self.size).await?;
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < CHUNK {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), LibraryError> {
        let chunk = std::mem::take(&mut self.pending);
        let sink = self.blocking(move |sink| {
            sink.hash.update(&chunk);
            sink.file.write_all(&chunk)
        });
        sink.await
    }

    /// Runs `work` on the blocking pool.
    async fn blocking(
        &mut self,
        work: impl FnOnce(&mut UploadFile) -> io::Result<()> + Send + 'static,
    ) -> Result<(), LibraryError> {
        let Some(mut sink) = self.sink.take() else {
            return Err(LibraryError::Conflict("the upload failed before; start it again".into()));
        };
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&mut sink);
            (sink, result)
        });
        let (sink, result) = task.await.map_err(io::Error::other)?;
        match result {
            Ok(()) => {
                self.sink = Some(sink);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                drop(sink);
                Err(LibraryError::NoSpace { needed: self.size, free: self.library.free_bytes()? })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Syncs the bytes, so that the file can be probed before it is added to the library.
    ///
    /// # Errors
    /// `Invalid` for an empty upload, `NoSpace`, `Io`.
    pub async fn seal(mut self) -> Result<Sealed, LibraryError> {
        self.flush().await?;
        if self.size == 0 {
            return Err(LibraryError::Invalid("the upload is empty: 0 bytes came".into()));
        }
        self.blocking(|sink| sink.file.sync_all()).await?;
        let Some(sink) = self.sink.take() else {
            return Err(LibraryError::Conflict("the upload failed before; start it again".into()));
        };
        let sha256 = format!("{:x}", sink.hash.finalize());
        Ok(Sealed {
            library: self.library.clone(),
            path: sink.path,
            sha256,
            size: self.size,
            modified_ms: None,
            _reservation: Some(self.reservation),
        })
    }
}

impl Sealed {
    /// Wraps the bytes of a resumable upload, whose file belongs to its row.
    pub(crate) fn of_upload(library: Library, path: PathBuf, sha256: String, size: u64) -> Self {
        Self {
            library,
            path: Scratch { path, ours: false },
            sha256,
            size,
            modified_ms: None,
            _reservation: None,
        }
    }

    /// Returns the path of the bytes.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.path()
    }

    /// Adds the upload as a video and queues its ingest job, in one transaction after a durable rename. Bytes that the library
    /// already holds return the existing video.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Database`.
    pub async fn commit(self, name: &str, mime: &str, probe: &ProbeSummary) -> Result<Stored, LibraryError> {
        let library = self.library.clone();
        let _originals = library.originals.lock().await;
        if let Some(stored) = library.known(&self.sha256).await? {
            return Ok(stored);
        }
        let target = library.original_path(&self.sha256);
        let source = self.path.path().to_owned();
        tokio::task::spawn_blocking(move || rename_durably(&source, &target))
            .await
            .map_err(io::Error::other)??;
        let id = new_id();
        let now = now_ms();
        let facts = DateFacts {
            name: display_name(name),
            file_ms: self.modified_ms,
            created_ms: now,
            probe: Some(probe.clone()),
            entered: None,
        };
        let date = facts.decide();
        let mut transaction = library.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO videos (id, sha256, name, size, mime, created_ms, probe, file_name, file_ms, taken, taken_source,
                                 local_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING",
        )
        .bind(&id)
        .bind(&self.sha256)
        .bind(&facts.name)
        .bind(i64::try_from(self.size).unwrap_or(i64::MAX))
        .bind(mime)
        .bind(now)
        .bind(to_json("videos.probe", probe)?)
        .bind(&facts.name)
        .bind(facts.file_ms)
        .bind(date.taken)
        .bind(date.source)
        .bind(date.local_ms)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM doomed WHERE sha256 = ?")
            .bind(&self.sha256)
            .execute(&mut *transaction)
            .await?;
        let duplicate = inserted.rows_affected() == 0;
        if !duplicate {
            insert_ingest(&mut transaction, &id, Step::Poster, now).await?;
        }
        transaction.commit().await?;
        let video = library.video_by_hash(&self.sha256).await?;
        let video = video.ok_or_else(|| LibraryError::NotFound { what: "video", id: id.clone() })?;
        library.announce(Change::Video { id: video.id.clone() });
        library.announce_jobs_of(&video.id).await?;
        Ok(Stored { video, duplicate, restored: false })
    }
}

/// Reserves disk space for a file without changing its length. Errors of file systems without support are ignored, since the
/// free space was checked.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::{fs::FallocateFlags, io::Errno};
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Renames a synced file and syncs the directory.
pub(crate) fn rename_durably(source: &Path, target: &Path) -> io::Result<()> {
    fs::rename(source, target)?;
    match target.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Returns the last component of a name without control characters, truncated to the length of a file name.
pub(crate) fn display_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    match clean.trim() {
        "" => "video".into(),
        clean if clean.len() <= NAME_BYTES => clean.into(),
        clean => {
            let dot = clean.rfind('.').filter(|dot| clean.len() - dot <= ENDING_BYTES);
            let (stem, ending) = clean.split_at(dot.unwrap_or(clean.len()));
            let cut = stem.floor_char_boundary(NAME_BYTES - ending.len());
            format!("{}{ending}", &stem[..cut])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::display_name;

    #[test]
    fn names_lose_their_directories_and_control_characters() {
        assert_eq!(display_name("C:\\clips\\a\u{7}.mp4"), "a.mp4");
        assert_eq!(display_name("../../etc/passwd"), "passwd");
        assert_eq!(display_name("  /"), "video");
    }

    #[test]
    fn names_are_as_long_as_a_file_s_may_be_and_keep_their_ending() {
        for longest in ["x".repeat(251) + ".mp4", "é".repeat(127) + "x", "犬".repeat(85), "🎂".repeat(63)]
        {
            assert_eq!(display_name(&longest), longest, "{} bytes fit", longest.len());
        }
        assert_eq!(display_name(&("x".repeat(252) + ".mp4")), "x".repeat(251) + ".mp4");
        assert_eq!(display_name(&("🎂".repeat(900) + ".mkv")), "🎂".repeat(62) + ".mkv");
        assert_eq!(display_name(&("é".repeat(127) + "éé")), "é".repeat(127), "cut between letters");
        assert_eq!(display_name(&("a.".to_owned() + &"b".repeat(900))).len(), 255, "that is no ending");
        assert_eq!(display_name(&"x".repeat(100_000)).len(), 255);
    }
}
