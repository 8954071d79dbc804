//! Faults around the server: a database that is damaged or locked, a data directory that is read-only, a clock that jumps,
//! workers that crash, and a stop in the middle of an answer. Each test states what is kept and what a client sees.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use futures_util::StreamExt as _;
use homereel_tests::{PATIENCE, Server, clips, homereel};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

/// Returns a copy of the data of a server that has one video.
async fn library_with_a_video() -> anyhow::Result<tempfile::TempDir> {
    let server = Server::start().await?;
    let id = server.upload(&clips::simple(31)?.file).await?;
    let began = Instant::now();
    while server.json(&format!("/api/videos/{id}")).await?["description"].is_null() {
        ensure!(began.elapsed() < PATIENCE, "the video is not described");
    }
    let copy = tempfile::tempdir()?;
    let copied = Command::new("cp").arg("-a").arg(server.data()).arg(copy.path().join("data")).status()?;
    ensure!(copied.success());
    Ok(copy)
}

/// Starts a server on `data` that is expected to end by itself, and returns its exit status and output.
async fn start_fails(data: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let data = data.to_str().context("a path")?;
    let out = homereel(&["serve", "--listen", "127.0.0.1:0", "--data", data]).await?;
    Ok((out.status, out.stderr + &out.stdout))
}

/// Returns the names of all originals.
fn originals(data: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut open = vec![data.join("originals")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn a_damaged_database_stops_the_start_and_touches_no_original() -> anyhow::Result<()> {
    let copy = library_with_a_video().await?;
    let data = copy.path().join("data");
    let before = originals(&data)?;
    ensure!(!before.is_empty());
    // With its write-ahead log, SQLite would recover it.
    for log in ["homereel.db-wal", "homereel.db-shm"] {
        let _ = fs::remove_file(data.join(log));
    }
    fs::write(data.join("homereel.db"), vec![0xa5; 64 << 10])?;
    let (status, text) = start_fails(&data).await?;
    ensure!(status == Some(1), "{status:?} {text}");
    ensure!(text.contains("database") && text.contains(data.to_str().context("a path")?), "{text}");
    assert_eq!(originals(&data)?, before);
    Ok(())
}

#[tokio::test]
async fn a_read_only_data_directory_stops_the_start_and_works_again_later() -> anyhow::Result<()> {
    let copy = library_with_a_video().await?;
    let data = copy.path().join("data");
    let mount = |options: &str| Command::new("mount").args(["-o", options]).arg(&data).output();
    let bound = Command::new("mount").arg("--bind").arg(&data).arg(&data).output()?;
    if !bound.status.success() {
        eprintln!("skipped: nothing can be mounted here");
        return Ok(());
    }
    let read_only = mount("remount,bind,ro")?.status.success();
    let outcome = start_fails(&data).await;
    let _ = Command::new("umount").arg("-l").arg(&data).status();
    ensure!(read_only, "the mount is not read-only");
    let (status, text) = outcome?;
    ensure!(status == Some(1), "{status:?} {text}");
    ensure!(text.contains(data.to_str().context("a path")?), "the message names the directory: {text}");
    ensure!(!originals(&data)?.is_empty());
    Ok(())
}

async fn ask(server: &Server, body: Value) -> anyhow::Result<reqwest::Response> {
    server.chat(&body).await
}

#[tokio::test]
async fn workers_that_crash_are_errors_of_their_questions_only() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = base64::engine::general_purpose::STANDARD.encode(fs::read(clips::simple(32)?.file)?);
    let body = |salt: usize| {
        let url = format!("data:video/mp4;base64,{clip}");
        json!({ "max_tokens": 4, "seed": salt, "messages": [{ "role": "user", "content": [
            { "type": "video_url", "video_url": { "url": url } }, { "type": "text", "text": "What is it?" } ] }] })
    };
    let mut killed = HashSet::new();
    let questions = futures_util::future::join_all((0..12).map(|salt| ask(&server, body(salt))));
    tokio::pin!(questions);
    let responses = loop {
        tokio::select! {
            responses = &mut questions => break responses,
            () = tokio::task::yield_now() => {
                for child in server.workers()? {
                    let pid = Pid::from_raw(i32::try_from(child)?).context("a process")?;
                    // Gone already is as good.
                    let _ = kill_process(pid, Signal::KILL);
                    killed.insert(child);
                }
            }
        }
    };
    ensure!(!killed.is_empty(), "no worker was there to kill");
    for response in responses {
        let response = response?;
        let status = response.status();
        let text: Value = response.json().await?;
        ensure!(status.is_success() || text["error"]["message"].is_string(), "{status} {text}");
    }
    // A spare worker that was killed a moment ago may not be dead yet, and would get the next question.
    let began = Instant::now();
    while server.workers()?.iter().any(|worker| killed.contains(worker)) {
        ensure!(began.elapsed() < PATIENCE, "a killed worker is still there");
        tokio::task::yield_now().await;
    }
    let response = server.chat(&body(99)).await?;
    ensure!(response.status() == 200, "{}", response.text().await?);
    Ok(())
}

#[tokio::test]
async fn a_stop_in_the_middle_of_an_answer_finishes_the_answer() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let body = json!({ "stream": true, "max_tokens": 400, "ignore_eos": true,
        "messages": [{ "role": "user", "content": "Count." }] });
    let mut stream = server.chat(&body).await?.bytes_stream();
    let mut text = String::from_utf8_lossy(&stream.next().await.context("no event")??).into_owned();
    let pid = i32::try_from(server.pid().context("the server is gone")?)?;
    kill_process(Pid::from_raw(pid).context("a process")?, Signal::TERM)?;
    while let Some(chunk) = stream.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk?));
    }
    ensure!(text.trim_end().ends_with("data: [DONE]"), "{text}");
    Ok(())
}

async fn database(data: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(data.join("homereel.db"));
    Ok(SqliteConnection::connect_with(&options).await?)
}

#[tokio::test]
async fn a_locked_database_is_a_503_and_everything_goes_on_afterwards() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let known = server.upload(&clips::simple(33)?.file).await?;
    let bytes = fs::read(clips::simple(34)?.file)?;
    let tus = |method, path: &str| {
        server.client().request(method, server.url(path)).header("tus-resumable", "1.0.0")
    };
    let created = tus(Method::POST, "/api/uploads").header("upload-length", bytes.len()).send().await?;
    let location = created.headers()["location"].to_str()?.to_owned();
    let piece = |offset: usize| {
        tus(Method::PATCH, &location)
            .header("upload-offset", offset)
            .header("content-type", "application/offset+octet-stream")
            .body(bytes[offset..].to_vec())
            .send()
    };

    let mut other = database(server.data()).await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await?;
    // What has to be written is refused: the client keeps its file and tries again.
    let raw = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4");
    let (raw, patched) = tokio::join!(raw.body(fs::read(clips::simple(35)?.file)?).send(), piece(0));
    for response in [raw?, patched?] {
        ensure!(response.status() == 503, "{}: {}", response.status(), response.text().await?);
        ensure!(response.headers().contains_key("retry-after"));
        let body: Value = response.json().await?;
        ensure!(body["detail"].as_str().is_some_and(|text| text.contains("locked")), "{body}");
    }
    // What is only read is served.
    for path in ["/", "/readyz", &format!("/api/videos/{known}"), &format!("/api/videos/{known}/file")] {
        let response = server.get(path).await?;
        ensure!(response.status() == 200, "{path}: {}", response.status());
    }
    sqlx::query("ROLLBACK").execute(&mut other).await?;

    let head = tus(Method::HEAD, &location).send().await?;
    let offset = head.headers()["upload-offset"].to_str()?.parse()?;
    let patched = piece(offset).await?;
    ensure!(patched.status().is_success(), "{}: {}", patched.status(), patched.text().await?);
    server.upload(&clips::simple(35)?.file).await?;
    let began = Instant::now();
    while !described(&server, 3).await? {
        ensure!(began.elapsed() < PATIENCE, "not all videos are described: {}", server.log());
    }
    Ok(())
}

/// Returns whether the library has `count` videos and each is described.
async fn described(server: &Server, count: usize) -> anyhow::Result<bool> {
    let list = server.json("/api/videos").await?;
    let videos = list["videos"].as_array().context("no list")?;
    Ok(videos.len() == count && videos.iter().all(|video| !video["description"].is_null()))
}

/// Moves all times of the library, which is the same as moving the clock the other way.
async fn move_times(data: &Path, days: i64) -> anyhow::Result<()> {
    let mut database = database(data).await?;
    let by = days * 24 * 3600 * 1000;
    for sql in [
        "UPDATE videos SET created_ms = created_ms + ?1, deleted_ms = deleted_ms + ?1",
        "UPDATE jobs SET created_ms = created_ms + ?1, updated_ms = updated_ms + ?1, run_after_ms = run_after_ms + ?1",
        "UPDATE uploads SET created_ms = created_ms + ?1, expires_ms = expires_ms + ?1",
        "UPDATE settings SET value = CAST(value AS INTEGER) + ?1 WHERE name = 'retention_ms'",
    ] {
        sqlx::query(sql).bind(by).execute(&mut database).await?;
    }
    Ok(database.close().await?)
}

#[tokio::test]
async fn a_clock_that_jumps_empties_no_trash_and_delays_no_job() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let post = async |server: &Server, path: &str| -> anyhow::Result<()> {
        server.client().post(server.url(path)).send().await?.error_for_status()?;
        Ok(())
    };
    post(&server, "/api/jobs/pause").await?;
    let trashed = server.upload(&clips::simple(36)?.file).await?;
    server.client().delete(server.url(&format!("/api/videos/{trashed}"))).send().await?.error_for_status()?;
    let unfinished = server.client().post(server.url("/api/uploads")).header("tus-resumable", "1.0.0");
    let unfinished = unfinished.header("upload-length", 100).send().await?;
    let unfinished = unfinished.headers()["location"].to_str()?.to_owned();
    let waiting = server.upload(&clips::simple(37)?.file).await?;

    // Two months ahead: longer than the trash and unfinished uploads are kept.
    server.kill().await?;
    move_times(server.data(), -60).await?;
    server.start_again().await?;
    let trash = server.json("/api/trash").await?;
    ensure!(trash["videos"][0]["id"] == trashed.as_str(), "{trash}");
    let head = server.client().head(server.url(&unfinished)).header("tus-resumable", "1.0.0").send().await?;
    ensure!(head.status() == 200, "the unfinished upload: {}", head.status());

    // Back again, further than it came.
    server.kill().await?;
    move_times(server.data(), 120).await?;
    server.start_again().await?;
    post(&server, "/api/jobs/resume").await?;
    let began = Instant::now();
    while server.json(&format!("/api/videos/{waiting}")).await?["description"].is_null() {
        ensure!(began.elapsed() < PATIENCE, "the job waits: {}", server.json("/api/jobs").await?);
    }
    post(&server, &format!("/api/videos/{trashed}/restore")).await?;
    ensure!(server.get(&format!("/api/videos/{trashed}/file")).await?.status() == 200);
    Ok(())
}
