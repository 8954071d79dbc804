//! Resolves what a part embeds to files, and recognizes what it refers to. Declared media types do not matter; the content
//! tells a picture from a video.

use std::fs::File;

use super::super::error::Failure;
use super::body::{MAX_FRAMES, MediaByMarker, SpooledFile};
use super::references::{Reference, refusal};
use super::wire::Media;
use crate::media::{MAX_PICTURE, Source, is_picture};

/// What a part announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A picture. Clients that only know pictures send videos in the same way.
    Picture,
    /// A video.
    Video,
    /// A file.
    Any,
}

/// What a part has.
#[derive(Debug)]
pub(super) enum Found {
    /// A picture.
    Picture(Source),
    /// A video.
    Video(Source),
    /// Something that the request does not embed.
    Elsewhere(Reference),
    /// The frames of a video, each a picture.
    Frames(Vec<Source>),
}

/// Resolves a URL in the field `param`.
pub(super) fn resolve(
    param: &'static str,
    url: &str,
    wanted: Wanted,
    media: &mut MediaByMarker,
) -> Result<Found, Failure> {
    if let Some(reference) = Reference::of(url) {
        return Ok(Found::Elsewhere(reference));
    }
    let media = media.take(url).ok_or_else(|| refusal(param, url))?;
    if let Some(fault) = media.fault {
        return Err(Failure::invalid(param, fault));
    }
    // A clip that is declared as a list of frames is still a clip.
    if media.is_frame_list && !is_one_clip(&media.files)? {
        let frames = media.files.into_iter().map(|file| picture(param, file));
        return Ok(Found::Frames(frames.collect::<Result<_, _>>()?));
    }
    let empty = || Failure::invalid(param, "the data: URL is empty");
    let file = media.files.into_iter().next().ok_or_else(empty)?;
    let is_picture = is_picture_for(&opened(&file)?, file.size, wanted)
        .map_err(|failure| Failure { param: failure.param.and(Some(param.to_owned())), ..failure })?;
    Ok(if is_picture { Found::Picture(file.source) } else { Found::Video(file.source) })
}

/// Returns whether the content of a part is a picture rather than a video.
///
/// # Errors
/// When it is certainly neither, or too large a picture.
pub(super) fn is_picture_for(file: &File, size: u64, wanted: Wanted) -> Result<bool, Failure> {
    let begins_like_picture = match wanted {
        Wanted::Video => return Ok(false),
        Wanted::Picture => begins_like_picture(file, true)?,
        // An animation in a file part is a video.
        Wanted::Any => begins_like_picture(file, false)?,
    };
    if !begins_like_picture {
        return match homereel_video::not_a_video(file) {
            Some(what) => Err(Failure::invalid("", format!("neither a picture nor a video: {what}"))),
            None => Ok(false),
        };
    }
    if size > MAX_PICTURE {
        return Err(Failure::invalid("", format!("the picture is larger than {MAX_PICTURE} bytes")));
    }
    Ok(true)
}

/// Resolves a list of frames.
pub(super) fn frames(
    param: &'static str,
    frames: &[Media<'_>],
    media: &mut MediaByMarker,
) -> Result<Vec<Source>, Failure> {
    if frames.is_empty() || frames.len() > MAX_FRAMES {
        let message = format!("the list has {} frames; 1 to {MAX_FRAMES} would fit", frames.len());
        return Err(Failure::invalid(param, message));
    }
    let frame = |frame: &Media<'_>| {
        let (Media::One(url) | Media::Detailed(url, _)) = frame else {
            return Err(Failure::invalid(param, "a frame of the list is a list; a data: URL would fit"));
        };
        match resolve(param, url, Wanted::Picture, media)? {
            Found::Picture(source) => Ok(source),
            Found::Elsewhere(_) => {
                let message = "a frame of the list is a reference; only embedded frames (data:) would fit";
                Err(Failure::invalid(param, message))
            }
            _ => Err(Failure::invalid(param, "a frame of the list is not a picture")),
        }
    };
    frames.iter().map(frame).collect()
}

fn picture(param: &'static str, file: SpooledFile) -> Result<Source, Failure> {
    if file.size > MAX_PICTURE {
        return Err(Failure::invalid(param, format!("the picture is larger than {MAX_PICTURE} bytes")));
    }
    Ok(file.source)
}

fn is_one_clip(files: &[SpooledFile]) -> Result<bool, Failure> {
    match files {
        [file] => Ok(!begins_like_picture(&opened(file)?, true)?),
        _ => Ok(false),
    }
}

fn begins_like_picture(file: &File, animated: bool) -> Result<bool, Failure> {
    is_picture(file, animated).map_err(unreadable)
}

fn opened(file: &SpooledFile) -> Result<File, Failure> {
    Ok(file.source.open()?)
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::internal(format!("failed to read a file of a request: {error}"))
}
