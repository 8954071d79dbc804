//! `homereel-bench instant` and `overhead`: runs a stub backend that answers at once, and measures the latency that a
//! server in front of a backend adds.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use homereel_bench::overhead::{self, Endpoint, Percentiles};
use homereel_bench::stub_backend;
use serde_json::json;

use super::output;

/// Flags of `instant`.
#[derive(Debug, clap::Args)]
pub(crate) struct InstantArgs {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
}

/// Flags of `overhead`.
#[derive(Debug, clap::Args)]
pub(crate) struct OverheadArgs {
    /// The backend, started with `homereel-bench instant`
    #[arg(long)]
    direct: url::Url,
    /// The server in front of it
    #[arg(long)]
    through: url::Url,
    /// Concurrent streams to each of the two
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    streams: u32,
    /// Milliseconds between the tokens of a paced stream
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pace_ms: u64,
    /// Duration of the paced streams in seconds; 0 skips them
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3600))]
    paced_seconds: u64,
    /// Requests for the throughput measurement; 0 skips it
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    num_prompts: u32,
    /// Process of the server on this machine, to measure its CPU time and memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Serves until the program is stopped.
pub(crate) async fn instant(args: &InstantArgs) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    Ok(stub_backend::serve(listener).await?)
}

/// Measures, prints, and writes the result.
pub(crate) async fn overhead(args: &OverheadArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.result_filename {
        output::check_writable(file)?;
    }
    let (direct, through) = (Endpoint::new(args.direct.as_str())?, Endpoint::new(args.through.as_str())?);
    let streams = args.streams as usize;
    // Warms up connections, pools and code.
    overhead::throughput(&through, streams, 20 * streams, None).await?;
    let mut result = json!({ "schema": "homereel-bench.overhead/1", "streams": streams });
    let mut out = std::io::stdout();
    if args.paced_seconds > 0 {
        let time = Duration::from_secs(args.paced_seconds);
        let paced = overhead::paced(&direct, &through, streams, args.pace_ms, time).await?;
        writeln!(
            out,
            "{streams} streams to each, a token every {} ms: milliseconds at p50 and p99",
            args.pace_ms
        )?;
        for (name, a, b) in [
            ("first token", paced.ttft_direct, paced.ttft_through),
            ("each token", paced.token_direct, paced.token_through),
        ] {
            writeln!(
                out,
                "  {name}: direct {}, through {}, added {}",
                shown(a),
                shown(b),
                shown(difference(b, a))
            )?;
        }
        result["paced"] = json!(paced);
    }
    if args.num_prompts > 0 {
        for (name, endpoint, server) in [("direct", &direct, None), ("through", &through, args.server_pid)] {
            let measured = overhead::throughput(endpoint, streams, args.num_prompts as usize, server).await?;
            writeln!(
                out,
                "{name}: {} requests, {:.0} per second",
                measured.requests, measured.requests_per_s
            )?;
            if let Some(ms) = measured.server_cpu_ms {
                let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
                writeln!(
                    out,
                    "  {ms:.3} ms of the server's CPU time per request: {:.0} per second on {cores} cores",
                    cores * 1e3 / ms
                )?;
            }
            if !measured.rss_mib.is_empty() {
                let sizes: Vec<String> = measured.rss_mib.iter().map(|size| format!("{size:.1}")).collect();
                writeln!(out, "  resident memory over time in MiB: {}", sizes.join(" "))?;
            }
            result[name] = json!(measured);
        }
    }
    if let Some(file) = &args.result_filename {
        output::write(file, &result)?;
    }
    Ok(())
}

fn shown(latency: Percentiles) -> String {
    format!("{:.2} / {:.2}", latency.p50, latency.p99)
}

fn difference(a: Percentiles, b: Percentiles) -> Percentiles {
    Percentiles { p50: a.p50 - b.p50, p99: a.p99 - b.p99 }
}
