//! Scrub sprites and renditions, on the parent's side: receives their bytes from a worker and validates them.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    Cut, Rendition, Span, Sprites, VideoError, Worker,
    client::unexpected,
    session::Session,
    wire::{Reply, WorkerTask},
};

/// Maximum bytes of one sheet of sprites.
const MAX_SHEET: usize = 64 << 20;
/// Maximum bytes of all sheets of one clip.
const MAX_SHEETS: usize = 256 << 20;
/// Maximum bytes of one piece of a rendition.
const MAX_PIECE: usize = 1 << 20;

/// Makes the scrub sprites of a clip: small pictures at regular times, tiled into sheets (JPEG). `progress` receives the
/// pictures done and in total.
///
/// # Errors
/// See [`VideoError`].
pub async fn sprites(
    worker: &Worker,
    file: File,
    cancel: &CancellationToken,
    mut progress: impl FnMut(usize, usize) + Send,
) -> Result<(Sprites, Vec<Bytes>), VideoError> {
    let mut session = Session::start(worker.pool(), file, WorkerTask::Sprites, cancel).await?;
    let (mut sheets, mut bytes): (Vec<Bytes>, usize) = (Vec::new(), 0);
    loop {
        match session.reply(MAX_SHEET).await? {
            (Reply::Sheet { done, total }, jpeg) if jpeg.starts_with(&[0xff, 0xd8]) => {
                bytes = bytes.saturating_add(jpeg.len());
                if bytes > MAX_SHEETS {
                    return Err(unexpected("with more sprites than a clip can have"));
                }
                sheets.push(jpeg);
                progress(done.min(total), total);
            }
            (Reply::Sprites(layout), _) if layout.sane(sheets.len()) => return Ok((layout, sheets)),
            _ => return Err(unexpected("something else than sprites")),
        }
    }
}

/// Writes a rendition of a clip for browsers, or of the part `span` of it, into `out`, an empty file, of at most `max_bytes`.
/// `progress` receives the pictures done and in total. After an error the contents of `out` are undefined.
///
/// # Errors
/// See [`VideoError`].
pub async fn rendition(
    worker: &Worker,
    file: File,
    span: Option<Span>,
    out: File,
    max_bytes: u64,
    cancel: &CancellationToken,
    progress: impl FnMut(u64, u64) + Send,
) -> Result<Rendition, VideoError> {
    let session = Session::start(worker.pool(), file, WorkerTask::Rendition { span }, cancel).await?;
    written(session, out, max_bytes, progress).await
}

/// Copies a part of a clip without encoding it again into `out`, an empty file, of at most `max_bytes`. After an error the
/// contents of `out` are undefined.
///
/// # Errors
/// See [`VideoError`]; `Worker` also when the packets of this file cannot be put into an MP4.
pub async fn cut(
    worker: &Worker,
    file: File,
    cut: Cut,
    out: File,
    max_bytes: u64,
    cancel: &CancellationToken,
) -> Result<Rendition, VideoError> {
    let session = Session::start(worker.pool(), file, WorkerTask::Cut(cut), cancel).await?;
    written(session, out, max_bytes, |_, _| {}).await
}

/// Writes the pieces that a worker sends.
async fn written(
    mut session: Session,
    out: File,
    max_bytes: u64,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<Rendition, VideoError> {
    let out = Arc::new(out);
    loop {
        match session.reply(MAX_PIECE).await? {
            (Reply::Piece { offset }, bytes) => {
                let end = offset.checked_add(bytes.len() as u64);
                if end.is_none_or(|end| end > max_bytes) {
                    return Err(unexpected(&format!("with a rendition of more than {max_bytes} bytes")));
                }
                let out = Arc::clone(&out);
                let written = tokio::task::spawn_blocking(move || out.write_all_at(&bytes, offset)).await;
                written.map_err(io::Error::other).flatten().map_err(|error| VideoError::Worker {
                    message: format!("its rendition cannot be stored: {error}"),
                })?;
            }
            (Reply::Encoded { done, total }, _) => progress(done.min(total), total),
            (Reply::Rendition(made), _) => return Ok(made),
            _ => return Err(unexpected("something else than a rendition")),
        }
    }
}
