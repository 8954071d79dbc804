//! Resolves where a part's media are to files. Nothing is fetched: only what the request embeds and videos of the library
//! are accepted. Declared media types do not matter; the content tells a picture from a video.

use std::io::Read as _;

use super::super::error::{Failure, shown};
use super::body::{MAX_FRAMES, MediaByMarker, SpooledFile};
use super::wire::Media;
use crate::media::Source;

/// Maximum size of a picture in bytes.
const MAX_PICTURE: u64 = 64 << 20;

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
    /// The library's video with this id.
    Library(String),
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
    if let Some(id) = url.trim_ascii().strip_prefix("homereel:") {
        return Ok(Found::Library(id.to_owned()));
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
    let is_picture = match wanted {
        Wanted::Video => false,
        Wanted::Picture => is_picture(&file.source, true)?,
        // An animation in a file part is a video.
        Wanted::Any => is_picture(&file.source, false)?,
    };
    if !is_picture && wanted != Wanted::Video {
        let what = file.source.open().ok().and_then(|file| homereel_video::not_a_video(&file));
        if let Some(what) = what {
            return Err(Failure::invalid(param, format!("neither a picture nor a video: {what}")));
        }
    }
    match is_picture {
        true => Ok(Found::Picture(picture(param, file)?)),
        false => Ok(Found::Video(file.source)),
    }
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
        [file] => Ok(!is_picture(&file.source, true)?),
        _ => Ok(false),
    }
}

/// Returns whether a file begins like a picture; `animated` says whether a GIF is one.
fn is_picture(source: &Source, animated: bool) -> Result<bool, Failure> {
    let mut head = Vec::new();
    source
        .open()
        .and_then(|file| Ok(file.take(64).read_to_end(&mut head)?))
        .map_err(|error| Failure::internal(format!("failed to read a file of a request: {error}")))?;
    Ok(match image::guess_format(&head) {
        Ok(image::ImageFormat::Gif) => animated,
        Ok(_) => true,
        Err(_) => false,
    })
}

/// Explains why a URL that is neither embedded nor of the library is refused.
fn refusal(param: &'static str, url: &str) -> Failure {
    let message = match url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase()) {
        Some(scheme) if matches!(scheme.as_str(), "http" | "https") => format!(
            "{scheme} URLs are not fetched: no host is allowed; upload to /api/videos and send homereel:ID, or data:"
        ),
        Some(scheme) if scheme == "file" => {
            "file URLs are not opened; upload to /api/videos and send homereel:ID, or data:".into()
        }
        _ => format!("{} is not a supported URL; data: or homereel:ID would fit", shown(url)),
    };
    Failure { code: "unsupported_url", ..Failure::invalid(param, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_data_url_is_refused_by_name() {
        for (url, word) in [
            ("http://10.0.0.1/x.mp4", "http URLs"),
            ("file:///etc/passwd", "file URLs"),
            ("gopher://x", "gopher"),
            ("clip.mp4", "clip.mp4"),
        ] {
            let found = resolve("video_url", url, Wanted::Video, &mut MediaByMarker::default());
            let failure = found.map(|_| ()).unwrap_err();
            assert!(failure.message.contains(word), "{url}: {}", failure.message);
            assert_eq!(failure.param.as_deref(), Some("video_url"));
        }
    }

    #[test]
    fn the_content_tells_a_picture_from_a_video() {
        let is = |head: &[u8], animated| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), head).unwrap();
            is_picture(&Source::file(file.path().to_owned(), None), animated).unwrap()
        };
        assert!(is(b"\x89PNG\r\n\x1a\n....", false) && is(b"\xff\xd8\xff\xe0....", false));
        assert!(is(b"GIF89a....", true) && !is(b"GIF89a....", false));
        assert!(!is(b"\0\0\0\x18ftypmp42....", true) && !is(b"\x1a\x45\xdf\xa3....", true) && !is(b"", true));
    }
}
