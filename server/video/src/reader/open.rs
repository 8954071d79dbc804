//! Opens the container and the decoder of a decode request.

use std::fs::File;

use ffmpeg_next::{decoder, format::context::Input};

use crate::{
    DecodeRequest, VideoError,
    ffmpeg::{self, StreamFacts},
    scan,
};

/// Maximum threads of one decoder; each holds a few pictures in memory.
const MAX_THREADS: usize = 8;
/// Pixels of a picture up to which more threads than processors are used: 1080p, with rows rounded up to a multiple of 16.
const AHEAD_PIXELS: i64 = 1920 * 1088;

/// Opens container and decoder.
pub(super) fn begin(
    file: &File,
    request: &DecodeRequest,
    max_pixels: u64,
    threads: usize,
) -> Result<(Input, decoder::Video, StreamFacts), VideoError> {
    let (mut input, mut streams) = scan::open(file)?;
    let changed = || VideoError::BadRequest { message: "the file is not the one that was probed".into() };
    if request.stream >= streams.len() {
        return Err(changed());
    }
    let facts = streams.swap_remove(request.stream);
    ffmpeg::read_only(&mut input, |index| index == request.stream);
    let stream = input.stream(request.stream).ok_or_else(changed)?;
    let threads = (threads * ahead(&facts)).min(MAX_THREADS);
    let decoder = ffmpeg::decoder(&stream, threads, max_pixels, request.chip_pixels.is_some())
        .map_err(|error| VideoError::Unsupported { message: format!("{} ({error})", facts.codec) })?;
    Ok((input, decoder, facts))
}

/// Threads per processor. A thread waits for rows of the pictures that its own refers to: twice as many threads as processors
/// leave none idle (measured with 1080p on two: a fifth faster for H.264, a third for HEVC). Larger pictures would take too
/// much memory.
fn ahead(facts: &StreamFacts) -> usize {
    let pixels = i64::from(facts.width) * i64::from(facts.height);
    if pixels <= AHEAD_PIXELS { 2 } else { 1 }
}
