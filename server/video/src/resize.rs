//! The model's resize: torch's antialiased bicubic on 8-bit pixels, bit for bit.
//!
//! torchvision, and so every Qwen processor, resizes `uint8` frames in two passes, columns first, each with 16-bit integer taps
//! and a rounding to 8 bits. `fast_image_resize` uses the same taps (both derive from Pillow) with vector instructions; given
//! both axes it would start with the rows, so it gets one axis at a time.

use std::borrow::Cow;

use bytes::Bytes;
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

use crate::{Picture, VideoError};

/// Resizes `picture` to `width` × `height` as torchvision does
/// (`resize(..., interpolation=BICUBIC, antialias=True)` on `uint8`).
///
/// # Errors
/// `BadRequest` when a side is zero or the picture's buffer does not have 3 × width × height bytes.
pub fn resize(picture: &Picture, width: u32, height: u32) -> Result<Picture, VideoError> {
    if (picture.width, picture.height) == (width, height) && width > 0 && height > 0 {
        return Ok(picture.clone());
    }
    let rgb = resample((&*picture.rgb).into(), (picture.width, picture.height), (width, height), Axis::X)?;
    Ok(Picture { width, height, rgb: Bytes::from(rgb) })
}

/// Which way a pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Along the rows: the width changes.
    X,
    /// Along the columns: the height changes.
    Y,
}

/// Resamples packed RGB8 of `from` (width, height) to `to`, along `first` first, which must be [`Axis::X`] for a
/// picture that stands upright.
pub(crate) fn resample(
    rgb: Cow<'_, [u8]>,
    from: (u32, u32),
    to: (u32, u32),
    first: Axis,
) -> Result<Vec<u8>, VideoError> {
    let pixels = u64::from(from.0) * u64::from(from.1);
    if pixels == 0 || to.0 == 0 || to.1 == 0 || rgb.len() as u64 != pixels * 3 {
        let ((width, height), (to_width, to_height), bytes) = (from, to, rgb.len());
        let message =
            format!("cannot resize {width}x{height} pixels in {bytes} bytes to {to_width}x{to_height}");
        return Err(VideoError::BadRequest { message });
    }
    let between = match first {
        Axis::X => (to.0, from.1),
        Axis::Y => (from.0, to.1),
    };
    let between_rgb = pass(rgb, from, between)?;
    Ok(pass(between_rgb, between, to)?.into_owned())
}

/// One pass: only one side differs, or none.
fn pass(rgb: Cow<'_, [u8]>, from: (u32, u32), to: (u32, u32)) -> Result<Cow<'_, [u8]>, VideoError> {
    if from == to {
        return Ok(rgb);
    }
    let failed = |error: String| VideoError::BadRequest { message: format!("cannot resize: {error}") };
    // Keys' cubic with a = -0.5.
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    let picture =
        ImageRef::new(from.0, from.1, &rgb, PixelType::U8x3).map_err(|error| failed(error.to_string()))?;
    let mut out = Image::new(to.0, to.1, PixelType::U8x3);
    Resizer::new().resize(&picture, &mut out, &options).map_err(|error| failed(error.to_string()))?;
    Ok(out.into_vec().into())
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    /// `scripts/model/reference.py: frame()` with seed 1 at t = 0.
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
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/parity/golden/resize.safetensors");
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
        assert!(resize(&Picture { width: 0, ..picture.clone() }, 0, 4).is_err());
        assert!(resize(&Picture { width: 5, ..picture }, 4, 4).is_err());
    }
}
