//! The official OpenAI Python client gets the same answers as curl, streamed and whole.
//!
//! `HOMEREEL_OPENAI_PYTHON` is a Python with the package `openai`; `scripts/test.sh openai` installs one.

use std::path::Path;

use anyhow::{Context as _, ensure};
use homereel_clips::Skill;
use homereel_tests::{Server, clips};
use serde_json::{Value, json};
use tokio::process::Command;

const QUESTION: &str = "What color is the object?";

#[tokio::test]
async fn the_official_client_and_curl_get_the_same_answer() -> anyhow::Result<()> {
    let python = std::env::var_os("HOMEREEL_OPENAI_PYTHON")
        .context("HOMEREEL_OPENAI_PYTHON is not set; run scripts/test.sh openai")?;
    let server = Server::start().await?;
    let clip = clips::simple(1)?;
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("openai_client.py");
    let client = Command::new(python)
        .arg(script)
        .args([server.url("/v1").as_ref(), clip.file.as_os_str(), QUESTION.as_ref()])
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
    let told: Value = serde_json::from_slice(&client.stdout)?;
    assert_eq!(told["whole"], truth.answer.as_str(), "{told}");
    assert_eq!(told["streamed"], truth.answer.as_str(), "{told}");
    assert_eq!(told["error"], "BadRequestError", "{told}");
    assert!(told["models"].as_array().is_some_and(|m| m.len() == 1), "{told}");

    let url = format!("data:video/mp4;base64,{}", told["base64"].as_str().context("base64")?);
    let content =
        json!([{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": QUESTION}]);
    let body = |stream: bool| {
        let messages = json!([{"role": "user", "content": content}]);
        json!({"model": told["models"][0], "messages": messages, "temperature": 0, "stream": stream})
    };
    let whole: Value = serde_json::from_str(&curl(&server, &body(false)).await?)?;
    assert_eq!(whole["choices"][0]["message"]["content"], told["whole"], "{whole}");
    // Which of them came out of a cache differs: curl asked second.
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(whole["usage"][count], told["usage"][count], "{whole}");
    }
    let text = curl(&server, &body(true)).await?;
    let chunks = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let mut streamed = String::new();
    for chunk in chunks {
        let chunk: Value = serde_json::from_str(chunk)?;
        streamed.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    assert_eq!(streamed, truth.answer, "{text}");
    Ok(())
}

/// Posts `body` with the curl program and returns what it printed.
async fn curl(server: &Server, body: &Value) -> anyhow::Result<String> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("body.json");
    std::fs::write(&file, body.to_string())?;
    let curl = Command::new("curl")
        .args(["-fsSN", "-H", "Content-Type: application/json", "--data-binary"])
        .arg(format!("@{}", file.display()))
        .arg(server.url("/v1/chat/completions"))
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    Ok(String::from_utf8(curl.stdout)?)
}
