//! How fast pages answer: one URL after another, by several readers at once. Knows nothing of what is on them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode};
use serde::Serialize;

use crate::statistics::Figures;

/// Longest wait for one page.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its multiples fall evenly between whole numbers.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// A page, measured.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Path and query, or how many there were.
    pub path: String,
    /// Pages that came whole.
    pub completed: usize,
    /// Pages that did not, or with an error status.
    pub failed: usize,
    /// The first failure in words.
    pub failure: Option<String>,
    /// Pages a second.
    pub request_throughput: f64,
    /// Bytes of a page, decoded.
    pub bytes: f64,
    /// Milliseconds from the request to the last byte: median, P95 and P99.
    pub median_ms: f64,
    /// See `median_ms`.
    pub p95_ms: f64,
    /// See `median_ms`.
    pub p99_ms: f64,
}

/// Makes a client for `readers` readers.
///
/// # Errors
/// When there is no TLS library to be had.
pub fn client(readers: usize) -> anyhow::Result<Client> {
    Ok(Client::builder().timeout(PATIENCE).pool_max_idle_per_host(readers).tcp_nodelay(true).build()?)
}

/// Returns the pages that a family opens: the library, jobs, and the first video if there is one.
///
/// # Errors
/// When the server can't be reached or is no Homereel.
pub async fn usual(client: &Client, base: &str, key: Option<&str>) -> anyhow::Result<Vec<String>> {
    let request = with_key(client.get(format!("{base}/api/videos")), key);
    let response = request.send().await.with_context(|| format!("failed to reach {base}"))?;
    ensure!(response.status().is_success(), "{base}/api/videos answered {}", response.status());
    let list: serde_json::Value =
        response.json().await.with_context(|| format!("{base}/api/videos sent no JSON: is it Homereel?"))?;
    let mut paths = vec!["/".to_owned(), "/jobs".to_owned()];
    if let Some(id) = list["videos"][0]["id"].as_str() {
        paths.push(format!("/videos/{id}"));
    }
    Ok(paths)
}

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub struct Readers {
    /// How many at once.
    pub count: usize,
    /// How long each looks at a page before the next, on average; zero asks as fast as answers come.
    pub think: Duration,
}

/// Gets `paths` in turn, `count` times in all.
pub async fn measure(
    client: &Client,
    base: &str,
    paths: &[String],
    key: Option<&str>,
    readers: Readers,
    count: usize,
) -> Measured {
    let urls: Vec<String> = paths.iter().map(|path| format!("{base}{path}")).collect();
    let began = Instant::now();
    let results: Vec<Result<(f64, usize), String>> = stream::iter(urls.iter().cycle().take(count))
        .enumerate()
        .map(async |(number, url)| {
            // Not all of them come at the same moment.
            if number < readers.count {
                tokio::time::sleep(readers.think.mul_f64(number as f64 / readers.count as f64)).await;
            }
            let got = get(client, url, key).await;
            // Half as long to half as long again, evenly spread: readers in step would come as a crowd each time.
            tokio::time::sleep(readers.think.mul_f64(0.5 + (number as f64 * GOLDEN).fract())).await;
            got
        })
        .buffer_unordered(readers.count)
        .collect()
        .await;
    let seconds = began.elapsed().as_secs_f64();
    let good: Vec<(f64, usize)> = results.iter().filter_map(|one| one.as_ref().ok().copied()).collect();
    let times: Vec<f64> = good.iter().map(|(ms, _)| *ms).collect();
    let figures = Figures::of(&times, &[95.0, 99.0]);
    let at = |n: usize| figures.percentiles.get(n).map_or(0.0, |(_, ms)| *ms);
    Measured {
        path: match paths {
            [path] => path.clone(),
            paths => format!("{} pages in turn", paths.len()),
        },
        completed: good.len(),
        failed: count - good.len(),
        failure: results.into_iter().find_map(Result::err),
        request_throughput: good.len() as f64 / seconds.max(1e-9),
        bytes: good.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / good.len().max(1) as f64,
        median_ms: figures.median,
        p95_ms: at(0),
        p99_ms: at(1),
    }
}

/// Milliseconds and bytes of one page.
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
