//! Still pictures of requests, decoded in a worker: first their size is reported, then they are resized.

use std::{fs::File, os::unix::fs::FileExt as _};

use tokio_util::sync::CancellationToken;

use crate::{
    Picture, VideoError, Worker,
    client::{MAX_SIDE, unexpected},
    picture::picture,
    session::Session,
    wire::{Reply, WorkerTask},
};

/// Maximum size of a picture's file in bytes.
const MAX_FILE: usize = 64 << 20;

/// A decoded picture, which its worker still has. Dropping it kills the worker.
#[derive(Debug)]
pub struct OpenedPicture {
    session: Session,
    width: u32,
    height: u32,
}

/// Decodes the picture in `file`, of at most `max_pixels` pixels, in a worker: see [`crate::picture`].
///
/// # Errors
/// `NotAPicture`, `TooLarge`, and those of every worker.
pub async fn open_picture(
    worker: &Worker,
    file: File,
    max_pixels: u64,
    cancel: &CancellationToken,
) -> Result<OpenedPicture, VideoError> {
    let mut session = Session::start(worker.pool(), file, WorkerTask::Picture { max_pixels }, cancel).await?;
    match session.reply(0).await? {
        (Reply::Picture { width, height }, _)
            if width > 0 && height > 0 && u64::from(width) * u64::from(height) <= max_pixels =>
        {
            Ok(OpenedPicture { session, width, height })
        }
        _ => Err(unexpected("something else than a picture")),
    }
}

impl OpenedPicture {
    /// Width in pixels, upright.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, upright.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the picture at `width` × `height`: see [`crate::resize`].
    ///
    /// # Errors
    /// `BadRequest` when a side is 0 or too long, and those of every worker.
    pub async fn resize(mut self, width: u32, height: u32) -> Result<Picture, VideoError> {
        if width == 0 || height == 0 || width.max(height) > MAX_SIDE {
            let message = format!("a picture of {width}x{height} was asked for; 1 to {MAX_SIDE} would fit");
            return Err(VideoError::BadRequest { message });
        }
        self.session.go_on(WorkerTask::Resize { width, height }).await?;
        let bytes = width as usize * height as usize * 3;
        match self.session.reply(bytes).await? {
            (Reply::Pixels, rgb) if rgb.len() == bytes => Ok(Picture { width, height, rgb }),
            _ => Err(unexpected("something else than a picture")),
        }
    }
}

/// Decodes a picture in the worker.
pub(crate) fn decode(file: &File, max_pixels: u64) -> Result<Picture, VideoError> {
    picture(&read(file)?, max_pixels)
}

/// Reads the whole file, without asking for its size: the sandbox does not allow that.
fn read(file: &File) -> Result<Vec<u8>, VideoError> {
    let failed = |error: std::io::Error| VideoError::NotAPicture { message: error.to_string() };
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = file.read_at(&mut chunk, bytes.len() as u64).map_err(failed)?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk[..read]);
        if bytes.len() > MAX_FILE {
            return Err(VideoError::NotAPicture {
                message: format!("the file is larger than {MAX_FILE} bytes"),
            });
        }
    }
}
