//! A full disk at every stage, on a small tmpfs (mounted by root; skipped without root): uploads are refused immediately and
//! with numbers, nothing that was acknowledged is lost, jobs wait with their reason, and continue when there is space. Also the
//! quota, which needs no disk.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::stream;
use homereel_tests::{PATIENCE, Server, clips};
use reqwest::{Method, RequestBuilder, Response, multipart};
use serde_json::{Value, json};

const PIECE: &str = "application/offset+octet-stream";
const MIB: u64 = 1 << 20;

/// What the server keeps free.
const RESERVE: u64 = 64 * MIB;

/// A tmpfs, and a file on it that takes room away.
struct Disk {
    mount: tempfile::TempDir,
}

impl Disk {
    /// Mounts one of `mib` MiB; none without the right to.
    fn mount(mib: u64) -> anyhow::Result<Option<Self>> {
        let mount = tempfile::tempdir()?;
        let options = format!("size={mib}m,mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "homereel-test"])
            .arg(mount.path())
            .output()?;
        if mounted.status.success() {
            return Ok(Some(Self { mount }));
        }
        #[expect(clippy::print_stderr, reason = "a skipped test is told to a person")]
        {
            eprintln!("skipped: no tmpfs can be mounted here: {}", String::from_utf8_lossy(&mounted.stderr));
        }
        Ok(None)
    }

    fn path(&self) -> &Path {
        self.mount.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    fn free(&self) -> anyhow::Result<u64> {
        let stat = rustix::fs::statvfs(self.path())?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Leaves `bytes` bytes free. The server may write meanwhile, so the free space is measured again when it changed.
    fn leave(&self, bytes: u64) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.relieve()?;
            let take = self.free()?.checked_sub(bytes).context("so much is not free")?;
            let file = File::create(self.ballast())?;
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, take) {
                Ok(()) if self.free()? <= bytes => return Ok(()),
                Ok(()) | Err(rustix::io::Errno::NOSPC) => {}
                Err(error) => return Err(error.into()),
            }
            ensure!(Instant::now() < end, "the free space never stays the same");
        }
    }

    fn relieve(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server's last breath may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn tus(server: &Server, method: Method, path: &str) -> RequestBuilder {
    server.client().request(method, server.url(path)).header("tus-resumable", "1.0.0")
}

async fn create(server: &Server, length: usize) -> anyhow::Result<Response> {
    Ok(tus(server, Method::POST, "/api/uploads").header("upload-length", length).send().await?)
}

async fn piece(server: &Server, url: &str, offset: usize, bytes: &[u8]) -> anyhow::Result<Response> {
    let patch = tus(server, Method::PATCH, url).header("upload-offset", offset).header("content-type", PIECE);
    Ok(patch.body(bytes.to_vec()).send().await?)
}

async fn offset(server: &Server, url: &str) -> anyhow::Result<usize> {
    let head = tus(server, Method::HEAD, url).send().await?;
    ensure!(head.status() == 200, "HEAD answers {}", head.status());
    Ok(head.headers()["upload-offset"].to_str()?.parse()?)
}

/// The refusal for want of room, in words.
async fn no_room(response: Response) -> anyhow::Result<String> {
    let status = response.status();
    let body: Value = response.json().await?;
    ensure!(status == 507 && body["code"] == "no_space", "{status}: {body}");
    Ok(body["detail"].as_str().context("a detail")?.to_owned())
}

fn raw(server: &Server) -> RequestBuilder {
    server.client().post(server.url("/api/videos")).header("content-type", "video/mp4")
}

fn files(server: &Server, folder: &str) -> anyhow::Result<usize> {
    Ok(fs::read_dir(server.data().join(folder))?.count())
}

/// Waits until `done` says so of the only video's newest job.
async fn job(server: &Server, id: &str, done: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let video = server.json(&format!("/api/videos/{id}")).await?;
        if done(&video["jobs"][0]) {
            return Ok(video);
        }
        ensure!(Instant::now() < end, "the job never got there: {}", video["jobs"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A clip of `bytes` bytes: players and ffmpeg leave alone what follows an MP4.
fn padded(clip: &Path, bytes: u64) -> anyhow::Result<Vec<u8>> {
    let mut video = fs::read(clip)?;
    let padding = usize::try_from(bytes)?.checked_sub(video.len() + 8).context("the clip is longer")?;
    // A box that everybody skips.
    video.extend_from_slice(&u32::try_from(padding + 8)?.to_be_bytes());
    video.extend_from_slice(b"free");
    video.resize(video.len() + padding, 7);
    Ok(video)
}

#[tokio::test]
async fn uploads_that_do_not_fit_are_refused_at_once_and_what_was_told_to_be_here_stays() -> anyhow::Result<()>
{
    let Some(disk) = Disk::mount(160)? else { return Ok(()) };
    let mut server = Server::start_in(disk.path(), &[]).await?;
    let clip = padded(&clips::simple(20)?.file, 24 * MIB)?;

    // Files of requests have OpenAI's error, also where the length is not known before.
    disk.leave(RESERVE + 10 * MIB)?;
    let chunks: Vec<_> = clip.chunks(1 << 20).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let streamed = reqwest::Body::wrap_stream(stream::iter(chunks));
    for part in [multipart::Part::bytes(clip.clone()), multipart::Part::stream(streamed)] {
        let form = multipart::Form::new().text("purpose", "user_data").part("file", part.file_name("a.mp4"));
        let refused = server.client().post(server.url("/v1/files")).multipart(form).send().await?;
        let status = refused.status();
        let told: Value = refused.json().await?;
        ensure!(status == 507 && told["error"]["code"] == "no_space", "{status}: {told}");
        ensure!((files(&server, "files")?, files(&server, "incoming")?) == (0, 0), "nothing stays");
    }

    // Before the first byte, by every way in, with both numbers.
    disk.leave(RESERVE + 10 * MIB)?;
    let by_form =
        multipart::Form::new().part("files", multipart::Part::bytes(clip.clone()).file_name("a.mp4"));
    let form = server.client().post(server.url("/api/videos")).multipart(by_form).send().await?;
    let refusals = [
        no_room(create(&server, clip.len()).await?).await?,
        no_room(raw(&server).body(clip.clone()).send().await?).await?,
        no_room(form).await?,
    ];
    for refusal in refusals {
        let numbers: Vec<u64> = refusal.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        ensure!(numbers.len() == 2, "both numbers: {refusal}");
        ensure!(
            numbers[0] >= clip.len() as u64 && numbers[1] <= 10 * MIB && numbers[1] > 9 * MIB,
            "{refusal}"
        );
    }
    assert_eq!((files(&server, "uploads")?, files(&server, "incoming")?), (0, 0));

    // Its room is taken at the start: another program that fills the disk cannot stop it half way.
    disk.relieve()?;
    let url =
        create(&server, clip.len()).await?.error_for_status()?.headers()["location"].to_str()?.to_owned();
    disk.leave(0)?;
    let (mut told, step) = (0, clip.len() / 3 + 1);
    let mut refused = 0;
    while told < clip.len() {
        let end = (told + step).min(clip.len());
        let sent = piece(&server, &url, told, &clip[told..end]).await?;
        match sent.status().as_u16() {
            204 => told = end,
            // The bytes had their room, the row that counts them had not.
            507 => {
                ensure!(offset(&server, &url).await? >= told, "what was told is here");
                refused += 1;
                ensure!(refused < 9, "no end: {}", sent.text().await?);
                disk.leave(512 << 10)?;
                told = offset(&server, &url).await?;
            }
            other => anyhow::bail!("{other}: {}", sent.text().await?),
        }
    }
    // A power cut on top.
    disk.relieve()?;
    server.kill_and_restart().await?;
    let end = Instant::now() + PATIENCE;
    let video = loop {
        let upload = server.json(&url).await?;
        if let Some(video) = upload["video_id"].as_str() {
            break video.to_owned();
        }
        ensure!(Instant::now() < end, "never stored: {upload}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let file = server.get(&format!("/api/videos/{video}/file")).await?.bytes().await?;
    ensure!(file == clip, "the file came back other than it was sent");

    // Of unknown length: it fills the disk as it comes, is refused then, and leaves nothing.
    let (send, receive) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
    let body = stream::unfold(receive, async |mut receive| {
        let chunk = receive.recv().await?;
        Some((Ok::<_, std::io::Error>(chunk), receive))
    });
    let flying = tokio::spawn(raw(&server).body(reqwest::Body::wrap_stream(body)).send());
    send.send(padded(&clips::simple(21)?.file, 2 * MIB)?).await?;
    disk.leave(4 * MIB)?;
    for _ in 0..12 {
        send.send(vec![7; usize::try_from(MIB)?]).await?;
    }
    drop(send);
    no_room(flying.await??).await?;
    assert_eq!(files(&server, "incoming")?, 0);
    disk.relieve()?;
    raw(&server).body(fs::read(clips::simple(21)?.file)?).send().await?.error_for_status()?;
    assert_eq!(server.json("/api/videos").await?["total"], 2);
    Ok(())
}

#[tokio::test]
async fn a_database_that_cannot_write_says_so_and_keeps_what_it_has() -> anyhow::Result<()> {
    let Some(disk) = Disk::mount(160)? else { return Ok(()) };
    let server = Server::start_in(disk.path(), &[]).await?;
    let id = server.upload(&clips::simple(22)?.file).await?;
    job(&server, &id, |job| job["state"] == "done").await?;
    let describe = async |text: &str| {
        let patch = server.client().patch(server.url(&format!("/api/videos/{id}")));
        patch.json(&json!({ "description": text })).send().await
    };
    disk.leave(0)?;
    // Its log has some room of its own, which comes to an end.
    let before = server.json(&format!("/api/videos/{id}")).await?;
    let mut last = before["description"]["content"].as_str().context("a description")?.to_owned();
    let mut refusal = None;
    for round in 0..200 {
        let text = format!("{round} {}", "word ".repeat(3900));
        let response = describe(&text).await?;
        if response.status() == 507 {
            refusal = Some(no_room(response).await?);
            break;
        }
        ensure!(response.status() == 200, "{}", response.text().await?);
        last = text;
    }
    let refusal = refusal.context("200 long texts found room on a full disk")?;
    ensure!(refusal.contains("the disk is full"), "{refusal}");
    let upload = create(&server, 1000).await?;
    no_room(upload).await?;
    for page in ["/", "/jobs", &format!("/videos/{id}"), "/search?q=word", "/healthz", "/system"] {
        ensure!(server.get(page).await?.status() == 200, "{page} is read all the same");
    }
    let video = server.json(&format!("/api/videos/{id}")).await?;
    assert_eq!(video["description"]["content"].as_str(), Some(last.trim()), "what was told to be changed is");
    disk.relieve()?;
    let response = describe("A short one.").await?;
    ensure!(response.status() == 200, "{}", response.text().await?);
    assert_eq!(server.json("/api/search?q=short").await?["total"], 1);
    Ok(())
}

#[tokio::test]
async fn jobs_wait_for_room_with_their_reason_and_go_on() -> anyhow::Result<()> {
    let Some(disk) = Disk::mount(220)? else { return Ok(()) };
    let server = Server::start_in(disk.path(), &[]).await?;
    // Grows the database's log, so that it can write where nothing else can.
    let first = server.upload(&clips::simple(23)?.file).await?;
    job(&server, &first, |job| job["state"] == "done").await?;
    for round in 0..60 {
        let patch = server.client().patch(server.url(&format!("/api/videos/{first}")));
        let text = format!("{round} {}", "word ".repeat(3900));
        patch.json(&json!({ "description": text })).send().await?.error_for_status()?;
    }

    // Browsers do not play it: it wants poster, scrub pictures, texts and a rendition.
    let source = "testsrc=size=320x240:rate=10:duration=3";
    let options = ["-f", "lavfi", "-i", source, "-c:v", "mpeg4", "-q:v", "5"];
    let clip = fs::read(clips::ffmpeg("old.avi", &options)?)?;
    // The disk is full before the last byte comes, and so before its job starts. That byte needs no new page.
    let upload = create(&server, clip.len()).await?;
    let url = upload.headers()["location"].to_str()?.to_owned();
    let last = clip.len() - 1;
    ensure!(!last.is_multiple_of(4096), "{last} bytes fill whole pages");
    piece(&server, &url, 0, &clip[..last]).await?.error_for_status()?;
    disk.leave(0)?;
    piece(&server, &url, last, &clip[last..]).await?.error_for_status()?;
    let id = server.json(&url).await?["video_id"].as_str().context("the video of the upload")?.to_owned();
    let waits = |job: &Value| {
        job["state"] == "queued"
            && job["error"].as_str().is_some_and(|error| error.contains("the disk is full"))
    };
    let video = job(&server, &id, waits).await?;
    assert_eq!((&video["jobs"][0]["step"], &video["poster"]), (&json!("poster"), &json!("pending")));
    assert_eq!(files(&server, "posters")?, 2, "the first video's, in both sizes, and no half one");
    let page = server.get("/jobs").await?.text().await?;
    ensure!(page.contains("the disk is full"), "the page says why");

    // Room for small things, not for the rendition: the texts do not wait for it.
    disk.leave(RESERVE + 20 * MIB)?;
    let last = |job: &Value| waits(job) && job["step"] == "playback";
    let video = job(&server, &id, last).await?;
    assert_eq!(video["poster"], "ready");
    ensure!(video["description"].is_object() && video["tags"].is_object(), "{video}");
    let reason = video["jobs"][0]["error"].as_str().context("a reason")?.to_owned();
    ensure!(reason.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).count() == 2, "{reason}");
    assert_eq!(files(&server, "renditions")?, 0);

    disk.relieve()?;
    let video = job(&server, &id, |job| job["state"] == "done").await?;
    assert_eq!(video["jobs"][0]["error"], Value::Null);
    let played = server.get(&format!("/api/videos/{id}/playback.mp4")).await?;
    ensure!(played.status() == 200 && !played.bytes().await?.is_empty(), "it plays");
    assert_eq!(files(&server, "renditions")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_quota_refuses_with_both_numbers_and_is_shown() -> anyhow::Result<()> {
    let clip = fs::read(clips::simple(24)?.file)?;
    let quota = clip.len() + 1000;
    let server = Server::start_with(&["--quota", &quota.to_string()]).await?;
    let id = server.upload(&clips::simple(24)?.file).await?;
    let refusals = [
        no_room(create(&server, 1001).await?).await?,
        no_room(raw(&server).body(vec![7; 1001]).send().await?).await?,
    ];
    for refusal in refusals {
        ensure!(refusal.contains("1001 bytes are needed and 1000 are left"), "{refusal}");
        ensure!(refusal.contains(&quota.to_string()) && refusal.contains("--quota"), "{refusal}");
    }
    let storage = server.json("/api/storage").await?;
    assert_eq!((&storage["quota_bytes"], &storage["free_bytes"]), (&json!(quota), &json!(1000)));
    assert_eq!(storage["reserve_bytes"], RESERVE);
    ensure!(server.get("/system").await?.text().await?.contains("of the quota of"), "the page shows it");
    // What lies in the trash still takes its room, until it is emptied.
    let delete = async |path: &str| server.client().delete(server.url(path)).send().await?.error_for_status();
    delete(&format!("/api/videos/{id}")).await?;
    no_room(create(&server, 1001).await?).await?;
    delete("/api/trash").await?;
    ensure!(create(&server, 1001).await?.status() == 201, "there is room again");
    Ok(())
}
