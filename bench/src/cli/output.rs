//! Results on disk and on the terminal. A result file appears complete or not at all, and never replaces an earlier one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use homereel_web::bench_result::{BenchResult, Summary};
use homereel_web::format::number_or_dash;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Checks that `file` can be written, before hours are spent on measuring its content.
pub(super) fn check_writable(file: &Path) -> anyhow::Result<()> {
    ensure!(!file.exists(), "{} exists; a result is never overwritten, choose another name", file.display());
    let part = part_of(file);
    // One page, so that a full disk is noticed now.
    let written = std::fs::write(&part, [0; 4096]);
    // Removes also a partial file. It may not exist.
    let _ = std::fs::remove_file(&part);
    written.with_context(|| format!("cannot write results to {}", file.display()))
}

/// Writes `result` to `file` as JSON.
pub(super) fn write(file: &Path, result: &impl Serialize) -> anyhow::Result<()> {
    let part = part_of(file);
    let written = || -> std::io::Result<()> {
        let mut out = std::fs::File::create(&part)?;
        out.write_all(&serde_json::to_vec_pretty(result)?)?;
        out.sync_all()?;
        std::fs::rename(&part, file)
    };
    if let Err(error) = written() {
        // Removes a partial file. It may not exist.
        let _ = std::fs::remove_file(&part);
        return Err(error).with_context(|| format!("failed to write {}", file.display()));
    }
    Ok(())
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}

/// Returns the table that `vllm bench serve` prints, followed by our own values.
pub(super) fn table(result: &BenchResult) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<40} {value:>12}");
    };
    line("Successful requests:", result.completed.to_string());
    line("Failed requests:", result.failed.to_string());
    line("Benchmark duration (s):", format!("{:.2}", result.duration));
    line("Total input tokens:", result.total_input_tokens.to_string());
    line("Total generated tokens:", result.total_output_tokens.to_string());
    line("Request throughput (req/s):", format!("{:.2}", result.request_throughput));
    if let Some(goodput) = result.request_goodput {
        line("Request goodput (req/s):", format!("{goodput:.2}"));
    }
    line("Output token throughput (tok/s):", format!("{:.2}", result.output_throughput));
    line("Total token throughput (tok/s):", format!("{:.2}", result.total_token_throughput));
    line("Peak concurrent requests:", result.max_concurrent_requests.to_string());
    if let Some(seconds) = result.rtfx_video {
        line("Video seconds per second:", format!("{seconds:.2}"));
        line("Videos per second:", number_or_dash(result.videos_per_s, 2));
    }
    let latencies = &result.latencies;
    for (title, summary) in [
        ("TTFT", &latencies.ttft),
        ("TPOT", &latencies.tpot),
        ("ITL", &latencies.itl),
        ("E2EL", &latencies.e2el),
    ] {
        let number = |of: fn(&Summary) -> f64| number_or_dash(summary.as_ref().map(of), 2);
        line(&format!("Mean {title} (ms):"), number(|summary| summary.mean));
        line(&format!("Median {title} (ms):"), number(|summary| summary.median));
        for (p, value) in summary.iter().flat_map(|summary| &summary.percentiles) {
            line(&format!("P{p} {title} (ms):"), format!("{value:.2}"));
        }
    }
    if let Some(stages) = result.stages_ms {
        for (name, ms) in stages.stages().into_iter().chain([("e2el", stages.e2el_ms)]) {
            line(&format!("Mean stage {name} (ms):"), format!("{ms:.2}"));
        }
    }
    line("Cache:", result.cache.name().to_owned());
    for failure in &result.failures {
        let (class, count, first) = (failure.class.name(), failure.count, &failure.first);
        let _ = writeln!(out, "failed {class}: {count}, the first: {first:?}");
    }
    for warning in &result.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

/// Returns a progress bar on stderr; it is hidden if stderr is not a terminal.
pub(super) fn progress_bar(title: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(title);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed} (eta {eta})") {
        bar.set_style(style);
    }
    bar
}
