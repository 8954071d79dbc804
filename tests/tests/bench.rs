//! The benchmark program against the real server: consistent figures, a report, and clear errors.

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, bench, binary};
use serde_json::Value;

/// Puts a load of drawn clips on `server`; returns the result.
async fn load(server: &Server, file: &std::path::Path, more: &[&str]) -> anyhow::Result<Value> {
    let url = server.url("");
    let file = file.to_str().context("the path is UTF-8")?;
    let mut arguments = vec!["serve", "--base-url", &url, "--save-detailed", "--result-filename", file];
    arguments.extend(["--clip-size", "160x120", "--clip-seconds", "2", "--max-tokens", "8"]);
    arguments.extend(more);
    let output = bench(&arguments).await?;
    output.answer()?;
    read(file).await
}

/// Reads a result, after `homereel-bench report` has accepted it as valid.
async fn read(file: &str) -> anyhow::Result<Value> {
    bench(["report", file, "--table", "-"]).await?.answer()?;
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
    // The time that no stage accounts for is the network: short, and never negative.
    let stages = &result["stages_ms"];
    ensure!(number(stages, "vision_ms") > 0.0 && number(stages, "decode_ms") > 0.0, "{stages}");
    ensure!(number(stages, "other_ms") > -1.0, "{stages}");
    ensure!(number(&result, "visual_tokens_per_s") > 0.0, "{result}");
    let after_media = number(&result, "median_ttft_after_media_ms");
    ensure!(after_media > 0.0 && after_media < number(&result, "median_ttft_ms"), "{result}");
    // The sanity question was asked: the demo model knows colours.
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
async fn random_text_has_the_requested_length() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let dir = tempfile::tempdir()?;
    let flags =
        ["--dataset-name", "random", "--random-input-len", "200", "--num-prompts", "3", "--ignore-eos"];
    let result = load(&server, &dir.path().join("text.json"), &flags).await?;
    let each = number(&result, "total_input_tokens") / 3.0;
    ensure!((190.0..=210.0).contains(&each), "{each} tokens per prompt instead of 200");
    assert_eq!(number(&result, "total_output_tokens"), 24.0, "--ignore-eos generates up to the limit");

    let prompts = dir.path().join("prompts.jsonl");
    std::fs::write(&prompts, "{\"prompt\": \"red\"}\n{\"prompt\": \"blue\"}\n")?;
    let prompts = prompts.to_str().context("the path is UTF-8")?;
    let flags = ["--dataset-name", "custom", "--dataset-path", prompts, "--num-prompts", "2"];
    let result = load(&server, &dir.path().join("custom.json"), &flags).await?;
    assert_eq!((&result["dataset_name"], number(&result, "completed")), (&Value::from("custom"), 2.0));
    Ok(())
}

#[tokio::test]
async fn a_preset_has_the_frames_and_tokens_of_the_published_load() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (dir, url) = (tempfile::tempdir()?, server.url(""));
    let file = dir.path().join("vss.json");
    let name = file.to_str().context("the path is UTF-8")?;
    let flags = ["--preset", "vss", "--num-prompts", "1", "--num-warmups", "0", "--save-detailed"];
    bench(["serve", "--base-url", &url, "--result-filename", name].into_iter().chain(flags))
        .await?
        .answer()?;
    let result = read(name).await?;
    let one = &result["requests"][0];
    assert_eq!((&result["preset"], number(one, "frames")), (&Value::from("vss"), 80.0), "{result}");
    assert_eq!((number(one, "video_s"), number(one, "completion_tokens")), (10.0, 1.0), "{result}");
    let output =
        bench(["serve", "--base-url", &url, "--preset", "vss-file", "--random-output-len", "7"]).await?;
    ensure!(output.status == Some(2) && output.stderr.contains("cannot be used with"), "{}", output.stderr);
    Ok(())
}

/// Runs a shell script in which `$0` is `homereel-bench` and `$1` the URL of the server.
async fn run_script(script: &str, server: &Server, first: &[&str]) -> anyhow::Result<(bool, String)> {
    let program = binary().with_file_name("homereel-bench");
    let (shell, before) = first.split_first().context("there is a program")?;
    let output = tokio::process::Command::new(shell)
        .args(before)
        .args(["sh", "-c", script])
        .arg(program)
        .arg(server.url(""))
        .output()
        .await?;
    let output_bytes = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&output_bytes).into_owned()))
}

#[tokio::test]
async fn a_full_disk_loses_neither_earlier_results_nor_the_measurement() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let dir = tempfile::tempdir()?;
    let at = dir.path().display();
    // A small disk in a mount namespace of its own.
    let disk = format!("mount -t tmpfs -o size=12k none {at} && echo '{{}}' >{at}/kept.json");
    let serve = format!(
        "\"$0\" serve --base-url \"$1\" --dataset-name random --random-input-len 50 --max-tokens 4 --num-prompts 24 \
         --save-detailed --result-filename {at}/new.json; echo status $?; ls {at}; cat {at}/kept.json"
    );
    let own = ["unshare", "--user", "--map-root-user", "--mount"];
    // Room for the check before the run, but not for the result.
    let (_, text) = run_script(&format!("{disk} && {serve}"), &server, &own).await?;
    ensure!(text.contains("failed to write") && text.contains("No space left"), "{text}");
    ensure!(text.contains("Successful requests:"), "the measurement is printed anyway: {text}");
    ensure!(text.contains("status 1\nkept.json\n{}\n"), "{text}");
    // No room at all: nothing is measured.
    let full = format!("{disk} && head -c 8192 /dev/zero >{at}/other && {serve}");
    let (_, text) = run_script(&full, &server, &own).await?;
    ensure!(text.contains("cannot write results to") && text.contains("No space left"), "{text}");
    ensure!(
        !text.contains("Successful requests:") && text.contains("status 1\nkept.json\nother\n{}\n"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_gpu_is_sampled() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let dir = tempfile::tempdir()?;
    let at = dir.path().display();
    // A stub that reports no power, as on a DGX Spark.
    let script = format!(
        "printf '#!/bin/sh\\necho \"$@\" >{at}/asked\\nwhile :; do echo 40, [N/A], 2100; echo 60, [N/A], 2300; sleep 1; done\\n' \
         >{at}/nvidia-smi && chmod +x {at}/nvidia-smi && PATH={at}:$PATH \"$0\" serve --base-url \"$1\" --dataset-name random \
         --random-input-len 50 --max-tokens 64 --ignore-eos --num-prompts 20 --max-concurrency 1 --result-filename {at}/r.json"
    );
    let (fine, text) = run_script(&script, &server, &["env"]).await?;
    ensure!(fine, "{text}");
    let result = read(&dir.path().join("r.json").display().to_string()).await?;
    let seen = &result["seen"];
    assert_eq!((number(seen, "gpu_utilization"), number(seen, "gpu_sm_clock_mhz")), (50.0, 2200.0), "{seen}");
    ensure!(seen["gpu_power_w"].is_null(), "a value that is not reported is null: {seen}");
    ensure!(
        std::fs::read_to_string(dir.path().join("asked"))?.contains("utilization.gpu,power.draw,clocks.sm")
    );
    Ok(())
}

#[tokio::test]
async fn the_same_server_twice_is_not_slower_than_itself() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let url = server.url("");
    let flags =
        ["--dataset-name", "random", "--random-input-len", "60", "--max-tokens", "2", "--num-prompts", "24"];
    let output = bench(["compare", "--baseline", &url, "--candidate", &url].into_iter().chain(flags)).await?;
    let text = output.answer()?;
    ensure!(text.lines().any(|line| line.starts_with("e2el: B/A")), "{text}");
    // The second of a pair finds its prefix in the cache; taking turns gives both the same advantage.
    ensure!(!text.contains("e2el: B is"), "{text}");

    // Several servers with names in one run.
    let dir = tempfile::tempdir()?;
    let table = dir.path().join("table.md");
    let name = table.to_str().context("the path is UTF-8")?;
    let (ours, again, third) = (format!("ours={url}"), format!("again={url}"), format!("third={url}"));
    let three =
        ["compare", "--baseline", &ours, "--candidate", &again, "--candidate", &third, "--table", name];
    let text = bench(three.into_iter().chain(flags)).await?.answer()?.to_owned();
    ensure!(text.lines().any(|line| line.starts_with("third e2el: third/ours")), "{text}");
    let table = std::fs::read_to_string(table)?;
    assert_eq!(table.lines().count(), 5, "{table}");
    ensure!(table.contains("\n| ours | ") && table.contains("| 1 | 1 | 1 |\n| again |"), "{table}");
    let twice =
        bench(["compare", "--baseline", &ours, "--candidate", &ours].into_iter().chain(flags)).await?;
    ensure!(twice.stderr.contains("two servers are called 'ours'"), "{}", twice.stderr);
    Ok(())
}

#[tokio::test]
async fn invalid_requests_are_rejected_and_earlier_results_stay() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let dir = tempfile::tempdir()?;
    let kept = dir.path().join("kept.json");
    std::fs::write(&kept, "{}")?;
    let (url, kept) = (server.url(""), kept.display().to_string());
    let empty = dir.path().display().to_string();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--base-url", "http://127.0.0.1:9"], 1, "failed to reach"),
        (&["--base-url", &url, "--model", "gpt-4"], 1, "has no model 'gpt-4'"),
        (&["--base-url", &url, "--request-rate", "0"], 2, "'0' is not a rate"),
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
