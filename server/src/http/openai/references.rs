//! Turns media that a part names instead of embedding them (videos of the library, uploaded files, URLs) into sources.

use std::{fs::File, path::PathBuf};

use homereel_library::Library;

use super::{
    files::PREFIX,
    media_url::{Wanted, is_picture_for},
};
use crate::{
    fetch::Fetcher,
    http::error::{Failure, shown},
    media::Source,
};

/// Where media are that a part does not contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// The library's video with this id.
    Library(String),
    /// The uploaded file with this id, without its prefix.
    File(String),
    /// What is at this URL.
    Url(String),
}

impl Reference {
    /// Returns what `text` refers to. `None` means that it is no reference.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let own = text.strip_prefix("homereel:");
        if let Some(id) = own.unwrap_or(text).strip_prefix(PREFIX) {
            return Some(Self::File(id.to_owned()));
        }
        if let Some(id) = own {
            return Some(Self::Library(id.to_owned()));
        }
        let (scheme, _) = text.split_once(':')?;
        let is_url = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        is_url.then(|| Self::Url(text.to_owned()))
    }
}

/// A picture or a video.
#[derive(Debug)]
pub(super) enum Resolved {
    Picture(Source),
    Video(Source),
}

/// Resolves the references of one request.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    pub(super) library: &'a Library,
    pub(super) fetcher: &'a Fetcher,
    /// Whose files may be named.
    pub(super) owner: Option<String>,
    /// Bytes that the request may still fetch.
    pub(super) bytes_left: u64,
}

impl Resolver<'_> {
    /// Returns the source that a reference stands for.
    pub(super) async fn resolve(
        &mut self,
        reference: Reference,
        wanted: Wanted,
    ) -> Result<Resolved, Failure> {
        match reference {
            Reference::Library(id) => {
                let video = self.library.video(&id).await?;
                let path = self.library.original_path(&video.sha256);
                Ok(Resolved::Video(Source::file(path, Some(video.sha256))))
            }
            Reference::File(id) => {
                let (_, content) = self.library.open_file(&id, self.owner.as_deref()).await?;
                let (path, sha256, size) = (content.path().to_owned(), content.sha256.clone(), content.size);
                let is_picture = sniff(path.clone(), size, wanted).await?;
                Ok(resolved(is_picture, Source::owned(path, sha256, true, content)))
            }
            Reference::Url(url) => {
                let content = self.fetcher.fetch(&url, self.library, self.bytes_left).await?;
                self.bytes_left = self.bytes_left.saturating_sub(content.size);
                let (path, sha256, size) = (content.path().to_owned(), content.sha256.clone(), content.size);
                let is_picture = sniff(path.clone(), size, wanted).await?;
                Ok(resolved(is_picture, Source::owned(path, sha256, false, content)))
            }
        }
    }
}

async fn sniff(path: PathBuf, size: u64, wanted: Wanted) -> Result<bool, Failure> {
    let work = move || is_picture_for(&File::open(path).map_err(Failure::internal)?, size, wanted);
    tokio::task::spawn_blocking(work).await.map_err(Failure::internal)?
}

fn resolved(is_picture: bool, source: Source) -> Resolved {
    if is_picture { Resolved::Picture(source) } else { Resolved::Video(source) }
}

/// Explains why a URL that is neither embedded nor a reference is refused.
pub(super) fn refusal(param: &'static str, url: &str) -> Failure {
    let is_file = url.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("file"));
    let message = if is_file {
        "file URLs are not opened; upload to /v1/files and send file_id, or data:".into()
    } else {
        format!("{} is not a supported URL; data:, homereel:ID or the id of a file would fit", shown(url))
    };
    Failure { code: "unsupported_url", ..Failure::invalid(param, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_apart() {
        for (text, reference) in [
            ("homereel:0123", Some(Reference::Library("0123".into()))),
            (" homereel:file-0123 ", Some(Reference::File("0123".into()))),
            ("file-0123", Some(Reference::File("0123".into()))),
            ("HTTPS://a.example/x", Some(Reference::Url("HTTPS://a.example/x".into()))),
            ("file:///etc/passwd", None),
            ("data:;base64,", None),
            ("0123", None),
        ] {
            assert_eq!(Reference::of(text), reference, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_by_name() {
        for (url, word) in
            [("file:///etc/passwd", "file URLs"), ("gopher://x", "gopher"), ("clip.mp4", "clip.mp4")]
        {
            let failure = refusal("video_url", url);
            assert!(failure.message.contains(word), "{url}: {}", failure.message);
            assert_eq!((failure.param.as_deref(), failure.code), (Some("video_url"), "unsupported_url"));
        }
    }
}
