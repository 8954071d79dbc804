//! Resolves the URL of an image or video to its bytes. Nothing is fetched: only `data:` URLs and videos of
//! the library are accepted.

use super::super::error::{Failure, shown};
use super::body::{MediaByMarker, SpooledMedia};
use crate::media::Source;

/// Maximum size of an image in bytes.
const MAX_IMAGE: u64 = 64 << 20;

/// Where a video's bytes are.
#[derive(Debug)]
pub(super) enum VideoReference {
    /// Embedded in the request.
    Scratch(Source),
    /// The library's video with this id.
    Library(String),
}

/// Resolves the URL of a video.
pub(super) fn video(url: &str, media: &mut MediaByMarker) -> Result<VideoReference, Failure> {
    if let Some(id) = url.strip_prefix("homereel:") {
        return Ok(VideoReference::Library(id.to_owned()));
    }
    let media = media.take(url).ok_or_else(|| refusal("video_url", url))?;
    if media.mime.eq_ignore_ascii_case("video/jpeg") {
        return Err(Failure::invalid(
            "video_url",
            "lists of frames (video/jpeg) are not supported; send the clip itself",
        ));
    }
    Ok(VideoReference::Scratch(source("video_url", "video/", media)?))
}

/// Resolves the URL of an image.
pub(super) fn image(url: &str, media: &mut MediaByMarker) -> Result<Source, Failure> {
    let media = media.take(url).ok_or_else(|| refusal("image_url", url))?;
    if media.size > MAX_IMAGE {
        return Err(Failure::invalid("image_url", format!("the image is larger than {MAX_IMAGE} bytes")));
    }
    source("image_url", "image/", media)
}

/// Checks a `data:` URL. Generic media types are accepted.
fn source(param: &'static str, prefix: &str, media: SpooledMedia) -> Result<Source, Failure> {
    let mime = media.mime.as_str();
    let fits = mime.is_empty()
        || mime.eq_ignore_ascii_case("application/octet-stream")
        || mime.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    match media.fault {
        Some(fault) => Err(Failure::invalid(param, fault)),
        None if !fits => Err(Failure::invalid(
            param,
            format!("the data: URL has the media type {}; {prefix}* would fit", shown(mime)),
        )),
        None => Ok(Source::scratch(media.path, Some(media.sha256))),
    }
}

/// Explains why a URL other than `data:` is refused.
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
            let failure = video(url, &mut MediaByMarker::default()).map(|_| ()).unwrap_err();
            assert!(failure.message.contains(word), "{url}: {}", failure.message);
            assert_eq!(failure.param.as_deref(), Some("video_url"));
        }
    }
}
