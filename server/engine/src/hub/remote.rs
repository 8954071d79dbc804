//! Requests to the hub or a mirror. Their answers are untrusted: what becomes a file name in the cache is checked first.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use super::download::{Meter, Trouble};

const HUB: &str = "https://huggingface.co";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of redirects.
const REDIRECTS: usize = 10;
/// Bytes per request; an interruption loses less than this.
const CHUNK: u64 = 10_000_000;
/// Maximum size of a repository's list of files.
const MAX_INFO: usize = 16 << 20;
/// Maximum sizes of a text file and of a file of weights.
const MAX_TEXT: u64 = 64 << 20;
const MAX_WEIGHTS: u64 = 1 << 40;

/// The hub, or a mirror of it.
pub(super) struct Remote {
    endpoint: String,
    client: Client,
    /// Stops at a redirect to another host: the hub's own answer names the file, the other host has its bytes.
    own_answers: Client,
}

/// The files of a repository at a revision.
#[derive(Deserialize)]
pub(super) struct RepoInfo {
    /// Commit hash.
    pub(super) sha: String,
    pub(super) siblings: Vec<RepoFile>,
}

#[derive(Deserialize)]
pub(super) struct RepoFile {
    pub(super) rfilename: String,
}

/// A file of a repository at one commit.
pub(super) struct RemoteFile {
    url: String,
    /// Name of the content, safe as a file name: its SHA-256, or a git hash for small files.
    pub(super) etag: String,
    pub(super) size: u64,
}

impl Remote {
    pub(super) fn new(endpoint: Option<&str>, token: Option<&str>) -> Result<Self, Trouble> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Trouble::Refused("the token has characters that no header can hold".into()))?;
            // reqwest removes it when a redirect leads to another host.
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = |policy| {
            Client::builder()
                .user_agent(concat!("homereel/", env!("CARGO_PKG_VERSION")))
                .default_headers(headers.clone())
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(policy)
                .build()
                .map_err(|error| Trouble::Refused(format!("the hub client can't start: {error}")))
        };
        let same_host = Policy::custom(|attempt| {
            let here = attempt.previous().last().map(|url| url.origin());
            if attempt.previous().len() > REDIRECTS {
                attempt.error("too many redirects")
            } else if here == Some(attempt.url().origin()) {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        Ok(Self {
            endpoint: endpoint.unwrap_or(HUB).trim_end_matches('/').to_owned(),
            client: client(Policy::limited(REDIRECTS))?,
            own_answers: client(same_host)?,
        })
    }

    /// Returns the files of a repository.
    pub(super) async fn info(&self, id: &str, revision: &str) -> Result<RepoInfo, Trouble> {
        let url = format!("{}/api/models/{id}/revision/{}", self.endpoint, revision.replace('/', "%2F"));
        let mut response = self.client.get(url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await? {
            if body.len() + bytes.len() > MAX_INFO {
                return Err(Trouble::Refused(format!("the list of files has more than {MAX_INFO} bytes")));
            }
            body.extend_from_slice(&bytes);
        }
        serde_json::from_slice(&body)
            .map_err(|error| Trouble::Refused(format!("the list of files can't be read: {error}")))
    }

    /// Returns the name and size of a file's content.
    pub(super) async fn file(&self, id: &str, commit: &str, name: &str) -> Result<RemoteFile, Trouble> {
        let url = format!("{}/{id}/resolve/{commit}/{name}", self.endpoint);
        let first_byte = |client: &Client| client.get(&url).header(RANGE, "bytes=0-0");
        let own = first_byte(&self.own_answers).send().await?.error_for_status()?;
        let header = |header: &str| own.headers().get(header).and_then(|value| value.to_str().ok());
        let refused = |message: String| Trouble::Refused(format!("{name}: {message}"));
        if let Some(other) = header("x-repo-commit").filter(|other| *other != commit) {
            return Err(refused(format!("the hub answers for commit {other:?}; {commit} would fit")));
        }
        let etag = header("x-linked-etag").or_else(|| header("etag")).unwrap_or_default();
        let etag = blob_name(etag).ok_or_else(|| {
            refused(format!("its ETag is {etag:?}; 1 to 128 letters, digits, - and _ would fit"))
        })?;
        let size = if own.status().is_redirection() {
            range(&first_byte(&self.client).send().await?.error_for_status()?)
        } else {
            range(&own)
        };
        let Some((_, size)) = size else { return Err(refused("the hub does not report its size".into())) };
        let limit = if name.ends_with(".safetensors") { MAX_WEIGHTS } else { MAX_TEXT };
        if size > limit {
            return Err(refused(format!("it has {size} bytes; at most {limit} would fit")));
        }
        Ok(RemoteFile { url, etag, size })
    }

    /// Downloads what is missing of a file to the end of `part`, which one process at a time may do.
    pub(super) async fn download(
        &self,
        file: &RemoteFile,
        part: &Path,
        meter: &Meter,
    ) -> Result<(), Trouble> {
        let mut out = std::fs::OpenOptions::new().append(true).create(true).open(part)?;
        out.try_lock().map_err(|_| Trouble::Unreachable("another process is downloading it".into()))?;
        let mut have = out.metadata()?.len();
        if have > file.size {
            out.set_len(0)?;
            have = 0;
        }
        meter.begin(have, file.size);
        while have < file.size {
            let end = file.size.min(have + CHUNK);
            let asked = format!("bytes={have}-{}", end - 1);
            let mut response =
                self.client.get(&file.url).header(RANGE, asked).send().await?.error_for_status()?;
            if range(&response).map(|(from, _)| from) != Some(have) {
                return Err(Trouble::Refused(
                    "the hub sends another part of the file than was asked for".into(),
                ));
            }
            let before = have;
            while let Some(bytes) = response.chunk().await? {
                have += bytes.len() as u64;
                if have > end {
                    return Err(Trouble::Refused("the hub sends more bytes than were asked for".into()));
                }
                out.write_all(&bytes)?;
                meter.advance(bytes.len() as u64);
            }
            if have == before {
                return Err(Trouble::Unreachable("an empty answer".into()));
            }
        }
        out.sync_all()?;
        meter.finish();
        Ok(())
    }
}

/// Returns the first byte's position and the file's size of a partial response.
fn range(response: &Response) -> Option<(u64, u64)> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (bytes, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((bytes.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

/// Returns the name of a content as a file name, without quotes, if it is safe as one.
fn blob_name(etag: &str) -> Option<String> {
    let name = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    ((1..=128).contains(&name.len()) && name.bytes().all(allowed)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::blob_name;

    #[test]
    fn only_plain_names_become_file_names() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        for etag in [hash.to_owned(), format!("\"{hash}\""), format!("W/\"{hash}\"")] {
            assert_eq!(blob_name(&etag).as_deref(), Some(hash));
        }
        let long = "a".repeat(129);
        for bad in ["", "\"\"", "../../x", "a/b", "..", ".", "a.lock", "a b", "ä", "a\"b", &long] {
            assert_eq!(blob_name(bad), None, "{bad:?}");
        }
    }
}
