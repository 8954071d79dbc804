//! Converts decoded pictures to RGB8: colour matrix and range by name, HDR to SDR, alpha on black.
//!
//! Ordinary pictures get exactly the bytes that PyAV produces, so that a model sees what it was evaluated on (swscale's
//! accurate rounding and interpolated chroma would shift the average value by one). The matrix is the one that the frame
//! names; for a frame without one it is BT.2020 if its primaries or its HDR curve indicate that, else BT.601 at every size, as
//! in swscale, PyAV and torchcodec. A frame without a range is limited unless its pixel format is one of JPEG's.

use std::borrow::Cow;

use ffmpeg_next::{Error, format::Pixel, frame, software::scaling};

use crate::{
    ffmpeg::{self, Colours},
    tonemap::{Curve, ToneMap},
};

/// Codes of ITU-T H.273.
const UNSPECIFIED: i32 = 2;
const BT2020_PRIMARIES: i32 = 9;
const BT2020_MATRIX: i32 = 9;
const PQ: i32 = 16;
const HLG: i32 = 18;
/// ffmpeg's code for full range.
const FULL: i32 = 2;

/// Converts the pictures of one clip.
pub(crate) struct Converter {
    scaler: Option<(ScalerKey, scaling::Context)>,
    out: frame::Video,
    tone_map: Option<(Curve, ToneMap)>,
}

#[derive(PartialEq, Eq)]
struct ScalerKey {
    colours: Colours,
    size: (u32, u32),
}

impl Converter {
    pub(crate) fn new() -> Self {
        Self { scaler: None, out: frame::Video::empty(), tone_map: None }
    }

    /// Converts `frame` and returns its rows without padding, 3 × width × height bytes.
    pub(crate) fn rgb(&mut self, frame: &frame::Video) -> Result<Cow<'_, [u8]>, Error> {
        let colours = ffmpeg::colours(frame);
        let size @ (width, height) = (frame.width(), frame.height());
        if width == 0 || height == 0 {
            return Err(Error::InvalidData);
        }
        let curve = curve(&colours);
        let alpha = ffmpeg::layout(frame.format()).alpha;
        let (target, bytes) = match (curve, alpha) {
            (Some(_), _) => (Pixel::RGB48LE, 6),
            (None, true) => (Pixel::RGBA, 4),
            (None, false) => (Pixel::RGB24, 3),
        };
        let key = ScalerKey { colours, size };
        if self.scaler.as_ref().is_none_or(|(of, _)| *of != key) {
            self.scaler = Some((key, scaler(frame.format(), size, target, &colours)?));
            self.out = frame::Video::new(target, width, height);
        }
        let Some((_, scaler)) = &mut self.scaler else { return Err(Error::Bug) };
        scaler.run(frame, &mut self.out)?;
        let (row, stride) = (width as usize * bytes, self.out.stride(0));
        let rows = packed(self.out.data(0), row, stride, height as usize);
        Ok(match curve {
            Some(curve) => tone_map(&mut self.tone_map, curve).apply(&rows).into(),
            None if alpha => on_black(&rows).into(),
            None => rows,
        })
    }
}

/// Copies `height` rows of `row` bytes that are `stride` apart.
fn packed(data: &[u8], row: usize, stride: usize, height: usize) -> Cow<'_, [u8]> {
    if row == stride {
        return data[..row * height].into();
    }
    data.chunks(stride).take(height).flat_map(|line| &line[..row]).copied().collect()
}

/// Returns the tone map for `curve`, creating it on first use.
fn tone_map(made: &mut Option<(Curve, ToneMap)>, curve: Curve) -> &ToneMap {
    if made.as_ref().is_some_and(|(of, _)| *of != curve) {
        *made = None;
    }
    &made.get_or_insert_with(|| (curve, ToneMap::new(curve))).1
}

fn curve(colours: &Colours) -> Option<Curve> {
    match colours.transfer {
        PQ => Some(Curve::Pq),
        HLG => Some(Curve::Hlg),
        _ => None,
    }
}

/// Returns the matrix of `colours` as an H.273 code.
fn matrix(colours: &Colours) -> i32 {
    let wide = colours.primaries == BT2020_PRIMARIES || curve(colours).is_some();
    if colours.matrix == UNSPECIFIED && wide { BT2020_MATRIX } else { colours.matrix }
}

fn scaler(
    format: Pixel,
    (width, height): (u32, u32),
    target: Pixel,
    colours: &Colours,
) -> Result<scaling::Context, Error> {
    let jpeg = [Pixel::YUVJ420P, Pixel::YUVJ422P, Pixel::YUVJ444P, Pixel::YUVJ440P, Pixel::YUVJ411P];
    let full = colours.range == FULL || jpeg.contains(&format);
    let mut flags = scaling::Flags::BILINEAR;
    if target == Pixel::RGB48LE {
        flags |= scaling::Flags::ACCURATE_RND | scaling::Flags::FULL_CHR_H_INT;
    }
    let mut context = scaling::Context::get(format, width, height, target, width, height, flags)?;
    ffmpeg::set_matrix(&mut context, matrix(colours), full);
    Ok(context)
}

/// Converts packed RGBA of 8 bits, blending it onto black.
fn on_black(rgba: &[u8]) -> Vec<u8> {
    let over = |value: u8, alpha: u8| ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8;
    rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, a]| [over(r, a), over(g, a), over(b, a)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_lets_black_through() {
        assert_eq!(
            on_black(&[200, 100, 50, 255, 200, 100, 50, 0, 200, 100, 50, 128]),
            [200, 100, 50, 0, 0, 0, 100, 50, 25]
        );
    }

    #[test]
    fn the_matrix_is_the_one_that_is_named() {
        let colours =
            |matrix, primaries, transfer| Colours { format: 0, matrix, range: 0, primaries, transfer };
        assert_eq!(matrix(&colours(1, 9, 16)), 1);
        assert_eq!(matrix(&colours(UNSPECIFIED, UNSPECIFIED, UNSPECIFIED)), UNSPECIFIED);
        assert_eq!(matrix(&colours(UNSPECIFIED, BT2020_PRIMARIES, 1)), BT2020_MATRIX);
        assert_eq!(matrix(&colours(UNSPECIFIED, UNSPECIFIED, HLG)), BT2020_MATRIX);
    }
}
