//! `homereel-bench stress`: measures honest clients while hostile ones hold connections.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use homereel_bench::serve::resources;
use homereel_bench::stress::{self, Clients, Honest};
use homereel_web::format::number_or_dash;
use serde_json::json;

use super::output;

/// Flags of `stress`.
#[derive(Debug, clap::Args)]
pub(crate) struct StressArgs {
    /// Address of the server, on this machine's loopback
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    address: SocketAddr,
    /// Connections that send nothing
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// Login forms of which half is sent
    #[arg(long, default_value_t = 300)]
    forms: usize,
    /// Chat requests of which half is sent
    #[arg(long, default_value_t = 1000)]
    bodies: usize,
    /// Streamed answers that are not read
    #[arg(long, default_value_t = 50)]
    unread: usize,
    /// Honest clients, which request the first page
    #[arg(long, default_value_t = 64)]
    honest: usize,
    /// Duration of each of the two phases
    #[arg(long, default_value_t = 20, value_name = "S")]
    seconds: u64,
    /// Process of the server on this machine, to sample its memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Measures, prints a table, and writes the result.
pub(crate) async fn stress(args: &StressArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.result_filename {
        output::check_writable(file)?;
    }
    let StressArgs { idle, forms, bodies, unread, honest, .. } = *args;
    let clients = Clients { idle, forms, bodies, unread, honest };
    let monitor = resources::monitor(args.server_pid);
    let run = stress::measure(args.address, clients, Duration::from_secs(args.seconds)).await?;
    let usage = monitor.finish().await;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<10} {:>9} {:>7} {:>10} {:>9} {:>9}",
        "phase", "answered", "failed", "median ms", "P95 ms", "P99 ms"
    )?;
    let mut row = |name: &str, honest: &Honest| {
        writeln!(
            out,
            "{name:<10} {:>9} {:>7} {:>10} {:>9} {:>9}",
            honest.completed,
            honest.failed,
            number_or_dash(honest.median_ms, 1),
            number_or_dash(honest.p95_ms, 1),
            number_or_dash(honest.p99_ms, 1)
        )
    };
    row("alone", &run.alone)?;
    row("attacked", &run.attacked)?;
    if let Some(failure) = run.attacked.failure.as_ref().or(run.alone.failure.as_ref()) {
        writeln!(out, "first failure: {failure}")?;
    }
    writeln!(out, "connections, at most: {}", number_or_dash(run.connections_peak, 0))?;
    writeln!(out, "released after (s): {}", number_or_dash(run.released_s, 1))?;
    writeln!(out, "peak memory of the server (MiB): {}", number_or_dash(usage.peak_rss_mib, 0))?;
    if let Some(file) = &args.result_filename {
        let result = json!({
            "schema": "homereel-bench.stress/1", "machine": resources::machine(), "run": run, "seen": usage,
        });
        output::write(file, &result)?;
    }
    Ok(())
}
