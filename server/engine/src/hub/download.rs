//! Downloads a model's files: retries, resumes and verifies them, and falls back to the cache without a network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hf_hub::api::tokio::{ApiBuilder, ApiError, ApiRepo, Progress};
use sha2::{Digest, Sha256};

use super::{Hub, PullProgress, is_id, is_name, is_revision, repo};
use crate::EngineError;

/// Timeouts of a request to the hub, and between two reads of a download.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of files per repository.
const MAX_FILES: usize = 512;
/// Retries of an interrupted download.
const ATTEMPTS: usize = 4;

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
pub(super) fn is_wanted(name: &str) -> bool {
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
