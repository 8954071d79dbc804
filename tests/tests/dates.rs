//! When a video was taken: the ladder of tags, name and file in every way in; the local day in pages, search, notes and
//! exports; and corrections by hand.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_tests::{PATIENCE, Server, clips, homereel};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// 2011-07-14T12:00:00Z.
const JULY: u64 = 1_310_644_800;

/// A clip without tags; each comment makes other bytes.
fn clip(comment: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    let comment = format!("comment={comment}");
    let source = [
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x64:rate=5:duration=1",
        "-c:v",
        "libx264",
        "-metadata",
        &comment,
    ];
    clips::ffmpeg("dated.mov", &[&source, options].concat())
}

/// A clip of a phone in Tokyo, at eight in the morning.
fn tokyo() -> anyhow::Result<PathBuf> {
    let date = "com.apple.quicktime.creationdate=2023-10-06T08:00:00+0900";
    clip("tokyo", &["-movflags", "use_metadata_tags", "-metadata", date])
}

/// Uploads a file as a form does and returns the video.
async fn add(server: &Server, form: Form) -> anyhow::Result<Value> {
    let response = server.client().post(server.url("/api/videos")).multipart(form).send().await?;
    let body: Value = response.error_for_status()?.json().await?;
    Ok(body["videos"][0].clone())
}

fn part(file: PathBuf, name: &str) -> anyhow::Result<Part> {
    Ok(Part::bytes(fs::read(file)?).file_name(name.to_owned()))
}

#[tokio::test]
async fn tags_then_the_name_then_the_time_of_the_file_date_every_upload() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let july = (JULY * 1000).to_string();
    // Fields with times belong to the files after them, in order.
    let form = Form::new()
        .text("lastModified", july.clone())
        .text("lastModified", july.clone())
        .part("files", part(clip("first", &[])?, "VID-20190215-WA0001.mp4")?)
        .part("files", part(clip("second", &[])?, "MVI_0042.mp4")?)
        .part("files", part(clip("third", &[])?, "MVI_0043.mp4")?);
    let response = server.client().post(server.url("/api/videos")).multipart(form).send().await?;
    let body: Value = response.error_for_status()?.json().await?;
    let taken = |at: usize| {
        let taken = &body["videos"][at]["taken"];
        (taken["time"].clone(), taken["source"].clone(), taken["guessed"].clone())
    };
    assert_eq!(taken(0), (json!("2019-02-15"), json!("file_name"), json!(true)));
    assert_eq!(taken(1), (json!("2011-07-14T12:00:00Z"), json!("file_time"), json!(true)));
    assert_eq!(body["videos"][2]["taken"], Value::Null, "nothing is known");
    assert_eq!(body["videos"][2]["taken_ms"], body["videos"][2]["created_ms"]);

    let tagged = add(&server, Form::new().part("files", part(tokyo()?, "VID-20190215-WA0002.mp4")?)).await?;
    assert_eq!(tagged["taken"]["time"], "2023-10-06T08:00:00+09:00");
    assert_eq!((&tagged["taken"]["source"], &tagged["taken"]["guessed"]), (&json!("camera"), &json!(false)));

    let raw = |query: String, bytes: Vec<u8>| {
        let url = server.url(&format!("/api/videos?name=clip.mov&lastModified={query}"));
        server.client().post(url).header("content-type", "video/mp4").body(bytes).send()
    };
    let bytes = fs::read(clip("raw", &[])?)?;
    let bad: Value = raw("yesterday".into(), bytes.clone()).await?.json().await?;
    assert_eq!((&bad["status"], &bad["param"]), (&json!(400), &json!("lastModified")));
    let good: Value = raw(july.clone(), bytes).await?.json().await?;
    assert_eq!(good["videos"][0]["taken"]["time"], "2011-07-14T12:00:00Z");

    let bytes = fs::read(clip("tus", &[])?)?;
    let metadata = format!("filename {},lastModified {}", STANDARD.encode("a.mov"), STANDARD.encode(&july));
    let post = server.client().post(server.url("/api/uploads")).header("tus-resumable", "1.0.0");
    let post = post.header("upload-length", bytes.len()).header("upload-metadata", metadata);
    let response = post.header("content-type", "application/offset+octet-stream").body(bytes).send().await?;
    let id = response.headers().get("homereel-video").context("no video")?.to_str()?.to_owned();
    assert_eq!(server.json(&format!("/api/videos/{id}")).await?["taken"]["time"], "2011-07-14T12:00:00Z");
    Ok(())
}

#[tokio::test]
async fn a_watched_file_keeps_its_own_time() -> anyhow::Result<()> {
    let inbox = tempfile::tempdir()?;
    let path = inbox.path().display().to_string();
    let server = Server::start_with(&["--watch", &path]).await?;
    let file = inbox.path().join("MVI_0042.mov");
    fs::copy(clip("watched", &[])?, &file)?;
    let july = SystemTime::UNIX_EPOCH + Duration::from_secs(JULY);
    File::options().write(true).open(&file)?.set_modified(july)?;
    let end = Instant::now() + PATIENCE;
    let video = loop {
        // Not its `total`, which is read after the list and may already count a video that is not in it.
        if let Some(video) = server.json("/api/videos").await?["videos"].get(0) {
            break video.clone();
        }
        ensure!(Instant::now() < end, "nothing was imported: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(video["taken"]["time"], "2011-07-14T12:00:00Z");
    assert_eq!(video["taken"]["source"], "file_time");
    Ok(())
}

#[tokio::test]
async fn the_day_is_that_of_the_place_everywhere() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let video = add(&server, Form::new().part("files", part(tokyo()?, "Breakfast.mov")?)).await?;
    add(&server, Form::new().part("files", part(clip("old", &[])?, "1987-06-14 Birthday.mov")?)).await?;
    let id = video["id"].as_str().context("an id")?;
    for (day, expected) in [("2023-10-06", 1), ("2023-10-05", 0), ("1987-06-14", 1)] {
        let found = server.json(&format!("/api/search?from={day}&to={day}")).await?;
        assert_eq!(found["total"], expected, "{day}");
    }
    let names: Vec<Value> = server.json("/api/videos").await?["videos"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|video| video["name"].clone())
        .collect();
    assert_eq!(names, ["Breakfast.mov", "1987-06-14 Birthday.mov"], "taken last first");
    let page = server.get(&format!("/videos/{id}")).await?.text().await?;
    assert!(page.contains("6 Oct 2023, 08:00, UTC+09:00"), "{page}");
    let list = server.get("/").await?.text().await?;
    assert!(list.contains(r#"<time datetime="2023-10-06T08:00:00">6 Oct 2023, 08:00</time>"#), "{list}");
    assert!(
        list.contains(r#"<time datetime="1987-06-14">14 Jun 1987</time><span>estimated</span>"#),
        "{list}"
    );
    let ask =
        server.client().post(server.url("/api/ask")).json(&json!({"question": "Where was the breakfast?"}));
    let notes = ask.send().await?.text().await?;
    assert!(notes.contains(r#""day":"2023-10-06""#), "{notes}");

    server.kill().await?;
    let out = tempfile::tempdir()?;
    let directory = out.path().display().to_string();
    let data = server.data().display().to_string();
    homereel(["export", &directory, "--data", &data]).await?.answer()?;
    for name in ["2023-10-06 Breakfast.mov", "1987-06-14 1987-06-14 Birthday.mov"] {
        assert!(out.path().join(name).exists(), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_person_corrects_the_date_for_good() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let video = add(&server, Form::new().part("files", part(tokyo()?, "Breakfast.mov")?)).await?;
    let id = video["id"].as_str().context("an id")?.to_owned();
    let url = format!("/api/videos/{id}");
    let patch = async |server: &Server, taken: Value| -> anyhow::Result<(u16, Value)> {
        let request = server.client().patch(server.url(&url)).json(&json!({ "taken": taken }));
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    };
    for (text, time) in [
        ("1987-06-14", "1987-06-14"),
        ("1987-06-14T15:00", "1987-06-14T15:00:00"),
        ("2011-06-07T08:09:10Z", "2011-06-07T08:09:10Z"),
        ("2022-07-01T10:00[Europe/Berlin]", "2022-07-01T10:00:00+02:00"),
        ("1968-07-02T15:00:00-05:00", "1968-07-02T15:00:00-05:00"),
    ] {
        let (status, video) = patch(&server, json!(text)).await?;
        assert_eq!((status, &video["taken"]["time"]), (200, &json!(time)), "{text}");
        assert_eq!(
            (&video["taken"]["source"], &video["taken"]["guessed"]),
            (&json!("person"), &json!(false))
        );
    }
    for bad in ["1987", "14.6.1987", "1887-01-01", "9000-01-01", "2022-07-01T10:00[Nowhere]", ""] {
        let (status, problem) = patch(&server, json!(bad)).await?;
        assert_eq!(status, 400, "{bad}: {problem}");
    }
    // Neither a new start nor a new description changes it.
    let described = async |server: &Server| {
        let end = Instant::now() + PATIENCE;
        while server.json(&url).await?["jobs"][0]["state"] != "done" {
            ensure!(Instant::now() < end, "it is not described: {}", server.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    server.kill_and_restart().await?;
    described(&server).await?;
    server.client().post(server.url(&format!("{url}/reread"))).send().await?.error_for_status()?;
    described(&server).await?;
    assert_eq!(server.json(&url).await?["taken"]["time"], "1968-07-02T15:00:00-05:00");
    // The form of the page, and back to what the file says.
    let form = |day: &str, clock: &str, zone: &str| {
        let fields = [("day", day), ("clock", clock), ("zone", zone)];
        server.client().post(server.url(&format!("/videos/{id}/taken"))).form(&fields).send()
    };
    form("1958-08-03", "10:15", "Europe/Berlin").await?.error_for_status()?;
    let page = server.get(&format!("/videos/{id}")).await?.text().await?;
    assert!(page.contains("3 Aug 1958, 10:15, UTC+01:00, entered by hand"), "{page}");
    let edit = server.get(&format!("/videos/{id}/edit")).await?.text().await?;
    assert!(edit.contains(r#"value="1958-08-03""#) && edit.contains(r#"value="10:15:00""#), "{edit}");
    form("", "", "").await?.error_for_status()?;
    assert_eq!(server.json(&url).await?["taken"], video["taken"]);
    Ok(())
}
