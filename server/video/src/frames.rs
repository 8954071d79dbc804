//! The stream of frames that a worker decodes: requested within limits, validated one by one.

use std::{fs::File, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    DecodeRequest, Limits, VideoError,
    client::{MAX_SIDE, Opened, Worker, unexpected},
    session::Session,
    wire::{Reply, WorkerTask},
};

/// Frames buffered for the reader.
const QUEUE: usize = 2;
/// Maximum frames of one request.
const MAX_FRAMES: usize = 1 << 18;

/// One decoded frame, upright, RGB8.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Index in presentation order, as planned.
    pub index: u64,
    /// Time in seconds from the first frame of the clip (of the substitute, if the frame was replaced).
    pub pts_s: f64,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height` rows of `width` pixels of red, green, blue.
    pub rgb: Bytes,
}

/// The report after the last frame.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FramesEnd {
    /// Warnings for people (frames replaced, colours not mapped, …).
    pub warnings: Vec<String>,
    /// Number of frames that could not be decoded and were replaced by a neighbour.
    pub replaced: u64,
    /// Whether NVDEC decoded the pictures.
    pub chip: bool,
    /// Peak memory of the worker in bytes, as the kernel reports it to the parent; 0 if it does not.
    #[serde(skip)]
    pub peak_memory: u64,
}

enum Item {
    Frame(Frame),
    End(FramesEnd),
}

/// A stream of frames in order. Dropping it kills the worker.
#[derive(Debug)]
pub struct FrameStream {
    items: mpsc::Receiver<Result<Item, VideoError>>,
    end: Option<FramesEnd>,
}

impl FrameStream {
    /// Waits for the next frame; `None` after the last. Safe to cancel.
    ///
    /// # Errors
    /// The error that ended the stream.
    pub async fn next(&mut self) -> Result<Option<Frame>, VideoError> {
        if self.end.is_some() {
            return Ok(None);
        }
        match self.items.recv().await {
            Some(Ok(Item::Frame(frame))) => Ok(Some(frame)),
            Some(Ok(Item::End(end))) => {
                self.end = Some(end);
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(VideoError::Worker { message: "the stream is over".into() }),
        }
    }

    /// Returns the report that follows the last frame, once `next` has returned `None`.
    #[must_use]
    pub fn end(&self) -> Option<&FramesEnd> {
        self.end.as_ref()
    }
}

impl Opened {
    /// Like [`decode`], with the worker that probed the file.
    ///
    /// # Errors
    /// See [`decode`].
    pub async fn decode(self, mut request: DecodeRequest) -> Result<FrameStream, VideoError> {
        let Self { file, mut session } = self;
        let (pool, cancel) = session.origin();
        check(&request, &pool.limits)?;
        if pool.wants_chip(request.chip_pixels) {
            // NVDEC needs a worker with another sandbox, so this one releases its slot first.
            let (worker, cancel) = (Worker(Arc::clone(pool)), cancel.clone());
            session.kill().await;
            drop(session);
            return decode(&worker, file, request, &cancel).await;
        }
        request.chip_pixels = None;
        let wanted = Wanted::of(&request);
        session.go_on(WorkerTask::Decode(request)).await?;
        Ok(stream(session, wanted))
    }
}

/// Starts to decode the frames of `request` from `file`. Waits for a free worker first.
///
/// # Errors
/// See [`VideoError`]; later errors are returned by [`FrameStream::next`].
pub async fn decode(
    worker: &Worker,
    file: File,
    mut request: DecodeRequest,
    cancel: &CancellationToken,
) -> Result<FrameStream, VideoError> {
    check(&request, worker.limits())?;
    let wanted = Wanted::of(&request);
    let chip = worker.0.wants_chip(request.chip_pixels);
    if !chip {
        request.chip_pixels = None;
    }
    let session = Session::start_with(&worker.0, file, WorkerTask::Decode(request), chip, cancel).await?;
    Ok(stream(session, wanted))
}

/// The requested frame indices, and the width and height.
struct Wanted {
    indices: std::vec::IntoIter<u64>,
    size: (u32, u32),
}

impl Wanted {
    fn of(request: &DecodeRequest) -> Self {
        let indices: Vec<u64> = request.targets.iter().map(|target| target.index).collect();
        Self { indices: indices.into_iter(), size: (request.width, request.height) }
    }
}

fn stream(session: Session, wanted: Wanted) -> FrameStream {
    let (sender, items) = mpsc::channel(QUEUE);
    tokio::spawn(pump(session, wanted, sender));
    FrameStream { items, end: None }
}

fn check(request: &DecodeRequest, limits: &Limits) -> Result<(), VideoError> {
    let DecodeRequest { width, height, ref targets, .. } = *request;
    let refuse = |message| Err(VideoError::BadRequest { message });
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return refuse(format!(
            "frames of {width}x{height} pixels were asked for; 1 to {MAX_SIDE} per side would fit"
        ));
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        let limit = limits.max_pixels;
        return refuse(format!("frames of {width}x{height} pixels were asked for; {limit} pixels would fit"));
    }
    if targets.is_empty() || targets.len() > MAX_FRAMES {
        return refuse(format!("{} frames were asked for; 1 to {MAX_FRAMES} would fit", targets.len()));
    }
    if !targets.is_sorted_by_key(|target| target.ticks) {
        return refuse("frames were asked for out of order".into());
    }
    Ok(())
}

/// Forwards frames from the worker to the reader, and ends the worker with either.
async fn pump(mut session: Session, mut wanted: Wanted, sender: mpsc::Sender<Result<Item, VideoError>>) {
    loop {
        let item = tokio::select! {
            biased;
            () = sender.closed() => break,
            item = next(&mut session, &mut wanted) => item,
        };
        let more = matches!(item, Ok(Item::Frame(_)));
        if sender.send(item).await.is_err() || !more {
            break;
        }
    }
    session.kill().await;
}

async fn next(session: &mut Session, wanted: &mut Wanted) -> Result<Item, VideoError> {
    let (width, height) = wanted.size;
    let bytes = width as usize * height as usize * 3;
    match session.reply(bytes).await? {
        (Reply::Frame { index, pts_s }, rgb) => {
            if wanted.indices.next() != Some(index) || rgb.len() != bytes || !pts_s.is_finite() {
                return Err(unexpected("with a frame that was not asked for"));
            }
            Ok(Item::Frame(Frame { index, pts_s, width, height, rgb }))
        }
        (Reply::End(end), _) if wanted.indices.len() == 0 => {
            Ok(Item::End(FramesEnd { peak_memory: session.peak_memory(), ..end }))
        }
        _ => Err(unexpected("before all frames were sent")),
    }
}
