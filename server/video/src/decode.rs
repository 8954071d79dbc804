//! Decodes the frames of a request inside the worker: in order, upright, at the requested size.
//!
//! One thread demuxes and decodes ([`crate::reader`]), another converts, rotates and resizes. The queue between them is
//! short, so memory holds a few pictures whatever the length of the clip.

use std::{
    borrow::Cow,
    fs::File,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use ffmpeg_next::frame;

use crate::{
    DecodeRequest, Target, VideoError,
    colour::Converter,
    deinterlace::deinterlaced,
    orient::Orientation,
    picker::{Pick, Picker},
    reader::{DecodeReport, Reader},
    resize::{Axis, resample},
};

/// Decoded pictures that wait for conversion.
const QUEUE: usize = 2;
/// [`Tuning::index_leap`] outside of tests.
const INDEX_LEAP: i64 = 4 << 20;

/// How a clip is decoded; none of it changes the frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Gap in bytes above which the container's index is used instead of reading on.
    pub(crate) index_leap: i64,
    /// Processors that the decoder may use.
    pub(crate) threads: usize,
}

/// Decodes the frames of `request` and passes each to `emit` (target, PTS in ticks, RGB8 rows); stops when `emit` returns
/// `false`.
pub(crate) fn decode(
    file: &File,
    request: &DecodeRequest,
    max_pixels: u64,
    emit: impl FnMut(Target, i64, Vec<u8>) -> bool + Send,
) -> Result<DecodeReport, VideoError> {
    let tuning = Tuning { index_leap: INDEX_LEAP, threads: crate::heartbeat::threads() };
    decode_tuned(file, request, max_pixels, tuning, emit)
}

fn decode_tuned(
    file: &File,
    request: &DecodeRequest,
    max_pixels: u64,
    tuning: Tuning,
    emit: impl FnMut(Target, i64, Vec<u8>) -> bool + Send,
) -> Result<DecodeReport, VideoError> {
    let (sender, receiver) = sync_channel(QUEUE);
    let picker = Picker::new(&request.targets, request.slack(), request.second(), sender);
    let reader = Reader::open(file, request, max_pixels, tuning, picker)?;
    thread::scope(|scope| {
        let converting = scope.spawn(|| convert(receiver, request, emit));
        let report = reader.run()?;
        converting.join().map_err(|_| VideoError::Worker { message: "the converter panicked".into() })??;
        Ok(report)
    })
}

/// The second thread: deinterlaces, converts, resizes, rotates, emits.
fn convert(
    picks: Receiver<Pick>,
    request: &DecodeRequest,
    mut emit: impl FnMut(Target, i64, Vec<u8>) -> bool,
) -> Result<(), VideoError> {
    let orientation = Orientation { rotation: request.rotation, mirrored: request.mirrored };
    let mut converter = Converter::new();
    let mut last: Option<(Arc<frame::Video>, Vec<u8>)> = None;
    for Pick { target, ticks, picture } in picks {
        let rgb = match &last {
            Some((of, rgb)) if Arc::ptr_eq(of, &picture) => rgb.clone(),
            _ => {
                let (width, height) = (picture.width(), picture.height());
                let whole = deinterlaced(&picture);
                let rgb = converter.rgb(whole.as_ref().unwrap_or(&picture)).map_err(|error| {
                    VideoError::Unsupported { message: format!("colours of the frames ({error})") }
                })?;
                upright(rgb, (width, height), orientation, (request.width, request.height))?
            }
        };
        if !emit(target, ticks, rgb.clone()) {
            break;
        }
        last = Some((picture, rgb));
    }
    Ok(())
}

/// Resizes RGB8 rows of `from` (width, height) to the size that is `to` once upright, then rotates: the same bytes as in the
/// other order, with fewer pixels to rotate.
fn upright(
    rgb: Cow<'_, [u8]>,
    from: (u32, u32),
    orientation: Orientation,
    to: (u32, u32),
) -> Result<Vec<u8>, VideoError> {
    let lying = orientation.size(to.0, to.1);
    let first = if orientation.turned() { Axis::Y } else { Axis::X };
    let small = resample(rgb, from, lying, first)?;
    Ok(orientation.apply(small, lying.0 as usize, lying.1 as usize))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
