//! Speech to text of the real program, with a stub of a server that transcribes: transcripts of videos from upload to search, what
//! interrupts them, bad input, and `/v1/audio/transcriptions`.

mod accuracy;
mod chat;
mod endpoint;
mod stub;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server, clips, homereel};
use serde_json::{Value, json};
use stub::StubSpeech;
use tokio::sync::Semaphore;

const SENTENCE: &str = "Look at the little green frog, it jumps into the pond behind our house.";

/// A clip in which somebody says a sentence so many times, with `delay` seconds of silence before it.
fn spoken(name: &str, times: u32, delay: u32) -> anyhow::Result<PathBuf> {
    let seconds = delay + 6 * times;
    let pictures = format!("testsrc=size=320x240:rate=5:duration={seconds}");
    let loops = times - 1;
    let sound = format!(
        "flite=text='{SENTENCE}':voice=slt,apad=whole_dur=6,aloop=loop={loops}:size=96000,adelay={}",
        delay * 1000
    );
    let inputs = ["-f", "lavfi", "-i", &pictures, "-f", "lavfi", "-i", &sound];
    let codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    clips::ffmpeg(name, &[&inputs[..], &codecs[..]].concat())
}

/// A file of sound alone, with the same sentence.
fn sound(name: &str) -> anyhow::Result<PathBuf> {
    clips::ffmpeg(name, &["-f", "lavfi", "-i", &format!("flite=text='{SENTENCE}':voice=slt")])
}

async fn server(stub: &StubSpeech) -> anyhow::Result<Server> {
    Server::start_with(&["--speech-url", &stub.url, "--speech-url-model", "stub"]).await
}

/// Waits until `look` finds something.
async fn wait_for<T>(what: &str, look: impl AsyncFn() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(began.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the transcript of a video is complete, and returns it.
async fn transcript(server: &Server, id: &str) -> anyhow::Result<Value> {
    wait_for("transcript", async || {
        let response = server.get(&format!("/api/videos/{id}/transcript.json")).await?;
        if response.status() != 200 {
            return Ok(None);
        }
        let transcript: Value = response.json().await?;
        ensure!(transcript["state"] != "failed", "it failed: {transcript}");
        Ok(Some(transcript).filter(|transcript| transcript["state"] == "done"))
    })
    .await
}

/// Returns the newest job that transcribes a video.
async fn speech_job(server: &Server, id: &str) -> anyhow::Result<Value> {
    let video = server.json(&format!("/api/videos/{id}")).await?;
    let jobs = video["jobs"].as_array().context("jobs")?;
    Ok(jobs.iter().find(|job| job["kind"] == "speech").cloned().unwrap_or_default())
}

#[tokio::test]
async fn what_is_said_is_transcribed_found_corrected_and_transcribed_again() -> anyhow::Result<()> {
    let stub = StubSpeech::start().await?;
    let server = server(&stub).await?;
    let id = server.upload(&spoken("frog.mp4", 1, 2)?).await?;
    let found = transcript(&server, &id).await?;
    assert_eq!(
        (&found["model"], &found["language"], &found["note"]),
        (&json!("stub"), &json!("en"), &Value::Null)
    );
    let line = &found["lines"][0];
    assert_eq!(line["text"], "The frog jumps for the time number 1.");
    let start = line["start"].as_f64().context("a start")?;
    ensure!((start - 2.0).abs() < 0.5, "the caption is at {start}, the sound at 2");
    assert_eq!(line["confidence"].as_f64().map(|value| (value * 100.0).round()), Some(78.0), "e^-0.25");
    let (seconds, fields) = stub.inner().requests[0].clone();
    ensure!((3.0..6.5).contains(&seconds), "the silence is not sent: {seconds} s");
    ensure!(fields.contains("\"model\"\r\n\r\nstub\r\n") && !fields.contains("\"language\""), "{fields}");

    for (form, kind) in [("vtt", "text/vtt"), ("srt", "application/x-subrip"), ("txt", "text/plain")] {
        let response = server.get(&format!("/api/videos/{id}/transcript.{form}")).await?;
        let found = response.headers()["content-type"].to_str()?.to_owned();
        ensure!(found.starts_with(kind), "{form}: {found}");
        ensure!(response.text().await?.contains("The frog jumps"), "{form}");
    }
    let hit = &server.json("/api/search?q=frog").await?["videos"][0]["places"][0];
    assert_eq!((&hit["kind"], &hit["start"]), (&json!("speech"), &line["start"]), "{hit}");
    ensure!(hit["url"].as_str().is_some_and(|url| url.starts_with(&format!("/videos/{id}?t="))), "{hit}");

    let url = server.url(&format!("/api/videos/{id}/transcript/0"));
    let edited = server.client().patch(&url).json(&json!({ "text": "The toad sleeps." })).send().await?;
    assert_eq!(edited.status(), 200);
    assert_eq!(server.json("/api/search?q=frog").await?["total"], 0);
    assert_eq!(server.json("/api/search?q=toads").await?["videos"][0]["places"][0]["kind"], "speech");

    let folder = tempfile::tempdir()?;
    let out = folder.path().join("export");
    let data = server.data().to_str().context("a path")?;
    homereel(["export", "--data", data, out.to_str().context("a path")?]).await?.answer()?;
    let exported =
        std::fs::read_dir(&out)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let text = exported.iter().find(|path| path.to_string_lossy().ends_with(".speech.txt"));
    assert_eq!(std::fs::read_to_string(text.context("a transcript")?)?, "The toad sleeps.\n");

    let again = server.client().post(server.url(&format!("/api/videos/{id}/transcript"))).send().await?;
    assert_eq!(again.status(), 202);
    let second = transcript(&server, &id).await?;
    assert_eq!(second["lines"][0]["text"], "The frog jumps for the time number 2.");
    assert_eq!(server.json("/api/search?q=toads").await?["total"], 0);
    assert_eq!(speech_job(&server, &id).await?["state"], "done");
    let metrics = server.get("/metrics").await?.text().await?;
    for name in ["homereel_speech_sound_seconds_total", "homereel_speech_transcription_seconds"] {
        ensure!(metrics.contains(name), "no {name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_transcription_goes_on_where_it_was_killed() -> anyhow::Result<()> {
    let stub = StubSpeech::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), 3).await?;
    let mut server = server(&stub).await?;
    let id = server.upload(&spoken("long.mp4", 30, 0)?).await?;
    let path = format!("/api/videos/{id}/transcript.json");
    let before = wait_for("first windows", async || {
        let response = server.get(&path).await?;
        let found: Value = if response.status() == 200 { response.json().await? } else { Value::Null };
        Ok(Some(found).filter(|found| found["lines"].as_array().is_some_and(|lines| !lines.is_empty())))
    })
    .await?;
    let position = before["position"].as_f64().context("a position")?;
    ensure!(position > 20.0 && before["state"] == "listening", "{before}");
    let jobs = server.get("/jobs").await?.text().await?;
    ensure!(jobs.contains("Listening… ") && jobs.contains(" of 3:00"), "{jobs}");
    server.kill_and_restart().await?;
    stub.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    let after = transcript(&server, &id).await?;
    let lines = after["lines"].as_array().context("lines")?;
    let kept = before["lines"].as_array().context("lines")?;
    assert_eq!(lines[..kept.len()], kept[..], "what was there stays");
    ensure!(lines.len() >= 6, "180 s have more than {} lines", lines.len());
    for pair in lines.windows(2) {
        ensure!(pair[0]["end"].as_f64() <= pair[1]["start"].as_f64(), "out of order: {pair:?}");
    }
    let sent: f64 = stub.inner().requests.iter().map(|(seconds, _)| seconds).sum();
    ensure!(sent < 180.0 + 60.0, "{sent} s were transcribed: something twice");
    ensure!(after["position"].as_f64().is_some_and(|position| position > 170.0), "{after}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_again_and_nothing_waits_for_it() -> anyhow::Result<()> {
    // A port on which nothing listens.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("http://{address}");
    let server = Server::start_with(&["--speech-url", &url, "--speech-url-model", "stub"]).await?;
    let id = server.upload(&spoken("frog.mp4", 1, 0)?).await?;
    let job = wait_for("failure", async || {
        Ok(Some(speech_job(&server, &id).await?).filter(|job| job["error"].is_string()))
    })
    .await?;
    ensure!(job["error"].as_str().is_some_and(|error| error.contains("out of reach")), "{job}");
    wait_for("description", async || {
        let video = server.json(&format!("/api/videos/{id}")).await?;
        Ok(Some(()).filter(|()| !video["description"].is_null()))
    })
    .await?;
    let metrics = server.get("/metrics").await?.text().await?;
    ensure!(metrics.contains("homereel_speech_failures_total"), "failures are counted");
    let _stub = StubSpeech::start_at(address, Semaphore::MAX_PERMITS).await?;
    let found = transcript(&server, &id).await?;
    assert_eq!(found["line_count"], 1);
    assert_eq!(speech_job(&server, &id).await?["error"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn what_is_no_speech_is_not_sent_and_hostile_text_does_no_harm() -> anyhow::Result<()> {
    let stub = StubSpeech::start().await?;
    let server = server(&stub).await?;
    let silent = server.upload(&clips::test_pattern(2)?).await?;
    let found = transcript(&server, &silent).await?;
    assert_eq!((&found["note"], &found["lines"]), (&json!("The video has no sound."), &json!([])));
    let tone = "aevalsrc=0.3*sin(2*PI*220*t)+0.2*sin(2*PI*277*t)+0.2*sin(2*PI*330*t):d=8:s=44100";
    let pictures = "testsrc=size=320x240:rate=5:duration=8";
    let chord = ["-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", tone, "-c:v", "libx264", "-c:a", "aac"];
    let chord = server.upload(&clips::ffmpeg("chord.mp4", &chord)?).await?;
    assert_eq!(transcript(&server, &chord).await?["lines"], json!([]));
    let page = server.get(&format!("/videos/{chord}")).await?.text().await?;
    ensure!(page.contains("Nothing is said in this video."), "{page}");
    ensure!(stub.inner().requests.is_empty(), "silence and music were sent");

    let hostile =
        "</track><script>alert(1)</script>\n\n00:00:00.000 --> 00:00:09.000\nNOTE & <v Eve>\u{0}\u{1b}[31m";
    stub.inner().text = Some(hostile.repeat(100));
    let id = server.upload(&spoken("frog.mp4", 1, 0)?).await?;
    let found = transcript(&server, &id).await?;
    let text = found["lines"][0]["text"].as_str().context("a text")?;
    ensure!(text.chars().count() <= 2000 && !text.chars().any(char::is_control), "{text:?}");
    for form in ["vtt", "srt"] {
        let body = server.get(&format!("/api/videos/{id}/transcript.{form}")).await?.text().await?;
        assert_eq!(
            body.matches("\n00:").count() + usize::from(body.starts_with("00:")),
            1,
            "one cue: {body}"
        );
        ensure!(!body.contains('<'), "{body}");
    }
    for page in [format!("/videos/{id}"), "/jobs".to_owned(), "/search?q=alert".to_owned()] {
        let html = server.client().get(server.url(&page)).header("accept", "text/html").send().await?;
        ensure!(!html.text().await?.contains("<script>alert"), "{page}");
    }
    Ok(())
}

#[tokio::test]
async fn videos_that_were_here_before_are_transcribed_when_speech_is_switched_on() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("homereel.toml");
    std::fs::write(&config, "[server]\n")?;
    let mut server = Server::start_with(&["--config", config.to_str().context("a path")?]).await?;
    let id = server.upload(&spoken("frog.mp4", 1, 0)?).await?;
    let off = server.get(&format!("/api/videos/{id}/transcript.json")).await?;
    assert_eq!(off.status(), 404);
    ensure!(off.text().await?.contains("--speech-model"), "it says how to switch it on");
    let page = server.get(&format!("/videos/{id}")).await?.text().await?;
    ensure!(!page.contains("What is said"), "{page}");
    let posted = endpoint::transcribe(&server, &sound("a.wav")?, &[]).await?;
    assert_eq!(posted.status(), 404);
    ensure!(posted.text().await?.contains("--speech-model"), "it says how to switch it on");

    let stub = StubSpeech::start().await?;
    std::fs::write(&config, format!("[server]\nspeech_url = {:?}\nspeech_url_model = \"stub\"\n", stub.url))?;
    server.kill_and_restart().await?;
    assert_eq!(transcript(&server, &id).await?["line_count"], 1);
    Ok(())
}

#[tokio::test]
async fn descriptions_and_answers_take_into_account_what_is_said_and_nothing_else_waits() -> anyhow::Result<()>
{
    let stub = StubSpeech::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), 0).await?;
    stub.inner().text = Some("The frog jumps.".into());
    let model = chat::ListeningModel::start().await?;
    let flags = ["--engine", "vllm", "--vllm-url", &model.url, "--window-seconds", "4"];
    let speech = ["--speech-url", &stub.url, "--speech-url-model", "stub"];
    let server = Server::start_with(&[&flags[..], &speech[..]].concat()).await?;
    // One that is described at once, and one in windows.
    let mut ids = Vec::new();
    for (name, times) in [("short.mp4", 1), ("long.mp4", 2)] {
        ids.push(server.upload(&spoken(name, times, 0)?).await?);
    }
    for id in &ids {
        wait_for("job that waits", async || {
            let video = server.json(&format!("/api/videos/{id}")).await?;
            let jobs = video["jobs"].as_array().context("jobs")?;
            let waits = jobs.iter().any(|job| job["awaits_speech"] == true && job["state"] == "queued");
            Ok(Some(video).filter(|_| waits))
        })
        .await?;
        let video = server.json(&format!("/api/videos/{id}")).await?;
        ensure!(
            !video["moments"].is_null() && !video["tags"].is_null(),
            "moments and tags do not wait: {video}"
        );
        assert_eq!(video["description"], Value::Null);
        // Nor do thumbnails, which another lane makes.
        wait_for("thumbnails", async || {
            let found = server.get(&format!("/api/videos/{id}/sprites.vtt")).await?.status() == 200;
            Ok(found.then_some(()))
        })
        .await?;
    }
    stub.permits.add_permits(Semaphore::MAX_PERMITS / 2);
    for id in &ids {
        let described = wait_for("description", async || {
            let video = server.json(&format!("/api/videos/{id}")).await?;
            Ok(video["description"]["content"].as_str().map(str::to_owned))
        })
        .await?;
        ensure!(described.contains("The frog jumps."), "{described}");
        let video = server.json(&format!("/api/videos/{id}")).await?;
        ensure!(
            video["windows"]
                .as_array()
                .context("windows")?
                .iter()
                .all(|window| window["is_undescribed"] == false)
        );
    }
    let question = json!({ "question": "What do they talk about?" });
    let url = server.url(&format!("/api/videos/{}/ask", ids[0]));
    let answer = server.client().post(url).json(&question).send().await?.text().await?;
    ensure!(answer.contains("The frog jumps."), "{answer}");
    let notes =
        server.client().post(server.url("/api/ask")).json(&json!({ "question": "Which frog jumps?" }));
    let notes = notes.send().await?.text().await?;
    ensure!(notes.contains("The frog jumps.") && notes.contains("\"start\":"), "{notes}");
    Ok(())
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_at_the_start() -> anyhow::Result<()> {
    for (flags, word) in [
        (&["--speech-model", "a/b", "--speech-url", "http://h:1", "--speech-url-model", "m"][..], "both set"),
        (&["--speech-url", "http://h:1"][..], "speech_url_model"),
        (&["--speech-model", "/no/such/directory"][..], "not a directory"),
        (&["--speech-model", "a/b", "--speech-language", "klingon"][..], "klingon"),
    ] {
        let out = homereel(["serve", "--listen", "127.0.0.1:0"].iter().chain(flags)).await?;
        assert_eq!(out.status, Some(2), "{flags:?}: {}", out.stderr);
        ensure!(out.stderr.contains(word), "{flags:?}: {}", out.stderr);
    }
    Ok(())
}
