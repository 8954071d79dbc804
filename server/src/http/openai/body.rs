//! Reads the body of a request to the endpoint: bounded, with the media on disk.

mod base64_text;
mod media;
mod scanner;

use std::{collections::HashMap, path::PathBuf};

use axum::{
    body::{Body, HttpBody as _},
    http::StatusCode,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::super::error::{Failure, broken_body};
use crate::budget::MemoryBudget;
pub(super) use media::{MAX_FRAMES, SpooledFile, SpooledMedia};
use scanner::{MAX_JSON, MAX_VALUES, Scanner};

/// Chunks up to this size are scanned where they arrive, larger ones on a blocking thread.
const SMALL: usize = 4096;

/// Limits of a body.
#[derive(Debug, Clone)]
pub(super) struct BodyLimits {
    /// Maximum size, media included.
    pub(super) bytes: usize,
    /// Maximum number of media, each frame of a list counted; one list may exceed it.
    pub(super) media: usize,
    /// Directory of the media.
    pub(super) scratch: PathBuf,
}

/// A body.
#[derive(Debug)]
pub(super) struct ChatBody {
    /// The JSON. A marker stands for each of the media.
    pub(super) json: Vec<u8>,
    /// The media.
    pub(super) media: MediaByMarker,
    /// The JSON's share of the memory budget.
    pub(super) permits: Vec<OwnedSemaphorePermit>,
}

/// Prefix of a URL that stands for a file of an earlier response: its SHA-256 follows.
const FILE: &str = "sha256:";

/// Prefix of a URL that stands for a list of frames of an earlier response: their SHA-256, separated by commas, follow.
const FRAMES: &str = "sha256-frames:";

/// The media of a body, each of which can be taken once, and those of an earlier response that it continues.
#[derive(Debug, Default)]
pub(super) struct MediaByMarker {
    marker: String,
    media: Vec<Option<SpooledMedia>>,
    earlier: HashMap<String, SpooledFile>,
}

impl MediaByMarker {
    /// Returns the media that `url` stands for. `None` means that it is a URL of another kind.
    pub(super) fn take(&mut self, url: &str) -> Option<SpooledMedia> {
        if let Some(number) = self.number(url) {
            return self.media.get_mut(number)?.take();
        }
        let (hashes, is_frame_list) = match url.strip_prefix(FRAMES) {
            Some(hashes) => (hashes, true),
            None => (url.strip_prefix(FILE)?, false),
        };
        // Not `sha256-frames:` with one hash ten thousand times.
        if hashes.split(',').count() > MAX_FRAMES {
            return None;
        }
        let files = hashes.split(',').map(|hash| self.earlier.get(hash).cloned());
        Some(SpooledMedia { files: files.collect::<Option<_>>()?, is_frame_list, fault: None })
    }

    /// Adds a file of an earlier response.
    pub(super) fn add_earlier(&mut self, file: SpooledFile) {
        if let Some(sha256) = file.source.sha256() {
            self.earlier.insert(sha256.to_owned(), file);
        }
    }

    /// Returns the files of the media that `url` stands for in this body, and the URL for them in a later one.
    pub(super) fn lasting(&self, url: &str) -> Option<(String, &[SpooledFile])> {
        let media = self.media.get(self.number(url)?)?.as_ref()?;
        let hashes: Vec<&str> = media.files.iter().filter_map(|file| file.source.sha256()).collect();
        let prefix = if media.is_frame_list { FRAMES } else { FILE };
        Some((format!("{prefix}{}", hashes.join(",")), &media.files))
    }

    fn number(&self, url: &str) -> Option<usize> {
        url.strip_prefix(&self.marker).filter(|_| !self.marker.is_empty())?.parse().ok()
    }
}

/// Why a body is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the JSON without media is larger than {MAX_JSON} bytes")]
    JsonTooLarge,
    #[error("the body has more than {MAX_VALUES} JSON values")]
    TooManyValues,
    #[error("the body is nested too deeply")]
    TooDeep,
    #[error("the request has more than {most} videos, images and frames")]
    TooManyMedia { most: usize },
    #[error("failed to write a file: {0}")]
    Disk(#[from] std::io::Error),
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        match error {
            BodyError::JsonTooLarge => Self::too_large(message),
            BodyError::TooManyValues | BodyError::TooDeep => {
                Self { code: "invalid_json", param: None, ..Self::invalid("", message) }
            }
            BodyError::TooManyMedia { .. } => Self::invalid("messages", message),
            BodyError::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "no_space",
                "the disk is full: no space for the clip",
            ),
            BodyError::Disk(_) => Self::internal(message),
        }
    }
}

/// Reads a body. The memory of its JSON is covered by `budget`.
pub(super) async fn read(budget: &MemoryBudget, body: Body, limits: BodyLimits) -> Result<ChatBody, Failure> {
    let too_large = || {
        Failure::too_large(format!(
            "the body is larger than {} bytes; upload the file to /v1/files and send its file_id, or to /api/videos and send homereel:ID",
            limits.bytes
        ))
    };
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(too_large());
    }
    let marker = format!("homereel-media-{}-", homereel_library::new_id());
    let mut scanner = Some(Scanner::new(marker.clone(), limits.media, limits.scratch.clone()));
    let mut fault = None;
    let mut permits = Vec::new();
    let mut stream = body.into_data_stream();
    let mut received = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| broken_body(&error, received as u64))?;
        received += chunk.len();
        if received > limits.bytes {
            return Err(too_large());
        }
        // After a fault, the rest is read and discarded, so that the client sees the response.
        let Some(known) = scanner.take() else { continue };
        match scan(known, chunk).await {
            Ok(scanned) if budget.cover(scanned.json_bytes(), &mut permits) => scanner = Some(scanned),
            Ok(_) => fault = Some(overloaded()),
            Err(failure) => fault = Some(failure),
        }
    }
    match (scanner, fault) {
        (Some(scanner), None) => {
            let (json, media) = scanner.finish();
            let media = media.into_iter().map(Some).collect();
            let media = MediaByMarker { marker, media, earlier: HashMap::new() };
            Ok(ChatBody { json, media, permits })
        }
        (_, fault) => Err(fault.unwrap_or_else(|| Failure::internal("the scanner of a body is lost"))),
    }
}

async fn scan(mut scanner: Scanner, chunk: Bytes) -> Result<Scanner, Failure> {
    let small = chunk.len() <= SMALL;
    let work = move || scanner.push(&chunk).map(|()| scanner);
    if small {
        return Ok(work()?);
    }
    // Decoding base64, hashing and writing take a core for a while.
    Ok(tokio::task::spawn_blocking(work).await.map_err(Failure::internal)??)
}

/// A request does not fit into the memory of all requests together.
pub(super) fn overloaded() -> Failure {
    Failure {
        retry_after_s: Some(5),
        ..Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "overloaded",
            "too many large requests at once; try again in 5 s",
        )
    }
}
