//! `/v1/audio/transcriptions` with real files: every kind of sound, every format, bad input, and a client that leaves.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::stub::StubSpeech;
use super::{server, sound, spoken, wait_for};

/// Posts a file to `/v1/audio/transcriptions`.
pub(crate) async fn transcribe(
    server: &Server,
    file: &Path,
    fields: &[(&'static str, &'static str)],
) -> anyhow::Result<reqwest::Response> {
    let name = file.file_name().context("a name")?.to_string_lossy().into_owned();
    let mut form = Form::new().part("file", Part::bytes(std::fs::read(file)?).file_name(name));
    for (name, value) in fields {
        form = form.text(*name, *value);
    }
    Ok(server.client().post(server.url("/v1/audio/transcriptions")).multipart(form).send().await?)
}

#[tokio::test]
async fn files_of_sound_are_transcribed_by_openais_endpoint() -> anyhow::Result<()> {
    let stub = StubSpeech::start().await?;
    let server = server(&stub).await?;
    stub.inner().text = Some("Look at the frog.".into());
    for name in ["a.wav", "a.mp3", "a.flac", "a.m4a", "a.ogg", "a.webm"] {
        let response = transcribe(&server, &sound(name)?, &[("model", "stub")]).await?;
        let status = response.status();
        let body: Value = response.json().await?;
        ensure!(status == 200 && body["text"] == "Look at the frog.", "{name}: {status} {body}");
        // Uploads to the library are as strict as before.
        let upload = server.client().post(server.url(&format!("/api/videos?name={name}")));
        let upload = upload.body(std::fs::read(sound(name)?)?).send().await?;
        ensure!(upload.status().is_client_error(), "{name} is no video: {}", upload.status());
    }
    let clip = spoken("frog.mp4", 1, 2)?;
    let fields =
        [("response_format", "verbose_json"), ("timestamp_granularities[]", "segment"), ("temperature", "0")];
    let verbose: Value = transcribe(&server, &clip, &fields).await?.json().await?;
    let segment = &verbose["segments"][0];
    ensure!(segment["start"].as_f64().is_some_and(|start| (start - 2.0).abs() < 0.5), "{verbose}");
    assert_eq!(verbose["language"], "english");
    ensure!(verbose["duration"].as_f64().is_some_and(|seconds| seconds > 5.0), "{verbose}");
    for (format, begin) in [("text", "Look at"), ("srt", "1\n00:00:0"), ("vtt", "WEBVTT\n\n00:00:0")] {
        let text = transcribe(&server, &clip, &[("response_format", format)]).await?.text().await?;
        ensure!(text.starts_with(begin) && text.contains("Look at the frog."), "{format}: {text}");
    }
    let french = transcribe(&server, &clip, &[("language", "fr")]).await?;
    assert_eq!(french.status(), 200);
    let fields = stub.inner().requests.last().context("a request")?.1.clone();
    ensure!(fields.contains("\"language\"\r\n\r\nfr\r\n"), "{fields}");

    let letter = clips::file("letter.mp3", b"not sound at all, but a letter to nobody\n")?;
    let silent = clips::test_pattern(2)?;
    for (file, fields, status, param) in [
        (&letter, &[][..], 400_u16, "file"),
        (&silent, &[][..], 400, "file"),
        (&clip, &[("model", "whisper-1")][..], 404, "model"),
        (&clip, &[("timestamp_granularities[]", "word")][..], 400, "timestamp_granularities[]"),
        (&clip, &[("stream", "true")][..], 400, "stream"),
    ] {
        let response = transcribe(&server, file, fields).await?;
        let found = response.status();
        let body: Value = response.json().await?;
        ensure!(found == status && body["error"]["param"] == param, "{fields:?}: {found} {body}");
    }
    let left = std::fs::read_dir(server.data().join("incoming"))?.count();
    assert_eq!(left, 0, "no file is left");
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_transcription() -> anyhow::Result<()> {
    let stub = StubSpeech::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), 0).await?;
    let server = server(&stub).await?;
    let clip = spoken("long.mp4", 30, 0)?;
    let files = || Ok::<_, std::io::Error>(std::fs::read_dir(server.data().join("incoming"))?.count());
    tokio::select! {
        response = transcribe(&server, &clip, &[]) => anyhow::bail!("it was answered: {:?}", response?.status()),
        heard = wait_for("window", async || Ok((stub.inner().arrived > 0).then_some(()))) => heard?,
    }
    wait_for("removal of its file", async || Ok((files()? == 0).then_some(()))).await?;
    Ok(())
}
