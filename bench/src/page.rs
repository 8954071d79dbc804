//! Measures the latency of pages, requested by several readers concurrently.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode};
use serde::Serialize;

use crate::statistics::summarize;

/// Timeout of one page.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Golden ratio: the fractional parts of its multiples are evenly distributed.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// The measurements of one page, or of several that are requested in turn.
#[derive(Debug, Clone, Serialize)]
pub struct PageRun {
    /// Path and query, or the number of pages.
    pub path: String,
    /// Requests that were answered.
    pub completed: usize,
    /// Requests that failed, or had an error status.
    pub failed: usize,
    /// Error message of the first failure.
    pub failure: Option<String>,
    /// Pages per second.
    pub request_throughput: f64,
    /// Mean size of a page in bytes, decompressed.
    pub bytes: f64,
    /// Median of the milliseconds from the request to the last byte. `None` means that no page was answered.
    pub median_ms: Option<f64>,
    /// 95th percentile of the same.
    pub p95_ms: Option<f64>,
    /// 99th percentile of the same.
    pub p99_ms: Option<f64>,
}

/// Returns an HTTP client for `readers` concurrent readers.
///
/// # Errors
/// When the TLS library fails to start.
pub fn client(readers: usize) -> anyhow::Result<Client> {
    Ok(Client::builder().timeout(TIMEOUT).pool_max_idle_per_host(readers).tcp_nodelay(true).build()?)
}

/// Returns the paths that are measured by default: the library, the jobs, and the newest video if there is one.
///
/// # Errors
/// When the server is unreachable or is not Homereel.
pub async fn default_paths(client: &Client, base: &str, key: Option<&str>) -> anyhow::Result<Vec<String>> {
    let request = with_key(client.get(format!("{base}/api/videos")), key);
    let response = request.send().await.with_context(|| format!("failed to reach {base}"))?;
    ensure!(response.status().is_success(), "{base}/api/videos answered {}", response.status());
    let list: serde_json::Value = response
        .json()
        .await
        .with_context(|| format!("{base}/api/videos did not return JSON: is it Homereel?"))?;
    let mut paths = vec!["/".to_owned(), "/jobs".to_owned()];
    if let Some(id) = list["videos"][0]["id"].as_str() {
        paths.push(format!("/videos/{id}"));
    }
    Ok(paths)
}

/// The concurrent readers.
#[derive(Debug, Clone, Copy)]
pub struct Readers {
    /// Number of readers.
    pub count: usize,
    /// Mean pause of a reader between two pages.
    pub think: Duration,
}

/// Requests `paths` in turn, `count` times in total.
pub async fn measure(
    client: &Client,
    base: &str,
    paths: &[String],
    key: Option<&str>,
    readers: Readers,
    count: usize,
) -> PageRun {
    let urls: Vec<String> = paths.iter().map(|path| format!("{base}{path}")).collect();
    let began = Instant::now();
    let results: Vec<Result<(f64, usize), String>> = stream::iter(urls.iter().cycle().take(count))
        .enumerate()
        .map(async |(number, url)| {
            // Spreads the first requests of the readers.
            if number < readers.count {
                tokio::time::sleep(readers.think.mul_f64(number as f64 / readers.count as f64)).await;
            }
            let answer = get(client, url, key).await;
            // Between half and one and a half of the mean, evenly distributed: equal pauses would keep readers in step.
            tokio::time::sleep(readers.think.mul_f64(0.5 + (number as f64 * GOLDEN).fract())).await;
            answer
        })
        .buffer_unordered(readers.count)
        .collect()
        .await;
    let seconds = began.elapsed().as_secs_f64();
    let answered: Vec<(f64, usize)> = results.iter().filter_map(|one| one.as_ref().ok().copied()).collect();
    let times: Vec<f64> = answered.iter().map(|(ms, _)| *ms).collect();
    let summary = summarize(&times, &[95.0, 99.0]);
    let percentile = |p: f64| summary.as_ref()?.percentile(p);
    PageRun {
        path: match paths {
            [path] => path.clone(),
            paths => format!("{} pages in turn", paths.len()),
        },
        completed: answered.len(),
        failed: count - answered.len(),
        failure: results.into_iter().find_map(Result::err),
        request_throughput: answered.len() as f64 / seconds.max(1e-9),
        bytes: answered.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / answered.len().max(1) as f64,
        median_ms: summary.as_ref().map(|summary| summary.median),
        p95_ms: percentile(95.0),
        p99_ms: percentile(99.0),
    }
}

/// Returns milliseconds and bytes of one page.
async fn get(client: &Client, url: &str, key: Option<&str>) -> Result<(f64, usize), String> {
    let began = Instant::now();
    let response = with_key(client.get(url), key).send().await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.bytes().await.map_err(|error| error.to_string())?;
    if status != StatusCode::OK {
        return Err(status.to_string());
    }
    Ok((1e3 * began.elapsed().as_secs_f64(), body.len()))
}

fn with_key(request: reqwest::RequestBuilder, key: Option<&str>) -> reqwest::RequestBuilder {
    match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}
