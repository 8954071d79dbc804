//! Measures what a server adds to the backend behind it: the latency of the first and of each token, compared with direct
//! requests at the same time, and the requests per second, CPU time and memory of the server.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use reqwest::Client;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::statistics::percentile;
use crate::stub_backend::{MODEL, PACE, TOKENS, now_ns};

/// Clock ticks per second in `/proc/PID/stat`, the same on all Linux machines.
const TICKS_PER_S: f64 = 100.0;
/// Number of samples of the server's memory.
const MEMORY_SAMPLES: usize = 10;

/// Two percentiles of a latency in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Latencies of paced streams.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PacedLatencies {
    /// From the request to the first token, directly from the backend.
    pub ttft_direct: Percentiles,
    /// From the request to the first token, through the server.
    pub ttft_through: Percentiles,
    /// From sending a token to its arrival, directly from the backend.
    pub token_direct: Percentiles,
    /// From sending a token to its arrival, through the server.
    pub token_through: Percentiles,
}

/// Throughput of requests that are sent as fast as they are answered.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// Requests that were answered.
    pub requests: usize,
    /// Requests per second.
    pub requests_per_s: f64,
    /// CPU milliseconds of the server per request.
    pub server_cpu_ms: Option<f64>,
    /// Resident memory of the server over time in MiB.
    pub rss_mib: Vec<f64>,
}

/// A chat endpoint: the backend itself, or a server in front of it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    client: Client,
    url: String,
}

impl Endpoint {
    /// Returns the endpoint of the server at `base` (with or without `/v1`).
    ///
    /// # Errors
    /// When creating an HTTP client fails.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/').trim_end_matches("/v1");
        let client =
            Client::builder().tcp_nodelay(true).no_proxy().pool_max_idle_per_host(usize::MAX).build()?;
        Ok(Self { client, url: format!("{base}/v1/chat/completions") })
    }

    /// Asks once. Returns the seconds to the first token, and the seconds from sending to arrival of each token.
    async fn ask(&self, question: &str) -> anyhow::Result<(f64, Vec<f64>)> {
        let body =
            json!({ "model": MODEL, "stream": true, "messages": [{ "role": "user", "content": question }] });
        let began = Instant::now();
        let response = self.client.post(&self.url).json(&body).send().await?;
        let status = response.status();
        ensure!(status.is_success(), "{status}: {}", response.text().await.unwrap_or_default());
        let mut bytes = response.bytes_stream();
        let (mut rest, mut first, mut lags, mut ended) = (String::new(), None, Vec::new(), false);
        while let Some(chunk) = bytes.next().await {
            let now = now_ns();
            rest.push_str(std::str::from_utf8(&chunk?)?);
            while let Some(end) = rest.find("\n\n") {
                ended |= rest[..end].ends_with("data: [DONE]");
                if let Some(sent) = sent_ns(&rest[..end]) {
                    first.get_or_insert_with(|| began.elapsed().as_secs_f64());
                    lags.push(now.saturating_sub(sent) as f64 / 1e9);
                }
                rest.drain(..end + 2);
            }
        }
        ensure!(
            ended && lags.len() == TOKENS as usize,
            "the answer has {} tokens instead of {TOKENS}: {rest}",
            lags.len()
        );
        Ok((first.context("the answer has no token")?, lags))
    }
}

/// Returns when the token of this event was sent.
fn sent_ns(event: &str) -> Option<u128> {
    let text = event.split_once(r#""content":""#)?.1;
    text.split([' ', '"']).next()?.parse().ok()
}

/// Keeps `streams` paced streams to each of both endpoints open for `time`.
///
/// # Errors
/// When a request fails.
pub async fn paced(
    direct: &Endpoint,
    through: &Endpoint,
    streams: usize,
    pace_ms: u64,
    time: Duration,
) -> anyhow::Result<PacedLatencies> {
    let question = format!("{PACE}{pace_ms} milliseconds");
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for (index, endpoint) in
        std::iter::repeat_n(direct, streams).chain(std::iter::repeat_n(through, streams)).enumerate()
    {
        let (endpoint, question) = (endpoint.clone(), question.clone());
        tasks.spawn(async move {
            let (mut firsts, mut lags) = (Vec::new(), Vec::new());
            // Spreads the starts of the streams.
            tokio::time::sleep(Duration::from_millis(
                index as u64 * 7 % (pace_ms * u64::from(TOKENS)).max(1),
            ))
            .await;
            while Instant::now() < end {
                let (first, lag) = endpoint.ask(&question).await?;
                firsts.push(first * 1e3);
                lags.extend(lag.iter().map(|lag| lag * 1e3));
            }
            anyhow::Ok((index >= streams, firsts, lags))
        });
    }
    let mut all: [[Vec<f64>; 2]; 2] = Default::default();
    while let Some(done) = tasks.join_next().await {
        let (through, firsts, lags) = done??;
        all[usize::from(through)][0].extend(firsts);
        all[usize::from(through)][1].extend(lags);
    }
    let [[a, b], [c, d]] = all;
    let latency = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let at = |p| percentile(&values, p).unwrap_or_default();
        Percentiles { p50: at(50.0), p99: at(99.0) }
    };
    Ok(PacedLatencies {
        ttft_direct: latency(a),
        token_direct: latency(b),
        ttft_through: latency(c),
        token_through: latency(d),
    })
}

/// Sends `requests` requests, `streams` at a time, as fast as they are answered. `server` is a process on this machine whose CPU
/// time and memory are measured.
///
/// # Errors
/// When a request fails.
pub async fn throughput(
    endpoint: &Endpoint,
    streams: usize,
    requests: usize,
    server: Option<u32>,
) -> anyhow::Result<Throughput> {
    let mut rss_mib = Vec::new();
    let (began, cpu) = (Instant::now(), server.and_then(cpu_s));
    rss_mib.extend(server.and_then(self::rss_mib));
    let portion = requests.div_ceil(MEMORY_SAMPLES);
    for _ in 0..MEMORY_SAMPLES {
        let mut tasks = JoinSet::new();
        for worker in 0..streams {
            let endpoint = endpoint.clone();
            let share = portion / streams + usize::from(worker < portion % streams);
            tasks.spawn(async move {
                for _ in 0..share {
                    endpoint.ask("at once").await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        rss_mib.extend(server.and_then(self::rss_mib));
    }
    let (took, requests) = (began.elapsed().as_secs_f64(), portion * MEMORY_SAMPLES);
    let spent = server.and_then(cpu_s).zip(cpu).map(|(now, before)| now - before);
    Ok(Throughput {
        requests,
        requests_per_s: requests as f64 / took,
        server_cpu_ms: spent.map(|spent| spent * 1e3 / requests as f64),
        rss_mib,
    })
}

/// Returns the CPU seconds of a process so far.
fn cpu_s(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS_PER_S)
}

/// Returns the resident memory of a process.
fn rss_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backend_can_be_compared_with_itself() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(crate::stub_backend::serve(listener));
        let endpoint = Endpoint::new(&url).unwrap();
        let latencies = paced(&endpoint, &endpoint, 4, 5, Duration::from_millis(100)).await.unwrap();
        assert!(latencies.token_direct.p50 > 0.0 && latencies.ttft_direct.p50 > 0.0, "{latencies:?}");
        let measured = throughput(&endpoint, 4, 100, Some(std::process::id())).await.unwrap();
        assert_eq!((measured.requests, measured.rss_mib.len()), (100, MEMORY_SAMPLES + 1));
        assert!(measured.requests_per_s > 1.0 && measured.server_cpu_ms.is_some());
        server.abort();
    }
}
