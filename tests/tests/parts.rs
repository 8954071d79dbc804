//! Parts of videos as files of their own: what is copied and what is encoded, lengths, names, and bad ranges.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server, clips};
use reqwest::Response;
use serde_json::{Value, json};

/// Seconds by which a length may be off: a picture, and a packet of sound.
const SLACK: f64 = 0.08;

/// Waits until a video is processed.
async fn processed(server: &Server, id: &str) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while server.json(&format!("/api/videos/{id}")).await?["jobs"][0]["state"] != "done" {
        ensure!(Instant::now() < end, "not processed: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn part(server: &Server, id: &str, query: &str) -> anyhow::Result<Response> {
    server.get(&format!("/api/videos/{id}/clip.mp4?{query}")).await
}

/// Writes the part that a response holds, and returns how it was made.
async fn saved(response: Response, to: &Path) -> anyhow::Result<String> {
    let response = response.error_for_status()?;
    ensure!(response.headers()["content-type"] == "video/mp4");
    let made = response.headers()["homereel-clip"].to_str()?.to_owned();
    let length = response.content_length().context("a length")?;
    let bytes = response.bytes().await?;
    ensure!(bytes.len() as u64 == length, "{} of {length} bytes", bytes.len());
    std::fs::write(to, bytes)?;
    Ok(made)
}

/// Asks ffprobe about a file.
fn ffprobe(file: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("ffprobe").args(["-v", "error"]).args(arguments).arg(file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn seconds(file: &Path) -> anyhow::Result<f64> {
    Ok(ffprobe(file, &["-show_entries", "format=duration", "-of", "csv=p=0"])?.parse()?)
}

fn streams(file: &Path) -> anyhow::Result<Vec<String>> {
    let codecs = ffprobe(file, &["-show_entries", "stream=codec_name", "-of", "csv=p=0"])?;
    Ok(codecs.lines().map(|line| line.trim_end_matches(',').to_owned()).collect())
}

/// Six seconds with sound, a key frame every two seconds.
fn clip(name: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    let source = "testsrc2=size=160x96:rate=25:duration=6";
    let input = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", "sine=frequency=440:duration=6"];
    clips::ffmpeg(name, &[&input, options].concat())
}

const PHONE: [&str; 9] = ["-c:v", "libx264", "-g", "50", "-bf", "2", "-pix_fmt", "yuv420p", "-shortest"];

#[tokio::test]
async fn a_part_is_copied_where_that_is_possible_and_encoded_otherwise() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let out = tempfile::tempdir()?;
    let file = out.path().join("part.mp4");
    let phone = clip("Lake.mp4", &PHONE)?;
    let camera = clip("Old.avi", &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"])?;
    let web = clip("Web.webm", &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus"])?;
    for (path, how) in [(&phone, "copied"), (&camera, "copied"), (&web, "encoded")] {
        let id = server.upload(path).await?;
        // The old camera's clip has a rendition, which is copied.
        processed(&server, &id).await?;
        // From a picture that is no key frame.
        let made = saved(part(&server, &id, "start=1.4&end=4.2").await?, &file).await?;
        assert_eq!(made, how, "{}", path.display());
        assert!((seconds(&file)? - 2.8).abs() < SLACK, "{}: {} s", path.display(), seconds(&file)?);
        assert_eq!(streams(&file)?, ["h264", "aac"], "{}", path.display());
    }
    Ok(())
}

#[tokio::test]
async fn parts_of_upright_uneven_and_silent_clips_are_true() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let out = tempfile::tempdir()?;
    let file = out.path().join("part.mp4");
    let source = |filter: &'static str| {
        ["-f", "lavfi", "-i", filter, "-c:v", "libx264", "-g", "50", "-pix_fmt", "yuv420p", "-vsync", "vfr"]
    };
    let upright =
        [&source("testsrc2=size=160x96:rate=25:duration=4")[..], &["-metadata:s:v", "rotate=90"]].concat();
    let id = server.upload(&clips::ffmpeg("upright.mp4", &upright)?).await?;
    saved(part(&server, &id, "start=0.5&end=2").await?, &file).await?;
    let whole: Value = server.json(&format!("/api/videos/{id}")).await?;
    let again = server.upload(&file).await?;
    let again: Value = server.json(&format!("/api/videos/{again}")).await?;
    for side in ["width", "height", "rotation"] {
        assert_eq!(again["probe"]["video"][side], whole["probe"]["video"][side], "{side}");
    }
    assert_eq!(streams(&file)?, ["h264"], "no sound, and none made up");

    // A pause of three seconds after the first: a part within it begins with the picture that stays.
    let uneven = "testsrc2=size=160x96:rate=25:duration=4,setpts='if(lt(N,25),N,N+75)/25/TB'";
    let id = server.upload(&clips::ffmpeg("uneven.mp4", &source(uneven))?).await?;
    for (query, length, how) in [
        ("start=2&end=5", 3.0, "encoded"),
        ("start=0.2&end=0.8", 0.6, "copied"),
        ("start=0&end=5", 5.0, "copied"),
    ] {
        let made = saved(part(&server, &id, query).await?, &file).await?;
        assert_eq!(made, how, "{query}");
        assert!((seconds(&file)? - length).abs() < SLACK, "{query}: {} s", seconds(&file)?);
    }
    Ok(())
}

#[tokio::test]
async fn parts_and_pictures_are_saved_under_names_that_say_what_they_are() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clip("Lake.mp4", &PHONE)?).await?;
    let url = format!("/api/videos/{id}");
    let edit = json!({"name": "Lake.mp4", "taken": "2023-07-14T11:25:00+02:00"});
    server.client().patch(server.url(&url)).json(&edit).send().await?.error_for_status()?;
    let name = |response: &Response| {
        let value = response.headers().get("content-disposition").and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let picture = server.get(&format!("{url}/frame.jpg?t=4.2&download=1")).await?.error_for_status()?;
    assert!(
        name(&picture).starts_with("attachment; filename=\"Lake 2023-07-14 0.04.2.jpg\""),
        "{}",
        name(&picture)
    );
    let shown = server.get(&format!("{url}/frame.jpg?t=4.2")).await?.error_for_status()?;
    assert_eq!(name(&shown), "");
    let saved = part(&server, &id, "start=1&end=2.5&download=1").await?.error_for_status()?;
    assert!(
        name(&saved).starts_with("attachment; filename=\"Lake 2023-07-14 0.01.0-0.02.5.mp4\""),
        "{}",
        name(&saved)
    );
    assert!(name(&part(&server, &id, "start=1&end=2.5").await?).starts_with("inline"));
    Ok(())
}

#[tokio::test]
async fn bad_ranges_and_files_are_named() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clip("Lake.mp4", &PHONE)?).await?;
    for (query, words) in [
        ("", "start"),
        ("start=1", "end"),
        ("start=x&end=2", "start"),
        ("start=-1&end=2", "start is -1; 0 to 6.0"),
        ("start=NaN&end=2", "start is NaN"),
        ("start=6.5&end=7", "start is 6.5"),
        ("start=2&end=1", "end is 1; 2 to 6.0"),
        ("start=2&end=9", "end is 9; 2 to 6.0"),
        ("start=2&end=2.01", "the part has 0.010 seconds; 0.1 to 600 would fit"),
    ] {
        let response = part(&server, &id, query).await?;
        assert_eq!(response.status(), 400, "{query}");
        let problem: Value = response.json().await?;
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(words)), "{query}: {problem}");
    }
    assert_eq!(part(&server, &"0".repeat(32), "start=0&end=1").await?.status(), 404);
    // Sound alone is no video, and never becomes one.
    let sound = clips::ffmpeg("sound.mp4", &["-f", "lavfi", "-i", "sine=duration=3", "-c:a", "aac"])?;
    assert!(server.upload(&sound).await.is_err(), "a file without pictures is refused");
    // Nothing is left behind.
    assert_eq!(std::fs::read_dir(server.data().join("incoming"))?.count(), 0);
    Ok(())
}

#[tokio::test]
async fn moments_are_edited_and_answers_deleted() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clip("Lake.mp4", &PHONE)?).await?;
    processed(&server, &id).await?;
    let url = format!("/api/videos/{id}");
    let patch = async |moments: Value| {
        let response =
            server.client().patch(server.url(&url)).json(&json!({ "moments": moments })).send().await?;
        anyhow::Ok((response.status().as_u16(), response.json::<Value>().await?))
    };
    let later = json!({"start": 4.0, "end": 5.0, "text": "A splash"});
    let first = json!({"start": 1.0, "end": 2.0, "text": " Ben jumps "});
    let (status, video) = patch(json!([later, first])).await?;
    assert_eq!(status, 200, "{video}");
    let content = &video["moments"]["content"];
    assert_eq!((&content[0]["text"], &content[1]["text"]), (&json!("Ben jumps"), &json!("A splash")));
    assert_eq!(server.json("/api/search?q=splash").await?["total"], 1, "the search knows it");
    for (bad, words) in [
        (json!([{"start": 3.0, "end": 2.0, "text": "x"}]), "lasts from 3 to 2"),
        (json!([{"start": 0.0, "end": 99.0, "text": "x"}]), "within 0 to 6.0"),
        (json!([{"start": 0.0, "end": 1.0, "text": " "}]), "0 characters"),
        (json!(vec![first.clone(); 1001]), "1001"),
    ] {
        let (status, problem) = patch(bad).await?;
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(words)), "{words}: {problem}");
    }
    assert_eq!(server.json(&url).await?["moments"]["content"].as_array().map(Vec::len), Some(2));

    let ask = server.client().post(server.url(&format!("{url}/ask")));
    ask.json(&json!({"question": "What color is the object?"}))
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    let answer = server.json(&url).await?["answers"][0]["id"].as_str().context("an answer")?.to_owned();
    let delete = |id: &str| server.client().delete(server.url(&format!("{url}/answers/{id}"))).send();
    assert_eq!(delete(&answer).await?.status(), 204);
    assert_eq!(delete(&answer).await?.status(), 404);
    assert_eq!(server.json(&url).await?["answers"], json!([]));
    Ok(())
}
