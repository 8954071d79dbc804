//! Imports files: probes a file that was received completely, and adds it to the library or rejects it with a reason.
//!
//! Callers receive the bytes: forms and raw uploads (`http/upload.rs`), resumable uploads (`http/tus.rs`) and
//! the watched directory ([`watch`]). Independent of HTTP.

mod watch;

use std::time::Duration;

use homereel_library::{Expired, Library, LibraryError, Sealed, Stored, Storing, Upload};
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

/// Interval at which expired uploads and trash are deleted.
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
    let probe = cx.media.probe(&source, cx.lifecycle.hard()).await?;
    Ok(sealed.commit(name, media_type(&probe, name), &probe.summary).await?)
}

/// Adds a complete upload to the library. A file without video is rejected and deleted. After any other
/// failure the file is kept, and [`sweep`] retries.
///
/// # Errors
/// See [`add`].
pub async fn store(cx: &ImportContext, upload: &Upload) -> Result<Stored, ImportError> {
    let library = &cx.library;
    let result = match library.seal_upload(upload).await? {
        Storing::Known(stored) => Ok(*stored),
        Storing::Bytes { sealed, _writer } => add(cx, *sealed, &upload.name).await,
    };
    match &result {
        Ok(stored) => library.upload_done(&upload.id, stored).await?,
        Err(ImportError::Probe(error)) if is_final(error) => {
            library.upload_refused(&upload.id, &error.to_string()).await?;
        }
        Err(error) => {
            let retry_s = RETRY_PERIOD.as_secs();
            tracing::warn!(%error, upload.id, retry_s, "failed to move a complete upload into the library; will retry");
        }
    }
    result
}

/// Returns whether a retry with the same bytes would fail again.
fn is_final(error: &AskError) -> bool {
    matches!(error.kind(), AskErrorKind::Invalid | AskErrorKind::TimedOut)
}

/// Runs periodic work until the server drains: imports complete uploads that an aborted process left behind,
/// and deletes expired uploads, trash and responses.
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
        let name = format!("recovered {}", &sealed.sha256[..8]);
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
        Ok(Expired { uploads: 0, videos: 0, responses: 0 }) => {}
        Ok(Expired { uploads, videos, responses }) => {
            tracing::info!(uploads, videos, responses, "deleted expired uploads, trash and responses");
        }
        Err(error) => {
            let retry_s = EXPIRY_PERIOD.as_secs();
            tracing::error!(%error, retry_s, "failed to delete expired uploads, trash or responses; will retry");
        }
    }
}

/// Runs [`store`] in a task of its own, which continues when the caller is dropped.
pub fn store_soon(
    cx: &ImportContext,
    upload: Upload,
) -> tokio::task::JoinHandle<Result<Stored, ImportError>> {
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
