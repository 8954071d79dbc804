//! Clients of other projects, in their default settings, get true answers and valid tool calls. `scripts/test.sh clients`
//! installs them: `HOMEREEL_CLIENTS_PYTHON` is a Python with the packages, `HOMEREEL_CLIENTS_NODE` a directory with
//! `node_modules`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use homereel_clips::Skill;
use homereel_tests::{PATIENCE, Server, clips};
use serde_json::{Value, json};
use tokio::process::Command;

const QUESTION: &str = "What color is the object?";

/// A server and a clip with a known answer.
struct Asked {
    server: Server,
    file: PathBuf,
    answer: String,
}

impl Asked {
    async fn new() -> anyhow::Result<Self> {
        Self::with(&[]).await
    }

    async fn with(arguments: &[&str]) -> anyhow::Result<Self> {
        let server = Server::start_with(arguments).await?;
        let clip = clips::simple(1)?;
        let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
        Ok(Self { server, answer: truth.answer.clone(), file: clip.file.clone() })
    }

    /// Runs a client with the server's URL, a file and the question, and returns the JSON that it printed.
    async fn by(&self, program: &OsStr, script: &str, file: &Path) -> anyhow::Result<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
        let mut command = Command::new(program);
        if let Some(modules) = std::env::var_os("HOMEREEL_CLIENTS_NODE")
            && script.extension() == Some("mjs".as_ref())
        {
            // Node looks for packages beside the script.
            let copy = Path::new(&modules).join(script.file_name().context("a name")?);
            std::fs::copy(&script, &copy)?;
            command.arg(copy);
        } else {
            command.arg(script);
        }
        let told = command
            .args([self.server.url("/v1").as_ref(), file.as_os_str(), QUESTION.as_ref()])
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        Ok(serde_json::from_slice(&told.stdout)?)
    }

    async fn by_python(&self, script: &str, file: &Path) -> anyhow::Result<Value> {
        let python = std::env::var_os("HOMEREEL_CLIENTS_PYTHON")
            .context("HOMEREEL_CLIENTS_PYTHON is not set; run scripts/test.sh clients")?;
        self.by(&python, script, file).await
    }

    async fn by_node(&self, script: &str) -> anyhow::Result<Value> {
        self.by("node".as_ref(), script, &self.file).await
    }
}

/// Whether these are arguments that the tool's schema allows.
fn is_sighting(arguments: &Value) -> bool {
    arguments["shape"].is_string()
        && arguments["second"].as_i64().is_some_and(|second| (0..60).contains(&second))
}

#[tokio::test]
async fn python_langchain() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    let told = asked.by_python("langchain_client.py", &asked.file).await?;
    assert_eq!((&told["whole"], &told["streamed"]), (&json!(asked.answer), &json!(asked.answer)), "{told}");
    assert_eq!((&told["call"], &told["after_the_call"]), (&json!("Sighting"), &json!(true)), "{told}");
    for name in ["arguments", "streamed_arguments", "structured"] {
        assert!(is_sighting(&told[name]), "{told}");
    }
    let responses = &told["responses"];
    assert_eq!(
        (&responses["whole"], &responses["streamed"]),
        (&json!(asked.answer), &json!(asked.answer)),
        "{told}"
    );
    assert_eq!(
        (&responses["call"], &responses["after_the_call"]),
        (&json!("Sighting"), &json!(true)),
        "{told}"
    );
    assert!(is_sighting(&responses["arguments"]) && is_sighting(&responses["structured"]), "{told}");
    Ok(())
}

#[tokio::test]
async fn python_pydantic_ai_and_instructor() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    let directory = tempfile::tempdir()?;
    let picture = directory.path().join("first.png");
    let ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&asked.file)
        .args(["-frames:v", "1"])
        .arg(&picture)
        .status()
        .await?;
    ensure!(ffmpeg.success(), "ffmpeg failed");
    let told = asked.by_python("pydantic_client.py", &picture).await?;
    assert!(told["text"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
    assert!(is_sighting(&told["default"]) && is_sighting(&told["instructor"]), "{told}");
    Ok(())
}

#[tokio::test]
async fn python_litellm() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    let told = asked.by_python("litellm_client.py", &asked.file).await?;
    assert_eq!(told, json!({ "whole": asked.answer, "streamed": asked.answer, "error": true }));
    Ok(())
}

#[tokio::test]
async fn node_openai() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    let told = asked.by_node("openai_client.mjs").await?;
    assert_eq!((&told["whole"], &told["streamed"]), (&json!(asked.answer), &json!(asked.answer)), "{told}");
    assert_eq!(told["several"], json!([asked.answer, asked.answer]), "{told}");
    assert_eq!((&told["call"], &told["finish"]), (&json!("report"), &json!("tool_calls")), "{told}");
    for name in ["arguments", "streamed_arguments", "structured"] {
        assert!(is_sighting(&told[name]), "{told}");
    }
    // `index` is a field of streams.
    assert_eq!((&told["index"], &told["aborted"]), (&json!(false), &json!(true)), "{told}");
    assert_eq!(told["error"], json!([400, "temperature"]), "{told}");
    Ok(())
}

/// Checks what a client of the Responses API was told.
fn check_responses(told: &Value, asked: &Asked) {
    for name in ["whole", "streamed"] {
        assert_eq!(told[name], asked.answer.as_str(), "{told}");
    }
    assert_eq!((&told["call"], &told["status"]), (&json!("report"), &json!("completed")), "{told}");
    for name in ["arguments", "streamed_arguments", "structured"] {
        assert!(is_sighting(&told[name]), "{told}");
    }
    for name in ["after_the_call", "continued", "kept", "deleted"] {
        assert_eq!(told[name], true, "{name}: {told}");
    }
    assert_eq!(told["error"], json!([400, "temperature"]), "{told}");
}

#[tokio::test]
async fn python_openai_responses() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    check_responses(&asked.by_python("responses_client.py", &asked.file).await?, &asked);
    Ok(())
}

#[tokio::test]
async fn node_openai_responses() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    check_responses(&asked.by_node("responses_client.mjs").await?, &asked);
    Ok(())
}

#[tokio::test]
async fn node_ai_sdk() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    let told = asked.by_node("ai_sdk_client.mjs").await?;
    assert_eq!((&told["whole"], &told["streamed"]), (&json!(asked.answer), &json!(asked.answer)), "{told}");
    assert_eq!((&told["finish"], &told["call"]), (&json!("stop"), &json!("report")), "{told}");
    assert!(told["tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{told}");
    assert!(is_sighting(&told["arguments"]) && is_sighting(&told["object"]), "{told}");
    assert_eq!(told["openai"], true, "{told}");
    // OpenAI's own provider uses the Responses API by default.
    let responses = &told["responses"];
    assert_eq!(
        (&responses["whole"], &responses["streamed"]),
        (&json!(asked.answer), &json!(asked.answer)),
        "{told}"
    );
    assert_eq!((&responses["finish"], &responses["call"]), (&json!("stop"), &json!("report")), "{told}");
    assert!(is_sighting(&responses["arguments"]) && is_sighting(&responses["object"]), "{told}");
    assert_eq!((&responses["steps"], &responses["continued"]), (&json!(2), &json!(true)), "{told}");
    Ok(())
}

/// What the official clients were told of a file that they uploaded, asked about and deleted.
fn check_files(told: &Value, answer: &str) -> anyhow::Result<()> {
    let seconds = |name: &str| told["file"][name].as_i64().with_context(|| format!("{name} in {told}"));
    assert_eq!(seconds("expires_at")? - seconds("created_at")?, 3600, "{told}");
    for (name, expected) in
        [("object", "file"), ("filename", "clip.mp4"), ("purpose", "user_data"), ("status", "processed")]
    {
        assert_eq!(told["file"][name], expected, "{told}");
    }
    for name in ["same", "listed", "content", "deleted"] {
        assert_eq!(told[name], true, "{name}: {told}");
    }
    assert_eq!(
        (&told["answer"], &told["gone"], &told["refused"]),
        (&json!(answer), &json!(404), &json!("file")),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn python_openai_files() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    check_files(&asked.by_python("openai_files.py", &asked.file).await?, &asked.answer)
}

#[tokio::test]
async fn node_openai_files() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    check_files(&asked.by_node("openai_files.mjs").await?, &asked.answer)
}

/// Uses the library of `server` with the official MCP client, once by HTTP and once by `homereel mcp`; `words` are searched for.
async fn used_by_mcp(server: &Server, video: &str, words: &str) -> anyhow::Result<[Value; 2]> {
    let python = std::env::var_os("HOMEREEL_CLIENTS_PYTHON")
        .context("HOMEREEL_CLIENTS_PYTHON is not set; run scripts/test.sh clients")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/mcp_client.py");
    let output = Command::new(python)
        .arg(script)
        .args([server.url("").as_str(), video, words])
        .arg(homereel_tests::binary())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut told: Value = serde_json::from_slice(&output.stdout)?;
    Ok(["http", "stdio"].map(|by| told[by].take()))
}

/// The official MCP client searches, reads, looks at a picture and asks.
#[tokio::test]
async fn python_mcp() -> anyhow::Result<()> {
    let asked = Asked::new().await?;
    let video = asked.server.upload(&asked.file).await?;
    asked.server.described(&video).await?;
    let words = asked.answer.trim_end_matches('.').to_lowercase();
    for told in used_by_mcp(&asked.server, &video, &words).await? {
        let tools = [
            "ask_all_videos",
            "ask_video",
            "describe_video",
            "get_frame",
            "get_transcript",
            "list_moments",
            "list_videos",
            "search_videos",
        ];
        assert_eq!((&told["server"], &told["tools"]), (&json!("homereel"), &json!(tools)));
        assert_eq!((&told["found"], &told["answer"]), (&json!(video), &json!(asked.answer)), "{told}");
        let description = told["described"]["description"].as_str().context("a description")?;
        assert!(description.to_lowercase().contains(&words), "{told}");
        check_picture(&told);
        assert!(told["moments"].as_u64() > Some(0) && told["notes"].as_u64() > Some(0), "{told}");
        assert_eq!(told["missing"][0], true, "{told}");
        assert!(told["missing"][1].as_str().is_some_and(|text| text.contains("404")), "{told}");
    }
    Ok(())
}

fn check_picture(told: &Value) {
    assert_eq!((&told["picture"][0], &told["picture"][1]), (&json!("image/jpeg"), &json!("ffd8")), "{told}");
}

/// The MCP client finds a moment by what is meant, and gets its picture. `HOMEREEL_EMBED_MODEL` is a sentence model.
#[tokio::test]
#[ignore = "takes a sentence model: scripts/test.sh meaning"]
async fn python_mcp_by_meaning() -> anyhow::Result<()> {
    let model = std::env::var("HOMEREEL_EMBED_MODEL").context("HOMEREEL_EMBED_MODEL")?;
    let asked = Asked::with(&["--embed-model", &model]).await?;
    let video = asked.server.upload(&asked.file).await?;
    asked.server.described(&video).await?;
    let (meant, end) = ("a coloured shape is moving", Instant::now() + PATIENCE);
    let search = format!("/api/search?q={}", meant.replace(' ', "%20"));
    while asked.server.json(&search).await?["total"] == 0 {
        ensure!(Instant::now() < end, "nothing is found: {}", asked.server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for told in used_by_mcp(&asked.server, &video, meant).await? {
        assert_eq!(told["found"], video, "{told}");
        assert!(told["second"].is_number(), "{told}");
        check_picture(&told);
    }
    Ok(())
}
