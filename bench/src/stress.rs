//! Measures honest clients' latency while other clients hold connections: idle ones, half-sent forms and bodies, and
//! streams that nobody reads. Linux only: every client has its own loopback address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::Client;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::statistics::summarize;

/// Time after which a client that was disconnected comes back.
const RETURN: Duration = Duration::from_secs(1);

/// Timeout of an honest request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Time in which everything must be released after the attack.
const RELEASE: Duration = Duration::from_secs(30);

/// How a hostile client holds its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// It sends nothing.
    Idle,
    /// It sends a part of the login form.
    Form,
    /// It sends a part of a chat request.
    Body,
    /// It asks a question, and does not read the answer.
    Unread,
}

/// Numbers of hostile clients of each kind, and of honest ones.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Clients {
    /// Connections that send nothing.
    pub idle: usize,
    /// Login forms of which half is sent.
    pub forms: usize,
    /// Chat requests of which half is sent.
    pub bodies: usize,
    /// Streams that are not read.
    pub unread: usize,
    /// Honest clients.
    pub honest: usize,
}

/// Honest clients during one phase.
#[derive(Debug, Clone, Serialize)]
pub struct Honest {
    /// Pages that were answered.
    pub completed: usize,
    /// Requests that failed.
    pub failed: usize,
    /// Message of the first failure.
    pub failure: Option<String>,
    /// Median of the milliseconds from the request to the last byte.
    pub median_ms: Option<f64>,
    /// 95th percentile of the same.
    pub p95_ms: Option<f64>,
    /// 99th percentile of the same.
    pub p99_ms: Option<f64>,
}

/// A measurement.
#[derive(Debug, Clone, Serialize)]
pub struct StressRun {
    /// The clients.
    pub clients: Clients,
    /// Duration of each phase in seconds.
    pub seconds: f64,
    /// Without hostile clients.
    pub alone: Honest,
    /// With them.
    pub attacked: Honest,
    /// Most connections that the server had, by its own count.
    pub connections_peak: Option<f64>,
    /// Seconds from the end of the attack until only the honest clients' connections were left, two for each at most.
    /// `None` means more than 30.
    pub released_s: Option<f64>,
}

/// Measures the server at `address`.
///
/// # Errors
/// When the server cannot be reached, or this process may not open enough connections.
pub async fn measure(address: SocketAddr, clients: Clients, phase: Duration) -> anyhow::Result<StressRun> {
    let honest = honest_clients(clients.honest)?;
    let alone = visit(&honest, address, phase).await;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let kinds = [
        (Hold::Idle, clients.idle),
        (Hold::Form, clients.forms),
        (Hold::Body, clients.bodies),
        (Hold::Unread, clients.unread),
    ];
    let all = kinds.iter().flat_map(|&(hold, count)| std::iter::repeat_n(hold, count));
    for (number, hold) in all.enumerate() {
        tasks.spawn(attack(address, hold, loopback(1, number), stop.clone()));
    }
    tasks.close();
    let (attacked, peak) = tokio::join!(visit(&honest, address, phase), peak(&honest[0], address, phase));
    stop.cancel();
    tasks.wait().await;
    let ended = Instant::now();
    let released_s = loop {
        let now = connections(&honest[0], address).await;
        // A client may open a second connection while its first one is busy.
        let allowed = 2.0 * clients.honest as f64;
        if now.is_some_and(|now| now <= allowed) {
            break Some(ended.elapsed().as_secs_f64());
        }
        if ended.elapsed() > RELEASE {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    Ok(StressRun {
        clients,
        seconds: phase.as_secs_f64(),
        alone,
        attacked,
        connections_peak: peak,
        released_s,
    })
}

/// 127.0.1.x for hostile clients, 127.0.2.x for honest ones.
fn loopback(network: u8, number: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, network, 1 + u8::try_from(number % 254).unwrap_or(0)).into()
}

fn honest_clients(count: usize) -> anyhow::Result<Vec<Client>> {
    let client = |number| {
        let client = Client::builder().timeout(TIMEOUT).tcp_nodelay(true).pool_max_idle_per_host(1);
        client.local_address(loopback(2, number)).build().context("failed to create an HTTP client")
    };
    (0..count.max(1)).map(client).collect()
}

/// Requests the first page by each client in turn with itself, until the phase ends.
async fn visit(clients: &[Client], address: SocketAddr, phase: Duration) -> Honest {
    let end = Instant::now() + phase;
    let visits = clients.iter().map(async |client| {
        let mut results = Vec::new();
        while Instant::now() < end {
            let began = Instant::now();
            let page = async {
                client.get(format!("http://{address}/")).send().await?.error_for_status()?.bytes().await
            };
            results.push(page.await.map(|_| 1e3 * began.elapsed().as_secs_f64()).map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                format!("{error}: {cause}")
            }));
        }
        results
    });
    let results: Vec<Result<f64, String>> =
        futures_util::future::join_all(visits).await.into_iter().flatten().collect();
    let times: Vec<f64> = results.iter().filter_map(|one| one.as_ref().ok().copied()).collect();
    let summary = summarize(&times, &[95.0, 99.0]);
    let percentile = |p: f64| summary.as_ref()?.percentile(p);
    Honest {
        completed: times.len(),
        failed: results.len() - times.len(),
        failure: results.into_iter().find_map(Result::err),
        median_ms: summary.as_ref().map(|summary| summary.median),
        p95_ms: percentile(95.0),
        p99_ms: percentile(99.0),
    }
}

/// Returns the number of connections by the server's own count.
async fn connections(client: &Client, address: SocketAddr) -> Option<f64> {
    let response = client.get(format!("http://{address}/metrics")).send().await.ok()?;
    let text = response.text().await.ok()?;
    text.lines().find_map(|line| line.strip_prefix("homereel_connections "))?.parse().ok()
}

async fn peak(client: &Client, address: SocketAddr, phase: Duration) -> Option<f64> {
    let end = Instant::now() + phase;
    let mut peak: Option<f64> = None;
    while Instant::now() < end {
        peak = peak.into_iter().chain(connections(client, address).await).reduce(f64::max);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    peak
}

/// Holds a connection as `hold` says, and comes back whenever it is disconnected, until `stop`.
async fn attack(address: SocketAddr, hold: Hold, from: IpAddr, stop: CancellationToken) {
    let forever = async {
        loop {
            if let Ok(mut stream) = connect(address, from).await {
                // Errors mean that the server closed the connection.
                let _ = begin(&mut stream, hold, address).await;
                if hold == Hold::Unread {
                    std::future::pending::<()>().await;
                }
                let mut byte = [0];
                while matches!(stream.read(&mut byte).await, Ok(read) if read > 0) {}
            }
            tokio::time::sleep(RETURN).await;
        }
    };
    tokio::select! {
        () = forever => {}
        () = stop.cancelled() => {}
    }
}

async fn connect(address: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(address).await
}

async fn begin(stream: &mut TcpStream, hold: Hold, address: SocketAddr) -> std::io::Result<()> {
    const JSON: &str = r#"{"stream":true,"max_tokens":4096,"messages":[{"role":"user","content":"Count."}]}"#;
    let head = |path: &str, kind: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let text = match hold {
        Hold::Idle => String::new(),
        Hold::Form => head("/login", "application/x-www-form-urlencoded", 10_000) + &"password=".repeat(500),
        Hold::Body => head("/v1/chat/completions", "application/json", 1 << 20) + &JSON[..20],
        Hold::Unread => head("/v1/chat/completions", "application/json", JSON.len()) + JSON,
    };
    stream.write_all(text.as_bytes()).await
}
