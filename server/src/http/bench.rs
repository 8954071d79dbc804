//! `/bench`: the results of `homereel-bench serve` in the library's `bench` directory, as a table and plots.
//!
//! The files are untrusted: their number and size are limited, and files that are not results are listed by name.

use std::path::{Path, PathBuf};

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use homereel_web::{
    bench_result::{BenchResult, Summary},
    format::number_or_dash,
    pages::BenchPage,
    plot::{self, PlotError},
    views::BenchRow,
};

use super::{
    error::Failure,
    extract,
    html::{self, PageContext},
};

/// Number of results that are shown, the newest ones.
const MAX_RUNS: usize = 60;

/// Largest result file in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// File name (without extension) and title of each plot.
const PLOTS: [(&str, &str); 3] = [
    ("latency", "Latency against load"),
    ("throughput", "Throughput against load"),
    ("stages", "Time per stage of a request"),
];

/// `GET /bench`
pub(super) async fn page(cx: PageContext) -> Response {
    let work = async || {
        let directory = cx.state.config.get().data.join("bench");
        let (runs, unread) = read(directory.clone()).await?;
        let plots = PLOTS.iter().filter(|(name, _)| draw(name, &runs).is_ok_and(|svg| svg.is_some()));
        html::render(&BenchPage {
            shell: html::shell(&cx, "Benchmarks", "bench", false),
            directory: directory.display().to_string(),
            runs: runs.iter().map(|(name, result)| row(name, result)).collect(),
            plots: plots.map(|(name, title)| ((*name).to_owned(), (*title).to_owned())).collect(),
            unread,
        })
    };
    html::or_error(&cx, work().await)
}

/// `GET /bench/{name}.svg`
pub(super) async fn svg(cx: PageContext, extract::Path(name): extract::Path<String>) -> Response {
    let work = async || {
        let (runs, _) = read(cx.state.config.get().data.join("bench")).await?;
        let known = name.strip_suffix(".svg").filter(|name| PLOTS.iter().any(|(plot, _)| plot == name));
        let name = known.ok_or_else(|| Failure::not_found("there is no such plot"))?;
        let svg = draw(name, &runs).map_err(Failure::internal)?;
        let svg = svg.ok_or_else(|| Failure::not_found("there are too few results for this plot"))?;
        let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "private, no-cache")];
        Ok((headers, svg).into_response())
    };
    html::or_error(&cx, work().await)
}

fn draw(name: &str, runs: &[(String, BenchResult)]) -> Result<Option<String>, PlotError> {
    match name {
        "latency" => plot::latency(runs),
        "throughput" => plot::throughput(runs),
        _ => plot::stages(runs),
    }
}

/// Returns the results with their names, oldest first, and the names of files that are not results.
async fn read(directory: PathBuf) -> Result<(Vec<(String, BenchResult)>, Vec<String>), Failure> {
    tokio::task::spawn_blocking(move || read_all(&directory)).await.map_err(Failure::internal)
}

fn read_all(directory: &Path) -> (Vec<(String, BenchResult)>, Vec<String>) {
    let (mut runs, mut unread) = (Vec::new(), Vec::new());
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    // Names begin with the date.
    files.sort();
    let skipped = files.len().saturating_sub(MAX_RUNS);
    for file in files.into_iter().skip(skipped) {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match parse(&file) {
            Some(result) => runs.push((name, result)),
            None => unread.push(name),
        }
    }
    (runs, unread)
}

fn parse(file: &Path) -> Option<BenchResult> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return None;
    }
    BenchResult::parse(&std::fs::read(file).ok()?).ok()
}

fn row(name: &str, result: &BenchResult) -> BenchRow {
    let median = |summary: &Option<Summary>| summary.as_ref().map(|summary| summary.median);
    let tail = |summary: &Option<Summary>| summary.as_ref().and_then(|summary| summary.percentile(99.0));
    let both =
        |summary| format!("{} / {}", number_or_dash(median(summary), 0), number_or_dash(tail(summary), 0));
    let latencies = &result.latencies;
    BenchRow {
        name: name.to_owned(),
        model: result.model_id.clone(),
        content: format!("{} ({})", result.dataset_name.name(), result.cache.name()),
        load: result.load(),
        answered: format!("{} ({} failed)", result.completed, result.failed),
        requests: format!("{:.2}", result.request_throughput),
        tokens: format!("{:.1}", result.output_throughput),
        ttft: both(&latencies.ttft),
        tpot: number_or_dash(median(&latencies.tpot), 1),
        e2el: both(&latencies.e2el),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_in_order_and_other_files_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let result = include_str!("../../../bench/runs/2026-11-26-x86_64-2cores/2b-candle-f32-first.json");
        write("2-b.json", result);
        write("1-a.json", &result.replace("\"max_concurrency\": 1", "\"max_concurrency\": 4"));
        write("3-c.json", "{");
        write("4-d.json", "[1]");
        write("notes.txt", "x");
        let (runs, unread) = read_all(dir.path());
        assert_eq!(runs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["1-a", "2-b"]);
        assert_eq!(unread, ["3-c", "4-d"]);
        let row = row(&runs[0].0, &runs[0].1);
        assert_eq!((row.load.as_str(), row.ttft.as_str()), ("4 concurrent", "11347 / 11349"));
        assert_eq!(row.tpot, "–", "answers of one token");
        assert_eq!(read_all(Path::new("/nonexistent")), (Vec::new(), Vec::new()));
    }
}
