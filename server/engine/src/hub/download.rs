//! Downloads a model's files: retries, resumes and verifies them, and falls back to the cache without a network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hf_hub::CacheRepo;
use sha2::{Digest, Sha256};

use super::remote::{Remote, RepoInfo};
use super::{Hub, PullProgress, is_commit, is_id, is_name, is_revision, repo};
use crate::EngineError;

/// Timeouts of a request to the hub, and between two reads of a download.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of files per repository.
const MAX_FILES: usize = 512;
/// Retries of an interrupted download.
const ATTEMPTS: usize = 4;

pub(super) enum Trouble {
    /// A network error.
    Unreachable(String),
    /// An error response, or invalid data.
    Refused(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(format!("the cache can't be written: {error}"))
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(request: reqwest::Error) -> Self {
        match request.status().map(|status| status.as_u16()) {
            Some(401 | 403) => Self::Refused(
                "the hub refuses access: the model is private, gated or unknown; a token in \
                 $HF_HOME/token (huggingface-cli login) would fit if you may use it"
                    .into(),
            ),
            Some(404) => Self::Refused("the hub has no such model or revision".into()),
            Some(status) if status < 500 => Self::Refused(format!("the hub answered {status}")),
            // The error's own text would contain the whole URL, including the redirect's signature.
            Some(status) => Self::Unreachable(format!("status {status}")),
            None if request.is_timeout() => Self::Unreachable("timeout".into()),
            None if request.is_connect() => Self::Unreachable("no connection".into()),
            None => Self::Unreachable("the connection broke".into()),
        }
    }
}

pub(super) type DownloadReporter = Arc<dyn Fn(PullProgress) + Send + Sync>;

impl Hub {
    pub(super) async fn pull(
        &self,
        id: &str,
        revision: Option<&str>,
        report: DownloadReporter,
    ) -> Result<PathBuf, EngineError> {
        let fail = |message: String| EngineError::Model { model: id.to_owned(), message };
        if !is_id(id) || revision.is_some_and(|revision| !is_revision(revision)) {
            return Err(fail("this is no hub id; owner/name[@revision] would fit".into()));
        }
        let here = self.cached(id, revision).filter(|model| model.complete);
        if self.offline {
            return here
                .map(|model| model.path)
                .ok_or_else(|| fail("not in the cache, and HF_HUB_OFFLINE forbids the download".into()));
        }
        match self.download(id, revision, report).await {
            Ok(path) => Ok(path),
            // Falls back to a complete copy, unless the new one was damaged or denied.
            Err(Trouble::Unreachable(why)) => here.map(|model| model.path).ok_or_else(|| {
                fail(format!("the hub is out of reach ({why}), and the cache has no complete copy"))
            }),
            Err(Trouble::Refused(message)) => Err(fail(message)),
        }
    }

    async fn download(
        &self,
        id: &str,
        revision: Option<&str>,
        report: DownloadReporter,
    ) -> Result<PathBuf, Trouble> {
        let remote = Remote::new(self.endpoint.as_deref(), self.cache.token().as_deref())?;
        let asked = repo(id, revision);
        let info: RepoInfo = tokio::time::timeout(ANSWER_TIMEOUT, remote.info(id, asked.revision()))
            .await
            .map_err(|_| Trouble::Unreachable("timeout".into()))??;
        let files: Vec<String> = info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .filter(|name| is_wanted(name))
            .take(MAX_FILES)
            .collect();
        if !files.iter().any(|name| name.ends_with(".safetensors")) {
            return Err(Trouble::Refused(
                "the repository has no .safetensors weights; a Qwen3-VL checkpoint would fit".into(),
            ));
        }
        if !is_commit(&info.sha) {
            let message = format!("the hub names the commit {:?}; 40 hexadecimal digits would fit", info.sha);
            return Err(Trouble::Refused(message));
        }
        // All files come from one commit, even if the branch moves meanwhile.
        let pinned = PinnedRepo { remote: &remote, id, commit: &info.sha, cache: self.cache.repo(asked) };
        let directory = pinned.cache.pointer_path(&info.sha);
        for (index, file) in files.iter().enumerate() {
            // The snapshot's link is created once the file is complete.
            if directory.join(file).exists() {
                continue;
            }
            let meter = Meter::new(file, index + 1, files.len(), Arc::clone(&report));
            let path = fetch(&pinned, file, &meter).await?;
            check_hash(&path).await.map_err(|message| Trouble::Refused(format!("{file}: {message}")))?;
        }
        // Written last, so that a branch never points to an incomplete snapshot.
        pinned.cache.create_ref(&info.sha)?;
        Ok(directory)
    }
}

/// A repository at one commit, and where its files go.
struct PinnedRepo<'a> {
    remote: &'a Remote,
    id: &'a str,
    commit: &'a str,
    cache: CacheRepo,
}

/// Downloads one file, with retries when the connection breaks.
async fn fetch(repo: &PinnedRepo<'_>, file: &str, meter: &Meter) -> Result<PathBuf, Trouble> {
    let mut attempt = 1;
    loop {
        meter.touch();
        let stalled = async {
            while meter.idle() < STALL_TIMEOUT {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let result = tokio::select! {
            result = fetch_once(repo, file, meter) => result,
            () = stalled => Err(Trouble::Unreachable("the download stalled".into())),
        };
        match result {
            Err(Trouble::Unreachable(why)) if attempt < ATTEMPTS => {
                tracing::warn!(file, attempt, error = why, "failed to download a model file; will retry");
                tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Downloads a file, places it under the name of its content, and links it into the snapshot. Every name in these paths
/// has been checked.
async fn fetch_once(repo: &PinnedRepo<'_>, file: &str, meter: &Meter) -> Result<PathBuf, Trouble> {
    let found = repo.remote.file(repo.id, repo.commit, file).await?;
    let (blob, directory) = (repo.cache.blob_path(&found.etag), repo.cache.pointer_path(repo.commit));
    let pointer = directory.join(file);
    for directory in [blob.parent(), pointer.parent()].into_iter().flatten() {
        std::fs::create_dir_all(directory)?;
    }
    if !blob.metadata().is_ok_and(|there| there.len() == found.size) {
        let part = blob.with_extension("part");
        repo.remote.download(&found, &part, meter).await?;
        std::fs::rename(&part, &blob)?;
    }
    // A link without its target.
    let _ = std::fs::remove_file(&pointer);
    let up = if file.contains('/') { "../../../blobs" } else { "../../blobs" };
    std::os::unix::fs::symlink(Path::new(up).join(&found.etag), &pointer)?;
    Ok(pointer)
}

/// Files of a repository that an engine reads: at the top level, and the configuration of a sentence model's modules, such as
/// `1_Pooling/config.json`.
pub(super) fn is_wanted(name: &str) -> bool {
    if let Some((module, file)) = name.split_once('/') {
        return is_name(module) && module.starts_with(|c: char| c.is_ascii_digit()) && file == "config.json";
    }
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    is_name(name) && matches!(kind, Some("json" | "jinja" | "safetensors"))
}

/// Verifies a large file against its SHA-256, which is the name of its blob in the cache. A damaged file is removed, so that
/// the next attempt downloads it again. (Small files are named by a git hash.)
pub(super) async fn check_hash(pointer: &Path) -> Result<(), String> {
    let pointer = pointer.to_owned();
    tokio::task::spawn_blocking(move || {
        let blob = pointer.canonicalize().map_err(|error| error.to_string())?;
        let Some(name) = blob.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(());
        }
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(&blob).map_err(|error| error.to_string())?;
        std::io::copy(&mut file, &mut hash).map_err(|error| error.to_string())?;
        let got: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if got == name.to_ascii_lowercase() {
            return Ok(());
        }
        for path in [&pointer, &blob] {
            std::fs::remove_file(path).map_err(|error| error.to_string())?;
        }
        Err(format!("damaged on the way: its SHA-256 is {got}, the hub's is {name}"))
    })
    .await
    .map_err(|error| error.to_string())?
}

/// Reports progress and records when there last was some.
#[derive(Clone)]
pub(super) struct Meter {
    state: Arc<Mutex<(PullProgress, Instant)>>,
    report: DownloadReporter,
}

impl Meter {
    fn new(file: &str, index: usize, files: usize, report: DownloadReporter) -> Self {
        let progress = PullProgress { file: file.to_owned(), index, files, done: 0, total: 0 };
        Self { state: Arc::new(Mutex::new((progress, Instant::now()))), report }
    }

    fn touch(&self) {
        self.change(|_| ());
    }

    fn idle(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.elapsed()
    }

    fn change(&self, change: impl FnOnce(&mut PullProgress)) -> PullProgress {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.0);
        state.1 = Instant::now();
        state.0.clone()
    }

    pub(super) fn begin(&self, have: u64, size: u64) {
        (self.report)(self.change(|progress| (progress.done, progress.total) = (have, size)));
    }

    pub(super) fn advance(&self, bytes: u64) {
        (self.report)(self.change(|progress| progress.done += bytes));
    }

    pub(super) fn finish(&self) {
        (self.report)(self.change(|progress| progress.done = progress.total));
    }
}
