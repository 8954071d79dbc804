//! vLLM's own load generator, `vllm bench serve`, against the real program (`scripts/test.sh vllm` sets
//! `HOMEREEL_TEST_VLLM`, the path of vLLM's program).

use std::path::Path;

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server};
use serde_json::Value;

/// Requests per run.
const REQUESTS: u64 = 6;

/// Tokens per answer.
const OUTPUT: u64 = 8;

/// Runs the load generator, and checks what it counted.
async fn bench(server: &Server, dataset: &[&str]) -> anyhow::Result<()> {
    let program = std::env::var("HOMEREEL_TEST_VLLM")
        .context("HOMEREEL_TEST_VLLM is not set; run `scripts/test.sh vllm`, which sets it")?;
    let results = tempfile::tempdir()?;
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/demo-model");
    let (requests, output) = (REQUESTS.to_string(), OUTPUT.to_string());
    let mut command = tokio::process::Command::new(program);
    command
        .args(["bench", "serve", "--backend", "openai-chat", "--endpoint", "/v1/chat/completions"])
        .args(["--base-url", &server.url(""), "--model", "demo", "--tokenizer"])
        .arg(&tokenizer)
        .args(["--num-prompts", &requests, "--max-concurrency", "2", "--random-input-len", "16"])
        .args(["--random-output-len", &output, "--ignore-eos", "--temperature", "0", "--disable-tqdm"])
        .args(dataset)
        .args(["--save-result", "--result-filename", "result.json", "--result-dir"])
        .arg(results.path())
        .envs([("HF_HUB_OFFLINE", "1"), ("VLLM_NO_USAGE_STATS", "1"), ("DO_NOT_TRACK", "1")])
        .kill_on_drop(true);
    let ran = tokio::time::timeout(PATIENCE, command.output()).await??;
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{told}");
    let result: Value = serde_json::from_slice(&std::fs::read(results.path().join("result.json"))?)?;
    ensure!(result["completed"] == REQUESTS && result["total_output_tokens"] == REQUESTS * OUTPUT, "{told}");
    Ok(())
}

#[tokio::test]
async fn our_own_engine_is_measured_with_pictures() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let pictures =
        ["--random-mm-base-items-per-request", "1", "--random-mm-bucket-config", "{(64, 64, 1): 1.0}"];
    bench(&server, &[["--dataset-name", "random-mm"].as_slice(), &pictures].concat()).await
}

#[tokio::test]
async fn a_vllm_behind_us_is_measured() -> anyhow::Result<()> {
    let url = std::env::var("HOMEREEL_TEST_VLLM_URL").context("HOMEREEL_TEST_VLLM_URL is not set")?;
    let server = Server::start_with(&["--engine", "vllm", "--vllm-url", &url, "--model", "demo"]).await?;
    bench(&server, &["--dataset-name", "random"]).await
}
