//! Files for the player: a rendition for browsers, and scrub sprites.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server, clips};
use reqwest::header;

/// Asks for `path` until it is there.
async fn there(server: &Server, path: &str) -> anyhow::Result<reqwest::Response> {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let response = server.client().get(server.url(path)).send().await?;
        if response.status().is_success() {
            return Ok(response);
        }
        ensure!(response.status() == 404, "{path}: {}", response.status());
        ensure!(Instant::now() < end, "{path} never came: {}\n{}", response.text().await?, server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An old camera's clip with sound, 12 seconds long.
fn camera() -> anyhow::Result<PathBuf> {
    clips::ffmpeg(
        "camera.avi",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x240:rate=25:duration=12",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:duration=12",
            "-c:v",
            "mjpeg",
            "-q:v",
            "3",
            "-pix_fmt",
            "yuvj420p",
            "-c:a",
            "pcm_s16le",
        ],
    )
}

#[tokio::test]
async fn an_old_clip_plays_in_a_browser_and_can_be_searched_by_eye() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&camera()?).await?;
    let path = format!("/api/videos/{id}/playback.mp4");
    let response = there(&server, &path).await?;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "video/mp4");
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let etag = response.headers()[header::ETAG].clone();
    let whole = response.bytes().await?;
    assert_eq!(&whole[4..8], b"ftyp");
    let page = server.get(&format!("/videos/{id}")).await?.text().await?;
    ensure!(page.contains(&format!("src=\"{path}")), "the page plays the original: {page}");
    let place = |kind: &[u8]| whole.windows(4).position(|window| window == kind);
    ensure!(
        place(b"moov") < place(b"mdat") && place(b"avc1").is_some() && place(b"mp4a").is_some(),
        "no fast start"
    );
    let part = server.client().get(server.url(&path)).header(header::RANGE, "bytes=100-199");
    let part = part.header(header::IF_RANGE, etag).send().await?;
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await?, whole.slice(100..200));

    let vtt = there(&server, &format!("/api/videos/{id}/sprites.vtt")).await?;
    assert_eq!(vtt.headers()[header::CONTENT_TYPE], "text/vtt; charset=utf-8");
    let vtt = vtt.text().await?;
    ensure!(
        vtt.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nsprites/0.jpg#xywh=0,0,320,240\n"),
        "{vtt}"
    );
    ensure!(vtt.ends_with("00:00:11.500 --> 00:00:12.000\nsprites/0.jpg#xywh=960,480,320,240\n"), "{vtt}");
    let sheet = there(&server, &format!("/api/videos/{id}/sprites/0.jpg")).await?;
    assert_eq!(sheet.headers()[header::CONTENT_TYPE], "image/jpeg");
    let sheet = image::load_from_memory(&sheet.bytes().await?)?;
    assert_eq!((sheet.width(), sheet.height()), (3200, 720));
    for none in [
        "sprites/1.jpg",
        "sprites/..%2F0.jpg",
        "sprites/0.png",
        "sprites/-1.jpg",
        "sprites/99999999999999999999999.jpg",
    ] {
        let response = server.client().get(server.url(&format!("/api/videos/{id}/{none}"))).send().await?;
        assert_eq!(response.status(), 404, "{none}");
    }

    // With the video goes what was made of it, once the trash is emptied.
    for url in [format!("/api/videos/{id}"), "/api/trash".to_owned()] {
        server.client().delete(server.url(&url)).send().await?.error_for_status()?;
    }
    assert_eq!(server.client().get(server.url(&path)).send().await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn what_a_browser_plays_is_served_as_it_is() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let file = clips::ffmpeg(
        "plain.mp4",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x240:rate=25:duration=2",
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
        ],
    )?;
    let id = server.upload(&file).await?;
    let response = there(&server, &format!("/api/videos/{id}/playback.mp4")).await?;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "video/mp4");
    assert_eq!(response.bytes().await?, fs::read(&file)?);
    Ok(())
}

#[tokio::test]
async fn a_version_that_a_power_cut_stopped_is_made_again_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let file = clips::ffmpeg(
        "long.avi",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=640x480:rate=25:duration=30",
            "-c:v",
            "mjpeg",
            "-q:v",
            "5",
            "-pix_fmt",
            "yuvj420p",
        ],
    )?;
    let id = server.upload(&file).await?;
    let folder = server.data().join("renditions");
    let end = Instant::now() + PATIENCE;
    let names = || -> anyhow::Result<Vec<String>> {
        let names = fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    };
    while !names()?.iter().any(|name| name.ends_with(".part")) {
        ensure!(Instant::now() < end, "no version was begun: {:?}", names()?);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill_and_restart().await?;
    let path = format!("/api/videos/{id}/playback.mp4");
    let whole = there(&server, &path).await?.bytes().await?;
    ensure!(whole.windows(4).any(|window| window == b"moov"), "{} bytes", whole.len());
    let names = names()?;
    ensure!(names.len() == 1 && names[0].ends_with(".mp4"), "{names:?}");
    let jobs = server.json("/api/jobs").await?;
    let warnings = jobs["jobs"][0]["warnings"].as_array().context("warnings")?;
    ensure!(warnings.iter().all(|warning| !warning.to_string().contains("version")), "{warnings:?}");
    Ok(())
}

/// The last 40 % of the file are zeros, as after a power cut.
#[tokio::test]
async fn what_was_lost_of_a_damaged_clip_is_told_on_the_page_in_the_api_and_on_the_job() -> anyhow::Result<()>
{
    let server = Server::start().await?;
    let arguments = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4", "-c:v", "libx264"];
    let whole = clips::ffmpeg("whole.mp4", &[&arguments[..], &["-movflags", "faststart"]].concat())?;
    let mut bytes = fs::read(&whole)?;
    let from = bytes.len() * 6 / 10;
    bytes[from..].fill(0);
    let id = server.upload(&clips::file("zeros-at-the-end.mp4", &bytes)?).await?;
    let lost = "could not be decoded";
    let end = Instant::now() + PATIENCE;
    let jobs = loop {
        let jobs = server.json("/api/jobs").await?;
        if jobs["jobs"][0]["state"] == "done" {
            break jobs;
        }
        ensure!(Instant::now() < end, "not done: {jobs}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!(jobs["jobs"][0]["warnings"].to_string().contains(lost), "{jobs}");
    let video = server.json(&format!("/api/videos/{id}")).await?;
    ensure!(video.to_string().contains(lost), "{video}");
    let page = server.get(&format!("/videos/{id}")).await?.text().await?;
    ensure!(page.matches(lost).count() == 1, "{page}");
    Ok(())
}

/// A clip that becomes brighter with each picture: 5 per second, 4 seconds, 320x240.
fn brightening() -> anyhow::Result<PathBuf> {
    let source = "nullsrc=size=320x240:rate=5:duration=4,geq=lum='20+T*50':cb=128:cr=128";
    clips::ffmpeg(
        "brightening.mp4",
        &["-f", "lavfi", "-i", source, "-c:v", "libx264", "-qp", "4", "-pix_fmt", "yuv420p"],
    )
}

#[tokio::test]
async fn the_picture_at_a_second_is_the_one_that_the_player_shows() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&brightening()?).await?;
    let url = |query: &str| server.url(&format!("/api/videos/{id}/frame.jpg{query}"));
    let get = async |query: &str| anyhow::Ok(server.client().get(url(query)).send().await?);
    for (query, begins, size) in [
        ("?t=0", "0.000", (320, 240)),
        ("?t=1.79", "1.600", (320, 240)),
        ("?t=1.8&width=160", "1.800", (160, 120)),
        ("?t=4", "3.800", (320, 240)),
    ] {
        let response = get(query).await?.error_for_status()?;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "image/jpeg");
        assert_eq!(response.headers()["homereel-frame-time"], begins, "{query}");
        let picture = image::load_from_memory(&response.bytes().await?)?.to_luma8();
        assert_eq!((picture.width(), picture.height()), size, "{query}");
        let mean =
            picture.pixels().map(|pixel| f64::from(pixel.0[0])).sum::<f64>() / f64::from(size.0 * size.1);
        // From limited range, as H.264 has it, to the full range of a JPEG.
        let expected = (20.0 + begins.parse::<f64>()? * 50.0 - 16.0) * 255.0 / 219.0;
        assert!((mean - expected).abs() < 3.0, "{query}: {mean} instead of {expected}");
    }
    let etag = get("?t=1").await?.headers()[header::ETAG].clone();
    let again = server.client().get(url("?t=1")).header(header::IF_NONE_MATCH, etag).send().await?;
    assert_eq!(again.status(), 304);
    for (query, words) in [
        ("", "t"),
        ("?t=x", "t"),
        ("?t=-1", "t is -1; 0 to 4.000 (seconds) would fit"),
        ("?t=4.1", "t is 4.1; 0 to 4.000 (seconds) would fit"),
        ("?t=NaN", "t is NaN"),
        ("?t=1&width=1921", "width is 1921; 16 to 1920 (pixels) would fit"),
    ] {
        let response = get(query).await?;
        assert_eq!(response.status(), 400, "{query}");
        let problem: serde_json::Value = response.json().await?;
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(words)), "{query}: {problem}");
    }
    let missing = server.get(&format!("/api/videos/{}/frame.jpg?t=0", "0".repeat(32))).await?;
    assert_eq!(missing.status(), 404);
    Ok(())
}
