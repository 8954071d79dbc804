//! The figures of `homereel-bench` against a stub server with known delays. A test program of its own, so that no other test
//! runs at the same time: the clocks of two processes are compared.

mod stub;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use homereel_bench::statistics::summarize;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;

use stub::{Piece, Record, Script, Step, Stub};

/// Tokens per answer, more than its chunks.
const TOKENS: u64 = 11;

fn step(wait_ms: u64, send: Piece) -> Step {
    Step { wait_ms, send }
}

/// An answer with delays in multiples of `unit` ms: the role after 1, the first text after 4 more, four further texts 2 apart, the
/// end 1 later.
fn answer(unit: u64) -> Script {
    let mut steps = vec![step(unit, Piece::Role), step(4 * unit, Piece::Text)];
    steps.extend((0..4).map(|_| step(2 * unit, Piece::Text)));
    steps.extend([step(unit, Piece::Finish), step(0, Piece::Usage(100, TOKENS)), step(0, Piece::Done)]);
    Script::Stream(steps)
}

/// A directory with one file, which the stub does not read.
fn clip_directory() -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("clip.mp4"), b"a clip")?;
    Ok(dir)
}

/// Flags that ask a stub `count` times about the clip in `dir`.
fn flags<'a>(dir: &'a Path, count: &'a str) -> anyhow::Result<Vec<&'a str>> {
    let dir = dir.to_str().context("the path is UTF-8")?;
    let content = ["--dataset-name", "clips", "--dataset-path", dir, "--repeat", "--no-sanity"];
    Ok([content.as_slice(), &["--num-prompts", count, "--num-warmups", "0", "--seed", "1"]].concat())
}

/// Longest time of one run.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs `homereel-bench`; returns whether it succeeded, its stdout and its stderr.
async fn bench(arguments: &[&str]) -> anyhow::Result<(bool, String, String)> {
    let run = Command::new(env!("CARGO_BIN_EXE_homereel-bench")).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(TIMEOUT, run).await.context("homereel-bench did not exit")??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.success(), text(output.stdout), text(output.stderr)))
}

async fn serve(stub: &Stub, count: &str, more: &[&str]) -> anyhow::Result<Value> {
    let dir = clip_directory()?;
    let file = dir.path().join("result.json");
    let file = file.to_str().context("the path is UTF-8")?;
    let mut arguments = vec!["serve", "--base-url", &stub.url, "--result-filename", file];
    arguments.extend(flags(dir.path(), count)?);
    arguments.extend(more);
    let (_, _, stderr) = bench(&arguments).await?;
    ensure!(Path::new(file).exists(), "{stderr}");
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// Attempts of a run in which clocks are compared.
const ATTEMPTS: usize = 5;

/// Held while measuring, so that the tests of this program run one after the other.
static EXCLUSIVE: Mutex<()> = Mutex::const_new(());

/// Repeats `check` until it succeeds. The machine sometimes suspends one of two processes for some milliseconds; a wrong figure is
/// wrong in every attempt.
async fn retry(check: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let _exclusive = EXCLUSIVE.lock().await;
    for _ in 1..ATTEMPTS {
        if check().await.is_ok() {
            return Ok(());
        }
    }
    check().await
}

/// Checks that the result's `name` is `expected`, within 1 % or 1 ms.
fn near(result: &Value, name: &str, expected: f64) -> anyhow::Result<()> {
    let got = result[name].as_f64().unwrap_or(f64::NAN);
    let room = if name.ends_with("_ms") { f64::max(0.01 * expected, 1.0) } else { 0.01 * expected };
    ensure!((got - expected).abs() <= room, "{name} is {got:.3}, but {expected:.3} by the stub's clock");
    Ok(())
}

fn ms(from: Instant, to: Instant) -> f64 {
    1e3 * to.duration_since(from).as_secs_f64()
}

#[tokio::test]
async fn every_figure_is_that_of_the_script() -> anyhow::Result<()> {
    retry(every_figure).await
}

async fn every_figure() -> anyhow::Result<()> {
    // Slow and fast answers in turns, so that mean and median differ.
    let stub = Stub::start(vec![answer(100), answer(50)]).await?;
    let more = ["--max-concurrency", "4", "--goodput", "e2el:1000", "--metric-percentiles", "50,90,99"];
    let result = serve(&stub, "16", &more).await?;
    let records = stub.records();
    assert_eq!((result["completed"].as_u64(), result["failed"].as_u64()), (Some(16), Some(0)), "{result}");
    assert_eq!(records.len(), 16);
    let end = |one: &Record| one.finished.unwrap_or(one.arrived);
    let of = |measure: &dyn Fn(&Record) -> f64| records.iter().map(measure).collect::<Vec<f64>>();
    let ttft = of(&|one| ms(one.arrived, one.texts[0]));
    let e2el = of(&|one| ms(one.arrived, end(one)));
    let tpot = of(&|one| ms(one.texts[0], end(one)) / (TOKENS - 1) as f64);
    let itl: Vec<f64> =
        records.iter().flat_map(|one| one.texts.windows(2).map(|pair| ms(pair[0], pair[1]))).collect();
    for (name, values) in [("ttft", &ttft), ("e2el", &e2el), ("tpot", &tpot), ("itl", &itl)] {
        let summary = summarize(values, &[50.0, 90.0, 99.0]).context("there are values")?;
        near(&result, &format!("mean_{name}_ms"), summary.mean)?;
        near(&result, &format!("median_{name}_ms"), summary.median)?;
        near(&result, &format!("std_{name}_ms"), summary.std)?;
        for (p, value) in summary.percentiles {
            near(&result, &format!("p{p}_{name}_ms"), value)?;
        }
    }
    let last = records.iter().map(end).max().context("there were requests")?;
    let seconds = ms(records[0].arrived, last) / 1e3;
    near(&result, "duration", seconds)?;
    near(&result, "request_throughput", 16.0 / seconds)?;
    near(&result, "output_throughput", 16.0 * TOKENS as f64 / seconds)?;
    near(&result, "total_token_throughput", 16.0 * (100 + TOKENS) as f64 / seconds)?;
    let met = e2el.iter().filter(|&&ms| ms <= 1000.0).count();
    ensure!(met == 8, "half of the answers are fast: {e2el:?}");
    near(&result, "request_goodput", 8.0 / seconds)?;
    assert_eq!(result["max_concurrent_requests"].as_u64(), Some(4));
    assert_eq!(
        result["total_output_tokens"].as_f64(),
        Some(16.0 * TOKENS as f64),
        "counted by usage, not by chunks"
    );
    Ok(())
}

#[tokio::test]
async fn an_open_loop_counts_from_when_a_request_was_due() -> anyhow::Result<()> {
    retry(open_loop).await
}

async fn open_loop() -> anyhow::Result<()> {
    let stub = Stub::start(vec![answer(20)]).await?;
    // Each answer takes 280 ms, one at a time, but one is due about every 100 ms: they queue up.
    let more = ["--request-rate", "10", "--max-concurrency", "1", "--save-detailed"];
    let result = serve(&stub, "8", &more).await?;
    let records = stub.records();
    let requests = result["requests"].as_array().context("they were kept")?;
    let first_start = requests[0]["start_s"].as_f64().context("a number")?;
    let waits: Vec<f64> = requests
        .iter()
        .zip(&records)
        .map(|(request, record)| {
            // The stub's clock has the arrival of a request, the result its due time.
            let due = request["due_s"].as_f64().unwrap_or(f64::NAN) - first_start;
            ms(records[0].arrived, record.texts[0]) - 1e3 * due
        })
        .collect();
    let summary = summarize(&waits, &[]).context("there are requests")?;
    near(&result, "mean_ttft_ms", summary.mean)?;
    near(&result, "median_ttft_ms", summary.median)?;
    let alone = ms(records[0].arrived, records[0].texts[0]);
    ensure!(summary.median > 2.0 * alone, "no queue formed: {waits:?}");
    Ok(())
}

#[tokio::test]
async fn failures_are_counted_by_class_and_leave_the_figures_alone() -> anyhow::Result<()> {
    retry(failures).await
}

async fn failures() -> anyhow::Result<()> {
    let after = |steps: &[Piece]| {
        let begin = [Piece::Role, Piece::Text].iter().chain(steps);
        Script::Stream(begin.map(|send| step(5, send.clone())).collect())
    };
    let stub = Stub::start(vec![
        answer(20),
        Script::Status(429),
        Script::Status(500),
        Script::Status(400),
        after(&[Piece::Error]),
        after(&[Piece::Cut]),
        after(&[Piece::Garbage]),
        // An answer without usage, and one without [DONE].
        after(&[Piece::Finish, Piece::Done]),
        after(&[Piece::Finish, Piece::Usage(1, 1)]),
        answer(20),
    ])
    .await?;
    let result = serve(&stub, "10", &["--max-concurrency", "1"]).await?;
    assert_eq!((result["completed"].as_u64(), result["failed"].as_u64()), (Some(2), Some(8)), "{result}");
    let count = |class: &str| {
        let classes = result["failures"].as_array().into_iter().flatten();
        classes.filter(|one| one["class"] == class).find_map(|one| one["count"].as_u64()).unwrap_or(0)
    };
    assert_eq!(
        ["overload", "server", "request", "connection", "protocol"].map(count),
        [1, 2, 1, 2, 2],
        "{}",
        result["failures"]
    );
    let records = stub.records();
    let whole: Vec<&Record> = records.iter().filter(|one| one.texts.len() == 5).collect();
    let e2el: Vec<f64> =
        whole.iter().map(|one| ms(one.arrived, one.finished.unwrap_or(one.arrived))).collect();
    near(&result, "mean_e2el_ms", summarize(&e2el, &[]).context("there are answers")?.mean)?;
    Ok(())
}

#[tokio::test]
async fn a_slowdown_of_five_percent_is_found_and_none_where_there_is_none() -> anyhow::Result<()> {
    let _exclusive = EXCLUSIVE.lock().await;
    let at_once = |wait_ms| {
        Script::Stream(vec![
            step(wait_ms, Piece::Text),
            step(0, Piece::Finish),
            step(0, Piece::Usage(10, 1)),
            step(0, Piece::Done),
        ])
    };
    let baseline = Stub::start(vec![at_once(100)]).await?;
    let same = Stub::start(vec![at_once(100)]).await?;
    let slower = Stub::start(vec![at_once(105)]).await?;
    let dir = clip_directory()?;
    let compare = async |candidate: &Stub| {
        let mut arguments = vec!["compare", "--baseline", &baseline.url, "--candidate", &candidate.url];
        arguments.extend(flags(dir.path(), "40")?);
        let (succeeded, stdout, stderr) = bench(&arguments).await?;
        ensure!(succeeded, "{stderr}");
        let line = stdout.lines().find(|line| line.starts_with("e2el: ")).map(str::to_owned);
        line.with_context(|| format!("no comparison: {stdout}"))
    };
    // Ten times each, concurrently: they only wait.
    let found = try_join_all((0..20).map(|n| compare(if n % 2 == 0 { &same } else { &slower }))).await?;
    for (n, line) in found.iter().enumerate() {
        let expected = if n % 2 == 0 { "no difference" } else { "B is slower" };
        ensure!(line.contains(expected), "run {n} should say '{expected}': {line}");
    }
    Ok(())
}
