//! Makes a rendition inside the worker: H.264 and AAC in an MP4 with the index first, which every browser plays; upright,
//! deinterlaced, tone-mapped, at most 1080 lines, with the times of the original.
//!
//! It uses the same decoding as frames for a model, including the handling of damaged files. The worker does not write a file:
//! it sends bytes with their offsets to the parent ([`file`]).

mod audio;
mod file;
mod video;

use std::{fs::File, io};

use serde::{Deserialize, Serialize};

use crate::{
    DecodeRequest, Plan, Probe, VideoError, decode,
    scan::{self, Bounds},
};
use audio::Sound;
use file::{Expected, Mp4};
use video::Pictures;

/// Pixels along the longer and the shorter side at most.
const SIDES: (f64, f64) = (1920.0, 1080.0);
/// Frames per second at most; of faster clips some are left out.
const MAX_RATE: f64 = 60.0;

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

/// Makes the rendition of `file`. `put` takes bytes and their place in the new file, `progress` pictures so far and in all.
pub(crate) fn rendition(
    file: &File,
    bounds: Bounds,
    put: impl FnMut(u64, &[u8]) -> io::Result<()> + Send + 'static,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<Rendition, VideoError> {
    let failed = |message: String| VideoError::Worker { message };
    let copy =
        file.try_clone().map_err(|error| failed(format!("the descriptor cannot be copied: {error}")))?;
    let probe = scan::scan(copy, bounds)?;
    let (width, height) = size(&probe);
    let indices = thinned(&probe.index.frame_times);
    let total = indices.len() as u64;
    let request = DecodeRequest::new(&probe, &Plan { indices, times: Vec::new() }, width, height);
    let mut warnings = Vec::new();
    let mut sound = Sound::open(file, &probe).unwrap_or_else(|error| {
        warnings.push(format!("the sound is left out: {error}"));
        None
    });
    let encoding = |error: ffmpeg_next::Error| failed(format!("the rendition cannot be encoded: {error}"));
    let mut pictures = Pictures::open(width, height, &probe).map_err(encoding)?;
    let expected =
        Expected { pictures: total, seconds: probe.duration_s, rate: sound.as_ref().map(Sound::rate) };
    let mut mp4 = Mp4::begin(pictures.encoder(), sound.as_ref().map(Sound::encoder), expected, put)
        .map_err(encoding)?;
    let (mut done, mut outcome) = (0, Ok(()));
    let report = decode::decode(file, &request, bounds.max_pixels, |target, _, rgb| {
        // The planned time, not that of a stand-in: times have to rise.
        let time = request.clock.seconds(target.ticks);
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
                sound.end(probe.duration_s, &mut mp4)?;
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
    use super::thinned;

    #[test]
    fn fast_clips_are_thinned_and_others_are_not() {
        let times = |rate: f64, count: u32| (0..count).map(|i| f64::from(i) / rate).collect::<Vec<_>>();
        assert_eq!(thinned(&times(59.94, 100)).len(), 100);
        assert_eq!(thinned(&times(60.0, 100)).len(), 100);
        assert_eq!(thinned(&times(240.0, 240)).len(), 60);
        assert_eq!(thinned(&[0.0, 0.0, 0.0, 1.0]), [0, 3]);
    }
}
