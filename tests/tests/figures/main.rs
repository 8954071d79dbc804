//! The figures of `homereel-bench` against a server whose delays are known. A program of its own, so that no other test
//! works beside it: what is compared are the clocks of two programs.

mod stub;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use homereel_bench::statistics::Figures;
use homereel_tests::bench;
use serde_json::Value;
use tokio::sync::Mutex;

use stub::{Piece, Record, Script, Step, Stub};

/// Tokens of an answer: more than it has chunks.
const TOKENS: u64 = 11;

fn step(wait_ms: u64, send: Piece) -> Step {
    Step { wait_ms, send }
}

/// An answer: a role after `unit`, the first text after 4 more, four further ones with 2 between, the end 1 later.
fn answer(unit: u64) -> Script {
    let mut steps = vec![step(unit, Piece::Role), step(4 * unit, Piece::Text)];
    steps.extend((0..4).map(|_| step(2 * unit, Piece::Text)));
    steps.extend([step(unit, Piece::Finish), step(0, Piece::Usage(100, TOKENS)), step(0, Piece::Done)]);
    Script::Stream(steps)
}

/// A folder of one clip, which no stub looks at.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("clip.mp4"), b"a clip")?;
    Ok(dir)
}

/// The flags that ask a stub `count` times about the clip of `dir`.
fn flags<'a>(dir: &'a Path, count: &'a str) -> anyhow::Result<Vec<&'a str>> {
    let dir = dir.to_str().context("a path of ours is text")?;
    let content = ["--dataset-name", "clips", "--dataset-path", dir, "--repeat", "--no-sanity"];
    Ok([content.as_slice(), &["--num-prompts", count, "--num-warmups", "0", "--seed", "1"]].concat())
}

async fn serve(stub: &Stub, count: &str, more: &[&str]) -> anyhow::Result<Value> {
    let dir = folder()?;
    let file = dir.path().join("result.json");
    let file = file.to_str().context("a path of ours is text")?;
    let mut arguments = vec!["serve", "--base-url", &stub.url, "--result-filename", file];
    arguments.extend(flags(dir.path(), count)?);
    arguments.extend(more);
    let output = bench(&arguments).await?;
    ensure!(Path::new(file).exists(), "{}", output.stderr);
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// Tries of a run whose clocks are compared.
const TRIES: usize = 5;

/// Held by whoever measures: the tests of this program do not work beside each other either.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Runs `check` until it agrees. Between the clocks of two programs stands the machine, which now and then gives one of
/// them no processor for some milliseconds; a figure that is wrong is wrong every time.
async fn agrees(check: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    for _ in 1..TRIES {
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
    ensure!((got - expected).abs() <= room, "{name} is {got:.3}, the stub's own clock says {expected:.3}");
    Ok(())
}

fn ms(from: Instant, to: Instant) -> f64 {
    1e3 * to.duration_since(from).as_secs_f64()
}

#[tokio::test]
async fn every_figure_is_that_of_the_script() -> anyhow::Result<()> {
    agrees(every_figure).await
}

async fn every_figure() -> anyhow::Result<()> {
    // A slow and a fast answer by turns, so that no mean is a median.
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
        let figures = Figures::of(values, &[50.0, 90.0, 99.0]);
        near(&result, &format!("mean_{name}_ms"), figures.mean)?;
        near(&result, &format!("median_{name}_ms"), figures.median)?;
        near(&result, &format!("std_{name}_ms"), figures.std)?;
        for (p, value) in figures.percentiles {
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
        "from usage, not from chunks"
    );
    Ok(())
}

#[tokio::test]
async fn an_open_loop_counts_from_when_a_request_was_due() -> anyhow::Result<()> {
    agrees(open_loop).await
}

async fn open_loop() -> anyhow::Result<()> {
    let stub = Stub::start(vec![answer(20)]).await?;
    // Each answer takes 280 ms and one is let through at a time, but one is due every 100 ms or so: they queue up.
    let more = ["--request-rate", "10", "--max-concurrency", "1", "--save-detailed"];
    let result = serve(&stub, "8", &more).await?;
    let records = stub.records();
    let requests = result["requests"].as_array().context("they were kept")?;
    let first_start = requests[0]["start_s"].as_f64().context("a number")?;
    let waits: Vec<f64> = requests
        .iter()
        .zip(&records)
        .map(|(request, record)| {
            // The stub's clock says when a request came; the plan of the run says when it was due.
            let due = request["due_s"].as_f64().unwrap_or(f64::NAN) - first_start;
            ms(records[0].arrived, record.texts[0]) - 1e3 * due
        })
        .collect();
    let figures = Figures::of(&waits, &[]);
    near(&result, "mean_ttft_ms", figures.mean)?;
    near(&result, "median_ttft_ms", figures.median)?;
    let alone = ms(records[0].arrived, records[0].texts[0]);
    ensure!(figures.median > 2.0 * alone, "no queue formed: {waits:?}");
    Ok(())
}

#[tokio::test]
async fn failures_are_counted_by_class_and_leave_the_figures_alone() -> anyhow::Result<()> {
    agrees(failures).await
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
        // An end without token counts, and one without an end.
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
    near(&result, "mean_e2el_ms", Figures::of(&e2el, &[]).mean)?;
    Ok(())
}

#[tokio::test]
async fn a_planted_slowdown_of_a_twentieth_is_found_and_none_where_there_is_none() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
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
    let dir = folder()?;
    let compare = async |candidate: &Stub| {
        let mut arguments = vec!["compare", "--baseline", &baseline.url, "--candidate", &candidate.url];
        arguments.extend(flags(dir.path(), "40")?);
        let output = bench(&arguments).await?;
        let told = output.answer()?;
        let line = told.lines().find(|line| line.starts_with("e2el: ")).map(str::to_owned);
        line.with_context(|| format!("no verdict: {told}"))
    };
    // Ten times each, all at once: they do nothing but wait.
    let found = try_join_all((0..20).map(|n| compare(if n % 2 == 0 { &same } else { &slower }))).await?;
    for (n, line) in found.iter().enumerate() {
        let expected = if n % 2 == 0 { "no difference" } else { "B is slower" };
        ensure!(line.contains(expected), "run {n} should say '{expected}': {line}");
    }
    Ok(())
}
