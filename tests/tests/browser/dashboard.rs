//! What all pages share: one connection for the events of all tabs, the tray of uploads, focus, lost connections, charts, and kept answers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use serde_json::json;

use crate::{
    COLOR,
    driver::{Browser, Settings},
    named,
    proxy::CuttableProxy,
};

/// Uploads a clip and waits until it is described.
async fn described(server: &Server, seed: u64) -> anyhow::Result<String> {
    let id = server.upload(&clips::simple(seed)?.file).await?;
    let end = std::time::Instant::now() + homereel_tests::PATIENCE;
    while server.json(&format!("/api/videos/{id}")).await?["jobs"][0]["state"] != "done" {
        ensure!(std::time::Instant::now() < end, "the clip is not described");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(id)
}

/// With one connection for events per tab, six tabs would use all connections that a browser opens to a host.
#[tokio::test]
async fn seven_tabs_of_live_pages_leave_room_for_more() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = described(&server, 90).await?;
    let browser = Browser::start(Settings::default()).await?;
    let first = browser.client.window().await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    for _ in 0..7 {
        let tab = browser.client.new_window(true).await?;
        browser.client.switch_to_window(tab.handle).await?;
        browser.open(&server.url(&format!("/videos/{id}"))).await?;
        browser.wait_for("h1", "").await?;
    }
    for path in ["/", "/albums", "/search", "/ask", "/jobs", "/system", "/trash", "/household"] {
        browser.open(&server.url(path)).await?;
        browser.wait_for("h1", "").await.with_context(|| path.to_owned())?;
    }
    browser.client.switch_to_window(first).await?;
    browser.type_into("#question", COLOR).await?;
    browser.click("#ask button[type=submit]").await?;
    browser.wait_for("#answers .answer .question", COLOR).await?;
    // A tab that comes back to the front shows what happened meanwhile.
    let patch = server.client().patch(server.url(&format!("/api/videos/{id}")));
    patch.json(&json!({"name": "Renamed elsewhere.mp4"})).send().await?.error_for_status()?;
    browser.wait_for("#name", "Renamed elsewhere.mp4").await?;
    browser.close().await
}

#[tokio::test]
async fn the_focus_stays_where_a_live_page_changes() -> anyhow::Result<()> {
    let server = Server::start().await?;
    described(&server, 91).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/jobs")).await?;
    browser.run("document.querySelector('form[action=\"/jobs/pause\"] button').focus()").await?;
    // Work that comes and goes redraws the list; the button is the same one for a person.
    described(&server, 92).await?;
    let names = "return document.querySelectorAll('#jobs .job').length === 2 || null";
    browser.wait_until("two jobs", async |b| Ok(b.run(names).await?.as_bool())).await?;
    let focused = "return document.activeElement.form?.getAttribute('action')";
    ensure!(browser.run(focused).await? == "/jobs/pause", "the focus is on {}", browser.run(focused).await?);
    // Somebody else pauses: the button becomes another one, in the same place.
    server.client().post(server.url("/api/jobs/pause")).send().await?.error_for_status()?;
    browser.wait_for("form[action='/jobs/resume'] button", "Resume").await?;
    ensure!(browser.run(focused).await? == "/jobs/resume", "the focus is on {}", browser.run(focused).await?);
    browser.close().await
}

#[tokio::test]
async fn uploads_go_along_over_pages_and_can_be_cancelled_and_retried() -> anyhow::Result<()> {
    // Noise does not compress: enough bytes to be on the way for a while.
    let noise = "nullsrc=size=640x360:rate=10:duration=6,geq=random(1)*255:random(2)*255:random(3)*255";
    let options = ["-f", "lavfi", "-i", noise, "-c:v", "rawvideo", "-pix_fmt", "uyvy422"];
    let big = clips::ffmpeg("noise.mov", &options)?;
    let small = clips::simple(93)?;
    let (_dir, other) = named(&small, "Small.mp4")?;
    let letter = tempfile::Builder::new().suffix(".mp4").tempfile()?;
    std::fs::write(letter.path(), "not a video at all")?;
    let server = Server::start().await?;
    // Slow enough that the large one is on its way until it is cancelled.
    let line = CuttableProxy::to(&server.url(""), 60_000).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&line.url("/albums")).await?;
    let paths = [&big, letter.path(), &other].map(|path| path.display().to_string());
    browser.type_into("#files", &paths.join("\n")).await?;
    browser.wait_for("#tray .tray-says", "of 3 uploaded").await?;

    // The page changes without a reload, and the tray stays.
    browser.run("window.mark = 1").await?;
    browser.click(".pages a[href='/']").await?;
    browser.wait_for("h1", "Videos").await?;
    ensure!(browser.client.current_url().await?.path() == "/", "the address follows");
    ensure!(browser.run("return window.mark").await? == 1, "the page was reloaded");
    browser.wait_for("#uploads li:nth-child(1)", "Uploading").await?;
    browser.client.back().await?;
    browser.wait_for("h1", "Albums").await?;
    // What is no video can't succeed and offers no retry; the small one has passed by.
    browser.wait_for("#uploads li:nth-child(2) .fail", "").await?;
    ensure!(browser.text("#uploads li:nth-child(2) button").await?.is_none(), "a retry can't succeed");
    browser.wait_for("#uploads li:nth-child(3) .done", "Added").await?;

    browser.click("#uploads li:nth-child(1) button").await?;
    browser.wait_for("#uploads li:nth-child(1) .stop", "Cancelled").await?;
    line.carry_at(50_000_000);
    browser.click("#uploads li:nth-child(1) button").await?;
    browser.wait_for("#uploads li:nth-child(1) .done", "Added").await?;
    browser.wait_for("#tray .tray-says", "1 file could not be added").await?;
    browser.click("#tray .close").await?;
    ensure!(browser.text("#tray").await?.is_none(), "the tray is gone");
    // Refused uploads are on the page for it, for who sent them.
    browser.open(&line.url("/add")).await?;
    browser.wait_for("#refused .fail", "").await?;
    browser.click("#refused button").await?;
    let gone = "return !document.querySelector('#refused li') || null";
    browser.wait_until("dismissed upload", async |b| Ok(b.run(gone).await?.as_bool())).await?;
    browser.close().await
}

#[tokio::test]
async fn a_lost_connection_is_told_and_comes_back() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = described(&server, 94).await?;
    let line = CuttableProxy::to(&server.url(""), 50_000_000).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&line.url(&format!("/videos/{id}"))).await?;
    line.cut();
    browser.wait_for("#connection", "Connection lost. Retrying").await?;
    browser.wait_for("#said", "Connection lost").await?;
    let patch = server.client().patch(server.url(&format!("/api/videos/{id}")));
    patch.json(&json!({"name": "Meanwhile.mp4"})).send().await?.error_for_status()?;
    line.mend(&server.url(""));
    // The page catches up with what it missed.
    browser.wait_for("#name", "Meanwhile.mp4").await?;
    let hidden = "return document.querySelector('#connection').hidden || null";
    browser.wait_until("connected page", async |b| Ok(b.run(hidden).await?.as_bool())).await?;
    browser.close().await
}

#[tokio::test]
async fn charts_move_by_themselves_and_have_numbers() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/system")).await?;
    let points = "return document.querySelector('#chart-memory polyline')?.getAttribute('points') ?? ''";
    let before = browser.run(points).await?;
    browser
        .wait_until("moving line", async |b| {
            let now = b.run(points).await?;
            Ok((now != before && now != "").then_some(()))
        })
        .await?;
    browser.wait_for("#chart-memory .now", "GB").await?;
    // No GPU, no chart of one.
    ensure!(browser.text("#chart-gpu").await?.is_none(), "a chart without data");
    for span in ["6h", "7d"] {
        browser.open(&server.url(&format!("/system?span={span}"))).await?;
        browser.wait_for(".choices [aria-current]", if span == "6h" { "6 hours" } else { "7 days" }).await?;
        browser.wait_for("#chart-memory", "No data yet").await?;
    }
    ensure!(server.get("/system?span=1y").await?.status() == 400, "an unknown span");
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn an_answer_about_all_videos_is_kept_with_its_pictures() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = described(&server, 95).await?;
    let moment = server.json(&format!("/api/videos/{id}")).await?["moments"]["content"][0]["text"].clone();
    let words = moment.as_str().context("a moment")?.to_owned();
    // A program may ask without leaving a trace.
    let ask = server.client().post(server.url("/api/ask"));
    let notes = ask
        .json(&json!({"question": "Who?", "keep": false}))
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    ensure!(notes.contains("\"id\":null"), "{notes}");
    ensure!(server.json("/api/ask").await?["questions"] == json!([]), "the question is kept");
    let browser = Browser::start(Settings::default()).await?;
    // One box: words are looked for, and a question can be asked.
    browser.open(&server.url("/")).await?;
    browser.type_into("#find", &format!("when does {words} happen")).await?;
    browser.run("document.querySelector('.find').requestSubmit()").await?;
    browser.wait_for(".ask-this.likely button", "Ask this as a question").await?;
    browser.click(".ask-this button").await?;
    // A description begins with a capital letter.
    let rest: String = words.chars().skip(1).collect();
    browser.wait_for("#notes li", &rest).await?;
    browser.wait_for("#all-answer .text", "The demo model can't answer from notes").await?;
    let path = browser.client.current_url().await?.path().to_owned();
    ensure!(path.starts_with("/ask/"), "the answer has an address: {path}");
    browser.client.refresh().await?;
    browser.wait_for("#all-answer .question", "when does").await?;
    browser.wait_for("#notes li", &rest).await?;
    let pictures = "return [...document.querySelectorAll('#notes img')].every((i) => i.complete && i.naturalWidth) || null";
    browser.wait_until("pictures of the notes", async |b| Ok(b.run(pictures).await?.as_bool())).await?;
    browser.click("#notes a").await?;
    browser.wait_for("#name", "").await?;
    browser.open(&server.url("/ask")).await?;
    browser.wait_for("#earlier a", "when does").await?;
    // The way back leads to the page that was shown before the question.
    browser.type_into("#all-question", "When?").await?;
    browser.click("#ask-all button").await?;
    browser.wait_for("#all-answer .question", "When?").await?;
    browser
        .wait_until("the address of the answer", async |b| {
            Ok(b.client.current_url().await?.path().starts_with("/ask/").then_some(()))
        })
        .await?;
    browser.client.back().await?;
    browser.wait_for("#earlier a", "When?").await?;
    ensure!(browser.client.current_url().await?.path() == "/ask");
    browser.click("#earlier li:last-child a").await?;
    browser.wait_for("#all-answer .question", "when does").await?;
    browser.click("form[action$='/delete'] button").await?;
    browser.wait_for("#earlier", "When?").await?;
    let listed = browser.text("#earlier").await?.unwrap_or_default();
    ensure!(!listed.contains("when does"), "a deleted question is listed: {listed}");
    // What ends with a question mark is asked without a search.
    browser.type_into("#find", "Who is there?").await?;
    browser.run("document.querySelector('.find').requestSubmit()").await?;
    browser.wait_for("#all-answer .question", "Who is there?").await?;
    browser.wait_for("#all-answer .answer-actions a[href='/ask']", "Earlier questions").await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}
