//! Browser tests: a real Chromium on the pages of a real server, with JavaScript and without.
//!
//! Needs Debian's `chromium` and `chromium-driver`; without them the tests fail. `HOMEREEL_SCREENSHOTS=DIR` saves
//! screenshots (see `scripts/screenshots.sh`).

mod accessibility;
mod albums;
mod dashboard;
mod drawn;
mod driver;
mod household;
mod journeys;
mod library;
mod other_origin;
mod proxy;
mod pseudo_locale;
mod reading_model;
mod slow_model;
#[expect(dead_code, reason = "the tests of transcripts need more of it")]
#[path = "../transcripts/stub.rs"]
mod speech_stub;
mod touch;
mod transcript;
mod video_page;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use homereel_clips::{Clip, ClipSpec, Codec, SceneKind, Skill};
use homereel_tests::{Server, clips};
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};
use crate::proxy::CuttableProxy;

/// A name that would do harm on a page that does not escape.
const HOSTILE: &str = "\"><img src=x onerror=document.title='hacked'><b>'&quot;.mp4";

const COLOR: &str = "What color is the object?";

/// A file of `clip` under another name, in a folder that lives as long as the first value.
fn named(clip: &Clip, name: &str) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join(name);
    std::fs::copy(&clip.file, &file)?;
    Ok((dir, file))
}

/// The true answer to [`COLOR`] about `clip`.
fn colour(clip: &Clip) -> anyhow::Result<&str> {
    let question = clip.questions.iter().find(|question| question.skill == Skill::Colour);
    Ok(&question.context("a clip of one object has a colour")?.answer)
}

/// Chooses files by the file dialog and waits until the server has them; returns the last one's page.
async fn choose(browser: &Browser, files: &[&Path]) -> anyhow::Result<String> {
    let paths: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let input = "return !!document.querySelector('#files') || null";
    browser.wait_until("the file input", async |b| Ok(b.run(input).await?.as_bool())).await?;
    browser.type_into("#files", &paths.join("\n")).await?;
    let rows = format!("return document.querySelectorAll('#uploads a').length === {}", files.len());
    browser
        .wait_until("stored upload", async |b| Ok(b.run(&rows).await?.as_bool().filter(|&all| all)))
        .await?;
    let link = browser.run("return [...document.querySelectorAll('#uploads a')].pop().href").await?;
    Ok(link.as_str().context("an upload links to its video")?.to_owned())
}

/// Keeps a picture of the page for the README, where `HOMEREEL_SCREENSHOTS` asks for it.
async fn photograph(browser: &Browser, name: &str, height: u32) -> anyhow::Result<()> {
    let Some(dir) = std::env::var_os("HOMEREEL_SCREENSHOTS") else { return Ok(()) };
    browser.show_as(1100, height, false).await?;
    browser.run("scrollTo(0, 0); document.activeElement?.blur()").await?;
    browser.photograph(&Path::new(&dir).join(format!("{name}.png")), height).await?;
    browser.show_as(1280, 900, false).await
}

#[tokio::test]
async fn a_person_uploads_watches_asks_and_finds_it_all_after_a_crash() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let (_dir, file) = named(&clip, "Sunday in the garden.mp4")?;
    let mut server = Server::start().await?;
    let browser = Browser::start(Settings::default()).await?;

    browser.open(&server.url("/")).await?;
    browser.wait_for("#videos", "No videos yet").await?;
    browser.wait_for("#model", "Demo model").await?;
    let mut others = Vec::new();
    for (seed, name) in (20_u64..).zip(["Birthday.mp4", "At the lake.mp4", "First steps.mp4"]) {
        let order = ClipSpec {
            kind: SceneKind::Plain,
            codec: Some(Codec::H264),
            size: Some((480, 270)),
            ..ClipSpec::seeded(seed)
        };
        others.push(named(&clips::drawn(order)?, name)?);
    }
    let others: Vec<&Path> = others.iter().map(|(_, file)| file.as_path()).collect();
    choose(&browser, &others).await?;
    browser.client.refresh().await?;
    let page = choose(&browser, &[&file]).await?;

    // The list follows by itself, without a reload.
    let read = "return document.querySelectorAll('#videos .card').length === 4 && !document.querySelector('#videos .card .state') || null";
    browser.wait_until("four read videos", async |b| Ok(b.run(read).await?.as_bool())).await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.client.refresh().await?;
    browser.wait_for("#model", "Demo model").await?;
    photograph(&browser, "library", 960).await?;

    browser.open(&page).await?;
    browser.wait_for("#about", "Written by AI").await?;
    let poster = "const v = document.querySelector('#player'); return [v.getAttribute('width'), v.getAttribute('height'), !!v.poster]";
    ensure!(browser.run(poster).await? == json!(["320", "240", true]), "the player knows the clip's size");
    seek_by_the_first_moment(&browser).await?;

    ask(&browser, COLOR).await?;
    let answer = browser.wait_for("#answers .answer .text", "").await?;
    ensure!(answer == colour(&clip)?, "the truth is {:?}, the page says {answer:?}", colour(&clip)?);
    let opened = browser.run("return document.querySelector('#answers details').open").await?;
    ensure!(opened == json!(false), "timings open by themselves");
    browser.click("#answers details summary").await?;
    browser.wait_for("#answers .answer .times", "Reading the prompt").await?;
    browser.assert_console_is_clean(&[]).await?;
    photograph(&browser, "video", 1350).await?;

    browser.client.refresh().await?;
    ensure!(browser.wait_for("#answers .answer .text", "").await? == answer, "the answer outlives a reload");

    let id = page.rsplit('/').next().context("an id")?.to_owned();
    browser.open("about:blank").await?;
    server.kill_and_restart().await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    browser.wait_for("#name", "Sunday in the garden.mp4").await?;
    browser.wait_for("#about", "Written by AI").await?;
    browser.wait_for("#answers .question", COLOR).await?;
    ensure!(browser.wait_for("#answers .answer .text", "").await? == answer, "the answer outlives a crash");
    browser.open(&server.url("/jobs")).await?;
    browser.wait_for("#jobs .job .state", "Done").await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

/// Clicks the first moment and expects the player there.
async fn seek_by_the_first_moment(browser: &Browser) -> anyhow::Result<()> {
    let script = "return [...document.querySelectorAll('[data-seek]')].pop()?.dataset.seek ?? null";
    let moment = browser.run(script).await?;
    let Some(second) = moment.as_str().map(str::parse::<f64>).transpose()? else {
        // A model may find no moments; the page then says so.
        browser.wait_for("#moments", "No moments").await?;
        return Ok(());
    };
    let ready = "return document.querySelector('#player').readyState >= 1 || null";
    browser.wait_until("metadata of the clip", async |b| Ok(b.run(ready).await?.as_bool())).await?;
    browser.run("[...document.querySelectorAll('[data-seek]')].pop().click()").await?;
    let time = browser.run("return document.querySelector('#player').currentTime").await?;
    ensure!(
        time.as_f64().is_some_and(|time| (time - second).abs() < 0.1),
        "the player is at {time}, not {second}"
    );
    Ok(())
}

/// Types a question and waits for the end of its answer; the stages must have been on show.
async fn ask(browser: &Browser, question: &str) -> anyhow::Result<()> {
    // Remembers all that the stages ever showed: on a fast machine they are gone before a look.
    browser
        .run(
            "window.stages = new Set(); new MutationObserver(() => { for (const row of document.querySelectorAll( \
             '.stages [aria-current]')) window.stages.add(row.dataset.stage); }).observe( \
             document.querySelector('#asking'), { subtree: true, attributes: true, childList: true });",
        )
        .await?;
    browser.type_into("#question", question).await?;
    browser.click("#ask button").await?;
    browser.wait_for("#answers .answer .question", question).await?;
    let stages = browser.run("return [...window.stages]").await?;
    // What the model saw while it read the clip is reused: that row then says so, without its turn.
    let vision =
        browser.run("return document.querySelector('[data-stage=vision] .count').textContent").await?;
    ensure!(vision.as_str().is_some_and(|says| !says.is_empty()), "the row of the vision tower says nothing");
    for stage in ["decode", "prefill", "tokens"] {
        let seen = stages.as_array().is_some_and(|stages| stages.contains(&json!(stage)));
        ensure!(seen, "the stage {stage} was not on show, only {stages}");
    }
    Ok(())
}

#[tokio::test]
async fn several_files_are_dropped_and_the_bad_ones_say_why() -> anyhow::Result<()> {
    let clip = clips::simple(2)?;
    let server = Server::start().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/")).await?;
    // What a browser makes of files that are dropped on the page.
    let drop = "const [bytes, hostile] = arguments, data = new DataTransfer();
        const clip = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
        data.items.add(new File([clip], hostile, { type: 'video/mp4', lastModified: 1310644800000 }));
        data.items.add(new File([clip], 'the same again.mp4', { type: 'video/mp4', lastModified: 1310644800000 }));
        data.items.add(new File(['not a video'], 'letter.txt', { type: 'text/plain' }));
        data.items.add(new File(['not a video at all'], 'liar.mp4', { type: 'video/mp4' }));
        data.items.add(new File([], 'empty.mp4', { type: 'video/mp4' }));
        document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));";
    let bytes =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, std::fs::read(&clip.file)?);
    browser.client.execute(drop, vec![json!(bytes), json!(HOSTILE)]).await?;

    browser.wait_for("#uploads li:nth-child(3) .fail", "This isn't a video").await?;
    browser.wait_for("#uploads li:nth-child(5) .fail", "This file is empty").await?;
    let refused = browser.wait_for("#uploads li:nth-child(4) .fail", "").await?;
    ensure!(!refused.contains("server answered"), "the refusal has a reason: {refused}");
    browser.wait_for("#uploads li:nth-child(1) .done", "").await?;
    browser.wait_for("#uploads li:nth-child(2) .done", "").await?;
    // The row of the stored one changes once it is analysed, which may be before it is looked at.
    let said = "[...document.querySelectorAll('#uploads .done')].map((row) => row.innerText).sort().join()";
    browser
        .holds("one is added, its twin known", &format!("{said} === 'Added,Already in your library'"))
        .await?;

    // The name is shown letter by letter, in every place, and nothing of it runs.
    let read = "return document.querySelectorAll('#videos .card').length === 1 && !document.querySelector('#videos .card .state') || null";
    browser.wait_until("a described video", async |b| Ok(b.run(read).await?.as_bool())).await?;
    let link =
        browser.run("return document.querySelector('#videos .card-link').getAttribute('href')").await?;
    let path = link.as_str().context("a link")?.to_owned();
    let id = path.rsplit('/').next().context("an id")?;
    let taken = &server.json(&format!("/api/videos/{id}")).await?["taken"];
    ensure!(taken["time"] == "2011-07-14T12:00:00Z", "the time of the file is lost: {taken}");
    let renamed = server
        .client()
        .patch(server.url(&format!("/api/videos/{id}")))
        .json(&json!({"name": format!("{HOSTILE}!"), "taken": "2023-10-06T08:00:00+09:00"}))
        .send()
        .await?;
    ensure!(renamed.status() == 200, "PATCH answered {}", renamed.status());
    for page in ["/", path.as_str(), "/jobs"] {
        browser.open(&server.url(page)).await?;
        browser.wait_for("main", HOSTILE).await?;
        let harmed = browser
            .run("return document.title === 'hacked' || !!document.querySelector('img[src=x], main b')")
            .await?;
        ensure!(harmed == json!(false), "the name became markup on {page}");
    }
    // The local time of the place, whatever the zone of the browser.
    browser.open(&server.url("/")).await?;
    let time = browser.wait_for("#videos .card time", "Oct 6, 2023").await?;
    ensure!(time.contains("8:00"), "the list shows {time:?}");
    let file = server.get(&format!("/api/videos/{id}/file?download=1")).await?;
    let disposition = file.headers()["content-disposition"].to_str()?.to_owned();
    ensure!(disposition.starts_with("attachment; ") && !disposition.contains('<'), "{disposition}");
    browser.assert_console_is_clean(&["Failed to load resource"]).await?;
    browser.close().await
}

#[tokio::test]
async fn everything_works_without_javascript() -> anyhow::Result<()> {
    let clip = clips::simple(3)?;
    let server = Server::start().await?;
    let browser = Browser::start(Settings { javascript: false, ..Settings::default() }).await?;
    browser.open(&server.url("/")).await?;
    browser.type_into("#files", &clip.file.display().to_string()).await?;
    browser.click("#upload button").await?;
    // The page reloads itself (meta refresh) until the clip is read.
    browser
        .wait_until("a described video", async |b| {
            let page = b.client.source().await?;
            Ok((page.contains("class=\"card\"") && !page.contains("class=\"state-line\"")).then_some(()))
        })
        .await?;
    ensure!(browser.client.current_url().await?.path() == "/", "the form comes back to the list");

    browser.click("#videos .card-link").await?;
    browser.wait_for("#about", "Written by AI").await?;
    browser.type_into("#question", COLOR).await?;
    browser.click("#ask button").await?;
    let answer = browser.wait_for("#answers .answer .text", "").await?;
    ensure!(answer == colour(&clip)?, "the truth is {:?}, the page says {answer:?}", colour(&clip)?);

    let video = browser.client.current_url().await?;
    browser.open(&format!("{}?t=2.5", video.as_str().split(['?', '#']).next().unwrap_or_default())).await?;
    let source = browser.client.source().await?;
    ensure!(source.contains("/file#t=2.501\""), "?t= reaches the player");

    browser.click("#edit-open").await?;
    let name = browser.client.find(fantoccini::Locator::Css("#edit-name")).await?;
    name.clear().await?;
    name.send_keys("Tea & <cake>").await?;
    browser.click("#edit-form button[type=submit]").await?;
    browser.wait_for("#name", "Tea & <cake>").await?;

    // Finding it, and landing on the second.
    let moment = server.json("/api/videos").await?["videos"][0]["moments"]["content"][0].clone();
    let word = moment["text"].as_str().and_then(|text| text.split(' ').max_by_key(|word| word.len()));
    browser.type_into("#find", &format!("{}\u{e007}", word.context("a word of a moment")?)).await?;
    browser.wait_for("#found .places mark", "").await?;
    browser.click("#found .places a[href*='?t=']").await?;
    browser.wait_for("#name", "Tea & <cake>").await?;
    let second = moment["start"].as_f64().context("a start")?;
    let source = browser.client.source().await?;
    // A millisecond later, so that no player shows the picture before.
    let begin = format!("/file#t={:.3}", second + 0.001);
    ensure!(source.contains(&begin), "the player starts at {second}: {source}");

    browser.click("#more summary").await?;
    browser.click("#more form[action$='/delete'] button").await?;
    browser.wait_for("#videos", "No videos yet").await?;
    browser.click(".flash button").await?;
    browser.wait_for("#name", "Tea & <cake>").await?;
    browser.click("#more summary").await?;
    browser.click("#more form[action$='/delete'] button").await?;
    browser.wait_for("#videos", "No videos yet").await?;
    browser.open(&server.url("/trash")).await?;
    browser.wait_for("#trash", "Tea & <cake>").await?;
    browser.click("input[name=sure]").await?;
    browser.click("form[action='/trash/empty'] button").await?;
    browser.wait_for("#trash", "The trash is empty").await?;
    browser.close().await
}

#[tokio::test]
async fn a_question_can_be_stopped_and_says_so() -> anyhow::Result<()> {
    // Large enough that there is time to press the button while it is decoded; nothing is known of it yet.
    let source = "testsrc2=size=1280x720:rate=30:duration=30";
    let options = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let file = clips::ffmpeg("long.mp4", &[&["-f", "lavfi", "-i", source][..], &options].concat())?;
    let server = Server::start().await?;
    let id = server.upload(&file).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    browser.type_into("#question", COLOR).await?;
    // Pressed from within the page: a driver's click could come too late.
    let press = "new MutationObserver((_, observer) => { \
                 if (!document.querySelector('[data-stage=decode][aria-current]')) return; \
                 observer.disconnect(); document.querySelector('#asking .stop').click(); \
                 }).observe(document.querySelector('#asking'), { subtree: true, attributes: true });";
    browser.run(press).await?;
    browser.click("#ask button").await?;
    browser.wait_for("#answers .answer .state", "Stopped").await?;
    let asked: Value = server.json(&format!("/api/videos/{id}")).await?;
    ensure!(asked["answers"][0]["status"] == "cancelled", "the library says it too: {}", asked["answers"][0]);
    // The next question works.
    browser
        .wait_until("free button", async |b| {
            b.run("return !document.querySelector('#ask button').disabled || null").await.map(|v| v.as_bool())
        })
        .await?;
    ask(&browser, "What shape is the object?").await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn an_upload_of_200_mb_outlives_a_lost_line_a_reload_and_kill_9() -> anyhow::Result<()> {
    // Noise does not compress: many bytes, few frames to look at.
    let noise = "nullsrc=size=1280x720:rate=10:duration=12,geq=random(1)*255:random(2)*255:random(3)*255";
    let options = ["-f", "lavfi", "-i", noise, "-c:v", "rawvideo", "-pix_fmt", "uyvy422"];
    let file = clips::ffmpeg("big.mov", &options)?;
    let size = std::fs::metadata(&file)?.len();
    ensure!(size > 200_000_000, "{size} bytes are not 200 MB");
    let mut server = Server::start().await?;
    let line = CuttableProxy::to(&server.url(""), 12_000_000).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&line.url("/")).await?;
    let path = file.display().to_string();
    browser.type_into("#files", &path).await?;
    let more_than = async |server: &Server, bytes: u64| -> anyhow::Result<()> {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(120);
        loop {
            let uploads = server.json("/api/uploads").await?;
            if uploads["uploads"][0]["received"].as_u64().is_some_and(|received| received > bytes) {
                return Ok(());
            }
            ensure!(std::time::Instant::now() < end, "no more than {bytes} bytes came: {uploads}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    more_than(&server, 20_000_000).await?;
    line.cut();
    browser.wait_for("#uploads .says", "Retrying in").await?;
    line.mend(&server.url(""));
    more_than(&server, 60_000_000).await?;
    // The page is reloaded: the browser lets go of the file, and it is chosen again.
    browser.client.refresh().await?;
    browser.wait_for("#unfinished .says", "Choose this file again").await?;
    browser.type_into("#files", &path).await?;
    more_than(&server, 100_000_000).await?;
    server.kill_and_restart().await?;
    line.mend(&server.url(""));
    let before = server.json("/api/uploads").await?["uploads"][0]["received"].as_u64();
    ensure!(before >= Some(100_000_000), "what was counted is there: {before:?}");
    // Also when the event of the end was missed while the connection was lost.
    browser.wait_for("#uploads .done", "Added").await?;
    let videos = server.json("/api/videos").await?;
    let hash = videos["videos"][0]["sha256"].as_str().context("a hash")?;
    let same = std::fs::read(server.data().join("originals").join(hash))? == std::fs::read(&file)?;
    ensure!(same, "the file is not what was sent");
    ensure!(std::fs::read_dir(server.data().join("uploads"))?.next().is_none(), "nothing is left over");
    browser.close().await
}
