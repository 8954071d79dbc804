//! Makes a rendition inside the worker: H.264 and AAC in an MP4 with the index first, which every browser plays; upright,
//! deinterlaced, tone-mapped, at most 1080 lines, with the times of the original.
//!
//! It uses the same decoding as frames for a model, including the handling of damaged files. The worker does not write a file:
//! it sends bytes with their offsets to the parent ([`file`]).

mod audio;
mod cut;
mod file;
mod index;
mod video;

use std::{fs::File, io, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    DecodeRequest, Plan, Probe, VideoError, decode,
    scan::{self, Bounds, PADDING},
};
use audio::Sound;
pub use cut::Cut;
pub(crate) use cut::cut;
use file::{Expected, Mp4};
use video::Pictures;

/// Pixels along the longer and the shorter side at most.
const SIDES: (f64, f64) = (1920.0, 1080.0);
/// Frames per second at most; of faster clips some are left out.
const MAX_RATE: f64 = 60.0;

/// Seconds by which a time may lie before that of a picture and still be its own: times in URLs are rounded to milliseconds.
const NEAR: f64 = 0.0005;

/// A part of a clip, in seconds from its first picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins.
    pub start_s: f64,
    /// Where it ends, after its start.
    pub end_s: f64,
}

impl Span {
    /// Returns the indices of the frames that the span shows, the first of which may begin before it.
    fn frames(self, times: &[f64]) -> Range<usize> {
        let first = times.partition_point(|time| *time <= self.start_s + NEAR).saturating_sub(1);
        let end = times.partition_point(|time| *time < self.end_s - NEAR);
        first..end.max(first + 1).min(times.len())
    }
}

/// What a rendition holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pictures.
    pub frames: u64,
    /// Whether there is sound.
    pub sound: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Makes the rendition of `file`, or of a part of it. `put` takes bytes and their place in the new file, `progress` pictures so far and in all.
pub(crate) fn rendition(
    file: &File,
    bounds: Bounds,
    span: Option<Span>,
    put: impl FnMut(u64, &[u8]) -> io::Result<()> + Send + 'static,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<Rendition, VideoError> {
    let failed = |message: String| VideoError::Worker { message };
    let copy =
        file.try_clone().map_err(|error| failed(format!("the descriptor cannot be copied: {error}")))?;
    let probe = scan::scan(copy, bounds)?;
    let (width, height) = size(&probe);
    let times = &probe.index.frame_times;
    let frames = span.map_or(0..times.len(), |span| span.frames(times));
    let Span { start_s, end_s } = span.unwrap_or(Span { start_s: 0.0, end_s: probe.duration_s });
    let indices: Vec<u64> =
        thinned(&times[frames.clone()]).into_iter().map(|index| index + frames.start as u64).collect();
    let total = indices.len() as u64;
    let request = DecodeRequest::new(&probe, &Plan { indices, times: Vec::new() }, width, height);
    let mut warnings = Vec::new();
    let mut sound = Sound::open(file, &probe, start_s).unwrap_or_else(|error| {
        warnings.push(format!("the sound is left out: {error}"));
        None
    });
    let encoding = |error: ffmpeg_next::Error| failed(format!("the rendition cannot be encoded: {error}"));
    let mut pictures =
        Pictures::open(width, height, probe.video.fps, &times[frames], end_s - start_s).map_err(encoding)?;
    let expected =
        Expected { pictures: total, seconds: end_s - start_s, rate: sound.as_ref().map(Sound::rate) };
    let mut mp4 = Mp4::begin(pictures.encoder(), sound.as_ref().map(Sound::encoder), expected, put)
        .map_err(encoding)?;
    let (mut done, mut outcome) = (0, Ok(()));
    let report = decode::decode(file, &request, bounds.max_pixels, |target, _, rgb| {
        // The planned time, not that of a stand-in: times have to rise.
        let time = (request.clock.seconds(target.ticks) - start_s).max(0.0);
        let heard = sound.as_mut().map_or(Ok(()), |sound| sound.until(time, &mut mp4));
        outcome = heard.and_then(|()| pictures.take(time, &rgb, done + 2 >= total, &mut mp4));
        done += 1;
        progress(done, total);
        outcome.is_ok()
    })?;
    outcome
        .and_then(|()| {
            pictures.end(&mut mp4)?;
            if let Some(sound) = &mut sound {
                // To the end of a clip belongs what an encoder may have filled up.
                let padding = if span.is_some() { 0.0 } else { PADDING };
                sound.end(end_s - start_s + padding, &mut mp4)?;
            }
            mp4.end()
        })
        .map_err(encoding)?;
    warnings.extend(report.warnings);
    Ok(Rendition { width, height, frames: done, sound: sound.is_some(), warnings })
}

/// The upright size within [`SIDES`]; both sides even, for so the codec wants them.
fn size(probe: &Probe) -> (u32, u32) {
    let (width, height) = (f64::from(probe.video.width), f64::from(probe.video.height));
    let scale = (SIDES.0 / width.max(height)).min(SIDES.1 / width.min(height)).min(1.0);
    let even = |length: f64| (((length * scale / 2.0).round() as u32) * 2).max(2);
    (even(width), even(height))
}

/// Frames so far apart that there are no more than [`MAX_RATE`] a second, and none of the same time.
fn thinned(times: &[f64]) -> Vec<u64> {
    // A little less, for clocks that round.
    let gap = 0.9 / MAX_RATE;
    let mut last = f64::NEG_INFINITY;
    let mut kept = Vec::with_capacity(times.len());
    for (index, &time) in times.iter().enumerate() {
        if time - last >= gap {
            kept.push(index as u64);
            last = time;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Span, thinned};

    #[test]
    fn fast_clips_are_thinned_and_others_are_not() {
        let times = |rate: f64, count: u32| (0..count).map(|i| f64::from(i) / rate).collect::<Vec<_>>();
        assert_eq!(thinned(&times(59.94, 100)).len(), 100);
        assert_eq!(thinned(&times(60.0, 100)).len(), 100);
        assert_eq!(thinned(&times(240.0, 240)).len(), 60);
        assert_eq!(thinned(&[0.0, 0.0, 0.0, 1.0]), [0, 3]);
    }

    #[test]
    fn a_span_shows_the_picture_that_has_begun_and_ends_before_the_next() {
        let times = [0.0, 0.5, 2.0, 2.5];
        let frames = |start_s, end_s| Span { start_s, end_s }.frames(&times);
        assert_eq!(frames(0.0, 3.0), 0..4);
        assert_eq!(frames(0.6, 2.1), 1..3);
        assert_eq!(frames(0.4999, 2.0), 1..2, "rounded to milliseconds");
        assert_eq!(frames(1.0, 1.1), 1..2, "within a picture");
        assert_eq!(frames(9.0, 9.5), 3..4);
    }
}
