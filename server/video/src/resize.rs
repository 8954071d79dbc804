//! The model's resize: torch's antialiased bicubic on 8-bit pixels, bit for bit. Knows no ffmpeg.
//!
//! torchvision (and so every Qwen processor) resizes `uint8` frames in two passes, columns first, then
//! rows, each with 16-bit integer taps and each rounded to 8 bits. The loops work on fixed-size
//! groups of values, so that the compiler turns them into vector instructions on every machine.

use bytes::Bytes;
use rayon::prelude::*;

use crate::{Picture, VideoError};

/// Rows that the first pass handles together.
const LANES: usize = 8;
/// Values of the same column group: three channels of [`LANES`] rows.
const GROUP: usize = 3 * LANES;
/// Values that the second pass handles together.
const STRIP: usize = 96;

/// Resizes `picture` to `width` × `height` as torchvision does
/// (`resize(..., interpolation=BICUBIC, antialias=True)` on `uint8`).
///
/// # Errors
/// `BadRequest` when a side is zero or the picture's buffer does not have 3 × width × height bytes.
pub fn resize(picture: &Picture, width: u32, height: u32) -> Result<Picture, VideoError> {
    let pixels = u64::from(picture.width) * u64::from(picture.height);
    if pixels == 0 || width == 0 || height == 0 || picture.rgb.len() as u64 != pixels * 3 {
        let message = format!(
            "cannot resize {}x{} pixels in {} bytes to {width}x{height}",
            picture.width,
            picture.height,
            picture.rgb.len()
        );
        return Err(VideoError::BadRequest { message });
    }
    let from = (picture.width as usize, picture.height as usize);
    let rgb = resample(&picture.rgb, from, (width as usize, height as usize));
    Ok(Picture { width, height, rgb: rgb.map_or_else(|| picture.rgb.clone(), Bytes::from) })
}

/// Resamples packed RGB8 of `from` (width, height) to `to`; `None` when nothing has to change.
pub(crate) fn resample(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Option<Vec<u8>> {
    let columns = (from.0 != to.0).then(|| across(rgb, from.0, from.1, to.0));
    if from.1 == to.1 {
        return columns;
    }
    Some(down(columns.as_deref().unwrap_or(rgb), to.0, from.1, to.1))
}

/// The weights of one pass.
struct Taps {
    /// First input and number of inputs of every output.
    windows: Vec<(usize, usize)>,
    /// `stride` weights per output, zero-padded.
    weights: Vec<i16>,
    stride: usize,
    /// Binary places of the weights.
    precision: u32,
}

impl Taps {
    /// Computes the weights as ATen's `_compute_index_ranges_int16_weights` does.
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let support = if scale >= 1.0 { 2.0 * scale } else { 2.0 };
        let squeeze = if scale >= 1.0 { 1.0 / scale } else { 1.0 };
        let stride = support.ceil() as usize * 2 + 1;
        let mut windows = Vec::with_capacity(to);
        let mut exact = vec![0.0f64; to * stride];
        for (out, row) in exact.chunks_exact_mut(stride).enumerate() {
            let center = scale * (out as f64 + 0.5);
            let first = (center - support + 0.5).max(0.0) as usize;
            let last = ((center + support + 0.5) as usize).min(from);
            let count = last.saturating_sub(first).min(stride);
            for (j, weight) in row[..count].iter_mut().enumerate() {
                *weight = cubic(((j + first) as f64 - center + 0.5) * squeeze);
            }
            let total: f64 = row[..count].iter().sum();
            if total != 0.0 {
                row[..count].iter_mut().for_each(|weight| *weight /= total);
            }
            windows.push((first, count));
        }
        let largest = exact.iter().copied().fold(0.0, f64::max);
        let mut precision = 0;
        while precision < 22 && ((0.5 + largest * f64::from(1 << (precision + 1))) as i32) < 1 << 15 {
            precision += 1;
        }
        let one = f64::from(1 << precision);
        let round = |w: f64| (if w < 0.0 { w * one - 0.5 } else { w * one + 0.5 }) as i16;
        Self { windows, weights: exact.into_iter().map(round).collect(), stride, precision }
    }

    fn of(&self, out: usize) -> (usize, &[i16]) {
        let (first, count) = self.windows[out];
        (first, &self.weights[out * self.stride..][..count])
    }
}

/// Keys' cubic with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn narrow(sum: i32, precision: u32) -> u8 {
    (sum >> precision).clamp(0, 255) as u8
}

/// First pass: every row from `width` to `to` pixels. Eight rows are laid side by side, so that one weight
/// meets 24 neighbouring values.
fn across(rgb: &[u8], width: usize, height: usize, to: usize) -> Vec<u8> {
    let taps = Taps::new(width, to);
    let mut out = vec![0u8; to * height * 3];
    out.par_chunks_mut(to * 3 * LANES).enumerate().for_each_init(
        || vec![[0i16; GROUP]; width],
        |columns, (block, out)| {
            let rows = &rgb[block * LANES * width * 3..];
            for (lane, row) in rows.chunks_exact(width * 3).take(LANES).enumerate() {
                for (column, pixel) in columns.iter_mut().zip(row.as_chunks::<3>().0) {
                    column[lane] = i16::from(pixel[0]);
                    column[LANES + lane] = i16::from(pixel[1]);
                    column[2 * LANES + lane] = i16::from(pixel[2]);
                }
            }
            for x in 0..to {
                let (first, weights) = taps.of(x);
                let mut sums = [1i32 << (taps.precision - 1); GROUP];
                for (column, &weight) in columns[first..].iter().zip(weights) {
                    for (sum, &value) in sums.iter_mut().zip(column) {
                        *sum = sum.wrapping_add(i32::from(value).wrapping_mul(i32::from(weight)));
                    }
                }
                for (lane, row) in out.chunks_exact_mut(to * 3).enumerate() {
                    for (channel, value) in row[x * 3..][..3].iter_mut().enumerate() {
                        *value = narrow(sums[channel * LANES + lane], taps.precision);
                    }
                }
            }
        },
    );
    out
}

/// Second pass: `height` rows become `to` rows.
fn down(rgb: &[u8], width: usize, height: usize, to: usize) -> Vec<u8> {
    let taps = Taps::new(height, to);
    let row = width * 3;
    let mut out = vec![0u8; row * to];
    out.par_chunks_mut(row).enumerate().for_each(|(y, out)| {
        let (first, weights) = taps.of(y);
        for (strip, out) in out.chunks_mut(STRIP).enumerate() {
            let mut sums = [1i32 << (taps.precision - 1); STRIP];
            for (k, &weight) in weights.iter().enumerate() {
                let values = &rgb[(first + k) * row + strip * STRIP..][..out.len()];
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum = sum.wrapping_add(i32::from(value).wrapping_mul(i32::from(weight)));
                }
            }
            for (value, &sum) in out.iter_mut().zip(&sums) {
                *value = narrow(sum, taps.precision);
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    /// `scripts/reference.py: frame()` with seed 1 at t = 0.
    fn drawn(height: u32, width: u32, kind: &str) -> Picture {
        let mut rgb = Vec::new();
        for y in 0..u64::from(height) {
            for x in 0..u64::from(width) {
                for c in 0..3u64 {
                    rgb.push(if kind == "pattern" {
                        ((x * 6 + y * (3 + 2 * c) + ((x * y) >> 4) * (1 + c) + 31 + 64 * c) & 255) as u8
                    } else {
                        let h = (x * 73_856_093) ^ (y * 19_349_663) ^ ((c + 1) * 83_492_791) ^ 2_654_435_761;
                        let h = h & 0xffff_ffff;
                        let h = ((h ^ (h >> 15)) * 2_246_822_519) & 0xffff_ffff;
                        (h >> 24) as u8
                    });
                }
            }
        }
        Picture { width, height, rgb: rgb.into() }
    }

    fn size(text: &str) -> (u32, u32) {
        let (height, width) = text.split_once('x').unwrap();
        (height.parse().unwrap(), width.parse().unwrap())
    }

    #[test]
    fn every_byte_is_that_of_torchvision() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/golden/resize.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        assert!(golden.len() >= 20, "{} goldens", golden.len());
        for (name, tensor) in golden.tensors() {
            let (sizes, kind) = name.split_once('.').unwrap();
            let (from, to) = sizes.split_once("_to_").unwrap();
            let (height, width) = size(to);
            let resized = resize(&drawn(size(from).0, size(from).1, kind), width, height).unwrap();
            let wrong = resized.rgb.iter().zip(tensor.data()).filter(|(ours, theirs)| ours != theirs).count();
            assert_eq!((resized.rgb.len(), wrong), (tensor.data().len(), 0), "{name}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let picture = drawn(4, 4, "noise");
        assert!(resize(&picture, 0, 4).is_err());
        assert!(resize(&Picture { width: 5, ..picture }, 4, 4).is_err());
    }
}
