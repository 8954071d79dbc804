//! Results on disk and on the terminal. A result appears whole or not at all, and never in place of an earlier one.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Checks that `file` can be written, before hours are spent on what goes there.
pub(crate) fn check_writable(file: &Path) -> anyhow::Result<()> {
    ensure!(!file.exists(), "{} exists; a result is never overwritten, choose another name", file.display());
    let part = part_of(file);
    // A page of the disk, so that a full one is noticed now.
    let written = std::fs::write(&part, [0; 4096]);
    // Also what was written by half goes away; that it is there to remove is not certain.
    let _ = std::fs::remove_file(&part);
    written.with_context(|| format!("cannot write results to {}", file.display()))
}

/// Writes `result` to `file`.
pub(crate) fn write(file: &Path, result: &Value) -> anyhow::Result<()> {
    let part = part_of(file);
    let written = || -> std::io::Result<()> {
        let mut out = std::fs::File::create(&part)?;
        out.write_all(&serde_json::to_vec_pretty(result)?)?;
        out.sync_all()?;
        std::fs::rename(&part, file)
    };
    if let Err(error) = written() {
        // What could not be written whole is of no use; that it is there to remove is not certain.
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

/// The table that `vllm bench serve` prints, and ours below.
pub(crate) fn table(result: &Value) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let number = |name: &str| result[name].as_f64().unwrap_or_default();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<40} {value:>12}");
    };
    line("Successful requests:", format!("{}", number("completed")));
    line("Failed requests:", format!("{}", number("failed")));
    line("Benchmark duration (s):", format!("{:.2}", number("duration")));
    line("Total input tokens:", format!("{}", number("total_input_tokens")));
    line("Total generated tokens:", format!("{}", number("total_output_tokens")));
    line("Request throughput (req/s):", format!("{:.2}", number("request_throughput")));
    if let Some(goodput) = result["request_goodput"].as_f64() {
        line("Request goodput (req/s):", format!("{goodput:.2}"));
    }
    line("Output token throughput (tok/s):", format!("{:.2}", number("output_throughput")));
    line("Total token throughput (tok/s):", format!("{:.2}", number("total_token_throughput")));
    line("Peak concurrent requests:", format!("{}", number("max_concurrent_requests")));
    if number("rtfx_video") > 0.0 {
        line("Video seconds per second:", format!("{:.2}", number("rtfx_video")));
        line("Videos per second:", format!("{:.2}", number("videos_per_s")));
    }
    for (name, title) in [("ttft", "TTFT"), ("tpot", "TPOT"), ("itl", "ITL"), ("e2el", "E2EL")] {
        line(&format!("Mean {title} (ms):"), format!("{:.2}", number(&format!("mean_{name}_ms"))));
        line(&format!("Median {title} (ms):"), format!("{:.2}", number(&format!("median_{name}_ms"))));
        let ending = format!("_{name}_ms");
        for (key, value) in result.as_object().into_iter().flatten() {
            let p = key.strip_prefix('p').and_then(|key| key.strip_suffix(&ending));
            if let Some(p) = p.filter(|p| p.parse::<f64>().is_ok()) {
                line(&format!("P{p} {title} (ms):"), format!("{:.2}", value.as_f64().unwrap_or_default()));
            }
        }
    }
    for (name, ms) in result["stages_ms"].as_object().into_iter().flatten() {
        line(&format!("Mean stage {name}:"), format!("{:.2}", ms.as_f64().unwrap_or_default()));
    }
    line("Cache:", result["cache"].as_str().unwrap_or_default().to_owned());
    for failure in result["failures"].as_array().into_iter().flatten() {
        let class = failure["class"].as_str().unwrap_or_default();
        let _ = writeln!(out, "failed {class}: {}, the first: {}", failure["count"], failure["first"]);
    }
    for warning in result["warnings"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "warning: {}", warning.as_str().unwrap_or_default());
    }
    out
}
