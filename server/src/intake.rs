//! The door of the library: bytes that have arrived are looked into and become a video, or are refused by name.
//!
//! Forms, raw uploads, resumed ones and watched folders all come through here. Knows no HTTP.

mod watch;

use std::time::Duration;

use homereel_video::Probe;

use crate::{
    app::AppState,
    ask::{self, AskError},
    library::{LibraryError, Sealed, Stored, Storing, Upload},
    media::Source,
};

pub use watch::watch;

/// How often uploads whose storing failed for a passing reason are tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// How often what has expired is looked for.
const HOURLY: Duration = Duration::from_secs(3600);

/// Why bytes are not in the library.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// They hold no video, or could not be looked into.
    #[error(transparent)]
    Look(#[from] AskError),
    /// The library did not take them.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// Looks into bytes and takes them in; known ones return the video that holds them already.
///
/// # Errors
/// `Look` for what is no video, `Library` for a full disk or a broken one.
pub async fn admit(state: &AppState, sealed: Sealed, name: &str) -> Result<Stored, IntakeError> {
    if let Some(known) = state.library.known(&sealed.sha256).await? {
        return Ok(known);
    }
    let source = Source::file(sealed.path().to_owned(), Some(sealed.sha256.clone()));
    let probe = state.asker.media().probe(&source, state.lifecycle.hard()).await?;
    // Times of all frames can be megabytes; who needs them probes again.
    let kept = Probe { frame_times: Vec::new(), entries: Vec::new(), ..(*probe).clone() };
    Ok(sealed.commit(name, media_type(&kept, name), &kept).await?)
}

/// Makes a video of an upload whose bytes are all here. What is no video is refused for good and its bytes go; after
/// any other failure they stay, and [`sweep`] tries again.
///
/// # Errors
/// As [`admit`].
pub async fn store(state: &AppState, upload: &Upload) -> Result<Stored, IntakeError> {
    let library = &state.library;
    let result = match library.seal_upload(upload).await? {
        Storing::Known(stored) => Ok(*stored),
        Storing::Bytes { sealed, _writer } => admit(state, *sealed, &upload.name).await,
    };
    match &result {
        Ok(stored) => library.upload_done(&upload.id, stored).await?,
        Err(IntakeError::Look(error)) if is_final(error) => {
            library.upload_refused(&upload.id, &error.to_string()).await?;
        }
        Err(error) => tracing::warn!(%error, upload.id, "an upload could not be stored yet"),
    }
    result
}

/// Tells whether the same bytes would fail again.
fn is_final(error: &AskError) -> bool {
    matches!(error.kind(), ask::Kind::Invalid | ask::Kind::TimedOut)
}

/// Does what time brings, until the server drains: stores uploads that a killed process left complete, forgets those
/// that stopped long ago, deletes what has been in the trash for its term.
pub async fn sweep(state: AppState) {
    store_all(&state).await;
    adopt(&state).await;
    let mut hourly = tokio::time::interval(HOURLY);
    let mut often = tokio::time::interval(AGAIN);
    loop {
        tokio::select! {
            () = state.lifecycle.soft().cancelled() => return,
            _ = hourly.tick() => expire(&state).await,
            _ = often.tick() => store_all(&state).await,
        }
    }
}

/// Makes videos of originals that no row names.
async fn adopt(state: &AppState) {
    let nameless = match state.library.nameless_originals().await {
        Ok(nameless) => nameless,
        Err(error) => return tracing::error!(%error, "failed to look for originals without a row"),
    };
    for sealed in nameless {
        let name = format!("recovered {}", &sealed.sha256[..8]);
        let path = sealed.path().to_owned();
        match admit(state, sealed, &name).await {
            Ok(stored) => tracing::warn!(stored.video.id, "an original without a row is a video again"),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a file among the originals is no video")
            }
        }
    }
}

async fn store_all(state: &AppState) {
    match state.library.uploads_to_store().await {
        Ok(uploads) => {
            for upload in uploads {
                // Told in the log; those that somebody else stores just now are a conflict and no news.
                let _ = store(state, &upload).await;
            }
        }
        Err(error) => tracing::error!(%error, "failed to look for complete uploads"),
    }
}

async fn expire(state: &AppState) {
    match tokio::join!(state.library.expire_uploads(), state.library.expire_trash()) {
        (Ok(0), Ok(0)) => {}
        (Ok(uploads), Ok(videos)) => {
            tracing::info!(
                uploads,
                videos,
                "forgot uploads that stopped, deleted what was in the trash for long"
            );
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "failed to tidy up"),
    }
}

/// Starts [`store`] in a task of its own, which goes on when whoever waits for it leaves.
pub fn store_soon(state: &AppState, upload: Upload) -> tokio::task::JoinHandle<Result<Stored, IntakeError>> {
    let state = state.clone();
    tokio::spawn(async move { store(&state, &upload).await })
}

/// Type under which a file is served; what the sender claims counts for nothing.
fn media_type(probe: &Probe, name: &str) -> &'static str {
    let has = |container: &str| probe.container.split(',').any(|known| known == container);
    if has("mp4") || has("mov") {
        "video/mp4"
    } else if has("webm") {
        // One demuxer reads both; browsers play what WebM holds.
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
