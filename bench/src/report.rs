//! A Markdown report of benchmark results, with its plots beside it.

mod client_comparison;
mod engine_table;
mod ingest_table;
mod probe;

use std::fmt::Write as _;

use homereel_web::bench_result::{BenchResult, StageMeans, Summary};
use homereel_web::format::number_or_dash;
use homereel_web::plot::{self, Width};

pub use client_comparison::{ClientComparison, VllmBenchResult, compare_clients};
pub use engine_table::engine_table;
pub use ingest_table::IngestResult;
pub use probe::{Bandwidth, MatrixProduct, ProbeResult};

/// A plot that belongs to a report.
#[derive(Debug)]
pub struct Plot {
    /// File name, beside the Markdown file.
    pub file: String,
    /// SVG.
    pub svg: String,
}

/// What a report contains besides results.
#[derive(Debug, Default)]
pub struct Appendix {
    /// Limits of the machine.
    pub probe: Option<ProbeResult>,
    /// Results of `ingest` (name, result).
    pub ingest: Vec<(String, IngestResult)>,
    /// Runs that are missing or incomplete, one sentence each.
    pub left_out: Vec<String>,
}

/// Writes the Markdown of `results` (name, result) and draws the plots, whose file names begin with `stem`.
///
/// # Errors
/// When drawing a plot fails.
pub fn report(
    results: &[(String, BenchResult)],
    appendix: &Appendix,
    stem: &str,
) -> anyhow::Result<(String, Vec<Plot>)> {
    let mut plots = Vec::new();
    for (name, svg) in [
        ("latency", plot::latency(results, Width::Wide)?),
        ("throughput", plot::throughput(results, Width::Wide)?),
        ("stages", plot::stages(results, Width::Wide)?),
        (
            "ingest",
            plot::bars("Describing clips", "hours of video per hour", &ingest_table::bars(&appendix.ingest))?,
        ),
    ] {
        plots.extend(svg.map(|svg| Plot { file: format!("{stem}-{name}.svg"), svg }));
    }
    let mut out = String::from("# Benchmark of a video language server\n\n");
    out.push_str(&introduction(results));
    out.push_str(&overview(results));
    out.push_str(&stages(results));
    out.push_str(&ingest_table::section(&appendix.ingest));
    // Writing to a String cannot fail.
    for plot in &plots {
        let _ = writeln!(out, "![{}]({})\n", plot.file.trim_end_matches(".svg"), plot.file);
    }
    out.push_str(&caveats(results));
    out.push_str(
        "## Definitions\n\nAs in `vllm bench serve`: TTFT is the time to the first token (counted from when the request was due, \
         upload and decoding included), TPOT the time per output token after the first, E2EL the time to the last token. Tokens \
         are counted by the server's `usage`. *video s/s* is seconds of video per second of the run. *cold* content was never \
         sent to the server before. A dash means that a value was not measured.\n\n",
    );
    out.push_str(&commands(results));
    if let Some(probe) = &appendix.probe {
        let _ = write!(out, "\n## Limits of this machine\n\n{}", probe.markdown());
    }
    if !appendix.left_out.is_empty() {
        out.push_str("\n## Left out or incomplete\n\n");
        for line in &appendix.left_out {
            let _ = writeln!(out, "- {line}");
        }
    }
    Ok((out, plots))
}

fn introduction(results: &[(String, BenchResult)]) -> String {
    let measured = results.first().map_or_else(String::new, |(_, first)| {
        let machine = &first.machine;
        format!(
            "Measured {} on {} ({} cores, {:.0} GiB of memory, Linux {}), {}.\n\n",
            day(&first.date),
            machine.cpu,
            machine.cores,
            machine.memory_mib / 1024.0,
            machine.kernel,
            models(results),
        )
    });
    measured
        + "Times are in milliseconds, of this machine on that day; only ratios between rows of one report carry over to other \
           machines.\n\n"
}

/// Returns one row per result.
fn overview(results: &[(String, BenchResult)]) -> String {
    let mut out = String::from(
        "| run | content | load | answered | failed | prompt tokens | req/s | video s/s | visual tok/s | output tok/s | TTFT median / P99 | TPOT median | E2EL median / P99 | peak RSS MiB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let median = |summary: &Option<Summary>, digits| {
        number_or_dash(summary.as_ref().map(|summary| summary.median), digits)
    };
    let p99 = |summary: &Option<Summary>| {
        number_or_dash(summary.as_ref().and_then(|summary| summary.percentile(99.0)), 1)
    };
    for (name, result) in results {
        let latencies = &result.latencies;
        let prompt_tokens =
            (result.completed > 0).then(|| result.total_input_tokens / result.completed as f64);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {name} | {} ({}) | {} | {} | {} | {} | {:.2} | {} | {} | {:.1} | {} / {} | {} | {} / {} | {} |",
            result.dataset_name.name(),
            result.cache.name(),
            result.load(),
            result.completed,
            result.failed,
            number_or_dash(prompt_tokens, 0),
            result.request_throughput,
            number_or_dash(result.rtfx_video, 2),
            number_or_dash(result.visual_tokens_per_s, 0),
            result.output_throughput,
            median(&latencies.ttft, 1),
            p99(&latencies.ttft),
            median(&latencies.tpot, 2),
            median(&latencies.e2el, 1),
            p99(&latencies.e2el),
            number_or_dash(result.resources.peak_rss_mib, 0),
        );
    }
    out + "\n"
}

/// Returns one row per result that has stages.
fn stages(results: &[(String, BenchResult)]) -> String {
    let rows: Vec<(&str, StageMeans)> =
        results.iter().filter_map(|(name, result)| Some((name.as_str(), result.stages_ms?))).collect();
    let Some((_, first)) = rows.first() else { return String::new() };
    let names = first.stages().map(|(name, _)| name);
    let mut out = String::from(
        "Time per stage (mean milliseconds of a request; *other* is the part that no stage accounts for):\n\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "| run | {} | e2el |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len() + 1));
    for (name, stages) in rows {
        let cells = stages.stages().map(|(_, ms)| format!("{ms:.1}"));
        let _ = writeln!(out, "| {name} | {} | {:.1} |", cells.join(" | "), stages.e2el_ms);
    }
    out + "\n"
}

fn caveats(results: &[(String, BenchResult)]) -> String {
    let mut lines = Vec::new();
    for (name, result) in results {
        if result.interrupted {
            lines.push(format!("{name}: interrupted; only the requests that were answered until then count"));
        }
        if result.sanity_answer.is_none() && result.dataset_name.has_video() {
            lines.push(format!("{name}: it was not checked that the server answers correctly"));
        }
        lines.extend(result.warnings.iter().map(|warning| format!("{name}: {warning}")));
    }
    if lines.is_empty() {
        return String::new();
    }
    let list: String = lines.iter().map(|line| format!("- {line}\n")).collect();
    format!("## Caveats\n\n{list}\n")
}

fn commands(results: &[(String, BenchResult)]) -> String {
    // The results of a sweep have the same command.
    let mut commands: Vec<String> = results.iter().map(|(_, result)| shell_quoted(&result.command)).collect();
    commands.dedup();
    format!("## How to repeat it\n\n```\n{}\n```\n", commands.join("\n"))
}

/// Names each model once.
fn models(results: &[(String, BenchResult)]) -> String {
    let mut models: Vec<String> =
        results.iter().map(|(_, result)| format!("`{}`", result.model_id)).collect();
    models.sort();
    models.dedup();
    format!("{} {}", if models.len() == 1 { "model" } else { "models" }, models.join(" and "))
}

/// Joins the words of a command, quoted for a shell.
fn shell_quoted(words: &[String]) -> String {
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    let quoted = words.iter().map(|word| {
        if plain(word) && !word.is_empty() {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Returns `20261124-021500` as `2026-11-24`.
fn day(date: &str) -> String {
    match (date.get(..4), date.get(4..6), date.get(6..8)) {
        (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
        _ => date.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(concurrency: usize, ttft: f64) -> BenchResult {
        let committed = include_bytes!("../runs/2026-11-26-x86_64-2cores/demo-candle-f32.json");
        let mut result = BenchResult::parse(committed).unwrap();
        let summary = |median: f64, p99: f64| {
            Some(Summary { median, percentiles: vec![(99.0, p99)], ..Summary::default() })
        };
        result.label = Some("it's".into());
        result.command = ["homereel-bench", "serve", "--label", "it's"].map(str::to_owned).into();
        result.max_concurrency = Some(concurrency);
        (result.total_input_tokens, result.completed, result.failed) = (3952.0, 19, 1);
        (result.request_throughput, result.output_throughput) = (2.5, 40.0);
        (result.rtfx_video, result.visual_tokens_per_s) = (Some(12.25), None);
        result.latencies.ttft = summary(ttft, 3.0 * ttft);
        result.latencies.e2el = summary(2.0 * ttft, 4.0 * ttft);
        result.latencies.tpot = None;
        result.resources.peak_rss_mib = Some(1234.6);
        (result.sanity_answer, result.stages_ms) = (None, None);
        result.warnings = vec!["the clock was wrong".into()];
        result
    }

    #[test]
    fn a_report_names_machine_figures_and_caveats() {
        let results = [("a".into(), result(1, 20.0)), ("b".into(), result(4, 50.0))];
        let (text, plots) = report(&results, &Appendix::default(), "night").unwrap();
        assert!(
            text.contains(
                "on AMD EPYC (2 cores, 24 GiB of memory, Linux 6.18.44-fc-v657), model `demo-model`"
            ),
            "{text}"
        );
        let row = "| a | drawn (cold) | 1 concurrent | 19 | 1 | 208 | 2.50 | 12.25 | – | 40.0 | 20.0 / 60.0 | – | 40.0 / 80.0 | 1235 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("a: the clock was wrong") && text.contains("it was not checked"), "{text}");
        assert!(text.contains("\nhomereel-bench serve --label 'it'\\''s'\n```"), "{text}");
        for plot in &plots {
            assert!(text.contains(&plot.file), "{}", plot.file);
        }
        assert_eq!(plots.len(), 2, "latency and throughput; there are no stages");
    }

    #[test]
    fn probe_and_missing_runs_are_appended() {
        let probe = include_bytes!("../runs/2026-11-26-x86_64-2cores/probe.json");
        let appendix = Appendix {
            ingest: Vec::new(),
            probe: Some(serde_json::from_slice(probe).unwrap()),
            left_out: vec!["2b-vllm: it did not start".into()],
        };
        let (text, _) = report(&[("a".into(), result(1, 20.0))], &appendix, "night").unwrap();
        assert!(text.contains("| prefill | f32 | 512x2048x6144 | 252.2 |"), "{text}");
        assert!(text.ends_with("- 2b-vllm: it did not start\n"), "{text}");
    }
}
