//! Resumable uploads (tus) and the trash: conformance, interruptions, `kill -9`, hostile input. `HOMEREEL_TUS_NODE` is a
//! directory whose node_modules contain tus-js-client; with it the real client uploads as well.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt as _;
use homereel_tests::{PATIENCE, Server, clips};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

const PIECE: &str = "application/offset+octet-stream";

struct Tus<'a>(&'a Server);

impl Tus<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.0.client().request(method, self.0.url(path)).header("tus-resumable", "1.0.0")
    }

    async fn create(&self, length: usize, name: &str) -> anyhow::Result<String> {
        let metadata = format!("filename {}", STANDARD.encode(name));
        let post = self.request(Method::POST, "/api/uploads").header("upload-length", length);
        let response = post.header("upload-metadata", metadata).send().await?;
        ensure!(response.status() == 201, "{}", response.text().await?);
        ensure!(response.headers().contains_key("upload-expires"), "a term is told");
        header(&response, "location")
    }

    fn piece(&self, url: &str, offset: usize, bytes: Vec<u8>) -> RequestBuilder {
        let patch = self.request(Method::PATCH, url).header("upload-offset", offset);
        patch.header("content-type", PIECE).body(bytes)
    }

    async fn offset(&self, url: &str) -> anyhow::Result<usize> {
        let head = self.request(Method::HEAD, url).send().await?;
        ensure!(head.status() == 200, "HEAD answers {}", head.status());
        ensure!(header(&head, "cache-control")? == "no-store", "a count is never kept");
        Ok(header(&head, "upload-offset")?.parse()?)
    }
}

fn header(response: &Response, name: &str) -> anyhow::Result<String> {
    let value = response.headers().get(name).with_context(|| format!("no {name} in {response:?}"))?;
    Ok(value.to_str()?.to_owned())
}

fn files(server: &Server, folder: &str) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(server.data().join(folder))?.count())
}

#[tokio::test]
async fn a_file_in_pieces_becomes_the_same_video_as_in_one() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let tus = Tus(&server);
    let bytes = std::fs::read(clips::simple(1)?.file)?;
    let url = tus.create(bytes.len(), "Ömas \"80.\"\u{202e}.mp4").await?;
    let half = bytes.len() / 2;
    let first = tus.piece(&url, 0, bytes[..half].to_vec()).send().await?;
    assert_eq!(
        (first.status(), header(&first, "upload-offset")?),
        (StatusCode::NO_CONTENT, half.to_string())
    );
    assert_eq!(tus.offset(&url).await?, half);
    let last = tus.piece(&url, half, bytes[half..].to_vec()).send().await?;
    assert_eq!(last.status(), 204, "{}", last.text().await?);
    let video = header(&last, "homereel-video")?;
    assert_eq!(header(&last, "homereel-stored")?, "new");
    let told = server.json(&format!("/api/videos/{video}")).await?;
    assert_eq!(told["name"], "Ömas \"80.\"\u{202e}.mp4");
    assert_eq!(server.get(&format!("/api/videos/{video}/file")).await?.bytes().await?, bytes);
    let upload = server.json(&url).await?;
    assert_eq!((&upload["state"], &upload["video_id"]), (&json!("done"), &json!(video)));
    assert_eq!(files(&server, "uploads")?, 0);

    // The same again is recognised before it is sent, and after.
    let sha256 = told["sha256"].as_str().context("a hash")?;
    let known = server.json(&format!("/api/uploads/known?sha256={sha256}&size={}", bytes.len())).await?;
    assert_eq!((&known["video"]["id"], &known["video"]["trashed"]), (&json!(video), &json!(false)));
    let again = tus.create(bytes.len(), "again.mp4").await?;
    let sent = tus.piece(&again, 0, bytes.clone()).send().await?;
    assert_eq!(
        (header(&sent, "homereel-video")?, header(&sent, "homereel-stored")?),
        (video.clone(), "duplicate".into())
    );
    // A trashed twin is taken out of the trash, not refused.
    let delete = server.client().delete(server.url(&format!("/api/videos/{video}"))).send().await?;
    assert_eq!(delete.status(), 204);
    let known = server.json(&format!("/api/uploads/known?sha256={sha256}&size={}", bytes.len())).await?;
    assert_eq!(known["video"]["trashed"], true);
    assert_eq!(server.json("/api/videos").await?["total"], 0);
    let raw = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4");
    let raw: Value = raw.body(bytes).send().await?.json().await?;
    assert_eq!((&raw["videos"][0]["id"], &raw["videos"][0]["restored"]), (&json!(video), &json!(true)));
    assert_eq!(server.json("/api/videos").await?["total"], 1);
    Ok(())
}

#[tokio::test]
async fn the_protocol_is_kept_to_the_letter() -> anyhow::Result<()> {
    let server = Server::start_with(&["--max-upload-bytes", "1000000"]).await?;
    let tus = Tus(&server);
    let options = server.client().request(Method::OPTIONS, server.url("/api/uploads")).send().await?;
    assert_eq!(options.status(), 204);
    assert_eq!(header(&options, "tus-version")?, "1.0.0");
    assert_eq!(header(&options, "tus-max-size")?, "1000000");
    for extension in ["creation", "checksum", "termination", "expiration"] {
        assert!(header(&options, "tus-extension")?.contains(extension), "{extension}");
    }
    assert!(header(&options, "tus-checksum-algorithm")?.contains("sha1"));

    let post = || tus.request(Method::POST, "/api/uploads");
    let status = async |request: RequestBuilder| -> anyhow::Result<u16> {
        let response = request.send().await?;
        ensure!(header(&response, "tus-resumable")? == "1.0.0", "every answer names the version");
        Ok(response.status().as_u16())
    };
    assert_eq!(status(post()).await?, 400, "no length");
    assert_eq!(status(post().header("upload-length", "0")).await?, 400);
    assert_eq!(status(post().header("upload-length", "x")).await?, 400);
    assert_eq!(status(post().header("upload-length", "1000001")).await?, 413);
    assert_eq!(
        status(post().header("upload-length", "9").header("upload-metadata", "filename ?")).await?,
        400
    );
    let old = server.client().post(server.url("/api/uploads")).header("upload-length", "9");
    let old = old.header("tus-resumable", "0.2.2").send().await?;
    assert_eq!((old.status().as_u16(), header(&old, "tus-version")?), (412, "1.0.0".into()));

    let url = tus.create(10, "a.mp4").await?;
    assert_eq!(status(tus.piece(&url, 3, vec![0; 2])).await?, 409, "not where it ended");
    assert_eq!(status(tus.piece(&url, 0, vec![0; 11])).await?, 413, "more than was announced");
    assert_eq!(status(tus.request(Method::PATCH, &url).header("upload-offset", 0).body("x")).await?, 415);
    assert_eq!(status(tus.request(Method::PATCH, &url).header("content-type", PIECE).body("x")).await?, 400);
    let unversioned = server.client().patch(server.url(&url)).header("content-type", PIECE);
    assert_eq!(unversioned.header("upload-offset", 0).body("x").send().await?.status(), 412);
    let sum = |sum: &str| tus.piece(&url, 0, b"hello".to_vec()).header("upload-checksum", sum.to_owned());
    assert_eq!(status(sum("md5 AAAA")).await?, 400);
    assert_eq!(status(sum("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=")).await?, 460);
    assert_eq!(tus.offset(&url).await?, 0, "a piece with a wrong checksum does not count");
    assert_eq!(status(sum("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=")).await?, 204);
    assert_eq!(tus.offset(&url).await?, 5);
    // Networks that let only POST through.
    let patch = tus.request(Method::POST, &url).header("x-http-method-override", "PATCH");
    let patch = patch.header("upload-offset", 5).header("content-type", PIECE).body("wor");
    assert_eq!(status(patch).await?, 204);
    assert_eq!(tus.offset(&url).await?, 8);

    assert_eq!(status(tus.request(Method::DELETE, &url)).await?, 204);
    assert_eq!(status(tus.request(Method::HEAD, &url)).await?, 404);
    assert_eq!(status(tus.piece(&url, 8, vec![0; 2])).await?, 404);
    assert_eq!(files(&server, "uploads")?, 0, "what is ended leaves no file");

    // Complete, but no video: refused by name, its bytes gone, the reason kept.
    let url = tus.create(22, "letter.mp4").await?;
    let refused = tus.piece(&url, 0, b"Dear grandma, no video".to_vec()).send().await?;
    assert!(refused.status().is_client_error(), "{}", refused.status());
    assert!(refused.json::<Value>().await?["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    assert_eq!(server.json(&url).await?["state"], "refused");
    assert_eq!(status(tus.request(Method::HEAD, &url)).await?, 410);
    assert_eq!(files(&server, "uploads")?, 0);
    Ok(())
}

#[tokio::test]
async fn what_was_told_to_be_here_survives_kill_9_again_and_again() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let noise = "nullsrc=size=640x360:rate=25:duration=4,geq=random(1)*255:128:128";
    let options = ["-f", "lavfi", "-i", noise, "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"];
    let bytes = std::fs::read(clips::ffmpeg("noise.mov", &options)?)?;
    ensure!(bytes.len() > 8 << 20, "a clip of {} bytes is too small to be cut", bytes.len());
    let url = Tus(&server).create(bytes.len(), "noise.mov").await?;
    let step = bytes.len() / 5;
    let mut offset = 0;
    for round in 0..3 {
        let tus = Tus(&server);
        let sent = tus.piece(&url, offset, bytes[offset..offset + step].to_vec()).send().await?;
        assert_eq!(sent.status(), 204, "{}", sent.text().await?);
        offset += step;
        // Half of the next piece is on its way when the power goes.
        let rest = bytes[offset..offset + step / 2].to_vec();
        let half = futures_util::stream::once(async move { Ok::<_, std::io::Error>(rest) });
        let body = half.chain(futures_util::stream::pending());
        let patch =
            tus.request(Method::PATCH, &url).header("upload-offset", offset).header("content-type", PIECE);
        let flying = tokio::spawn(patch.body(reqwest::Body::wrap_stream(body)).send());
        tokio::time::sleep(Duration::from_millis(50 * round)).await;
        server.kill_and_restart().await?;
        flying.abort();
        let here = Tus(&server).offset(&url).await?;
        ensure!(here >= offset, "{offset} bytes were told to be here, now {here}");
        offset = here;
    }
    let last = Tus(&server).piece(&url, offset, bytes[offset..].to_vec()).send().await?;
    assert_eq!(last.status(), 204, "{}", last.text().await?);
    let video = header(&last, "homereel-video")?;
    assert_eq!(server.get(&format!("/api/videos/{video}/file")).await?.bytes().await?, bytes);
    assert_eq!((files(&server, "uploads")?, files(&server, "originals")?), (0, 1));
    Ok(())
}

#[tokio::test]
async fn a_line_that_drops_keeps_what_came_and_a_new_one_takes_over() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let tus = Tus(&server);
    let bytes = std::fs::read(clips::simple(2)?.file)?;
    let url = tus.create(bytes.len(), "a.mp4").await?;
    // A connection that hangs, as when a phone leaves the house: the server does not know that it is dead.
    let part = bytes[..bytes.len() / 3].to_vec();
    let body = futures_util::stream::once(async move { Ok::<_, std::io::Error>(part) });
    let body = reqwest::Body::wrap_stream(body.chain(futures_util::stream::pending()));
    let patch = tus.request(Method::PATCH, &url).header("upload-offset", 0).header("content-type", PIECE);
    let hanging = tokio::spawn(patch.body(body).send());
    // How much of it has come is only known when it is asked for; asking ends the old connection.
    let end = Instant::now() + PATIENCE;
    let mut offset = 0;
    while offset == 0 {
        ensure!(Instant::now() < end, "nothing came");
        tokio::time::sleep(Duration::from_millis(50)).await;
        offset = tus.offset(&url).await?;
    }
    assert_eq!(offset, bytes.len() / 3);
    assert_eq!(hanging.await??.status(), 400, "the old connection is told");
    let last = tus.piece(&url, offset, bytes[offset..].to_vec()).send().await?;
    assert_eq!(last.status(), 204);
    let video = header(&last, "homereel-video")?;
    assert_eq!(server.get(&format!("/api/videos/{video}/file")).await?.bytes().await?, bytes);
    Ok(())
}

#[tokio::test]
async fn the_trash_is_a_page_with_a_way_back() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clips::simple(3)?.file).await?;
    let form = |path: String| server.client().post(server.url(&path)).header("accept", "text/html").send();
    let page = form(format!("/videos/{id}/delete")).await?;
    assert_eq!(page.url().query(), Some(format!("trashed={id}").as_str()));
    assert!(page.text().await?.contains("Undo"), "the list offers to undo");
    assert!(server.get("/trash").await?.text().await?.contains(&format!("/videos/{id}/restore")));
    assert_eq!(server.json("/api/trash").await?["videos"][0]["id"], id.as_str());
    assert!(
        server
            .get(&format!("/videos/{id}"))
            .await?
            .text()
            .await?
            .contains(&format!("action=\"/videos/{id}/restore\""))
    );
    form(format!("/videos/{id}/restore")).await?.error_for_status()?;
    assert_eq!(server.json("/api/videos").await?["total"], 1);
    let keep =
        server.client().delete(server.url(&format!("/api/videos/{id}?permanently=true"))).send().await?;
    assert_eq!(keep.status(), 409, "nothing is deleted for good that was not thrown away");
    form(format!("/videos/{id}/delete")).await?.error_for_status()?;
    let storage = server.json("/api/storage").await?;
    assert!(storage["trash_bytes"].as_u64() > Some(0) && storage["free_bytes"].is_u64(), "{storage}");
    form("/trash/empty".into()).await?.error_for_status()?;
    assert_eq!(server.get(&format!("/api/videos/{id}")).await?.status(), 404);
    assert_eq!((files(&server, "originals")?, files(&server, "posters")?), (0, 0));
    Ok(())
}

#[tokio::test]
async fn names_may_be_as_long_as_a_file_s_and_longer_ones_are_cut_between_letters() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = std::fs::read(clips::simple(5)?.file)?;
    for (number, (name, kept)) in [
        ("x".repeat(251) + ".mp4", "x".repeat(251) + ".mp4"),
        ("🎂".repeat(62) + ".mp4", "🎂".repeat(62) + ".mp4"),
        ("é".repeat(900) + ".mp4", "é".repeat(125) + ".mp4"),
    ]
    .into_iter()
    .enumerate()
    {
        // A byte behind the end of an MP4 makes another file of it.
        let bytes = [clip.as_slice(), &[u8::try_from(number)?]].concat();
        let url = Tus(&server).create(bytes.len(), &name).await?;
        assert_eq!(server.json(&url).await?["name"], kept.as_str());
        let sent = Tus(&server).piece(&url, 0, bytes.clone()).send().await?;
        assert_eq!(sent.status(), 204, "{}", sent.text().await?);
        let video = header(&sent, "homereel-video")?;
        assert_eq!(server.json(&format!("/api/videos/{video}")).await?["name"], kept.as_str());
        let file = server.get(&format!("/api/videos/{video}/file")).await?;
        assert_eq!((file.status(), file.bytes().await?.len()), (StatusCode::OK, bytes.len()));
        assert!(server.get("/").await?.text().await?.contains(&kept), "the list shows it whole");
    }
    Ok(())
}

#[tokio::test]
async fn a_real_tus_client_uploads_with_interruptions() -> anyhow::Result<()> {
    let Some(folder) = std::env::var_os("HOMEREEL_TUS_NODE") else {
        return Ok(());
    };
    let server = Server::start().await?;
    let file = clips::test_pattern(20)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tus_client.mjs");
    let output = tokio::process::Command::new("node")
        .arg(script)
        .arg(&folder)
        .arg(server.url("/api/uploads"))
        .arg(&file)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), output).await.context("no end")??;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let videos = server.json("/api/videos").await?;
    let id = videos["videos"][0]["id"].as_str().context("a video")?;
    assert_eq!(server.get(&format!("/api/videos/{id}/file")).await?.bytes().await?, std::fs::read(&file)?);
    Ok(())
}

#[tokio::test]
async fn a_watched_directory_is_imported_once() -> anyhow::Result<()> {
    let inbox = tempfile::tempdir()?;
    let path = inbox.path().display().to_string();
    let mut server = Server::start_with(&["--watch", &path]).await?;
    std::fs::create_dir(inbox.path().join("2024"))?;
    let clip = clips::simple(9)?;
    std::fs::copy(&clip.file, inbox.path().join("2024/Ömas Garten.mp4"))?;
    std::fs::write(inbox.path().join("list.txt"), "milk, bread")?;
    let end = Instant::now() + PATIENCE;
    while server.json("/api/videos").await?["total"] != 1 {
        ensure!(Instant::now() < end, "nothing was imported: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let videos = server.json("/api/videos").await?;
    assert_eq!(videos["videos"][0]["name"], "Ömas Garten.mp4");
    assert!(inbox.path().join("2024/Ömas Garten.mp4").exists(), "it stays where it was");
    // Thrown away is thrown away: what is in the directory does not come back by itself.
    let id = videos["videos"][0]["id"].as_str().context("an id")?;
    server.client().delete(server.url(&format!("/api/videos/{id}"))).send().await?.error_for_status()?;
    server.kill_and_restart().await?;
    let other = clips::simple(10)?;
    std::fs::copy(&other.file, inbox.path().join("second.mp4"))?;
    while server.json("/api/videos").await?["total"] != 1 {
        ensure!(Instant::now() < end, "the second was not imported: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.json("/api/videos").await?["videos"][0]["name"], "second.mp4");
    Ok(())
}
