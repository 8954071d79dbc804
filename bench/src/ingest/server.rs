//! Requests to a Homereel server: uploads, lists of videos and jobs, metrics.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Client, RequestBuilder, header};
use serde_json::Value;

use super::metrics::{self, Metrics};
use crate::serve::dataset::mime;

/// Timeout of a request other than an upload.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of one upload.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3600);

/// Longest error message in characters; the rest is cut off.
const MAX_ERROR: usize = 400;

/// The server under test.
#[derive(Debug, Clone)]
pub struct Server {
    client: Client,
    base: String,
    key: Option<String>,
}

/// A received clip.
#[derive(Debug, Clone)]
pub(super) struct Uploaded {
    /// Id of the video.
    pub(super) id: String,
    /// The library had the same file already, so that nothing is done for it.
    pub(super) duplicate: bool,
}

impl Server {
    /// Connects to the server at `base` (with or without `/v1`).
    ///
    /// # Errors
    /// When the server is unreachable, rejects the key, or is not Homereel.
    pub async fn connect(base: &str, key: Option<String>) -> anyhow::Result<Self> {
        let client = Client::builder().connect_timeout(Duration::from_secs(10)).tcp_nodelay(true).build()?;
        let base = base.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        let server = Self { client, base, key };
        let list = server.json("/api/videos?limit=1").await?;
        ensure!(list["videos"].is_array(), "{}/api/videos lists no videos: is it Homereel?", server.base);
        Ok(server)
    }

    /// Returns the server's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Requests `path` and parses the JSON.
    pub(super) async fn json(&self, path: &str) -> anyhow::Result<Value> {
        let text = self.send(self.client.get(self.url(path)).timeout(TIMEOUT), path).await?;
        serde_json::from_str(&text)
            .with_context(|| format!("{}{path} did not return JSON: is it Homereel?", self.base))
    }

    /// Reads the metrics. `None` means that they are not available.
    pub(super) async fn metrics(&self) -> Option<Metrics> {
        let request = self.client.get(self.url("/metrics")).timeout(TIMEOUT);
        Some(metrics::parse(&self.send(request, "/metrics").await.ok()?))
    }

    /// Uploads `clip`, streamed from the disk.
    pub(super) async fn upload(&self, clip: &Path) -> anyhow::Result<Uploaded> {
        let name = clip.file_name().unwrap_or_default().to_string_lossy();
        let file = tokio::fs::File::open(clip).await?;
        let size = file.metadata().await?.len();
        let request = self
            .client
            .post(self.url("/api/videos"))
            .query(&[("name", &*name)])
            .header(header::CONTENT_TYPE, mime(clip))
            .header(header::CONTENT_LENGTH, size)
            .timeout(UPLOAD_TIMEOUT)
            .body(file);
        let text = self.send(request, "/api/videos").await?;
        let answer: Value =
            serde_json::from_str(&text).context("the answer to the upload is not JSON: is it Homereel?")?;
        let video = &answer["videos"][0];
        Ok(Uploaded {
            id: video["id"].as_str().context("the answer to the upload has no id")?.to_owned(),
            duplicate: video["duplicate"].as_bool().unwrap_or_default(),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request and returns the body of a successful answer.
    async fn send(&self, request: RequestBuilder, path: &str) -> anyhow::Result<String> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response =
            request.send().await.with_context(|| format!("failed to reach {}{path}", self.base))?;
        let status = response.status();
        let text = response.text().await.with_context(|| format!("{}{path} broke off", self.base))?;
        ensure!(status.is_success(), "{}{path} answered {status}: {}", self.base, detail(&text));
        Ok(text)
    }
}

/// Returns the reason in the body of an error: its `detail`, or else its text.
fn detail(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    parsed["detail"].as_str().unwrap_or(body).chars().take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_an_error_is_its_detail_or_its_text() {
        assert_eq!(detail(r#"{"status": 507, "detail": "the disk is full"}"#), "the disk is full");
        assert_eq!(detail("bad gateway"), "bad gateway");
        assert_eq!(detail(&"x".repeat(2 * MAX_ERROR)).len(), MAX_ERROR);
    }
}
