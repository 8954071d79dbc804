//! `homereel-bench page`: how fast the dashboard's pages answer.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use homereel_bench::page;
use homereel_bench::serve::resources as machine;
use serde_json::json;

use super::output;

/// Flags of `page`.
#[derive(Debug, clap::Args)]
pub(crate) struct Page {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    base_url: url::Url,
    /// Path and query of a page; may be given several times [default: the library, jobs, and the newest video]
    #[arg(long)]
    path: Vec<String>,
    /// Measure all paths in turn as one, as readers ask who look for different things
    #[arg(long)]
    mixed: bool,
    /// Readers at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_concurrency: u32,
    /// Milliseconds that each reader looks at a page before the next; 0 asks as fast as answers come
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    think_ms: u64,
    /// Requests for each page
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    num_prompts: u32,
    /// Name of an environment variable that holds the server's key
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Process of the server on this machine, to watch its memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Measures, prints, and writes.
pub(crate) async fn page(job: &Page) -> anyhow::Result<()> {
    if let Some(file) = &job.result_filename {
        output::check_writable(file)?;
    }
    let key = job.api_key_env.as_deref().map(|name| {
        std::env::var(name).with_context(|| format!("--api-key-env: {name} is not set in the environment"))
    });
    let key = key.transpose()?;
    let base = job.base_url.as_str().trim_end_matches('/');
    let count = job.max_concurrency as usize;
    let readers = page::Readers { count, think: Duration::from_millis(job.think_ms) };
    let once = page::Readers { count: 1, think: Duration::ZERO };
    let client = page::client(count)?;
    let paths = match job.path.as_slice() {
        [] => page::usual(&client, base, key.as_deref()).await?,
        paths => paths.to_vec(),
    };
    let watch = machine::watch(job.server_pid);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<28} {:>7} {:>7} {:>9} {:>10} {:>10} {:>9} {:>9}",
        "page", "whole", "failed", "pages/s", "bytes", "median ms", "P95 ms", "P99 ms"
    )?;
    let mut pages = Vec::new();
    let groups = if job.mixed { vec![paths.as_slice()] } else { paths.chunks(1).collect() };
    for paths in groups {
        // One reader first, so that what is opened once is open.
        page::measure(&client, base, &paths[..1], key.as_deref(), once, 1).await;
        let got =
            page::measure(&client, base, paths, key.as_deref(), readers, job.num_prompts as usize).await;
        writeln!(
            out,
            "{:<28} {:>7} {:>7} {:>9.1} {:>10.0} {:>10.2} {:>9.2} {:>9.2}",
            got.path.chars().take(28).collect::<String>(),
            got.completed,
            got.failed,
            got.request_throughput,
            got.bytes,
            got.median_ms,
            got.p95_ms,
            got.p99_ms
        )?;
        pages.push(got);
    }
    let seen = watch.end().await;
    if let Some(mib) = seen.peak_rss_mib {
        writeln!(out, "peak memory of the server: {mib:.0} MiB")?;
    }
    if let Some(file) = &job.result_filename {
        let result = json!({
            "schema": "homereel-bench.page/1", "base_url": base, "max_concurrency": count, "think_ms": job.think_ms,
            "machine": machine::describe(), "pages": pages, "seen": seen,
        });
        output::write(file, &result)?;
    }
    if let Some((path, failure)) = pages.iter().find_map(|one| Some((&one.path, one.failure.as_ref()?))) {
        bail!("{path} failed: {failure}");
    }
    Ok(())
}
