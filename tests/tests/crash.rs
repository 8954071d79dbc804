//! `kill -9` at random times during uploads and jobs: nothing that was acknowledged is lost, no finished window is processed
//! again, and no file is left over. `HOMEREEL_TEST_KILLS` sets the number of kills (10).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use reqwest::Method;
use serde_json::{Value, json};

const PIECE: &str = "application/offset+octet-stream";

/// What was told to the client so far.
#[derive(Default)]
struct Told {
    /// Bytes of uploads by their URL.
    bytes: HashMap<String, usize>,
    /// Ids of videos.
    videos: Vec<String>,
    /// When each window of the long clip was done.
    windows: HashMap<u64, i64>,
}

#[tokio::test]
async fn power_cuts_lose_nothing_that_was_told() -> anyhow::Result<()> {
    let kills: u32 = std::env::var("HOMEREEL_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut server = Server::start_with(&["--window-seconds", "1", "--jobs", "4"]).await?;
    let mut told = Told::default();
    // A clip of twelve windows, which takes a while to be read.
    let long = server.upload(&clips::test_pattern(12)?).await?;
    told.videos.push(long.clone());
    go_on_with(&server, &long).await?;
    let mut dice = Dice(0x5eed);
    for round in 0..kills {
        let clip = std::fs::read(short(100 + u64::from(round % 5))?)?;
        // Now and then so much later that windows are done.
        let deadline = Duration::from_millis(dice.below(if round % 8 == 7 { 8000 } else { 1500 }));
        let work = work(&server, &mut told, &clip, &mut dice);
        // Cut off in the middle of whatever it is doing.
        if let Ok(result) = tokio::time::timeout(deadline, work).await {
            result?;
        }
        server.kill_and_restart().await?;
        check(&server, &mut told, &long).await.with_context(|| format!("after kill {round}"))?;
        go_on_with(&server, &long).await?;
    }
    let windows_between_kills = told.windows.len();
    // Everything that is owed is done in the end, however slow the machine is.
    let mut progress = (0, Instant::now());
    loop {
        let jobs = server.json("/api/jobs").await?;
        let of = |state: &str| {
            jobs["jobs"].as_array().map_or(0, |jobs| jobs.iter().filter(|job| job["state"] == state).count())
        };
        check(&server, &mut told, &long).await?;
        if jobs["jobs"].as_array().map(Vec::len) == Some(of("done")) {
            break;
        }
        let done = of("done") + told.windows.len();
        if done != progress.0 {
            progress = (done, Instant::now());
        }
        for job in jobs["jobs"].as_array().context("jobs")? {
            // A job that was at work at each of four kills counts as failed, until somebody says otherwise.
            if job["state"] == "failed" {
                let path = format!("/api/jobs/{}/retry", job["id"].as_str().unwrap_or_default());
                server.client().post(server.url(&path)).send().await?.error_for_status()?;
            }
        }
        ensure!(progress.1.elapsed() < Duration::from_secs(600), "nothing gets done any more: {jobs}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(told.windows.len(), 12, "every window is done");
    if kills >= 100 {
        ensure!(windows_between_kills > 0, "no window was done between kills: nothing was tested of them");
    }
    for url in told.bytes.keys() {
        // Gone already where it became a video.
        server.client().delete(server.url(url)).header("tus-resumable", "1.0.0").send().await?;
    }
    let count = |folder: &str| std::fs::read_dir(server.data().join(folder)).map(Iterator::count);
    let total = server.json("/api/videos").await?["total"].as_u64().context("a total")?;
    assert_eq!((count("uploads")?, count("incoming")?), (0, 0), "no orphans");
    assert_eq!(count("originals")? as u64, total, "one original for each video");
    Ok(())
}

/// A clip that is read at once, not in windows.
fn short(seed: u64) -> anyhow::Result<std::path::PathBuf> {
    let order = homereel_clips::ClipSpec {
        duration_s: Some(2.0),
        codec: Some(homereel_clips::Codec::H264),
        size: Some((320, 240)),
        fps: Some(15.0),
        kind: homereel_clips::SceneKind::Plain,
        ..homereel_clips::ClipSpec::seeded(seed)
    };
    Ok(clips::drawn(order)?.file)
}

/// Lets the long clip be what is at work, also where it was at work at so many kills that its job counts as failed.
async fn go_on_with(server: &Server, long: &str) -> anyhow::Result<()> {
    let video = server.json(&format!("/api/videos/{long}")).await?;
    let job = &video["jobs"][0];
    let id = job["id"].as_str().context("a job")?;
    if job["state"] == "failed" {
        server
            .client()
            .post(server.url(&format!("/api/jobs/{id}/retry")))
            .send()
            .await?
            .error_for_status()?;
    }
    // A conflict where it is at work already.
    server.client().post(server.url(&format!("/api/jobs/{id}/first"))).send().await?;
    Ok(())
}

/// Uploads in pieces and at once, remembering what was acknowledged.
async fn work(server: &Server, told: &mut Told, clip: &[u8], dice: &mut Dice) -> anyhow::Result<()> {
    // A byte behind the end of an MP4 makes another file of it.
    let mut bytes = clip.to_vec();
    bytes.extend_from_slice(&dice.next().to_le_bytes());
    let request = |method: Method, path: &str| {
        server.client().request(method, server.url(path)).header("tus-resumable", "1.0.0")
    };
    let create = request(Method::POST, "/api/uploads").header("upload-length", bytes.len()).send().await?;
    let url = create.headers()["location"].to_str()?.to_owned();
    told.bytes.insert(url.clone(), 0);
    let step = bytes.len() / 4 + 1;
    let mut offset = 0;
    for piece in bytes.chunks(step) {
        let patch =
            request(Method::PATCH, &url).header("upload-offset", offset).header("content-type", PIECE);
        let response = patch.body(piece.to_vec()).send().await?;
        ensure!(response.status() == 204, "{}: {}", response.status(), response.text().await?);
        offset += piece.len();
        told.bytes.insert(url.clone(), offset);
        if let Some(video) = response.headers().get("homereel-video") {
            told.videos.push(video.to_str()?.to_owned());
        }
    }
    bytes.extend_from_slice(b"again");
    let raw = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4").body(bytes);
    let stored: Value = raw.send().await?.json().await?;
    told.videos.push(stored["videos"][0]["id"].as_str().context("an id")?.to_owned());
    std::future::pending().await
}

async fn check(server: &Server, told: &mut Told, long: &str) -> anyhow::Result<()> {
    for (url, bytes) in &told.bytes {
        let upload = server.json(url).await?;
        let here = upload["received"].as_u64().unwrap_or_default() as usize;
        ensure!(here >= *bytes, "{bytes} bytes of {url} were told to be here: {upload}");
    }
    for id in &told.videos {
        let file = server.client().head(server.url(&format!("/api/videos/{id}/file"))).send().await?;
        ensure!(file.status() == 200, "the video {id} is gone: {}", file.status());
    }
    let video = server.json(&format!("/api/videos/{long}")).await?;
    let windows = video["windows"].as_array().context("windows")?;
    let mut now = HashMap::new();
    for window in windows {
        now.insert(
            window["number"].as_u64().context("a number")?,
            window["created_ms"].as_i64().context("a time")?,
        );
    }
    for (number, done) in &told.windows {
        ensure!(
            now.get(number) == Some(done),
            "window {number} was done at {done}, now {:?}",
            now.get(number)
        );
    }
    told.windows = now;
    Ok(())
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[tokio::test]
async fn a_long_video_is_read_in_windows_and_put_together() -> anyhow::Result<()> {
    let server = Server::start_with(&["--window-seconds", "4"]).await?;
    let order = homereel_clips::ClipSpec {
        duration_s: Some(12.0),
        codec: Some(homereel_clips::Codec::H264),
        size: Some((320, 240)),
        fps: Some(15.0),
        kind: homereel_clips::SceneKind::Plain,
        ..homereel_clips::ClipSpec::seeded(40)
    };
    let clip = clips::drawn(order)?;
    let id = server.upload(&clip.file).await?;
    let end = Instant::now() + Duration::from_secs(120);
    let video = loop {
        let video = server.json(&format!("/api/videos/{id}")).await?;
        if video["jobs"][0]["state"] == "done" {
            break video;
        }
        ensure!(Instant::now() < end, "never read: {video}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let windows = video["windows"].as_array().context("windows")?;
    assert_eq!(windows.len(), 3, "{video}");
    assert_eq!((&windows[1]["start"], &windows[1]["end"]), (&json!(4.0), &json!(8.0)));
    assert_eq!((&video["jobs"][0]["parts"], &video["jobs"][0]["parts_done"]), (&json!(3), &json!(3)));
    let description = video["description"]["content"].as_str().context("a description")?;
    assert!(
        description.starts_with("0:00.0–0:04.0: "),
        "the demo model's parts stand in order: {description}"
    );
    let moments = video["moments"]["content"].as_array().context("moments")?;
    let starts: Vec<f64> = moments.iter().filter_map(|moment| moment["start"].as_f64()).collect();
    assert!(starts.is_sorted() && starts.iter().all(|start| *start <= 12.0), "{moments:?}");
    assert!(video["tags"]["content"].as_array().is_some_and(|tags| !tags.is_empty()), "{video}");
    // Read again: everything is made anew.
    let before = windows[0]["created_ms"].clone();
    let reread = server.client().post(server.url(&format!("/api/videos/{id}/reread"))).send().await?;
    assert_eq!(reread.status(), 202);
    loop {
        let video = server.json(&format!("/api/videos/{id}")).await?;
        if video["jobs"][0]["state"] == "done" && video["jobs"].as_array().map(Vec::len) == Some(2) {
            assert_ne!(video["windows"][0]["created_ms"], before);
            return Ok(());
        }
        ensure!(Instant::now() < end, "never read again: {video}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
