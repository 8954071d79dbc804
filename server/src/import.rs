//! Imports files: probes a file that was received completely, and adds it to the library or rejects it with a reason.
//!
//! Callers receive the bytes: forms and raw uploads (`http/upload.rs`), files of requests (`http/openai/files.rs`), resumable
//! uploads of both (`http/tus.rs`), and the watched directory ([`watch`]). Independent of HTTP.

mod watch;
mod whole;

use std::time::Duration;

use homereel_library::{
    Expired, Library, LibraryError, NewFile, Sealed, Stored, StoredFile, Storing, Upload,
};
use homereel_video::ProbeSummary;

use tokio::time::Instant;

use crate::{
    ask_error::{AskError, AskErrorKind},
    media::{MediaDecoder, Source},
    shutdown::Lifecycle,
};

pub use watch::watch;

/// Interval between retries of uploads whose import failed for a temporary reason.
const RETRY_PERIOD: Duration = Duration::from_secs(60);

/// Interval at which expired uploads, files and trash are deleted.
const EXPIRY_PERIOD: Duration = Duration::from_secs(3600);

/// Dependencies of importing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ImportContext {
    /// Destination of the videos.
    pub library: Library,
    /// Probes files.
    pub media: MediaDecoder,
    /// Shutdown state of the process.
    pub lifecycle: Lifecycle,
    /// Maximum size of a file.
    pub max_upload_bytes: u64,
    /// Seconds for which files of requests are kept.
    pub files_keep_s: u64,
}

/// What an upload became.
#[derive(Debug)]
pub enum Imported {
    /// A video of the library.
    Video(Box<Stored>),
    /// A file that requests name by its id.
    File(StoredFile),
}

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file has no video or could not be probed.
    #[error(transparent)]
    Probe(#[from] AskError),
    /// The library could not store it.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// Adds a received file to the library. If the library has the same content already, returns that video.
///
/// # Errors
/// `Probe` when the file has no video, `Library` when it cannot be stored.
pub async fn add(cx: &ImportContext, sealed: Sealed, name: &str) -> Result<Stored, ImportError> {
    if let Some(known) = cx.library.known(&sealed.sha256).await? {
        return Ok(known);
    }
    let source = Source::file(sealed.path().to_owned(), Some(sealed.sha256.clone()));
    let probe = cx.media.check_video(&source, cx.lifecycle.hard()).await?;
    Ok(sealed.commit(name, media_type(&probe, name), &probe.summary).await?)
}

/// Stores a received file for requests to name it by its id. It must be a picture or a video.
///
/// # Errors
/// `Probe` when it is neither, `Library` when it cannot be stored.
pub async fn add_file(cx: &ImportContext, sealed: Sealed, new: NewFile) -> Result<StoredFile, ImportError> {
    let source = Source::file(sealed.path().to_owned(), Some(sealed.sha256.clone()));
    cx.media.check(&source, sealed.size, cx.lifecycle.hard()).await?;
    Ok(sealed.commit_file(new).await?)
}

/// Converts seconds to milliseconds.
#[must_use]
pub fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// Stores a complete upload as a video of the library or a file. What is neither is rejected and deleted. After any other
/// failure the bytes are kept, and [`sweep`] retries.
///
/// # Errors
/// See [`add`] and [`add_file`].
pub async fn store(cx: &ImportContext, upload: &Upload) -> Result<Imported, ImportError> {
    let library = &cx.library;
    let result = match (library.seal_upload(upload).await?, &upload.purpose) {
        (Storing::Known(stored), _) => Ok(Imported::Video(stored)),
        (Storing::Bytes { sealed, _writer }, None) => {
            add(cx, *sealed, &upload.name).await.map(|stored| Imported::Video(Box::new(stored)))
        }
        (Storing::Bytes { sealed, _writer }, Some(purpose)) => {
            let new = NewFile {
                id: upload.id.clone(),
                owner: upload.owner.clone(),
                name: upload.name.clone(),
                purpose: purpose.clone(),
                keep_ms: millis(cx.files_keep_s),
            };
            add_file(cx, *sealed, new).await.map(Imported::File)
        }
    };
    match &result {
        Ok(Imported::Video(stored)) => library.upload_done(&upload.id, stored).await?,
        Ok(Imported::File(_)) => library.upload_became_file(&upload.id).await?,
        Err(ImportError::Probe(error)) if is_final(error) => {
            library.upload_refused(&upload.id, &error.to_string()).await?;
        }
        Err(error) => {
            let retry_s = RETRY_PERIOD.as_secs();
            tracing::warn!(%error, upload.id, retry_s, "failed to store a complete upload; will retry");
        }
    }
    result
}

/// Returns whether a retry with the same bytes would fail again.
fn is_final(error: &AskError) -> bool {
    matches!(error.kind(), AskErrorKind::Invalid | AskErrorKind::TimedOut)
}

/// Runs periodic work until the server drains: imports complete uploads that an aborted process left behind,
/// and deletes expired uploads, files, trash and responses.
pub async fn sweep(cx: ImportContext) {
    store_pending(&cx).await;
    recover_originals(&cx).await;
    // Not at the start: see `Library::expire`.
    let mut expiry = tokio::time::interval_at(Instant::now() + EXPIRY_PERIOD, EXPIRY_PERIOD);
    let mut retry = tokio::time::interval(RETRY_PERIOD);
    loop {
        tokio::select! {
            () = cx.lifecycle.soft().cancelled() => return,
            _ = expiry.tick() => expire(&cx).await,
            _ = retry.tick() => store_pending(&cx).await,
        }
    }
}

/// Adds original files that have no row in the database.
async fn recover_originals(cx: &ImportContext) {
    let nameless = match cx.library.nameless_originals().await {
        Ok(nameless) => nameless,
        Err(error) => {
            return tracing::error!(%error, "failed to search for originals that are missing from the database; the next start of the server retries");
        }
    };
    for sealed in nameless {
        // Not eight digits, which could be a date.
        let name = format!("recovered {}", &sealed.sha256[..7]);
        let path = sealed.path().to_owned();
        match add(cx, sealed, &name).await {
            Ok(stored) => tracing::warn!(
                video.id = stored.video.id,
                name,
                "an original was missing from the database; added it again under this name, since its own name is lost"
            ),
            Err(error) => {
                tracing::warn!(
                    %error,
                    path = %path.display(),
                    "failed to add an original that is missing from the database; the next start of the server retries"
                )
            }
        }
    }
}

async fn store_pending(cx: &ImportContext) {
    match cx.library.uploads_to_store().await {
        Ok(uploads) => {
            for upload in uploads {
                // `store` logs failures. A conflict means that a request is importing the upload right now.
                let _ = store(cx, &upload).await;
            }
        }
        Err(error) => tracing::error!(%error, "failed to list complete uploads; will retry"),
    }
}

async fn expire(cx: &ImportContext) {
    match cx.library.expire().await {
        Ok(Expired { uploads: 0, files: 0, videos: 0, responses: 0 }) => {}
        Ok(Expired { uploads, files, videos, responses }) => {
            tracing::info!(
                uploads,
                files,
                videos,
                responses,
                "deleted expired uploads, files, trash and responses"
            );
        }
        Err(error) => {
            let retry_s = EXPIRY_PERIOD.as_secs();
            tracing::error!(
                %error,
                retry_s,
                "failed to delete expired uploads, files, trash or responses; will retry"
            );
        }
    }
}

/// Runs [`store`] in a task of its own, which continues when the caller is dropped.
pub fn store_soon(
    cx: &ImportContext,
    upload: Upload,
) -> tokio::task::JoinHandle<Result<Imported, ImportError>> {
    let cx = cx.clone();
    tokio::spawn(async move { store(&cx, &upload).await })
}

/// Returns the content type to serve a file with. It depends on the container, not on what the client
/// claimed.
fn media_type(probe: &ProbeSummary, name: &str) -> &'static str {
    let has = |container: &str| probe.container.split(',').any(|known| known == container);
    if has("mp4") || has("mov") {
        "video/mp4"
    } else if has("webm") {
        // One demuxer reads both formats; browsers play only WebM.
        if name.to_lowercase().ends_with(".mkv") { "video/x-matroska" } else { "video/webm" }
    } else if has("avi") {
        "video/x-msvideo"
    } else if has("mpegts") {
        "video/mp2t"
    } else if has("mpeg") || has("mpegvideo") {
        "video/mpeg"
    } else if has("ogg") {
        "video/ogg"
    } else {
        "application/octet-stream"
    }
}
