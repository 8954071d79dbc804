//! Tells pictures from videos by their first bytes. Declared media types do not matter.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use homereel_video::VideoError;
use tokio_util::sync::CancellationToken;

use super::{MAX_PICTURE_PIXELS, MediaDecoder, Source};
use crate::ask_error::AskError;

/// Maximum size of a picture in bytes.
pub(crate) const MAX_PICTURE: u64 = 64 << 20;

/// Returns whether a file begins like a picture; `animated` says whether a GIF is one.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn is_picture(file: &File, animated: bool) -> io::Result<bool> {
    let mut head = [0; 64];
    let read = file.read_at(&mut head, 0)?;
    Ok(match image::guess_format(&head[..read]) {
        Ok(image::ImageFormat::Gif) => animated,
        Ok(_) => true,
        Err(_) => false,
    })
}

impl MediaDecoder {
    /// Checks that a file of `size` bytes is a picture or a video.
    ///
    /// # Errors
    /// `Video` when it is neither; see [`AskError`].
    pub async fn check(
        &self,
        source: &Source,
        size: u64,
        cancel: &CancellationToken,
    ) -> Result<(), AskError> {
        if !is_picture(&source.open()?, false)? {
            return self.probe(source, cancel).await.map(|_| ());
        }
        if size > MAX_PICTURE {
            let message = format!("the picture is larger than {MAX_PICTURE} bytes");
            return Err(VideoError::NotAPicture { message }.into());
        }
        homereel_video::open_picture(&self.worker, source.open()?, MAX_PICTURE_PIXELS, cancel).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_tells_a_picture_from_a_video() {
        let is = |head: &[u8], animated| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), head).unwrap();
            is_picture(&File::open(file.path()).unwrap(), animated).unwrap()
        };
        assert!(is(b"\x89PNG\r\n\x1a\n....", false) && is(b"\xff\xd8\xff\xe0....", false));
        assert!(is(b"GIF89a....", true) && !is(b"GIF89a....", false));
        assert!(!is(b"\0\0\0\x18ftypmp42....", true) && !is(b"\x1a\x45\xdf\xa3....", true) && !is(b"", true));
    }
}
