//! Models of the Hugging Face hub: downloads with resume and hash check, and the local cache.
//!
//! The cache has the hub's own layout (`$HF_HOME/hub`, else `~/.cache/huggingface/hub`) and is shared with Python. A complete
//! model in it is used without network access; [`pull`] refreshes it. `HF_HUB_OFFLINE=1` forbids the network, and
//! `HF_ENDPOINT` sets a mirror.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hf_hub::api::tokio::{ApiBuilder, ApiError, ApiRepo, Progress};
use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest, Sha256};

use crate::EngineError;

/// Timeouts of a request to the hub, and between two reads of a download.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of files per repository.
const MAX_FILES: usize = 512;
/// Retries of an interrupted download.
const ATTEMPTS: usize = 4;

/// Progress of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// Name of the file.
    pub file: String,
    /// Its number, from 1.
    pub index: usize,
    /// How many files there are.
    pub files: usize,
    /// Bytes of this file downloaded so far.
    pub done: u64,
    /// Bytes of this file.
    pub total: u64,
}

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// `owner/name`.
    pub id: String,
    /// Commit hash.
    pub commit: String,
    /// Directory of its files.
    pub path: PathBuf,
    /// Bytes of all files.
    pub bytes: u64,
    /// Whether all files that an engine needs are present.
    pub complete: bool,
}

/// The hub and the cache to use.
struct Hub {
    cache: Cache,
    /// `None` means the hub itself.
    endpoint: Option<String>,
    offline: bool,
}

impl Hub {
    fn from_env() -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_lowercase();
        Self {
            cache: Cache::from_env(),
            endpoint: std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty()),
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
        }
    }
}

/// Returns whether `text` is `owner/name` in the characters that the hub allows.
#[must_use]
pub fn is_id(text: &str) -> bool {
    matches!(text.split_once('/'), Some((owner, name)) if is_name(owner) && is_name(name))
}

/// Returns whether `text` can be a branch, tag or commit.
#[must_use]
pub fn is_revision(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.split('/').all(is_name)
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.len() <= 96 && !text.starts_with('.') && text.chars().all(allowed)
}

/// Returns the directory of a model, downloading it unless the cache has it complete. Blocking; progress is logged.
///
/// # Errors
/// `Model` when it is neither cached nor available.
pub fn locate(id: &str, revision: Option<&str>) -> Result<PathBuf, EngineError> {
    if let Some(model) = cached(id, revision).filter(|model| model.complete) {
        return Ok(model.path);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| EngineError::Failed(format!("no runtime for the download: {error}")))?;
    let logged = Mutex::new((String::new(), 0));
    runtime.block_on(pull(id, revision, move |progress| {
        let PullProgress { file, index, files, done, total } = progress;
        let tenth = (10 * done).checked_div(total).unwrap_or(10);
        let mut last = logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != (file.clone(), tenth) {
            tracing::info!(file, index, files, percent = 10 * tenth, "downloaded a part of a model file");
            *last = (file, tenth);
        }
    }))
}

/// Downloads the missing files of a model, verifies them, and returns its directory. Interrupted downloads are resumed.
///
/// # Errors
/// `Model` when the hub has no such model or denies access, or when it is unreachable and the cache incomplete.
pub async fn pull(
    id: &str,
    revision: Option<&str>,
    progress: impl Fn(PullProgress) + Send + Sync + 'static,
) -> Result<PathBuf, EngineError> {
    Hub::from_env().pull(id, revision, Arc::new(progress)).await
}

/// Returns the models in the cache, by id.
#[must_use]
pub fn list() -> Vec<CachedModel> {
    Hub::from_env().list()
}

/// Returns a model in the cache, complete or not.
#[must_use]
pub fn cached(id: &str, revision: Option<&str>) -> Option<CachedModel> {
    Hub::from_env().cached(id, revision)
}

enum Trouble {
    /// A network error.
    Unreachable(String),
    /// An error response, or invalid data.
    Refused(String),
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        let ApiError::RequestError(request) = &error else {
            return Self::Refused(format!("the download failed: {error}"));
        };
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

type DownloadReporter = Arc<dyn Fn(PullProgress) + Send + Sync>;

impl Hub {
    async fn pull(
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
        let mut api = ApiBuilder::from_cache(self.cache.clone()).with_progress(false);
        if let Some(endpoint) = &self.endpoint {
            api = api.with_endpoint(endpoint.clone());
        }
        let api =
            api.build().map_err(|error| Trouble::Refused(format!("the hub client can't start: {error}")))?;
        let remote = api.repo(repo(id, revision));
        let info = tokio::time::timeout(ANSWER_TIMEOUT, remote.info())
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
        if !is_name(&info.sha) {
            return Err(Trouble::Refused("the hub names no commit".into()));
        }
        // All files come from one commit, even if the branch moves meanwhile.
        let pinned = api.repo(repo(id, Some(&info.sha)));
        let directory = self.cache.repo(repo(id, revision)).pointer_path(&info.sha);
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
        self.cache
            .repo(repo(id, revision))
            .create_ref(&info.sha)
            .map_err(|error| Trouble::Refused(format!("the cache can't be written: {error}")))?;
        Ok(directory)
    }

    fn cached(&self, id: &str, revision: Option<&str>) -> Option<CachedModel> {
        if !is_id(id) || revision.is_some_and(|revision| !is_revision(revision)) {
            return None;
        }
        let repo = repo(id, revision);
        let reference = self.cache.path().join(repo.folder_name()).join("refs").join(repo.revision());
        // A revision is a branch or tag, which the cache resolves, or a commit.
        let commit = std::fs::read_to_string(reference)
            .map_or_else(|_| repo.revision().to_owned(), |commit| commit.trim().to_owned());
        let path = self.cache.repo(repo).pointer_path(&commit);
        if !is_name(&commit) || !path.is_dir() {
            return None;
        }
        let files = std::fs::read_dir(&path).ok()?.flatten();
        let bytes = files.filter_map(|file| file.path().metadata().ok()).map(|data| data.len()).sum();
        Some(CachedModel { id: id.to_owned(), commit, complete: is_complete(&path), path, bytes })
    }

    fn list(&self) -> Vec<CachedModel> {
        let Ok(entries) = std::fs::read_dir(self.cache.path()) else { return Vec::new() };
        let mut models: Vec<CachedModel> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let id = name.strip_prefix("models--")?.replacen("--", "/", 1);
                self.cached(&id, None)
            })
            .collect();
        models.sort_by(|a, b| a.id.cmp(&b.id));
        models
    }
}

/// Downloads one file, with retries when the connection breaks.
async fn fetch(repo: &ApiRepo, file: &str, meter: &Meter) -> Result<PathBuf, Trouble> {
    let mut attempt = 1;
    loop {
        meter.touch();
        let download = repo.download_with_progress(file, meter.clone());
        let stalled = async {
            while meter.idle() < STALL_TIMEOUT {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let result = tokio::select! {
            result = download => result.map_err(Trouble::from),
            () = stalled => Err(Trouble::Unreachable("the download stalled".into())),
        };
        match result {
            Err(Trouble::Unreachable(why)) if attempt < ATTEMPTS => {
                tracing::warn!(file, attempt, error = why, "failed to download a model file, will retry");
                tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Files at the top level of a repository that an engine reads.
fn is_wanted(name: &str) -> bool {
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    is_name(name) && matches!(kind, Some("json" | "jinja" | "safetensors"))
}

/// Verifies a large file against its SHA-256, which is the name of its blob in the cache. A damaged file is removed, so that
/// the next attempt downloads it again. (Small files are named by a git hash.)
async fn check_hash(pointer: &Path) -> Result<(), String> {
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

/// Forwards hf-hub's progress and records when there last was some.
#[derive(Clone)]
struct Meter {
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
}

impl Progress for Meter {
    async fn init(&mut self, size: usize, _: &str) {
        (self.report)(self.change(|progress| (progress.done, progress.total) = (0, size as u64)));
    }

    async fn update(&mut self, size: usize) {
        (self.report)(self.change(|progress| progress.done += size as u64));
    }

    async fn finish(&mut self) {
        (self.report)(self.change(|progress| progress.done = progress.total));
    }
}

fn repo(id: &str, revision: Option<&str>) -> Repo {
    let revision = revision.unwrap_or("main").to_owned();
    Repo::with_revision(id.to_owned(), RepoType::Model, revision)
}

/// Returns whether a directory has what an engine needs: configuration, tokenizer and every shard.
fn is_complete(directory: &Path) -> bool {
    let has = |name: &str| directory.join(name).is_file();
    if !has("config.json") || !has("tokenizer.json") {
        return false;
    }
    if has("model.safetensors") {
        return true;
    }
    let Ok(index) = std::fs::read(directory.join("model.safetensors.index.json")) else {
        return false;
    };
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap_or_default();
    let shards = index["weight_map"].as_object();
    shards.is_some_and(|map| !map.is_empty() && map.values().all(|shard| shard.as_str().is_some_and(has)))
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
