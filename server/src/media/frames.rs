//! The on-disk cache of decoded frames: files by content and sampling within a budget, evicted by least
//! recent use. A lost file only costs a decode, so writes are not synced; a file corrupted by a crash, a full
//! disk or a bad sector is detected by its checksum and removed. Depends on neither engines nor the library.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use homereel_engine::{RgbImage, VideoInput};
use homereel_video::Probe;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::{MediaReport, PreparedClip};

/// Magic number of a cache file; the digit is the version of the format.
const MAGIC: &[u8; 8] = b"hrframe1";

/// Size of the checksum at the end.
const SUM: usize = 32;

/// Disk space that stays free regardless of the budget: uploads and the database come first.
const RESERVE: u64 = 1 << 30;

/// Name of the file that holds a probe.
const PROBE: &str = "probe";

/// Extension of files that are being written.
const PART: &str = "part";

/// The cache. `None` means that it is disabled.
#[derive(Debug, Default)]
pub(super) struct FrameCache(Option<Arc<FrameFiles>>);

#[derive(Debug)]
struct FrameFiles {
    root: PathBuf,
    budget: u64,
    /// One file is written at a time. Clips that arrive meanwhile are not cached, instead of being held in
    /// memory.
    writer: Semaphore,
}

/// Everything about a clip except its pixels. Another release may decode to different pixels.
#[derive(Debug, Serialize, Deserialize)]
struct ClipHeader {
    release: String,
    key: String,
    width: u32,
    height: u32,
    times: Vec<f64>,
    indices: Vec<u64>,
    native_fps: f64,
    total_frames: u64,
    duration_s: f64,
    report: MediaReport,
}

impl FrameCache {
    /// Opens the cache below `root` with at most `budget` bytes; 0 disables it. Removes unfinished files.
    pub(super) fn open(root: &Path, budget: u64) -> io::Result<Self> {
        let kept = FrameFiles { root: root.to_owned(), budget, writer: Semaphore::new(1) };
        fs::create_dir_all(root)?;
        for (path, _, _) in kept.files() {
            if path.extension().is_some_and(|extension| extension == PART) {
                fs::remove_file(path)?;
            }
        }
        // The budget may have been reduced.
        kept.make_room(0);
        Ok(Self((budget > 0).then(|| Arc::new(kept))))
    }

    /// Returns the cached clip of the content `sha256` with the key `key`.
    pub(super) async fn clip(&self, sha256: &str, key: &str) -> Option<PreparedClip> {
        let (header, pixels) = self.read::<ClipHeader>(sha256, key).await?;
        if header.release != env!("CARGO_PKG_VERSION") || header.key != key {
            return None;
        }
        let bytes = 3 * header.width as usize * header.height as usize;
        if bytes == 0 || pixels.len() != bytes * header.times.len() {
            return None;
        }
        let frame = |at: usize| {
            RgbImage::new(header.width, header.height, pixels.slice(at * bytes..(at + 1) * bytes))
        };
        let clip = VideoInput {
            frames: (0..header.times.len()).map(frame).collect(),
            times: header.times,
            indices: header.indices,
            native_fps: header.native_fps,
            total_frames: header.total_frames,
            duration_s: header.duration_s,
            key: Some(header.key),
        };
        Some(PreparedClip { clip, report: header.report, probe_ms: 0.0, decode_ms: 0.0 })
    }

    /// Returns the probe of the content `sha256`, if one of its clips was cached.
    pub(super) async fn probe(&self, sha256: &str) -> Option<Probe> {
        self.read(sha256, PROBE).await.map(|(probe, _)| probe)
    }

    /// Caches a clip and the probe that chose its frames, in the background.
    pub(super) fn keep(&self, sha256: &str, key: &str, prepared: &Arc<PreparedClip>, probe: &Arc<Probe>) {
        let Some(kept) = &self.0 else { return };
        let (kept, prepared, probe) = (Arc::clone(kept), Arc::clone(prepared), Arc::clone(probe));
        let (sha256, key) = (sha256.to_owned(), key.to_owned());
        let of = sha256.clone();
        tokio::spawn(async move {
            let Ok(_turn) = kept.writer.try_acquire() else { return };
            let kept = Arc::clone(&kept);
            let written = tokio::task::spawn_blocking(move || {
                let frames = &prepared.clip.frames;
                let header = ClipHeader {
                    release: env!("CARGO_PKG_VERSION").to_owned(),
                    width: frames.first().map_or(0, |frame| frame.width),
                    height: frames.first().map_or(0, |frame| frame.height),
                    times: prepared.clip.times.clone(),
                    indices: prepared.clip.indices.clone(),
                    native_fps: prepared.clip.native_fps,
                    total_frames: prepared.clip.total_frames,
                    duration_s: prepared.clip.duration_s,
                    report: prepared.report.clone(),
                    key,
                };
                let pixels: Vec<&[u8]> = frames.iter().map(|frame| frame.rgb.as_ref()).collect();
                kept.write(&sha256, &header.key, &header, &pixels)?;
                // Written once for all clips of one content: a second write would reserve space for an
                // existing file.
                match kept.path(&sha256, PROBE) {
                    Some(path) if !path.exists() => kept.write(&sha256, PROBE, &*probe, &[]),
                    _ => Ok(()),
                }
            });
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, sha256 = of, "failed to write decoded frames to the cache; the next question about this video decodes it again");
                }
                Err(error) => {
                    tracing::error!(%error, sha256 = of, "failed to write decoded frames to the cache; the next question about this video decodes it again");
                }
            }
        });
    }

    async fn read<T: DeserializeOwned + Send + 'static>(
        &self,
        sha256: &str,
        key: &str,
    ) -> Option<(T, Bytes)> {
        let kept = Arc::clone(self.0.as_ref()?);
        let path = kept.path(sha256, key)?;
        let read = tokio::task::spawn_blocking(move || match read_file(&path, kept.budget) {
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(
                    %error,
                    path = %path.display(),
                    "failed to read decoded frames from the cache; will remove the file and decode the video again"
                );
                // If the removal fails, the next read reports the file again.
                let _ = fs::remove_file(&path);
                None
            }
        });
        read.await.ok().flatten()
    }
}

impl FrameFiles {
    /// Returns the path of a cache file, or `None` if the names are not hashes.
    fn path(&self, sha256: &str, key: &str) -> Option<PathBuf> {
        let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
        (plain(sha256) && plain(key)).then(|| self.root.join(sha256).join(key))
    }

    fn write(&self, sha256: &str, key: &str, header: &impl Serialize, blobs: &[&[u8]]) -> io::Result<()> {
        let Some(path) = self.path(sha256, key) else { return Ok(()) };
        let header = serde_json::to_vec(header)?;
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        let bytes: usize =
            MAGIC.len() + 4 + header.len() + blobs.iter().map(|blob| blob.len()).sum::<usize>() + SUM;
        // One clip must not evict all others.
        if bytes as u64 > self.budget / 2 || !self.make_room(bytes as u64) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let part = path.with_extension(PART);
        let write = || {
            let mut file = File::create(&part)?;
            let mut sum = Sha256::new();
            let pieces = [MAGIC.as_slice(), &length.to_le_bytes(), &header];
            for piece in pieces.iter().chain(blobs) {
                sum.update(piece);
                file.write_all(piece)?;
            }
            file.write_all(&sum.finalize())?;
            fs::rename(&part, &path)
        };
        write().inspect_err(|_| {
            // The next start would remove it as well.
            let _ = fs::remove_file(&part);
        })
    }

    /// Evicts the least recently used files until `bytes` fit. Returns false if the disk has no space for
    /// them.
    fn make_room(&self, bytes: u64) -> bool {
        let mut files = self.files();
        files.sort_by_key(|(_, _, used)| *used);
        let mut held: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (path, size, _) in files {
            if held.saturating_add(bytes) <= self.budget {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                held -= size;
                // Succeeds only if the directory is empty.
                let _ = path.parent().map(fs::remove_dir);
            }
        }
        let free =
            rustix::fs::statvfs(&self.root).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        held.saturating_add(bytes) <= self.budget && free >= bytes.saturating_add(RESERVE)
    }

    /// Lists files with their size and time of last use.
    fn files(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let folders = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        files
            .filter_map(|file| {
                let about = file.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((file.path(), about.len(), about.modified().ok()?))
            })
            .collect()
    }
}

/// Reads a whole file and updates its time of last use.
fn read_file<T: DeserializeOwned>(path: &Path, most: u64) -> io::Result<(T, Bytes)> {
    let spoilt = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(most)).unwrap_or(0));
    (&mut file).take(most).read_to_end(&mut bytes)?;
    let end = bytes.len().checked_sub(SUM).ok_or_else(|| spoilt("it is too short"))?;
    if Sha256::digest(&bytes[..end])[..] != bytes[end..] {
        return Err(spoilt("its checksum does not match"));
    }
    let bytes = Bytes::from(bytes).slice(..end);
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| spoilt("it has another format"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| spoilt("it is too short"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let header = rest.get(..length).ok_or_else(|| spoilt("its header is too short"))?;
    let header = serde_json::from_slice(header)?;
    // Only the eviction order depends on it.
    let _ = file.set_modified(SystemTime::now());
    Ok((header, bytes.slice(MAGIC.len() + 4 + length..)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CONTENT: &str = "c0ffee";

    fn prepared(key: &str, value: u8) -> Arc<PreparedClip> {
        let frame = |value: u8| RgbImage::new(8, 4, Bytes::from(vec![value; 96]));
        let clip = VideoInput {
            frames: vec![frame(value), frame(value + 1)],
            times: vec![0.0, 0.1 + 0.2],
            indices: vec![0, 9],
            native_fps: 29.97,
            total_frames: 10,
            duration_s: 1.0 / 3.0,
            key: Some(key.to_owned()),
        };
        let report = MediaReport { frames: 2, warnings: vec!["w".into()], ..MediaReport::default() };
        Arc::new(PreparedClip { clip, report, probe_ms: 5.0, decode_ms: 6.0 })
    }

    async fn keep(store: &FrameCache, key: &str, value: u8) {
        let probe = Arc::new(homereel_video::fixtures::probe());
        store.keep(CONTENT, key, &prepared(key, value), &probe);
        let kept = store.0.as_ref().unwrap();
        while kept.path(CONTENT, key).is_some_and(|path| !path.exists())
            || kept.writer.available_permits() == 0
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_the_same_and_what_is_spoilt_does_not() {
        let root = tempfile::tempdir().unwrap();
        let store = FrameCache::open(root.path(), 1 << 20).unwrap();
        assert!(store.clip(CONTENT, "a").await.is_none());
        keep(&store, "a", 7).await;
        let store = FrameCache::open(root.path(), 1 << 20).unwrap();
        let back = store.clip(CONTENT, "a").await.unwrap();
        assert_eq!((&back.clip, &back.report), (&prepared("a", 7).clip, &prepared("a", 7).report));
        assert_eq!((back.probe_ms, back.decode_ms), (0.0, 0.0));
        assert_eq!(store.probe(CONTENT).await.unwrap(), homereel_video::fixtures::probe());
        assert!(store.clip(CONTENT, "b").await.is_none() && store.clip("..", "a").await.is_none());

        // A flipped bit, a truncation and a swapped file are all detected, and the file is removed.
        let file = root.path().join(CONTENT).join("a");
        let whole = fs::read(&file).unwrap();
        let mut bit = whole.clone();
        bit[whole.len() / 2] ^= 1;
        for spoilt in [bit.as_slice(), &whole[..whole.len() - 1], &whole[..9], b""] {
            fs::write(&file, spoilt).unwrap();
            assert!(store.clip(CONTENT, "a").await.is_none());
            assert!(!file.exists());
        }
        fs::write(root.path().join(CONTENT).join("b"), &whole).unwrap();
        assert!(store.clip(CONTENT, "b").await.is_none(), "another key");
        fs::write(root.path().join(CONTENT).join("c.part"), &whole).unwrap();
        FrameCache::open(root.path(), 1 << 20).unwrap();
        assert!(!root.path().join(CONTENT).join("c.part").exists());
    }

    #[tokio::test]
    async fn the_budget_holds_and_what_was_used_longest_ago_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let store = FrameCache::open(root.path(), 1 << 20).unwrap();
        keep(&store, "a", 1).await;
        let kept = store.0.as_ref().unwrap();
        let size = |key: &str| fs::metadata(root.path().join(CONTENT).join(key)).map(|about| about.len());
        let (clip, probe) = (size("a").unwrap(), size(PROBE).unwrap());
        // Space for three clips and the probe.
        let kept =
            FrameFiles { root: kept.root.clone(), budget: 3 * clip + probe + 8, writer: Semaphore::new(1) };
        let store = FrameCache(Some(Arc::new(kept)));
        keep(&store, "b", 2).await;
        keep(&store, "c", 3).await;
        let long_ago = SystemTime::UNIX_EPOCH;
        for (key, age) in [("a", 3), ("b", 2), ("c", 1)] {
            let file = File::open(root.path().join(CONTENT).join(key)).unwrap();
            file.set_modified(long_ago + Duration::from_secs(10 - age)).unwrap();
        }
        assert!(store.clip(CONTENT, "a").await.is_some(), "used now");
        keep(&store, "d", 4).await;
        assert!(size("b").is_err() && size("a").is_ok() && size("c").is_ok() && size("d").is_ok());
        let small = FrameCache::open(root.path(), clip).unwrap();
        assert!(small.0.unwrap().files().iter().map(|(_, size, _)| size).sum::<u64>() <= clip);
        assert!(FrameCache::open(root.path(), 0).unwrap().0.is_none());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "nothing is cached, not even a directory");
    }
}
