//! `--engine vllm` against stubs of vLLM: requests, answers, and replicas that refuse, fail, break off, stall or go away.
//! `tests/vllm.rs` tests against a real vLLM.

mod content;
mod jobs;
mod several;
mod stub;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use homereel_tests::{PATIENCE, Server, clips, homereel};
use serde_json::{Value, json};
use stub::{MODEL, Mode, StubVllm, chunk, whole_answer};

async fn server_on(stub: &StubVllm) -> anyhow::Result<Server> {
    Server::start_with(&["--engine", "vllm", "--vllm-url", &stub.url, "--model", "demo"]).await
}

fn text() -> Value {
    json!({ "messages": [{ "role": "user", "content": "What is it?" }] })
}

fn streamed(mut body: Value) -> Value {
    body["stream"] = true.into();
    body
}

async fn about_clip(question: &str) -> anyhow::Result<Value> {
    // Four seconds at 25 frames per second: eight frames.
    about(&clips::test_pattern(4)?, question).await
}

async fn about(clip: &Path, question: &str) -> anyhow::Result<Value> {
    let clip = STANDARD.encode(tokio::fs::read(clip).await?);
    Ok(json!({ "messages": [{ "role": "user", "content": [
        { "type": "video_url", "video_url": { "url": format!("data:video/mp4;base64,{clip}") } },
        { "type": "text", "text": question },
    ]}]}))
}

#[tokio::test]
async fn a_clip_goes_out_as_its_frames_and_the_answer_comes_back() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let server = server_on(&stub).await?;
    let mut body = about_clip("What color is it?").await?;
    let settings = json!({ "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "seed": 3, "max_tokens": 11,
        "repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.3, "stop": ["END"],
        "stop_token_ids": [5], "ignore_eos": true });
    for (name, value) in settings.as_object().context("an object")? {
        body[name] = value.clone();
    }
    let told: Value = server.chat(&body).await?.json().await?;
    assert_eq!(told["choices"][0]["message"]["content"], "Red.", "{told}");
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    assert_eq!(told["model"], MODEL);
    assert_eq!(
        (&told["usage"]["prompt_tokens"], &told["usage"]["completion_tokens"]),
        (&json!(7), &json!(2))
    );
    // The stub counts wrongly, and that is told.
    let warnings = told["homereel"]["warnings"].to_string();
    assert!(warnings.contains("counted 7 prompt tokens"), "{warnings}");
    assert!(told["homereel"]["stages_ms"]["prefill"].as_f64() > Some(0.0), "{told}");

    let sent = stub.last();
    for (name, value) in settings.as_object().context("an object")? {
        assert_eq!(&sent[name], value, "{name}");
    }
    let url = sent["messages"][0]["content"][0]["video_url"]["url"].as_str().context("a URL")?;
    let frames = url.strip_prefix("data:video/jpeg;base64,").context("a list of frames")?;
    let size = &told["homereel"]["media"][0];
    let mut count = 0;
    for frame in frames.split(',') {
        let picture = image::load_from_memory(&STANDARD.decode(frame)?)?;
        assert_eq!(
            (Some(u64::from(picture.width())), Some(u64::from(picture.height()))),
            (size["width"].as_u64(), size["height"].as_u64())
        );
        count += 1;
    }
    let video = &sent["media_io_kwargs"]["video"];
    assert_eq!(video["frames_indices"].as_array().map(Vec::len), Some(count));
    assert_eq!((&video["num_frames"], &video["fps"]), (&json!(-1), &json!(25.0)), "{video}");
    assert_eq!((&video["total_num_frames"], &video["do_sample_frames"]), (&json!(100), &json!(false)));
    assert_eq!(sent["mm_processor_kwargs"], json!({ "do_sample_frames": false, "do_resize": false }));
    Ok(())
}

#[tokio::test]
async fn cap_pixels_per_frame_limits_the_size_of_each_frame() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    // Without the checkpoint's files, only our own limits apply, and a short clip keeps its size.
    let server = Server::start_with(&["--engine", "vllm", "--vllm-url", &stub.url]).await?;
    let source = "testsrc=size=1920x1080:rate=5:duration=1";
    let options = ["-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p"];
    let clip = clips::ffmpeg("full-hd.mp4", &options)?;
    let mut body = about(&clip, "What is it?").await?;
    for (cap, most) in [(None, None), (Some(false), None), (Some(true), Some(768 * 32 * 32))] {
        for kwargs in ["media_io_kwargs", "mm_processor_kwargs"] {
            let video = json!({ "cap_pixels_per_frame": cap });
            body[kwargs] = if kwargs == "media_io_kwargs" { json!({ "video": video }) } else { video };
            let told: Value = server.chat(&body).await?.error_for_status()?.json().await?;
            let media = &told["homereel"]["media"][0];
            let pixels = media["width"].as_u64().unwrap_or(0) * media["height"].as_u64().unwrap_or(0);
            match most {
                None => assert_eq!(pixels, 1920 * 1080, "{cap:?} in {kwargs}: {media}"),
                Some(most) => assert!((most / 2..=most).contains(&pixels), "{cap:?} in {kwargs}: {media}"),
            }
            body.as_object_mut().context("an object")?.remove(kwargs);
        }
    }
    // The other parameters are accepted in both places, too.
    for (io, mm) in [(json!({ "end": 0.5 }), json!({})), (json!({ "fps": 5 }), json!({ "end": 0.5 }))] {
        body["media_io_kwargs"] = json!({ "video": io });
        body["mm_processor_kwargs"] = mm;
        let told: Value = server.chat(&body).await?.error_for_status()?.json().await?;
        let times = &told["homereel"]["media"][0]["timestamps"];
        let last = times.as_array().and_then(|times| times.last()?.as_f64()).context("timestamps")?;
        ensure!(last <= 0.5, "{times}");
    }
    body["mm_processor_kwargs"] = json!({ "cap_pixels_per_frame": "yes" });
    assert_eq!(server.chat(&body).await?.status(), 400);
    Ok(())
}

#[tokio::test]
async fn the_command_line_asks_an_upstream_too() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let file = clips::test_pattern(2)?;
    let flags = ["--engine", "vllm", "--vllm-url", &stub.url].map(AsRef::<std::ffi::OsStr>::as_ref);
    let ask = ["ask".as_ref(), file.as_os_str(), "What?".as_ref()];
    // Without --model nothing is known of the checkpoint: frames go as they are, and the upstream counts alone.
    let output = homereel(ask.into_iter().chain(flags)).await?;
    assert_eq!(output.answer()?, "Red.");
    assert!(!output.stderr.contains("warning"), "{}", output.stderr);
    assert_eq!(stub.last()["mm_processor_kwargs"], json!({ "do_sample_frames": false }));
    let output = homereel(["ask", "x.mp4", "What?", "--engine", "vllm"]).await?;
    assert!(output.stderr.contains("x.mp4") || output.stderr.contains("--vllm-url"), "{}", output.stderr);
    assert_ne!(output.status, Some(0));
    Ok(())
}

#[tokio::test]
async fn check_asks_an_upstream_as_the_server_does() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let output = homereel(["check", &stub.url, "--model", MODEL, "--expect", "red"]).await?;
    assert!(output.answer()?.starts_with(MODEL), "{}", output.stdout);
    assert_eq!(stub.last()["temperature"], json!(0.0));
    let output = homereel(["check", &stub.url]).await?;
    assert_eq!(output.status, Some(1));
    assert!(output.stderr.contains("answered \"Red.\""), "{}", output.stderr);
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_refuses_media_io_kwargs_gets_clips_of_constant_rate() -> anyhow::Result<()> {
    for refuses in [(true, true), (false, true)] {
        // At once, or only by the time a clip comes.
        let stub = StubVllm::start().await?;
        stub.lock().refuses = refuses;
        let server = server_on(&stub).await?;
        let told: Value = server.chat(&about_clip("What color is it?").await?).await?.json().await?;
        assert_eq!(told["choices"][0]["message"]["content"], "Red.", "{told}");
        let sent = stub.last();
        let url = sent["messages"][0]["content"][0]["video_url"]["url"].as_str().context("a URL")?;
        let file = STANDARD.decode(url.strip_prefix("data:video/x-msvideo;base64,").context("a file")?)?;
        assert_eq!(&file[8..12], b"AVI ");
        assert!(sent.get("media_io_kwargs").is_none() && sent.get("mm_processor_kwargs").is_none(), "{sent}");
        let backend = server.json("/api/system").await?["model"]["backend"].to_string();
        assert!(backend.contains("constant rate"), "{backend}");
        assert!(!told.to_string().contains("secret"));
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_fit_is_refused_before_it_is_sent() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    stub.lock().context = Some(100);
    let server = server_on(&stub).await?;
    let response = server.chat(&about_clip("What color is it?").await?).await?;
    assert_eq!(response.status(), 400);
    let told: Value = response.json().await?;
    assert_eq!(told["error"]["code"], "context_length_exceeded", "{told}");
    let message = told["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("the context holds 100") && message.contains("would fit"), "{message}");
    assert!(stub.lock().requests.is_empty());
    Ok(())
}

#[tokio::test]
async fn refusals_become_clean_errors() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let server = server_on(&stub).await?;
    let secret = r#"{"error": {"message": "temperature at /etc/secret", "param": "temperature"}}"#;
    let too_long = r#"{"error": {"message": "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, which"}}"#;
    for (mode, status, retry_after, code) in [
        (Mode::Status(429, Some(9), String::new()), 429, Some("9"), "overloaded"),
        (Mode::Status(503, None, r#"{"error": {"message": "busy"}}"#.into()), 429, Some("5"), "overloaded"),
        (Mode::Status(500, None, "/etc/secret".into()), 500, None, "internal"),
        (Mode::Status(401, None, "/etc/secret".into()), 500, None, "internal"),
        (Mode::Status(400, None, secret.into()), 400, None, "invalid_value"),
        (Mode::Status(400, None, too_long.into()), 400, None, "context_length_exceeded"),
        (Mode::Status(404, None, "The model does not exist.".into()), 500, None, "internal"),
        (Mode::Chunks(vec!["<html>".into()]), 500, None, "internal"),
        (
            Mode::Chunks(vec![r#"{"error": {"message": "/etc/secret", "code": 500}}"#.into()]),
            500,
            None,
            "internal",
        ),
    ] {
        stub.set(mode.clone());
        let response = server.chat(&text()).await?;
        assert_eq!(response.status(), status, "{mode:?}");
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        assert_eq!(after, retry_after, "{mode:?}");
        let told: Value = response.json().await?;
        assert_eq!(told["error"]["code"], code, "{mode:?}: {told}");
        assert!(!told.to_string().contains("secret"), "{told}");
    }
    assert!(server.log().contains("secret"), "the cause is in the log");
    stub.set(Mode::Answer);
    assert_eq!(server.answer(&text()).await?, "Red.");
    Ok(())
}

#[tokio::test]
async fn a_stream_that_dies_is_an_error_and_never_an_answer() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let server = server_on(&stub).await?;
    let without_end = vec![chunk("Red", None), "[DONE]".into()];
    let mut aborted = whole_answer();
    aborted[1] = chunk("", Some("abort"));
    for mode in [
        Mode::Cut,
        Mode::Chunks(without_end),
        Mode::Chunks(whole_answer()[..3].to_vec()),
        Mode::Chunks(aborted),
        Mode::Chunks(vec![chunk("Red", None), "{\"choices\": [".into()]),
    ] {
        stub.set(mode.clone());
        let body = server.chat(&streamed(text())).await?.text().await?;
        assert!(body.contains("\"Red\""), "{mode:?}: {body}");
        assert!(body.contains("\"error\"") && !body.contains("[DONE]"), "{mode:?}: {body}");
        assert_eq!(server.chat(&text()).await?.status(), 500, "{mode:?}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_leaves_stops_the_upstream() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let server = server_on(&stub).await?;
    stub.set(Mode::Stall);
    let mut left = stub.left();
    let mut body = server.chat(&streamed(text())).await?.bytes_stream();
    let mut seen = String::new();
    while !seen.contains("\"Red\"") {
        let piece = body.next().await.context("the stream ended")??;
        seen += std::str::from_utf8(&piece)?;
    }
    assert_eq!(*left.borrow(), 0);
    drop(body);
    tokio::time::timeout(PATIENCE, left.wait_for(|count| *count == 1)).await??;
    Ok(())
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_upstream_back() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let server = server_on(&stub).await?;
    stub.set(Mode::Endless);
    let mut sent = stub.sent();
    let mut body = server.chat(&streamed(text())).await?.bytes_stream();
    body.next().await.context("the stream ended")??;
    // Channels and sockets take some: 16 KiB a chunk, hundreds of chunks. What would be without bound gets here in no time.
    let bound = 64 << 20;
    let overflow = tokio::time::timeout(Duration::from_secs(3), sent.wait_for(|sent| *sent > bound)).await;
    assert!(overflow.is_err(), "the upstream was not held back");
    assert!(*stub.sent().borrow() > 0);
    drop(body);
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_goes_away_comes_back() -> anyhow::Result<()> {
    let stub = StubVllm::start().await?;
    let server = server_on(&stub).await?;
    stub.lock().context = None;
    stub.set(Mode::Status(502, None, "<html>".into()));
    let response = server.chat(&text()).await?;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"5".parse()?));
    ready(&server, false).await?;
    let response = server.chat(&text()).await?;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    stub.lock().context = Some(4096);
    stub.set(Mode::Answer);
    ready(&server, true).await?;
    assert_eq!(server.answer(&text()).await?, "Red.");

    // Gone altogether.
    drop(stub);
    ready(&server, false).await?;
    assert_eq!(server.chat(&text()).await?.status(), 503);
    Ok(())
}

async fn ready(server: &Server, wanted: bool) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while server.get("/readyz").await?.status().is_success() != wanted {
        ensure!(Instant::now() < end, "ready is not {wanted}: {}", server.log());
        tokio::task::yield_now().await;
    }
    Ok(())
}
