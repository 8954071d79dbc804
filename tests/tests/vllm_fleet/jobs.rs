//! Background reading with a vLLM that processes several requests at once: how many videos are described at a time, what does
//! not wait for the model, and what is left for people.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use homereel_tests::{Server, clips, homereel};
use serde_json::{Value, json};

use crate::{
    PATIENCE,
    stub::{Mode, StubVllm},
};

async fn server_on(stub: &StubVllm, more: &[&str]) -> anyhow::Result<Server> {
    let flags = ["--engine", "vllm", "--vllm-url", &stub.url, "--model", "demo"];
    Server::start_with(&[&flags, more].concat()).await
}

/// Waits until the stub got `count` requests for streamed answers.
async fn came(stub: &StubVllm, count: usize) -> anyhow::Result<()> {
    let mut came = stub.came();
    let waiting = came.wait_for(|came| *came >= count);
    tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("{count} requests"))??;
    Ok(())
}

fn so_far(stub: &StubVllm) -> usize {
    *stub.came().borrow()
}

async fn upload(server: &Server, seeds: std::ops::Range<u64>) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for seed in seeds {
        ids.push(server.upload(&clips::simple(seed)?.file).await?);
    }
    Ok(ids)
}

/// Waits until `holds` for every video.
async fn wait_for_all(server: &Server, ids: &[String], holds: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    for id in ids {
        loop {
            let video = server.json(&format!("/api/videos/{id}")).await?;
            if holds(&video) {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "{video}");
        }
    }
    Ok(())
}

fn has_poster(video: &Value) -> bool {
    video["poster"] == "ready"
}

fn described(video: &Value) -> bool {
    !video["description"].is_null()
}

#[tokio::test]
async fn videos_are_described_side_by_side_and_no_poster_waits_for_the_model() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    stub.set(Mode::Held);
    let server = server_on(&stub, &["--jobs", "3"]).await?;
    let ids = upload(&server, 700..708).await?;
    came(&stub, 3).await?;
    wait_for_all(&server, &ids, has_poster).await?;
    ensure!(so_far(&stub) == 3, "{} questions at once", so_far(&stub));
    stub.release();
    wait_for_all(&server, &ids, described).await?;
    Ok(())
}

#[tokio::test]
async fn scrub_sprites_wait_for_the_texts_only_where_the_model_was_idle() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    stub.set(Mode::Held);
    let server = server_on(&stub, &["--jobs", "1"]).await?;
    let has_sprites = async |id: &str| -> anyhow::Result<bool> {
        let url = server.url(&format!("/api/videos/{id}/sprites.vtt"));
        Ok(server.client().get(url).send().await?.status() == 200)
    };
    let eventually = async |id: &str| -> anyhow::Result<()> {
        let began = Instant::now();
        while !has_sprites(id).await? {
            ensure!(began.elapsed() < PATIENCE, "no sprites of {id}");
        }
        Ok(())
    };
    let idle = upload(&server, 720..721).await?;
    came(&stub, 1).await?;
    let busy = upload(&server, 721..722).await?;
    eventually(&busy[0]).await?;
    ensure!(!has_sprites(&idle[0]).await?, "its sprites come after its texts");
    stub.release();
    eventually(&idle[0]).await
}

#[tokio::test]
async fn windows_of_one_video_are_described_side_by_side() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    stub.set(Mode::Held);
    let server = server_on(&stub, &["--jobs", "4", "--window-seconds", "1"]).await?;
    let id = server.upload(&clips::test_pattern(6)?).await?;
    came(&stub, 4).await?;
    stub.release();
    wait_for_all(&server, &[id], described).await
}

#[tokio::test]
async fn the_last_slot_of_a_replica_is_for_people() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    stub.set(Mode::Held);
    let server = server_on(&stub, &["--vllm-max-requests", "3"]).await?;
    let ids = upload(&server, 708..713).await?;
    came(&stub, 2).await?;
    wait_for_all(&server, &ids, has_poster).await?;
    let question = json!({ "stream": true, "messages": [{ "role": "user", "content": "begun" }] });
    let response = server.chat(&question).await?;
    ensure!(response.status() == 200, "{}", response.text().await?);
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    while !text.contains("Red") {
        let chunk = tokio::time::timeout(PATIENCE, stream.next()).await?.context("the stream ended")??;
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    ensure!(so_far(&stub) == 3, "{} requests", so_far(&stub));
    stub.release();
    wait_for_all(&server, &ids, described).await
}

#[tokio::test]
async fn a_pause_holds_back_the_model_but_no_poster() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let server = server_on(&stub, &["--jobs", "2"]).await?;
    server.client().post(server.url("/api/jobs/pause")).send().await?.error_for_status()?;
    let ids = upload(&server, 713..716).await?;
    wait_for_all(&server, &ids, has_poster).await?;
    ensure!(so_far(&stub) == 0, "{} questions", so_far(&stub));
    server.client().post(server.url("/api/jobs/resume")).send().await?.error_for_status()?;
    wait_for_all(&server, &ids, described).await
}

#[tokio::test]
async fn background_requests_have_a_lower_priority_where_the_replica_has_priorities() -> anyhow::Result<()> {
    for enabled in [true, false] {
        let stub = StubVllm::start().await?;
        stub.lock().priorities = enabled;
        let server = server_on(&stub, &[]).await?;
        let ids = upload(&server, 716..717).await?;
        wait_for_all(&server, &ids, described).await?;
        let expected = if enabled { json!(1) } else { Value::Null };
        ensure!(stub.last()["priority"] == expected, "{}", stub.last());
        server.chat(&crate::text()).await?.error_for_status()?;
        let requests = stub.lock().requests.clone();
        let asked = requests.iter().find(|request| request["messages"].to_string().contains("What is it?"));
        let asked = asked.context("the question was not sent")?;
        ensure!(asked["priority"].is_null(), "{asked}");
    }
    Ok(())
}

#[tokio::test]
async fn another_model_describes_all_videos_again_when_asked_to() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let flags = ["--engine", "vllm", "--vllm-url", &stub.url];
    let mut server = Server::start_with(&flags).await?;
    let ids = upload(&server, 717..719).await?;
    let by = |model: &'static str| move |video: &Value| video["description"]["model"] == model;
    wait_for_all(&server, &ids, by("served-model")).await?;
    wait_for_all(&server, &ids, |video| video["jobs"][0]["state"] == "done").await?;
    stub.lock().model = "better-model";
    server.kill_and_restart().await?;
    ensure!(
        server
            .get("/jobs")
            .await?
            .text()
            .await?
            .contains("Describe 2 videos again that another model described")
    );
    for queued in [2, 0] {
        let out = homereel(&["reread", &server.url("/")]).await?;
        ensure!(out.stdout == format!("queued: {queued}\n"), "{} {}", out.stdout, out.stderr);
    }
    wait_for_all(&server, &ids, by("better-model")).await
}
