//! Tells pictures from videos by their first bytes, and checks that they can be decoded. Declared media types do not matter.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use homereel_video::{DecodeRequest, Plan, Probe, VideoError};
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

/// Width and height of the frame that is decoded as a check.
const SAMPLE_SIDE: u32 = 32;

impl MediaDecoder {
    /// Probes a video and decodes one frame: headers can be right where no picture can be decoded.
    ///
    /// # Errors
    /// `Video` when it is not a video or cannot be decoded; see [`AskError`].
    pub async fn check_video(
        &self,
        source: &Source,
        cancel: &CancellationToken,
    ) -> Result<Arc<Probe>, AskError> {
        let (probe, opened) = self.open(source, cancel).await?;
        let plan = Plan { indices: vec![0], times: vec![0.0] };
        let request = DecodeRequest::new(&probe, &plan, SAMPLE_SIDE, SAMPLE_SIDE);
        let mut frames = match opened {
            Some(opened) => opened.decode(request).await?,
            None => homereel_video::decode(&self.worker, source.open()?, request, cancel).await?,
        };
        frames.next().await?;
        Ok(probe)
    }

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
            return self.check_video(source, cancel).await.map(|_| ());
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
