//! Decodes still pictures of requests (PNG, JPEG, WebP, GIF, BMP) to RGB8, within limits.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

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

/// Decodes a picture of at most `max_pixels` pixels as transformers' `load_image` does: turned upright by its
/// EXIF orientation, alpha dropped. Of an animation the first frame is taken.
///
/// # Errors
/// `NotAPicture` when the bytes are no picture, `TooLarge` when it has too many pixels.
pub fn picture(bytes: &[u8], max_pixels: u64) -> Result<Picture, VideoError> {
    let bad = |message: String| VideoError::NotAPicture { message };
    let refused = |error: image::ImageError| bad(error.to_string());
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| bad(error.to_string()))?;
    if reader.format().is_none() {
        return Err(bad("the bytes are no PNG, JPEG, WebP, GIF or BMP".into()));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_pixels.saturating_mul(16).saturating_add(1 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(VideoError::TooLarge { width, height, limit: max_pixels });
    }
    let orientation = decoder.orientation().map_err(refused)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    image.apply_orientation(orientation);
    let rgb = image.into_rgb8();
    Ok(Picture { width: rgb.width(), height: rgb.height(), rgb: rgb.into_raw().into() })
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    /// 4 × 2 pixels, the left half red, the right half blue, half transparent.
    fn drawn(format: ImageFormat) -> Vec<u8> {
        let image =
            RgbaImage::from_fn(
                4,
                2,
                |x, _| if x < 2 { Rgba([255, 0, 0, 128]) } else { Rgba([0, 0, 255, 128]) },
            );
        let mut bytes = Cursor::new(Vec::new());
        match format {
            ImageFormat::Jpeg => DynamicImage::from(image).into_rgb8().write_to(&mut bytes, format).unwrap(),
            _ => image.write_to(&mut bytes, format).unwrap(),
        }
        bytes.into_inner()
    }

    #[test]
    fn alpha_is_dropped() {
        let picture = picture(&drawn(ImageFormat::Png), 8).unwrap();
        assert_eq!((picture.width, picture.height), (4, 2));
        assert_eq!(picture.rgb[..12], [255, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0, 255]);
    }

    #[test]
    fn phone_pictures_are_turned_upright() {
        let jpeg = drawn(ImageFormat::Jpeg);
        // EXIF with the one entry "orientation = 6": to be turned 90 degrees clockwise.
        let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
        let picture = picture(&turned, 8).unwrap();
        assert_eq!((picture.width, picture.height), (2, 4));
        assert!(picture.rgb[0] > 150 && picture.rgb[2] < 100, "red on top: {:?}", &picture.rgb[..3]);
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused() {
        assert_eq!(
            picture(b"no picture", 8).unwrap_err().to_string(),
            "not a picture: the bytes are no PNG, JPEG, WebP, GIF or BMP"
        );
        let png = drawn(ImageFormat::Png);
        assert_eq!(picture(&png, 7), Err(VideoError::TooLarge { width: 4, height: 2, limit: 7 }));
        assert!(matches!(picture(&png[..png.len() / 2], 8), Err(VideoError::NotAPicture { .. })));
    }
}
