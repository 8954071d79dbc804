//! `/bench`: the results of `homereel-bench serve` in the library's `bench` directory, as a table and plots.
//!
//! The files are untrusted: their number and size are limited, and files that are not results are listed by name.

use std::path::{Path, PathBuf};

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use homereel_web::{
    Words,
    bench_result::{BenchResult, Summary},
    format::number_or_dash,
    pages::BenchPage,
    plot::{self, PlotError, Width},
    views::{BenchChange, BenchRow},
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

/// File name (without extension) of each plot, and the message that is its title.
const PLOTS: [(&str, &str); 3] =
    [("latency", "bench-latency"), ("throughput", "bench-throughput"), ("stages", "bench-stages")];

/// `GET /bench`
pub(super) async fn page(cx: PageContext) -> Response {
    let work = async || {
        let directory = cx.state.config.get().data.join("bench");
        let (runs, unread) = read(directory.clone()).await?;
        let plots =
            PLOTS.iter().filter(|(name, _)| draw(name, &runs, Width::Wide).is_ok_and(|svg| svg.is_some()));
        html::render(&BenchPage {
            shell: html::shell(&cx, &cx.words.t("benchmarks"), "bench", false),
            directory: directory.display().to_string(),
            runs: runs.iter().map(|(name, result)| row(name, result)).collect(),
            plots: plots.map(|(name, title)| ((*name).to_owned(), cx.words.t(title))).collect(),
            change: change(cx.words, &runs),
            unread,
        })
    };
    html::or_error(&cx, work().await)
}

/// `GET /bench/{name}.svg`
pub(super) async fn svg(cx: PageContext, extract::Path(name): extract::Path<String>) -> Response {
    let work = async || {
        let (runs, _) = read(cx.state.config.get().data.join("bench")).await?;
        let (name, look) = look(&name).ok_or_else(|| Failure::not_found("there is no such plot"))?;
        let svg = draw(name, &runs, look.width).map_err(Failure::internal)?;
        let svg = svg.ok_or_else(|| Failure::not_found("there are too few results for this plot"))?;
        let svg = if look.dark { plot::dark(&svg) } else { svg };
        let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "private, no-cache")];
        Ok((headers, svg).into_response())
    };
    html::or_error(&cx, work().await)
}

/// How a plot is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    width: Width,
    dark: bool,
}

/// Parses `NAME[-narrow][-dark].svg`.
fn look(file: &str) -> Option<(&str, Look)> {
    let name = file.strip_suffix(".svg")?;
    let (name, dark) = name.strip_suffix("-dark").map_or((name, false), |name| (name, true));
    let (name, width) =
        name.strip_suffix("-narrow").map_or((name, Width::Wide), |name| (name, Width::Narrow));
    PLOTS.iter().any(|(plot, _)| *plot == name).then_some((name, Look { width, dark }))
}

fn draw(name: &str, runs: &[(String, BenchResult)], width: Width) -> Result<Option<String>, PlotError> {
    match name {
        "latency" => plot::latency(runs, width),
        "throughput" => plot::throughput(runs, width),
        _ => plot::stages(runs, width),
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

/// Compares the newest run with the last one before it that asked the same model for the same under the same load. `None` if there is none.
fn change(words: &Words, runs: &[(String, BenchResult)]) -> Option<BenchChange> {
    let ((name, newest), earlier) = runs.split_last()?;
    let same = |other: &BenchResult| {
        (&other.model_id, other.dataset_name.name(), other.cache.name(), other.load())
            == (&newest.model_id, newest.dataset_name.name(), newest.cache.name(), newest.load())
    };
    let (before_name, before) = earlier.iter().rev().find(|(_, other)| same(other))?;
    let median = |summary: &Option<Summary>| summary.as_ref().map(|summary| summary.median);
    let (new, old) = (&newest.latencies, &before.latencies);
    let values = [
        ("bench-tokens", Some(before.output_throughput), Some(newest.output_throughput), 1),
        ("bench-requests", Some(before.request_throughput), Some(newest.request_throughput), 2),
        ("bench-ttft", median(&old.ttft), median(&new.ttft), 0),
        ("bench-tpot", median(&old.tpot), median(&new.tpot), 1),
        ("bench-e2el", median(&old.e2el), median(&new.e2el), 0),
    ];
    let row = |(key, old, new, digits): (&str, Option<f64>, Option<f64>, usize)| {
        let (old, new) = (old?, new?);
        let percent = if old > 0.0 { format!("{:+.0} %", 100.0 * (new / old - 1.0)) } else { "–".into() };
        Some([words.t(key), number_or_dash(Some(old), digits), number_or_dash(Some(new), digits), percent])
    };
    Some(BenchChange {
        before: before_name.clone(),
        after: name.clone(),
        rows: values.into_iter().filter_map(row).collect(),
    })
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
        // The two runs had different loads.
        assert_eq!(change(Words::english(), &runs), None);
        let mut faster = runs[1].1.clone();
        faster.output_throughput *= 2.0;
        let again = [runs[1].clone(), runs[0].clone(), ("5-e".into(), faster)];
        let change = change(Words::english(), &again).unwrap();
        assert_eq!((change.before.as_str(), change.after.as_str()), ("2-b", "5-e"));
        assert_eq!((change.rows[0][3].as_str(), change.rows[2][3].as_str()), ("+100 %", "+0 %"));
        assert_eq!(
            look("stages-narrow-dark.svg"),
            Some(("stages", Look { width: Width::Narrow, dark: true }))
        );
        assert_eq!((look("x.svg"), look("stages-narrow")), (None, None));
        assert_eq!(read_all(Path::new("/nonexistent")), (Vec::new(), Vec::new()));
    }
}
