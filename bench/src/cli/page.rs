//! `homereel-bench page`: measures the latency of the dashboard's pages.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use homereel_bench::page;
use homereel_bench::serve::resources;
use homereel_web::format::number_or_dash;
use serde_json::json;

use super::output;

/// Flags of `page`.
#[derive(Debug, clap::Args)]
pub(crate) struct PageArgs {
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    base_url: url::Url,
    /// Path and query of a page; may be repeated [default: the library, the jobs, and the newest video]
    #[arg(long)]
    path: Vec<String>,
    /// Request the paths in turn and report them as one row, as when readers look at different pages
    #[arg(long)]
    mixed: bool,
    /// Concurrent readers
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_concurrency: u32,
    /// Mean pause of a reader between two pages in milliseconds; 0 requests the next page at once
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    think_ms: u64,
    /// Requests per page
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    num_prompts: u32,
    /// Name of an environment variable with the server's key
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Process of the server on this machine, to sample its memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Measures, prints a table, and writes the result.
pub(crate) async fn page(args: &PageArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.result_filename {
        output::check_writable(file)?;
    }
    let key = args.api_key_env.as_deref().map(|name| {
        std::env::var(name).with_context(|| format!("--api-key-env: {name} is not set in the environment"))
    });
    let key = key.transpose()?;
    let base = args.base_url.as_str().trim_end_matches('/');
    let count = args.max_concurrency as usize;
    let readers = page::Readers { count, think: Duration::from_millis(args.think_ms) };
    let once = page::Readers { count: 1, think: Duration::ZERO };
    let client = page::client(count)?;
    let paths = match args.path.as_slice() {
        [] => page::default_paths(&client, base, key.as_deref()).await?,
        paths => paths.to_vec(),
    };
    let monitor = resources::monitor(args.server_pid);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<28} {:>8} {:>7} {:>9} {:>10} {:>10} {:>9} {:>9}",
        "page", "answered", "failed", "pages/s", "bytes", "median ms", "P95 ms", "P99 ms"
    )?;
    let mut pages = Vec::new();
    let groups = if args.mixed { vec![paths.as_slice()] } else { paths.chunks(1).collect() };
    for paths in groups {
        // Warms up files and caches.
        page::measure(&client, base, &paths[..1], key.as_deref(), once, 1).await;
        let measured =
            page::measure(&client, base, paths, key.as_deref(), readers, args.num_prompts as usize).await;
        writeln!(
            out,
            "{:<28} {:>8} {:>7} {:>9.1} {:>10.0} {:>10} {:>9} {:>9}",
            measured.path.chars().take(28).collect::<String>(),
            measured.completed,
            measured.failed,
            measured.request_throughput,
            measured.bytes,
            number_or_dash(measured.median_ms, 2),
            number_or_dash(measured.p95_ms, 2),
            number_or_dash(measured.p99_ms, 2)
        )?;
        pages.push(measured);
    }
    let usage = monitor.finish().await;
    if let Some(mib) = usage.peak_rss_mib {
        writeln!(out, "peak memory of the server: {mib:.0} MiB")?;
    }
    if let Some(file) = &args.result_filename {
        let result = json!({
            "schema": "homereel-bench.page/1", "base_url": base, "max_concurrency": count, "think_ms": args.think_ms,
            "machine": resources::machine(), "pages": pages, "seen": usage,
        });
        output::write(file, &result)?;
    }
    if let Some((path, failure)) = pages.iter().find_map(|one| Some((&one.path, one.failure.as_ref()?))) {
        bail!("{path} failed: {failure}");
    }
    Ok(())
}
