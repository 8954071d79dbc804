//! `homereel reread`: has a running server describe all videos again that another model described.

use std::{io::Write as _, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::remote;

/// Timeout of the request, which only queues jobs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Queues the videos and prints their number.
pub(super) async fn run(server: &url::Url) -> anyhow::Result<()> {
    let url = server.join("api/jobs/reread").context("the URL is not a base URL")?;
    let mut request = reqwest::Client::builder().timeout(TIMEOUT).build()?.post(url);
    if let Some(key) = remote::api_key() {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.with_context(|| format!("failed to reach {server}"))?;
    let status = response.status();
    let body: Value = response.json().await.unwrap_or_default();
    let Some(queued) = body["queued"].as_u64() else {
        bail!("{server} answered {status}: {}", body["detail"].as_str().unwrap_or("no reason"));
    };
    writeln!(std::io::stdout(), "queued: {queued}")?;
    Ok(())
}
