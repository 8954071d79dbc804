//! The API does what `/openapi.json` says: Schemathesis sends requests made from the document, valid and invalid ones, and
//! holds every answer to it. `scripts/test.sh openapi` installs it; `HOMEREEL_SCHEMATHESIS` is the directory of its program.

use std::path::Path;

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips, homereel};
use serde_json::{Value, json};
use tokio::process::Command;

/// Requests that are sent at least.
const CASES: u64 = 5000;

/// Random requests per operation; operations without parameters get fewer. About 3,500 more try the bounds of each value.
const PER_OPERATION: &str = "30";

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,ignored_auth";

#[tokio::test]
async fn every_answer_is_as_the_document_says() -> anyhow::Result<()> {
    let programs = std::env::var_os("HOMEREEL_SCHEMATHESIS")
        .context("HOMEREEL_SCHEMATHESIS is not set; run scripts/test.sh openapi")?;
    let password = tempfile::NamedTempFile::new()?;
    std::fs::write(password.path(), "correct horse battery\n")?;
    let server =
        Server::start_with(&["--password-file", password.path().to_str().context("a path")?]).await?;
    let data = server.data().to_str().context("a path")?;
    let key = homereel(["keys", "add", "fuzzer", "--role", "admin", "--data", data]).await?;
    let key = key.answer()?;
    let clip = clips::simple(1)?;
    let known = known(&server, key, &clip.file).await?;

    let report = tempfile::tempdir()?;
    let cases = report.path().join("run.json");
    let run = Command::new(Path::new(&programs).join("st"))
        .args(["run", &server.url("/openapi.json"), "--header", &format!("Authorization: Bearer {key}")])
        // Its stream never ends; the tests of `api` read it.
        .args(["--exclude-path", "/api/events"])
        .args(["--phases", "coverage,fuzzing", "--checks", CHECKS, "--continue-on-failure"])
        .args([
            "--seed",
            "1",
            "--max-examples",
            PER_OPERATION,
            "--generation-database",
            "none",
            "--no-shrink",
        ])
        // Python before 3.12 sometimes fails to parse source in two threads at once ("AST constructor recursion depth mismatch").
        .args(["--workers", "1", "--request-timeout", "300", "--warnings", "off", "--no-color"])
        .arg("--report-json-path")
        .arg(&cases)
        .env("SCHEMATHESIS_HOOKS", "openapi_hooks")
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("clients"))
        .env("HOMEREEL_KNOWN", known.to_string())
        .env("HOMEREEL_CLIP", &clip.file)
        .current_dir(report.path())
        .kill_on_drop(true)
        .output()
        .await?;
    let told = String::from_utf8_lossy(&run.stdout);
    ensure!(run.status.success(), "{told}{}", String::from_utf8_lossy(&run.stderr));
    let run: Value = serde_json::from_slice(&std::fs::read(&cases)?)?;
    let (sent, operations) = (&run["test_cases"]["generated"], &run["operations"]);
    println!("{sent} requests to {} of {} operations", operations["tested"], operations["total"]);
    ensure!(sent.as_u64().is_some_and(|sent| sent >= CASES), "{run:#}");
    ensure!(operations["tested"] == operations["selected"], "{run:#}");
    Ok(())
}

/// Adds objects of every kind, and returns their ids by the beginning of their URLs.
async fn known(server: &Server, key: &str, clip: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(clip)?;
    let post = |path: &str| server.client().post(server.url(path)).bearer_auth(key);
    let sent = async |request: reqwest::RequestBuilder| -> anyhow::Result<Value> {
        Ok(request.send().await?.error_for_status()?.json().await?)
    };
    let video = async |bytes: Vec<u8>| -> anyhow::Result<Value> {
        let stored = sent(post("/api/videos").header("content-type", "video/mp4").body(bytes)).await?;
        Ok(stored["videos"][0]["id"].clone())
    };
    let file = async || -> anyhow::Result<Value> {
        let part = reqwest::multipart::Part::bytes(bytes.clone()).file_name("clip.mp4");
        let form = reqwest::multipart::Form::new().text("purpose", "vision").part("file", part);
        Ok(sent(post("/v1/files").multipart(form)).await?["id"].clone())
    };
    let response = async || -> anyhow::Result<Value> {
        Ok(sent(post("/v1/responses").json(&json!({ "input": "Hello" }))).await?["id"].clone())
    };
    let upload = async |path: &str| -> anyhow::Result<Value> {
        // "purpose vision"
        let request = post(path).header("tus-resumable", "1.0.0").header("upload-length", "1000");
        let created =
            request.header("upload-metadata", "purpose dmlzaW9u").send().await?.error_for_status()?;
        let url = created.headers()["location"].to_str()?.to_owned();
        Ok(url.rsplit('/').next().context("an id")?.into())
    };
    let other = std::fs::read(&clips::simple(2)?.file)?;
    let (keep, delete) = (video(bytes.clone()).await?, video(other).await?);
    let url = server.url(&format!("/api/videos/{}", keep.as_str().context("an id")?));
    let job = sent(server.client().get(url).bearer_auth(key)).await?["jobs"][0]["id"].clone();
    Ok(json!({
        "/api/videos": { "keep": keep, "delete": delete },
        "/api/jobs": { "keep": job },
        "/api/uploads": { "keep": upload("/api/uploads").await?, "delete": upload("/api/uploads").await? },
        "/v1/files": { "keep": file().await?, "delete": file().await? },
        "/v1/files/uploads":
            { "keep": upload("/v1/files/uploads").await?, "delete": upload("/v1/files/uploads").await? },
        "/v1/responses": { "keep": response().await?, "delete": response().await? },
    }))
}
