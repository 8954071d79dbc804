//! `homereel-bench instant` and `overhead`: an upstream that answers at once, and what a server adds to it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use homereel_bench::overhead::{self, Latency, Way};
use serde_json::json;

use super::output;

/// Flags of `instant`.
#[derive(Debug, clap::Args)]
pub(crate) struct Instant {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
}

/// Flags of `overhead`.
#[derive(Debug, clap::Args)]
pub(crate) struct Overhead {
    /// The upstream itself, started with `homereel-bench instant`
    #[arg(long)]
    direct: url::Url,
    /// The server before it
    #[arg(long)]
    through: url::Url,
    /// Streams that are open at once, each way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    streams: u32,
    /// Milliseconds between the tokens of a paced stream
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pace_ms: u64,
    /// Seconds of paced streams; 0 leaves them out
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3600))]
    paced_seconds: u64,
    /// Requests that are sent as fast as they are answered; 0 leaves them out
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    num_prompts: u32,
    /// Process of the server on this machine, to watch its CPU time and memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Serves until it is stopped.
pub(crate) async fn instant(job: &Instant) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(job.listen).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    Ok(homereel_bench::stub_backend::serve(listener).await?)
}

/// Measures and prints.
pub(crate) async fn overhead(job: &Overhead) -> anyhow::Result<()> {
    if let Some(file) = &job.result_filename {
        output::check_writable(file)?;
    }
    let (direct, through) = (Way::new(job.direct.as_str())?, Way::new(job.through.as_str())?);
    let streams = job.streams as usize;
    // Connections, pools and code are warm before anything counts.
    overhead::flood(&through, streams, 20 * streams, None).await?;
    let mut result = json!({ "schema": "homereel-bench.overhead/1", "streams": streams });
    let mut out = std::io::stdout();
    if job.paced_seconds > 0 {
        let time = Duration::from_secs(job.paced_seconds);
        let told = overhead::paced(&direct, &through, streams, job.pace_ms, time).await?;
        writeln!(
            out,
            "{streams} streams each way, a token every {} ms: milliseconds at p50 and p99",
            job.pace_ms
        )?;
        for (name, a, b) in [
            ("first token", told.ttft_direct, told.ttft_through),
            ("each token", told.token_direct, told.token_through),
        ] {
            writeln!(
                out,
                "  {name}: direct {}, through {}, added {}",
                shown(a),
                shown(b),
                shown(less(b, a))
            )?;
        }
        result["paced"] = json!(told);
    }
    if job.num_prompts > 0 {
        for (name, way, server) in [("direct", &direct, None), ("through", &through, job.server_pid)] {
            let told = overhead::flood(way, streams, job.num_prompts as usize, server).await?;
            writeln!(out, "{name}: {} requests, {:.0} a second", told.requests, told.requests_per_s)?;
            if let Some(ms) = told.server_cpu_ms {
                let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
                writeln!(
                    out,
                    "  {ms:.3} ms of the server's CPU for each: {:.0} a second on {cores} cores of its own",
                    cores * 1e3 / ms
                )?;
            }
            if !told.rss_mib.is_empty() {
                let sizes: Vec<String> = told.rss_mib.iter().map(|size| format!("{size:.1}")).collect();
                writeln!(out, "  resident MiB as it went on: {}", sizes.join(" "))?;
            }
            result[name] = json!(told);
        }
    }
    if let Some(file) = &job.result_filename {
        output::write(file, &result)?;
    }
    Ok(())
}

fn shown(latency: Latency) -> String {
    format!("{:.2} / {:.2}", latency.p50, latency.p99)
}

fn less(a: Latency, b: Latency) -> Latency {
    Latency { p50: a.p50 - b.p50, p99: a.p99 - b.p99 }
}
