//! The sound of a clip as samples for speech recognition: 16 kHz, mono, on the timeline of the pictures.

use std::fs::File;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    VideoError, VideoErrorKind, Worker,
    client::unexpected,
    info::MAX_DURATION,
    scan::{self, Bounds},
    session::Session,
    sound::SoundReader,
    wire::{Reply, WorkerTask},
};

/// Samples per second.
pub const SPEECH_RATE: u32 = 16_000;
/// Samples of a block: a second.
const BLOCK: usize = SPEECH_RATE as usize;
/// Blocks buffered for the reader.
const QUEUE: usize = 4;

/// What a file is, for its sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SoundOf {
    /// A video: times are those of its pictures.
    Video,
    /// Any file with sound. Without pictures, times count from where the sound begins.
    Any,
}

/// Inside the worker: reads the sound of `file` from `from_s` seconds on and passes it to `emit` in blocks of up to a second;
/// stops when `emit` returns `false`.
pub(crate) fn samples(
    file: &File,
    bounds: Bounds,
    of: SoundOf,
    from_s: f64,
    mut emit: impl FnMut(&[f32]) -> bool,
) -> Result<(), VideoError> {
    let copy = file.try_clone().map_err(|error| VideoError::Worker { message: error.to_string() })?;
    let reader = match scan::scan(copy, bounds) {
        Ok(probe) => SoundReader::<1>::open(file, &probe, |_| SPEECH_RATE),
        Err(error @ VideoError::Encrypted { .. }) => return Err(error),
        Err(error) if of == SoundOf::Any && error.kind() == VideoErrorKind::BadVideo => {
            SoundReader::open_alone(file, |_| SPEECH_RATE).map_err(|_| error.to_string())
        }
        Err(error) => return Err(error),
    };
    let mut reader = match reader {
        Ok(Some(reader)) => reader,
        Ok(None) => {
            let what = if of == SoundOf::Video { "video" } else { "file" };
            let message = format!("the {what} has no sound track that can be decoded");
            return Err(VideoError::NoSound { message });
        }
        Err(message) => return Err(VideoError::NoSound { message }),
    };
    let skipped = (from_s.clamp(0.0, MAX_DURATION) * f64::from(SPEECH_RATE)) as u64;
    // A hostile file may have a gap behind every packet.
    let end = (MAX_DURATION * f64::from(SPEECH_RATE)) as u64;
    let mut more = true;
    while more && reader.taken() < end {
        more = reader.read();
        while reader.available() >= BLOCK as u64 || !more && reader.available() > 0 {
            let before = usize::try_from(skipped.saturating_sub(reader.taken())).unwrap_or(usize::MAX);
            let [block] = reader.take(BLOCK);
            crate::heartbeat::progress();
            if before < block.len() && !emit(&block[before..]) || reader.taken() >= end {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A stream of samples. Dropping it kills the worker.
#[derive(Debug)]
pub struct SampleStream {
    blocks: mpsc::Receiver<Result<Option<Bytes>, VideoError>>,
}

impl SampleStream {
    /// Waits for the next block of up to a second, f32 between -1 and 1; `None` after the last. Safe to cancel.
    ///
    /// # Errors
    /// The error that ended the stream.
    pub async fn next(&mut self) -> Result<Option<Vec<f32>>, VideoError> {
        match self.blocks.recv().await {
            Some(Ok(block)) => Ok(block.map(|bytes| {
                let (samples, _) = bytes.as_chunks::<4>();
                samples.iter().map(|bytes| f32::from_le_bytes(*bytes)).map(sane).collect()
            })),
            Some(Err(error)) => Err(error),
            None => Err(VideoError::Worker { message: "the stream is over".into() }),
        }
    }
}

/// Decoders of f32 pass on what a file holds, also what is no number.
fn sane(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

/// Starts to read the sound of `file` from `from_s` seconds after its first picture. Waits for a free worker first. Gaps in
/// the sound come as silence.
///
/// # Errors
/// See [`VideoError`]; `NoSound` and later errors are returned by [`SampleStream::next`].
pub async fn samples_of(
    worker: &Worker,
    file: File,
    from_s: f64,
    cancel: &CancellationToken,
) -> Result<SampleStream, VideoError> {
    start(worker, file, WorkerTask::Samples { of: SoundOf::Video, from_s }, cancel).await
}

/// Starts to read the sound of `file`, which may also be sound alone (MP3, WAV, FLAC, AAC, AMR, AIFF, CAF, AU, and the sound in
/// containers of videos). Waits for a free worker first.
///
/// # Errors
/// As [`samples_of`].
pub async fn sound_of(
    worker: &Worker,
    file: File,
    cancel: &CancellationToken,
) -> Result<SampleStream, VideoError> {
    start(worker, file, WorkerTask::Samples { of: SoundOf::Any, from_s: 0.0 }, cancel).await
}

async fn start(
    worker: &Worker,
    file: File,
    task: WorkerTask,
    cancel: &CancellationToken,
) -> Result<SampleStream, VideoError> {
    let session = Session::start(worker.pool(), file, task, cancel).await?;
    let (sender, blocks) = mpsc::channel(QUEUE);
    tokio::spawn(pump(session, sender));
    Ok(SampleStream { blocks })
}

/// Forwards blocks from the worker to the reader, and ends the worker with either.
async fn pump(mut session: Session, sender: mpsc::Sender<Result<Option<Bytes>, VideoError>>) {
    loop {
        let block = tokio::select! {
            biased;
            () = sender.closed() => break,
            block = next(&mut session) => block,
        };
        let more = matches!(block, Ok(Some(_)));
        if sender.send(block).await.is_err() || !more {
            break;
        }
    }
    session.kill().await;
}

async fn next(session: &mut Session) -> Result<Option<Bytes>, VideoError> {
    match session.reply(4 * BLOCK).await? {
        (Reply::Samples, block) if !block.is_empty() && block.len().is_multiple_of(4) => Ok(Some(block)),
        (Reply::SamplesEnd, _) => Ok(None),
        _ => Err(unexpected("something else than samples")),
    }
}
