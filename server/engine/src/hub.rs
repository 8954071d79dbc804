//! Models of the Hugging Face hub: downloads with resume and hash check, and the local cache.
//!
//! The cache has the hub's own layout (`$HF_HOME/hub`, else `~/.cache/huggingface/hub`) and is shared with Python. A complete
//! model in it is used without network access; [`pull`] refreshes it. `HF_HUB_OFFLINE=1` forbids the network, and
//! `HF_ENDPOINT` sets a mirror.

mod download;
mod remote;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hf_hub::{Cache, Repo, RepoType};

use crate::EngineError;

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

/// Returns whether `text` is a commit hash.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
    locate_with(id, revision, &[])
}

/// The same for a model that also needs `files`: another program may have put it into the cache without them.
pub(crate) fn locate_with(id: &str, revision: Option<&str>, files: &[&str]) -> Result<PathBuf, EngineError> {
    let has_all = |model: &CachedModel| files.iter().all(|file| model.path.join(file).is_file());
    if let Some(model) = cached(id, revision).filter(|model| model.complete && has_all(model)) {
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
            tracing::info!(
                file,
                index,
                files,
                percent = 10 * tenth,
                "downloading the model: progress of one file"
            );
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

impl Hub {
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
