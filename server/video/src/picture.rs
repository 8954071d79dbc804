//! Still pictures that a request carries (PNG, JPEG, WebP, GIF, BMP): hostile bytes in, RGB8 out, within limits.

use std::io::Cursor;

use bytes::Bytes;
use image::{ImageReader, Limits};

use crate::VideoError;

/// A picture, RGB8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height` rows of `width` pixels of red, green, blue.
    pub rgb: Bytes,
}

/// Decodes a picture of at most `max_pixels` pixels. Alpha is dropped, as PIL's `convert("RGB")` does; of an
/// animation the first frame is taken.
///
/// # Errors
/// `NotAPicture` when the bytes are no picture, `TooLarge` when it has too many pixels.
pub fn picture(bytes: &[u8], max_pixels: u64) -> Result<Picture, VideoError> {
    let reader = || {
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|error| VideoError::NotAPicture { message: error.to_string() })?;
        let mut limits = Limits::default();
        limits.max_alloc = Some(max_pixels.saturating_mul(16).saturating_add(1 << 20));
        reader.limits(limits);
        Ok::<_, VideoError>(reader)
    };
    let bad = |error: image::ImageError| VideoError::NotAPicture { message: error.to_string() };
    let (width, height) = reader()?.into_dimensions().map_err(bad)?;
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(VideoError::TooLarge { width, height, limit: max_pixels });
    }
    let rgb = reader()?.decode().map_err(bad)?.into_rgb8();
    Ok(Picture { width: rgb.width(), height: rgb.height(), rgb: rgb.into_raw().into() })
}
