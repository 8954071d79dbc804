//! The benchmark program against the real server: figures that fit together, a report, and clear refusals.

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, bench};
use serde_json::Value;

/// Loads `server` with drawn clips; returns the result.
async fn load(server: &Server, file: &std::path::Path, more: &[&str]) -> anyhow::Result<Value> {
    let url = server.url("");
    let file = file.to_str().context("a path of ours is text")?;
    let mut arguments = vec!["serve", "--base-url", &url, "--save-detailed", "--result-filename", file];
    arguments.extend(["--clip-size", "160x120", "--clip-seconds", "2", "--max-tokens", "8"]);
    arguments.extend(more);
    let output = bench(&arguments).await?;
    output.answer()?;
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

fn number(result: &Value, name: &str) -> f64 {
    result[name].as_f64().unwrap_or(f64::NAN)
}

#[tokio::test]
async fn a_load_of_drawn_clips_is_measured_and_reported() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let dir = tempfile::tempdir()?;
    let pid = server.pid().context("the server runs")?.to_string();
    let file = dir.path().join("one.json");
    let flags =
        ["--num-prompts", "4", "--max-concurrency", "2", "--server-pid", &pid, "--goodput", "e2el:600000"];
    let result = load(&server, &file, &flags).await?;
    assert_eq!((number(&result, "completed"), number(&result, "failed")), (4.0, 0.0), "{result}");
    assert_eq!(number(&result, "max_concurrent_requests"), 2.0);
    assert!((number(&result, "request_goodput") - number(&result, "request_throughput")).abs() < 1e-9);
    ensure!(number(&result, "median_ttft_ms") > 0.0, "{result}");
    ensure!(number(&result, "median_ttft_ms") <= number(&result, "median_e2el_ms"), "{result}");
    ensure!(
        number(&result, "rtfx_video") * number(&result, "duration") > 7.9,
        "four clips of two seconds: {result}"
    );
    ensure!(number(&result["seen"], "peak_rss_mib") > 10.0, "{result}");
    assert_eq!(result["cache"], "cold");
    assert_eq!(number(&result, "cached_tokens"), 0.0, "each clip is new: {result}");
    // What no stage explains is the way there and back: small, and never negative.
    let stages = &result["stages_ms"];
    ensure!(number(stages, "vision_ms") > 0.0 && number(stages, "decode_ms") > 0.0, "{stages}");
    ensure!(number(stages, "other_ms") > -1.0, "{stages}");
    // The sanity question was asked, and the demo model knows colours.
    ensure!(result["sanity_answer"].is_string(), "{result}");

    let again = dir.path().join("two.json");
    let flags = ["--num-prompts", "3", "--request-rate", "50", "--questions-per-clip", "3"];
    let second = load(&server, &again, &flags).await?;
    assert_eq!((&second["cache"], number(&second, "completed")), (&Value::from("warm"), 3.0));

    let report = dir.path().join("report.md");
    let paths = [&file, &again, &report].map(|path| path.display().to_string());
    bench(["report", &paths[0], &paths[1], "--out", &paths[2]]).await?.answer()?;
    let text = std::fs::read_to_string(&report)?;
    ensure!(text.contains("| one | drawn (cold) |") && text.contains("| two | drawn (warm) |"), "{text}");
    ensure!(dir.path().join("report-stages.svg").exists(), "{text}");
    Ok(())
}

#[tokio::test]
async fn text_alone_has_the_length_asked_for() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let dir = tempfile::tempdir()?;
    let flags =
        ["--dataset-name", "random", "--random-input-len", "200", "--num-prompts", "3", "--ignore-eos"];
    let result = load(&server, &dir.path().join("text.json"), &flags).await?;
    let each = number(&result, "total_input_tokens") / 3.0;
    ensure!((190.0..=210.0).contains(&each), "{each} tokens a prompt, 200 were asked for");
    assert_eq!(number(&result, "total_output_tokens"), 24.0, "--ignore-eos goes up to the limit");
    Ok(())
}

#[tokio::test]
async fn the_same_server_twice_is_not_slower_than_itself() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let url = server.url("");
    let flags =
        ["--dataset-name", "random", "--random-input-len", "60", "--max-tokens", "2", "--num-prompts", "24"];
    let output = bench(["compare", "--baseline", &url, "--candidate", &url].into_iter().chain(flags)).await?;
    let told = output.answer()?;
    ensure!(told.lines().any(|line| line.starts_with("e2el: B/A")), "{told}");
    // The second of a pair finds its prefix in the cache; by turns that favours neither.
    ensure!(!told.contains("e2el: B is"), "{told}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused_and_earlier_results_stay() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let dir = tempfile::tempdir()?;
    let kept = dir.path().join("kept.json");
    std::fs::write(&kept, "{}")?;
    let (url, kept) = (server.url(""), kept.display().to_string());
    let empty = dir.path().display().to_string();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--base-url", "http://127.0.0.1:9"], 1, "failed to reach"),
        (&["--base-url", &url, "--model", "gpt-4"], 1, "has no model 'gpt-4'"),
        (&["--base-url", &url, "--request-rate", "0"], 2, "'0' is no rate"),
        (&["--base-url", &url, "--dataset-name", "clips"], 2, "--dataset-path"),
        (&["--base-url", &url, "--dataset-name", "clips", "--dataset-path", &empty], 1, "has no clips"),
        (&["--base-url", &url, "--result-filename", &kept], 1, "never overwritten"),
        (&["--base-url", &url, "--result-filename", "/proc/no.json"], 1, "cannot write results"),
        (&["--base-url", &url, "--goodput", "speed:3"], 2, "ttft:MS"),
    ];
    for (arguments, status, word) in cases {
        let output = bench(["serve", "--num-prompts", "1"].iter().chain(arguments)).await?;
        assert_eq!(output.status, Some(status), "{arguments:?}: {}{}", output.stdout, output.stderr);
        ensure!(output.stderr.contains(word), "{arguments:?}: '{word}' is not in: {}", output.stderr);
    }
    assert_eq!(std::fs::read_to_string(kept)?, "{}");
    Ok(())
}
