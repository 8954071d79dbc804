//! A report that a person would send to a friend: Markdown, with its plots beside it. Knows results, not servers.

use std::fmt::Write as _;

use serde_json::Value;

use homereel_web::plot;

/// A file of a report.
#[derive(Debug)]
pub struct Plot {
    /// Name of the file beside the Markdown.
    pub file: String,
    /// SVG.
    pub svg: String,
}

/// Writes the Markdown of `results` (name, result) and draws its plots, whose files begin with `stem`.
///
/// # Errors
/// When a plot can't be drawn.
pub fn report(results: &[(String, Value)], stem: &str) -> anyhow::Result<(String, Vec<Plot>)> {
    let values: Vec<Value> = results.iter().map(|(_, one)| one.clone()).collect();
    let mut plots = Vec::new();
    for (name, svg) in [
        ("latency", plot::latency(&values)?),
        ("throughput", plot::throughput(&values)?),
        ("stages", plot::stages(results)?),
    ] {
        plots.extend(svg.map(|svg| Plot { file: format!("{stem}-{name}.svg"), svg }));
    }
    Ok((markdown(results, &plots), plots))
}

fn markdown(results: &[(String, Value)], plots: &[Plot]) -> String {
    let mut out = String::from("# Benchmark of a video language server\n\n");
    // Writing to a String cannot fail.
    if let Some((_, first)) = results.first() {
        let machine = &first["machine"];
        let _ = writeln!(
            out,
            "Measured {} on {} ({} cores, {:.0} GiB of memory, Linux {}), {}.\n",
            day(&first["date"]),
            text(&machine["cpu"]),
            machine["cores"],
            machine["memory_mib"].as_f64().unwrap_or_default() / 1024.0,
            text(&machine["kernel"]),
            models(results),
        );
    }
    out.push_str(
        "Times are in milliseconds and are those of this machine on that day; only ratios between rows of one report \
         carry over to others.\n\n",
    );
    out.push_str("| run | content | load | answered | failed | prompt tokens | req/s | video s/s | visual tok/s | output tok/s | TTFT median / P99 | TPOT median | E2EL median / P99 | peak RSS MiB |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (name, one) in results {
        let number = |field: &str| one[field].as_f64().unwrap_or_default();
        let tail = |measure: &str| {
            one[format!("p99_{measure}_ms")].as_f64().map_or_else(|| "–".into(), |ms| format!("{ms:.1}"))
        };
        let _ = writeln!(
            out,
            "| {name} | {} ({}) | {} | {} | {} | {:.0} | {:.2} | {:.2} | {} | {:.1} | {:.1} / {} | {:.2} | {:.1} / {} | {} |",
            text(&one["dataset_name"]),
            text(&one["cache"]),
            load(one),
            one["completed"],
            one["failed"],
            number("total_input_tokens") / number("completed").max(1.0),
            number("request_throughput"),
            number("rtfx_video"),
            rounded(&one["visual_tokens_per_s"]),
            number("output_throughput"),
            number("median_ttft_ms"),
            tail("ttft"),
            number("median_tpot_ms"),
            number("median_e2el_ms"),
            tail("e2el"),
            rounded(&one["seen"]["peak_rss_mib"]),
        );
    }
    out.push('\n');
    out.push_str(&stages(results));
    for plot in plots {
        let _ = writeln!(out, "![{}]({})\n", plot.file.trim_end_matches(".svg"), plot.file);
    }
    let mut caveats = Vec::new();
    for (name, one) in results {
        if one["interrupted"] == true {
            caveats.push(format!(
                "{name}: interrupted; the figures are of the requests that were answered until then"
            ));
        }
        if one["sanity_answer"].is_null() && one["dataset_name"] != "random" {
            caveats.push(format!("{name}: nobody checked that the server answers truly"));
        }
        let warnings = one["warnings"].as_array().into_iter().flatten();
        caveats.extend(warnings.map(|warning| format!("{name}: {}", text(warning))));
    }
    if !caveats.is_empty() {
        out.push_str("## What to know before quoting this\n\n");
        for caveat in caveats {
            let _ = writeln!(out, "- {caveat}");
        }
        out.push('\n');
    }
    out.push_str(
        "## What the words mean\n\nAs in `vllm bench serve`: TTFT is the time from a request to its first token (here from \
         when it was due, upload and decoding included), TPOT the time per output token after the first, E2EL the time to \
         the last token. Tokens are counted by the server's `usage`. *video s/s* is the length of the videos answered \
         about per second. *cold* content was never sent to the server before.\n\n",
    );
    out.push_str("## How to repeat it\n\n```\n");
    // A sweep is one command.
    let mut commands: Vec<String> = results.iter().map(|(_, one)| command(one)).collect();
    commands.dedup();
    for command in commands {
        let _ = writeln!(out, "{command}");
    }
    out.push_str("```\n");
    out
}

/// A row for each run that told its stages: where the time of a request goes.
fn stages(results: &[(String, Value)]) -> String {
    let told: Vec<_> =
        results.iter().filter_map(|(name, one)| Some((name, one["stages_ms"].as_object()?))).collect();
    let Some((_, first)) = told.first() else { return String::new() };
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    let title = |name: &&str| name.trim_end_matches("_ms").to_owned();
    let mut out = String::from(
        "Where the time goes (mean milliseconds of a request; what no stage explains is *other*):\n\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "| run | {} |", names.iter().map(title).collect::<Vec<_>>().join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    for (name, stages) in told {
        let cells = names
            .iter()
            .map(|stage| format!("{:.1}", stages.get(*stage).and_then(Value::as_f64).unwrap_or_default()));
        let _ = writeln!(out, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    out.push('\n');
    out
}

/// The models of all runs, each once.
fn models(results: &[(String, Value)]) -> String {
    let mut models: Vec<String> =
        results.iter().map(|(_, one)| format!("`{}`", text(&one["model_id"]))).collect();
    models.sort();
    models.dedup();
    format!("{} {}", if models.len() == 1 { "model" } else { "models" }, models.join(" and "))
}

/// A number without digits after the point, or a dash where it is unknown.
fn rounded(value: &Value) -> String {
    value.as_f64().map_or_else(|| "–".into(), |value| format!("{value:.0}"))
}

/// The command that made a result, quoted for a shell.
fn command(one: &Value) -> String {
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    let words = one["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let quoted = words.map(|word| {
        if plain(word) && !word.is_empty() {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn load(one: &Value) -> String {
    let rate = one["request_rate"].as_f64().map(|rate| format!("{rate} req/s"));
    let cap = one["max_concurrency"].as_u64().map(|cap| format!("{cap} at once"));
    match (rate, cap) {
        (Some(rate), Some(cap)) => format!("{rate}, {cap}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "all at once".into(),
    }
}

/// `20261124-021500` as `2026-11-24`.
fn day(date: &Value) -> String {
    let date = text(date);
    match (date.get(..4), date.get(4..6), date.get(6..8)) {
        (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
        _ => date.to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_tells_what_and_where_and_what_to_doubt() {
        let one = |cap: u32, ttft: f64| {
            json!({
                "date": "20261124-021500", "model_id": "demo", "dataset_name": "drawn", "cache": "cold",
                "command": ["homereel-bench", "serve", "--label", "it's"], "request_rate": "inf",
                "max_concurrency": cap, "total_input_tokens": 3952, "completed": 19, "failed": 1, "request_throughput": 2.5, "rtfx_video": 12.25,
                "output_throughput": 40.0, "median_ttft_ms": ttft, "p99_ttft_ms": 3.0 * ttft, "median_tpot_ms": 4.5,
                "median_e2el_ms": 2.0 * ttft, "p99_e2el_ms": 4.0 * ttft, "sanity_answer": null,
                "machine": { "cpu": "EPYC", "cores": 2, "memory_mib": 24576.0, "kernel": "6.1" },
                "warnings": ["the clock was wrong"], "seen": { "peak_rss_mib": 1234.6 }, "visual_tokens_per_s": null,
            })
        };
        let (text, plots) =
            report(&[("a".into(), one(1, 20.0)), ("b".into(), one(4, 50.0))], "night").unwrap();
        assert!(
            text.contains("Measured 2026-11-24 on EPYC (2 cores, 24 GiB of memory, Linux 6.1), model `demo`"),
            "{text}"
        );
        assert!(text.contains("| a | drawn (cold) | 1 at once | 19 | 1 | 208 | 2.50 | 12.25 | – | 40.0 | 20.0 / 60.0 | 4.50 | 40.0 / 80.0 | 1235 |"), "{text}");
        assert!(text.contains("a: the clock was wrong") && text.contains("nobody checked"), "{text}");
        assert!(text.contains("\nhomereel-bench serve --label 'it'\\''s'\n```"), "{text}");
        for plot in &plots {
            assert!(text.contains(&plot.file), "{}", plot.file);
        }
        assert_eq!(plots.len(), 2, "latency and throughput; no stages were told");
    }
}
