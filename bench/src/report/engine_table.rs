//! The table of `docs/benchmarks.md`: one row per engine, the demo model and a model of the 2B shape side by side.
//!
//! Results are found by the labels that `scripts/bench.sh` gives them: `demo-ENGINE`, `2b-ENGINE-16`, `2b-ENGINE-first`.

use std::fmt::Write as _;

use homereel_web::bench_result::{BenchResult, Summary};
use homereel_web::format::number_or_dash;

/// Engines by their name in labels and in the table.
const ENGINES: [(&str, &str); 6] = [
    ("candle-f32", "Homereel, f32"),
    ("candle-bf16", "Homereel, `--dtype bf16`"),
    ("candle-q8_0", "Homereel, `--quantize q8_0`"),
    ("candle-q4k", "Homereel, `--quantize q4k`"),
    ("transformers-float32", "transformers, f32"),
    ("vllm", "vLLM, f32"),
];

/// Returns the table of `results` (name, result). Engines without results have no row.
#[must_use]
pub fn engine_table(results: &[(String, BenchResult)]) -> String {
    let find = |name: String| {
        results
            .iter()
            .find(|(known, result)| *known == name && result.completed > 0)
            .map(|(_, result)| result)
    };
    let mut out = String::from(
        "| | demo: TTFT ms | TPOT ms | E2EL ms | video s/s | 2B: TTFT s | TPOT ms | E2EL s | peak RSS GiB |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (engine, title) in ENGINES {
        let demo = find(format!("demo-{engine}"));
        let (whole, first) = (find(format!("2b-{engine}-16")), find(format!("2b-{engine}-first")));
        if demo.is_none() && whole.is_none() && first.is_none() {
            continue;
        }
        // If there was only time for first tokens, the answer's end says nothing.
        let two_b = whole.or(first);
        let cells = [
            number_or_dash(median(demo, |result| &result.latencies.ttft), 0),
            number_or_dash(median(demo, |result| &result.latencies.tpot), 2),
            number_or_dash(median(demo, |result| &result.latencies.e2el), 0),
            number_or_dash(demo.and_then(|result| result.rtfx_video), 1),
            number_or_dash(median(two_b, |result| &result.latencies.ttft).map(|ms| ms / 1e3), 1),
            number_or_dash(median(whole, |result| &result.latencies.tpot), 0),
            number_or_dash(median(whole, |result| &result.latencies.e2el).map(|ms| ms / 1e3), 1),
            number_or_dash(two_b.and_then(|result| result.resources.peak_rss_mib).map(|mib| mib / 1024.0), 1),
        ];
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {title} | {} |", cells.join(" | "));
    }
    out
}

fn median(result: Option<&BenchResult>, of: fn(&BenchResult) -> &Option<Summary>) -> Option<f64> {
    Some(of(result?).as_ref()?.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> Vec<(String, BenchResult)> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/runs/2026-11-26-x86_64-2cores");
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|file| {
                let result = BenchResult::parse(&std::fs::read(file).unwrap()).ok()?;
                Some((result.label.clone()?, result))
            })
            .collect()
    }

    #[test]
    fn the_committed_table_is_that_of_the_committed_results() {
        let table = include_str!("../../runs/2026-11-26-x86_64-2cores/table.md");
        assert_eq!(engine_table(&committed()), table);
    }

    #[test]
    fn without_whole_answers_the_first_token_is_reported() {
        let results: Vec<_> =
            committed().into_iter().filter(|(label, _)| label == "2b-candle-f32-first").collect();
        let row = "| Homereel, f32 | – | – | – | – | 11.3 | – | – | 8.5 |\n";
        assert!(engine_table(&results).ends_with(row), "{}", engine_table(&results));
    }
}
