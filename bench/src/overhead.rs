//! What a server adds to the upstream behind it, asked both ways at the same time: milliseconds to the first token and for
//! each token; and how many requests a second it passes on, at what cost of CPU and memory.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use reqwest::Client;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::statistics::percentile;
use crate::stub_backend::{self as instant, MODEL, PACE, now_ns};

/// Ticks of `/proc/PID/stat` in a second: the same on all Linux machines there are.
const TICKS: f64 = 100.0;
/// How often the server's memory is read in the longest phase.
const SAMPLES: usize = 10;

/// Milliseconds, at two percentiles.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// What paced streams tell.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Paced {
    /// From the request to the first token, upstream alone.
    pub ttft_direct: Latency,
    /// From the request to the first token, through the server.
    pub ttft_through: Latency,
    /// From a token's being sent to its arrival, upstream alone.
    pub token_direct: Latency,
    /// From a token's being sent to its arrival, through the server.
    pub token_through: Latency,
}

/// What streams without pause tell.
#[derive(Debug, Clone, Serialize)]
pub struct Flood {
    /// Requests answered.
    pub requests: usize,
    /// Of these a second.
    pub requests_per_s: f64,
    /// CPU milliseconds of the server for each.
    pub server_cpu_ms: Option<f64>,
    /// Resident memory of the server as it went on, MiB.
    pub rss_mib: Vec<f64>,
}

/// One way to the upstream.
#[derive(Debug, Clone)]
pub struct Way {
    client: Client,
    url: String,
}

impl Way {
    /// Makes a way to `base`, with or without `/v1`.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/').trim_end_matches("/v1");
        let client =
            Client::builder().tcp_nodelay(true).no_proxy().pool_max_idle_per_host(usize::MAX).build()?;
        Ok(Self { client, url: format!("{base}/v1/chat/completions") })
    }

    /// Asks once; returns seconds to the first token, and of each token from its being sent to its arrival.
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
                if let Some(sent) = sent(&rest[..end]) {
                    first.get_or_insert_with(|| began.elapsed().as_secs_f64());
                    lags.push(now.saturating_sub(sent) as f64 / 1e9);
                }
                rest.drain(..end + 2);
            }
        }
        ensure!(
            ended && lags.len() == instant::TOKENS as usize,
            "an answer of {} tokens: {rest}",
            lags.len()
        );
        Ok((first.context("no token")?, lags))
    }
}

/// When the token of this event was sent.
fn sent(event: &str) -> Option<u128> {
    let text = event.split_once(r#""content":""#)?.1;
    text.split([' ', '"']).next()?.parse().ok()
}

/// Keeps `streams` paced streams open each way for `time`.
///
/// # Errors
/// When a request fails.
pub async fn paced(
    direct: &Way,
    through: &Way,
    streams: usize,
    pace_ms: u64,
    time: Duration,
) -> anyhow::Result<Paced> {
    let question = format!("{PACE}{pace_ms} milliseconds");
    let end = Instant::now() + time;
    let mut under_way = JoinSet::new();
    for (at, way) in
        std::iter::repeat_n(direct, streams).chain(std::iter::repeat_n(through, streams)).enumerate()
    {
        let (way, question) = (way.clone(), question.clone());
        under_way.spawn(async move {
            let (mut firsts, mut lags) = (Vec::new(), Vec::new());
            // Not all at the same moment.
            tokio::time::sleep(Duration::from_millis(
                at as u64 * 7 % (pace_ms * u64::from(instant::TOKENS)).max(1),
            ))
            .await;
            while Instant::now() < end {
                let (first, lag) = way.ask(&question).await?;
                firsts.push(first * 1e3);
                lags.extend(lag.iter().map(|lag| lag * 1e3));
            }
            anyhow::Ok((at >= streams, firsts, lags))
        });
    }
    let mut all: [[Vec<f64>; 2]; 2] = Default::default();
    while let Some(told) = under_way.join_next().await {
        let (through, firsts, lags) = told??;
        all[usize::from(through)][0].extend(firsts);
        all[usize::from(through)][1].extend(lags);
    }
    let [[a, b], [c, d]] = all;
    let latency = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        Latency { p50: percentile(&values, 50.0), p99: percentile(&values, 99.0) }
    };
    Ok(Paced {
        ttft_direct: latency(a),
        token_direct: latency(b),
        ttft_through: latency(c),
        token_through: latency(d),
    })
}

/// Sends `requests` requests, `streams` at a time, as fast as they are answered; watches the process `server`.
///
/// # Errors
/// When a request fails.
pub async fn flood(way: &Way, streams: usize, requests: usize, server: Option<u32>) -> anyhow::Result<Flood> {
    let mut rss_mib = Vec::new();
    let (began, cpu) = (Instant::now(), server.and_then(cpu_s));
    rss_mib.extend(server.and_then(self::rss_mib));
    let portion = requests.div_ceil(SAMPLES);
    for _ in 0..SAMPLES {
        let mut under_way = JoinSet::new();
        for worker in 0..streams {
            let way = way.clone();
            let share = portion / streams + usize::from(worker < portion % streams);
            under_way.spawn(async move {
                for _ in 0..share {
                    way.ask("at once").await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(told) = under_way.join_next().await {
            told??;
        }
        rss_mib.extend(server.and_then(self::rss_mib));
    }
    let (took, requests) = (began.elapsed().as_secs_f64(), portion * SAMPLES);
    let spent = server.and_then(cpu_s).zip(cpu).map(|(now, before)| now - before);
    Ok(Flood {
        requests,
        requests_per_s: requests as f64 / took,
        server_cpu_ms: spent.map(|spent| spent * 1e3 / requests as f64),
        rss_mib,
    })
}

/// CPU seconds of a process so far.
fn cpu_s(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS)
}

/// Resident memory of a process.
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
    async fn an_upstream_adds_nothing_to_itself() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(instant::serve(listener));
        let way = Way::new(&url).unwrap();
        let told = paced(&way, &way, 4, 5, Duration::from_millis(100)).await.unwrap();
        assert!(told.token_direct.p50 > 0.0 && told.ttft_direct.p50 > 0.0, "{told:?}");
        let told = flood(&way, 4, 100, Some(std::process::id())).await.unwrap();
        assert_eq!((told.requests, told.rss_mib.len()), (100, SAMPLES + 1));
        assert!(told.requests_per_s > 1.0 && told.server_cpu_ms.is_some());
        server.abort();
    }
}
