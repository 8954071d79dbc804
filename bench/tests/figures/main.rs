//! `homereel-bench serve` against a stub server with known delays: what it counts, and that no figure is below what the
//! stub saw on its own clock. The exact figures are unit-tested with given event times (`serve/client.rs`,
//! `serve/result.rs`).

mod stub;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_bench::statistics::summarize;
use serde_json::Value;
use tokio::process::Command;

use stub::{ReplyPiece, ReplyRecord, ReplyStep, Script, ScriptedServer};

/// Tokens per answer, more than its chunks.
const TOKENS: u64 = 11;

fn step(wait_ms: u64, send: ReplyPiece) -> ReplyStep {
    ReplyStep { wait_ms, send }
}

/// An answer with delays in multiples of `unit` ms: the role after 1, the first text after 4 more, four further texts 2 apart, the
/// end 1 later.
fn answer(unit: u64) -> Script {
    let mut steps = vec![step(unit, ReplyPiece::Role), step(4 * unit, ReplyPiece::Text)];
    steps.extend((0..4).map(|_| step(2 * unit, ReplyPiece::Text)));
    steps.extend([
        step(unit, ReplyPiece::Finish),
        step(0, ReplyPiece::Usage(100, TOKENS)),
        step(0, ReplyPiece::Done),
    ]);
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

async fn serve(stub: &ScriptedServer, count: &str, more: &[&str]) -> anyhow::Result<Value> {
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

/// Checks that the result's `name` is at least `seen`, which the stub saw between two of its own actions: the client's
/// interval contains the stub's, however busy the machine is.
fn at_least(result: &Value, name: &str, seen: f64) -> anyhow::Result<()> {
    let got = result[name].as_f64().unwrap_or(f64::NAN);
    // Figures are stored with rounding.
    ensure!(got >= seen - 0.01, "{name} is {got:.3}, below the {seen:.3} that the stub saw");
    Ok(())
}

fn ms(from: Instant, to: Instant) -> f64 {
    1e3 * to.duration_since(from).as_secs_f64()
}

#[tokio::test]
async fn answers_are_counted_and_no_figure_is_too_small() -> anyhow::Result<()> {
    let stub = ScriptedServer::start(vec![answer(20), answer(10)]).await?;
    let more = ["--max-concurrency", "4", "--goodput", "e2el:600000"];
    let result = serve(&stub, "16", &more).await?;
    let records = stub.records();
    assert_eq!((result["completed"].as_u64(), result["failed"].as_u64()), (Some(16), Some(0)), "{result}");
    assert_eq!(records.len(), 16);
    let of = |measure: &dyn Fn(&ReplyRecord) -> f64| records.iter().map(measure).collect::<Vec<f64>>();
    let ttft = of(&|one| ms(one.arrived, one.texts[0]));
    // The last text: the stub only knows that it has sent the end, not when it arrived.
    let e2el = of(&|one| ms(one.arrived, *one.texts.last().unwrap_or(&one.arrived)));
    for (name, values) in [("ttft", &ttft), ("e2el", &e2el)] {
        let summary = summarize(values, &[]).context("there are values")?;
        at_least(&result, &format!("mean_{name}_ms"), summary.mean)?;
        at_least(&result, &format!("median_{name}_ms"), summary.median)?;
    }
    let duration = result["duration"].as_f64().context("a duration")?;
    let rate = |name: &str, count: f64| {
        let got = result[name].as_f64().unwrap_or(f64::NAN);
        assert!((got * duration / count - 1.0).abs() < 0.01, "{name} is {got} in {duration} s");
    };
    rate("request_throughput", 16.0);
    rate("output_throughput", 16.0 * TOKENS as f64);
    rate("total_token_throughput", 16.0 * (100 + TOKENS) as f64);
    rate("request_goodput", 16.0);
    // Each answer takes 140 ms at least, so that all four are in flight together.
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
    let stub = ScriptedServer::start(vec![answer(20)]).await?;
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
    at_least(&result, "mean_ttft_ms", summary.mean)?;
    at_least(&result, "median_ttft_ms", summary.median)?;
    let late =
        |request: &&Value| request["start_s"].as_f64() > request["due_s"].as_f64().map(|due| due + 0.05);
    let late = requests.iter().filter(late).count();
    ensure!(late >= 4, "only {late} of 8 requests waited for their turn");
    Ok(())
}

#[tokio::test]
async fn failures_are_counted_by_class_and_leave_the_figures_alone() -> anyhow::Result<()> {
    let after = |steps: &[ReplyPiece]| {
        let begin = [ReplyPiece::Role, ReplyPiece::Text].iter().chain(steps);
        Script::Stream(begin.map(|send| step(5, send.clone())).collect())
    };
    let stub = ScriptedServer::start(vec![
        answer(20),
        Script::Status(429),
        Script::Status(500),
        Script::Status(400),
        after(&[ReplyPiece::Error]),
        after(&[ReplyPiece::Cut]),
        after(&[ReplyPiece::Garbage]),
        // An answer without usage, and one without [DONE].
        after(&[ReplyPiece::Finish, ReplyPiece::Done]),
        after(&[ReplyPiece::Finish, ReplyPiece::Usage(1, 1)]),
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
    // Failed requests take a fraction of this, and would lower the mean.
    let whole = records.iter().filter(|one| one.texts.len() == 5);
    let e2el: Vec<f64> = whole.map(|one| ms(one.arrived, one.texts[4])).collect();
    at_least(&result, "mean_e2el_ms", summarize(&e2el, &[]).context("there are answers")?.mean)?;
    Ok(())
}
