//! Resolves the URL of an image or video to its bytes. Nothing is fetched: only `data:` URLs and videos of
//! the library are accepted.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use axum::http::StatusCode;
use base64::{engine::general_purpose::STANDARD, read::DecoderReader};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::super::error::{Failure, shown};
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
pub(super) fn video(url: &str, scratch: &Path) -> Result<VideoReference, Failure> {
    if let Some(id) = url.strip_prefix("homereel:") {
        return Ok(VideoReference::Library(id.to_owned()));
    }
    let data = data("video_url", url)?;
    if data.mime.eq_ignore_ascii_case("video/jpeg") {
        return Err(Failure::invalid(
            "video_url",
            "lists of frames (video/jpeg) are not supported; send the clip itself",
        ));
    }
    if !kind_fits(data.mime, "video/") {
        return Err(Failure::invalid(
            "video_url",
            format!("the data: URL has the media type {}; video/* would fit", shown(data.mime)),
        ));
    }
    let mut file = tempfile::NamedTempFile::new_in(scratch).map_err(disk)?;
    let sha256 = copy(data, file.as_file_mut())?;
    Ok(VideoReference::Scratch(Source::scratch(file.into_temp_path(), Some(sha256))))
}

/// Resolves the URL of an image.
pub(super) fn image(url: &str) -> Result<Bytes, Failure> {
    let data = data("image_url", url)?;
    if !kind_fits(data.mime, "image/") {
        return Err(Failure::invalid(
            "image_url",
            format!("the data: URL has the media type {}; image/* would fit", shown(data.mime)),
        ));
    }
    let mut bytes = Vec::new();
    let read = data.reader()?.take(MAX_IMAGE + 1).read_to_end(&mut bytes);
    read.map_err(|error| not_base64("image_url", &error))?;
    if bytes.len() as u64 > MAX_IMAGE {
        return Err(Failure::invalid("image_url", format!("the image is larger than {MAX_IMAGE} bytes")));
    }
    if bytes.is_empty() {
        return Err(Failure::invalid("image_url", "the data: URL is empty"));
    }
    Ok(bytes.into())
}

/// Generic media types are accepted.
fn kind_fits(mime: &str, prefix: &str) -> bool {
    mime.is_empty()
        || mime.eq_ignore_ascii_case("application/octet-stream")
        || mime.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

struct DataUrl<'a> {
    param: &'static str,
    mime: &'a str,
    base64: bool,
    payload: &'a str,
}

fn data<'a>(param: &'static str, url: &'a str) -> Result<DataUrl<'a>, Failure> {
    let Some(rest) = strip_scheme(url, "data:") else {
        return Err(refusal(param, url));
    };
    let Some((head, payload)) = rest.split_once(',') else {
        return Err(Failure::invalid(param, "the data: URL has no comma between its type and its data"));
    };
    let (head, base64) = match head.strip_suffix(";base64") {
        Some(head) => (head, true),
        None => (head, false),
    };
    let mime = head.split(';').next().unwrap_or_default();
    Ok(DataUrl { param, mime, base64, payload })
}

fn strip_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    url.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| &url[scheme.len()..])
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

impl<'a> DataUrl<'a> {
    fn reader(&self) -> Result<Box<dyn Read + 'a>, Failure> {
        if self.base64 {
            // Some clients percent-encode the + and / of base64.
            if self.payload.as_bytes().iter().take(1 << 16).any(|&byte| byte == b'%') {
                return Err(Failure::invalid(
                    self.param,
                    "the data: URL's base64 is percent-encoded; send it without percent-encoding",
                ));
            }
            return Ok(Box::new(DecoderReader::new(self.payload.as_bytes(), &STANDARD)));
        }
        let bytes: Cow<'a, [u8]> = percent_decode_str(self.payload).into();
        Ok(Box::new(io::Cursor::new(bytes)))
    }
}

/// Decodes into `file` and returns the hash of the content.
fn copy(data: DataUrl<'_>, file: &mut File) -> Result<String, Failure> {
    let mut reader = data.reader()?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let read = reader.read(&mut chunk).map_err(|error| not_base64(data.param, &error))?;
        if read == 0 {
            break;
        }
        size += read;
        hash.update(&chunk[..read]);
        file.write_all(&chunk[..read]).map_err(disk)?;
    }
    if size == 0 {
        return Err(Failure::invalid(data.param, "the data: URL is empty"));
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn not_base64(param: &'static str, error: &io::Error) -> Failure {
    Failure::invalid(param, format!("the data: URL is not valid base64: {error}").to_lowercase())
}

fn disk(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::StorageFull {
        return Failure::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "no_space",
            "the disk is full: no space for the clip",
        );
    }
    Failure::internal(error)
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
            ("data:video/mp4;base64", "comma"),
            ("data:text/html;base64,aGk=", "text/html"),
            ("data:video/mp4;base64,", "empty"),
            ("data:video/mp4;base64,!!!!", "base64"),
        ] {
            let failure = video(url, &std::env::temp_dir()).map(|_| ()).unwrap_err();
            assert!(failure.message.contains(word), "{url}: {}", failure.message);
            assert_eq!(failure.param.as_deref(), Some("video_url"));
        }
    }

    #[test]
    fn plain_and_base64_data_give_the_same_bytes() {
        assert_eq!(image("data:image/png;base64,aGk=").unwrap(), "hi");
        assert_eq!(image("data:image/png,h%69").unwrap(), "hi");
        assert_eq!(image("DATA:;base64,aGk=").unwrap(), "hi");
    }

    #[test]
    fn a_clip_knows_its_hash() {
        let Ok(VideoReference::Scratch(source)) = video("data:video/mp4;base64,aGk=", &std::env::temp_dir())
        else {
            panic!("no temporary file");
        };
        assert_eq!(source.sha256(), Some("8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"));
    }
}
