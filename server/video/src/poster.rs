//! Makes the poster inside the worker: the best of a few frames as a JPEG, and a small version for lists.

use std::fs::File;

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};

use crate::{
    DecodeRequest, Plan, Posters, Probe, VideoError, decode,
    resize::{Axis, resample},
    scan::{self, Bounds},
};

/// Times in seconds of the frames to choose from.
const LOOKS: [f64; 6] = [0.0, 0.5, 1.5, 3.0, 6.0, 12.0];

/// Frames to choose from where those show nothing, evenly over the rest of the clip.
const MORE_LOOKS: u32 = 12;

/// Liveliness below which a picture shows nothing: one colour, with the noise of a tape.
const SHOWS_NOTHING: f64 = 4.0;
const QUALITY: u8 = 85;

/// Width and quality of the small poster: a page shows two dozen of them.
const CARD_WIDTH: u32 = 320;
const CARD_QUALITY: u8 = 50;

/// Makes a poster at most `max_width` pixels wide, and its small version.
pub(crate) fn poster(file: File, max_width: u32, bounds: Bounds) -> Result<Posters<Vec<u8>>, VideoError> {
    let failed = |message: String| VideoError::Worker { message };
    let copy =
        file.try_clone().map_err(|error| failed(format!("the descriptor cannot be copied: {error}")))?;
    let probe = scan::scan(copy, bounds)?;
    let (full_width, full_height) = (u64::from(probe.video.width), u64::from(probe.video.height));
    let width = full_width.min(u64::from(max_width)).max(1);
    let height = (full_height * width / full_width.max(1)).clamp(1, 4 * u64::from(max_width).max(1));
    let mut best: Option<(f64, Vec<u8>)> = None;
    let mut look = |times: &[f64]| {
        let request = looks(&probe, times, (width as u32, height as u32));
        let size = (request.width, request.height);
        decode::decode(&file, &request, bounds.max_pixels, |_, _, rgb| {
            let score = liveliness(&rgb);
            if best.as_ref().is_none_or(|(of, _)| score > *of * 1.25) {
                best = Some((score, rgb));
            }
            true
        })?;
        Ok::<_, VideoError>((best.as_ref().is_some_and(|(score, _)| *score >= SHOWS_NOTHING), size))
    };
    let (shows_something, size) = look(&LOOKS)?;
    let rest = probe.duration_s - LOOKS[LOOKS.len() - 1];
    if !shows_something && rest > 0.0 {
        let share = |number: u32| f64::from(number) / f64::from(MORE_LOOKS + 1);
        let times: Vec<f64> =
            (1..=MORE_LOOKS).map(|number| probe.duration_s - rest * (1.0 - share(number))).collect();
        look(&times)?;
    }
    let (_, rgb) = best.ok_or_else(|| VideoError::NoFrames { message: "no frame for a poster".into() })?;
    let small = (size.0.min(CARD_WIDTH), (size.1 * size.0.min(CARD_WIDTH) / size.0).max(1));
    let card = jpeg(&resample((&rgb).into(), size, small, Axis::X)?, small, CARD_QUALITY)?;
    Ok(Posters { full: jpeg(&rgb, size, QUALITY)?, card })
}

/// Returns the request for the frames at `times`.
fn looks(probe: &Probe, times: &[f64], (width, height): (u32, u32)) -> DecodeRequest {
    let frames = &probe.index.frame_times;
    let at = |time: &f64| frames.partition_point(|frame| frame < time).min(frames.len() - 1) as u64;
    let mut indices: Vec<u64> = times.iter().map(at).collect();
    indices.dedup();
    DecodeRequest::new(probe, &Plan { indices, times: Vec::new() }, width, height)
}

fn jpeg(rgb: &[u8], (width, height): (u32, u32), quality: u8) -> Result<Vec<u8>, VideoError> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .encode(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| VideoError::Worker { message: format!("the poster cannot be encoded: {error}") })?;
    Ok(jpeg)
}

/// Scores a picture: the spread of its brightness, less where nearly all is black or white.
fn liveliness(rgb: &[u8]) -> f64 {
    let (pixels, _) = rgb.as_chunks::<3>();
    let luma = |[r, g, b]: [u8; 3]| 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
    let count = pixels.len().max(1) as f64;
    let mean = pixels.iter().map(|pixel| luma(*pixel)).sum::<f64>() / count;
    let variance = pixels.iter().map(|pixel| (luma(*pixel) - mean).powi(2)).sum::<f64>() / count;
    let exposed = if (24.0..=232.0).contains(&mean) { 1.0 } else { 0.25 };
    (variance.sqrt() + 1.0) * exposed
}

#[cfg(test)]
mod tests {
    use super::liveliness;

    #[test]
    fn black_and_white_lose_against_a_picture() {
        let picture: Vec<u8> = (0..3000u32).map(|i| (i * 7 % 251) as u8).collect();
        assert!(liveliness(&picture) > 4.0 * liveliness(&[0; 3000]));
        assert!(liveliness(&picture) > 4.0 * liveliness(&[255; 3000]));
        assert!(liveliness(&[128; 3000]) > liveliness(&[0; 3000]));
    }
}
