//! `/bench`: results of `homereel-bench serve` that lie in the library's `bench` directory, as a table and plots.
//! Results are files that somebody put there: read within bounds, and what does not fit is named.

use std::path::{Path, PathBuf};

use axum::{
    extract,
    http::header,
    response::{IntoResponse, Response},
};
use homereel_web::{
    pages::BenchPage,
    plot::{self, PlotError},
    views::Run,
};
use serde_json::Value;

use super::{
    error::Failure,
    html::{self, PageContext},
};

/// Results that are shown, the newest.
const MAX_RUNS: usize = 60;

/// Bytes of one result.
const MAX_BYTES: u64 = 4 << 20;

/// Plots, by the name of their file.
const PLOTS: [(&str, &str); 3] = [
    ("latency", "Latency against load"),
    ("throughput", "Throughput against load"),
    ("stages", "Where the time goes"),
];

/// `GET /bench`
pub(super) async fn page(cx: PageContext) -> Response {
    let work = async || {
        let directory = cx.state.config.data.join("bench");
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
        let (runs, _) = read(cx.state.config.data.join("bench")).await?;
        let known = name.strip_suffix(".svg").filter(|name| PLOTS.iter().any(|(plot, _)| plot == name));
        let name = known.ok_or_else(|| Failure::not_found("there is no such plot"))?;
        let svg = draw(name, &runs).map_err(Failure::internal)?;
        let svg = svg.ok_or_else(|| Failure::not_found("there are too few results for this plot"))?;
        let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "private, no-cache")];
        Ok((headers, svg).into_response())
    };
    html::or_error(&cx, work().await)
}

fn draw(name: &str, runs: &[(String, Value)]) -> Result<Option<String>, PlotError> {
    let values: Vec<Value> = runs.iter().map(|(_, result)| result.clone()).collect();
    match name {
        "latency" => plot::latency(&values),
        "throughput" => plot::throughput(&values),
        _ => plot::stages(runs),
    }
}

/// Results by name, oldest first, and the names of files that are none.
async fn read(directory: PathBuf) -> Result<(Vec<(String, Value)>, Vec<String>), Failure> {
    tokio::task::spawn_blocking(move || read_all(&directory)).await.map_err(Failure::internal)
}

fn read_all(directory: &Path) -> (Vec<(String, Value)>, Vec<String>) {
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

/// A result has a number of answered requests; anything else is another file.
fn parse(file: &Path) -> Option<Value> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return None;
    }
    let value: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    value["completed"].is_u64().then_some(value)
}

fn row(name: &str, result: &Value) -> Run {
    let text = |field: &str| result[field].as_str().unwrap_or_default().to_owned();
    let number = |field: &str, digits: usize| {
        result[field].as_f64().map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
    };
    Run {
        name: name.to_owned(),
        model: text("model_id"),
        content: format!("{} ({})", text("dataset_name"), text("cache")),
        load: load(result),
        answered: format!("{} ({} failed)", result["completed"], result["failed"].as_u64().unwrap_or(0)),
        requests: number("request_throughput", 2),
        tokens: number("output_throughput", 1),
        ttft: format!("{} / {}", number("median_ttft_ms", 0), number("p99_ttft_ms", 0)),
        tpot: number("median_tpot_ms", 1),
        e2el: format!("{} / {}", number("median_e2el_ms", 0), number("p99_e2el_ms", 0)),
    }
}

fn load(result: &Value) -> String {
    let rate = result["request_rate"].as_f64().map(|rate| format!("{rate} a second"));
    let cap = result["max_concurrency"].as_u64().map(|cap| format!("{cap} at once"));
    let words: Vec<String> = rate.into_iter().chain(cap).collect();
    if words.is_empty() { "all at once".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_in_order_and_other_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("2-b.json", r#"{"completed": 3, "max_concurrency": 4, "median_ttft_ms": 12.4}"#);
        write("1-a.json", r#"{"completed": 2, "request_rate": 0.5}"#);
        write("3-c.json", "{");
        write("4-d.json", "[1]");
        write("notes.txt", "x");
        let (runs, unread) = read_all(dir.path());
        assert_eq!(runs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["1-a", "2-b"]);
        assert_eq!(unread, ["3-c", "4-d"]);
        let row = row(&runs[1].0, &runs[1].1);
        assert_eq!((row.load.as_str(), row.ttft.as_str()), ("4 at once", "12 / –"));
        assert_eq!(read_all(Path::new("/nonexistent")), (Vec::new(), Vec::new()));
    }
}
