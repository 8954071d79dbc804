//! User journeys in a browser: upload three clips, watch their progress, find a moment, ask, make an album, delete and restore.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use homereel_clips::recordings::Recording;
use homereel_tests::{Server, clips, model};
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};
use crate::reading_model::ReadingModel;
use crate::slow_model::SlowModel;

/// Waits until the newest job of a video is done, and returns the video.
pub(crate) async fn read(server: &Server, id: &str) -> anyhow::Result<Value> {
    let end = std::time::Instant::now() + Duration::from_secs(120);
    loop {
        let video = server.json(&format!("/api/videos/{id}")).await?;
        if video["jobs"][0]["state"] == "done" {
            return Ok(video);
        }
        ensure!(std::time::Instant::now() < end, "not read: {video}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Where the player stands, once it knows the clip.
async fn current_time(browser: &Browser) -> anyhow::Result<f64> {
    let script =
        "const p = document.querySelector('#player'); return p.readyState >= 1 ? p.currentTime : null";
    browser.wait_until("a player", async |b| Ok(b.run(script).await?.as_f64())).await
}

#[tokio::test]
async fn three_files_are_dropped_at_once_watched_being_read_and_played_at_a_moment() -> anyhow::Result<()> {
    // The model holds its answers back until the page was seen to show a running job.
    let model = ReadingModel::start().await?;
    let dir = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (first, name) in [(1, "Birthday.mp4"), (201, "At the lake.mp4"), (401, "First steps.mp4")] {
        let options = "-c:v libx264".to_owned();
        let recording = Recording { first, count: 100, rate: 20, start: 0.0, sound: true, options };
        files.push(recording.write(dir.path(), name)?);
    }
    let files: Vec<&Path> = files.iter().map(|file| file.as_path()).collect();
    let server = Server::start_with(&["--engine", "vllm", "--vllm-url", &model.url]).await?;
    let browser = Browser::start(Settings::default()).await?;
    // Jobs are held back until somebody watches.
    browser.open(&server.url("/jobs")).await?;
    browser.wait_for("#jobs", "No jobs yet").await?;
    server.client().post(server.url("/api/jobs/pause")).send().await?.error_for_status()?;

    browser.open(&server.url("/")).await?;
    browser.drop_files("main", &files).await?;
    let stored = "return document.querySelectorAll('#uploads .done').length === 3 || null";
    browser.wait_until("three stored uploads", async |b| Ok(b.run(stored).await?.as_bool())).await?;
    let says = browser
        .run("return [...document.querySelectorAll('#uploads .done')].map((p) => p.innerText)")
        .await?;
    ensure!(
        says == json!(["Uploaded, analysing…", "Uploaded, analysing…", "Uploaded, analysing…"]),
        "{says}"
    );

    // The jobs wait in order, run and are done before the reader's eyes: the page is never loaded again.
    browser.open(&server.url("/jobs")).await?;
    browser.wait_for("#jobs", "3 waiting").await?;
    browser.wait_for("#jobs", "Analysing is paused").await?;
    browser.run("window.stays = true").await?;
    server.client().post(server.url("/api/jobs/resume")).send().await?.error_for_status()?;
    browser.wait_for("#jobs .job .state", "Running").await?;
    browser.wait_for("#jobs progress + .hint", "of 7").await?;
    model.hold.close();
    let done = "[...document.querySelectorAll('#jobs .state')].filter((s) => s.innerText.includes('Done')).length === 3";
    browser.holds("three jobs that are done", done).await?;
    browser.holds("page that was never loaded again", "window.stays").await?;

    // From a job to its video: its moments are those that the server tells, and lead to their seconds.
    browser.click("#jobs .job a").await?;
    browser.wait_for("#about", "Written by AI").await?;
    let path = browser.client.current_url().await?.path().to_owned();
    let moments = server.json(&format!("/api{path}")).await?["moments"]["content"].clone();
    let moments = moments.as_array().context("moments")?;
    ensure!(!moments.is_empty(), "the clip has no moments");
    let shown = browser
        .run("return [...document.querySelectorAll('.moments [data-seek]')].map((a) => a.innerText)")
        .await?;
    let shown = shown.as_array().context("a list")?;
    ensure!(shown.len() == moments.len(), "{shown:?} are not {moments:?}");
    for (shown, moment) in shown.iter().zip(moments) {
        let text = moment["text"].as_str().context("a text")?;
        ensure!(shown.as_str().is_some_and(|shown| shown.ends_with(text)), "{shown} does not tell {text}");
    }
    ensure!(current_time(&browser).await? == 0.0);
    let last = moments.last().and_then(|moment| moment["start"].as_f64()).context("a start")?;
    // At second 0 nothing would be seen to move.
    browser.run("document.querySelector('#player').currentTime = 3.5").await?;
    browser.click(".moments li:last-child a").await?;
    let now = current_time(&browser).await?;
    ensure!((now - last).abs() < 0.1, "the player is at {now}, not {last}");
    let url = browser.client.current_url().await?;
    let shared = url.query_pairs().find(|(name, _)| name == "t").context("the URL has no time")?;
    ensure!(shared.1.parse::<f64>()? == last, "{url} does not lead to {last}");
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn a_search_lands_on_the_second_and_the_trash_gives_back() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clips::simple(6)?.file).await?;
    let other = server.upload(&clips::simple(61)?.file).await?;
    let video = read(&server, &id).await?;
    read(&server, &other).await?;
    let moments = video["moments"]["content"].as_array().context("moments")?;
    let moment = moments.iter().rfind(|moment| moment["start"].as_f64() > Some(0.0)).unwrap_or(&moments[0]);
    let (text, second) =
        (moment["text"].as_str().context("a text")?, moment["start"].as_f64().context("a start")?);
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/")).await?;
    browser.type_into("#find", &format!("\"{}\"", text.trim_end_matches('.'))).await?;
    browser.run("document.querySelector('.find').requestSubmit()").await?;
    browser.wait_for("#found mark", "").await?;
    let place = format!("#found .places a[href^='/videos/{id}?t={second:.1}&in=search']");
    browser.wait_for(&place, "").await?;
    browser.click(&place).await?;
    browser.wait_for("#moments-title", "Moments").await?;
    let script =
        format!("return Math.abs(document.querySelector('#player').currentTime - {second}) < 0.1 || null");
    browser.wait_until("the player at the second", async |b| Ok(b.run(&script).await?.as_bool())).await?;

    // Away by mistake, and back by one press.
    browser.click("#more summary").await?;
    browser.click("#more form[action$='/delete'] button").await?;
    browser.wait_for(".flash", "was moved to the trash").await?;
    ensure!(browser.run("return document.querySelectorAll('#videos .card').length").await? == 1);
    ensure!(server.json("/api/videos").await?["total"] == 1);
    browser.click(".flash button").await?;
    browser.wait_for("#moments-title", "Moments").await?;
    ensure!(server.json("/api/videos").await?["total"] == 2, "it is back");
    // Or later, from the trash.
    browser.click("#more summary").await?;
    browser.click("#more form[action$='/delete'] button").await?;
    browser.wait_for(".flash", "was moved to the trash").await?;
    browser.click("header .menu > summary").await?;
    browser.click("header a[href='/trash']").await?;
    browser.wait_for("#trash .card", "kept until").await?;
    browser.click("#trash button[formaction$='/restore']").await?;
    browser.wait_for(".flash", "Restored 1 video").await?;
    ensure!(server.json("/api/videos").await?["total"] == 2, "it is back");
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn a_video_is_scrubbed_put_into_an_album_downloaded_and_read_again() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let older = server.upload(&clips::simple(62)?.file).await?;
    let long = clips::test_pattern(25)?;
    let id = server.upload(&long).await?;
    read(&server, &older).await?;
    read(&server, &id).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    current_time(&browser).await?;

    // By keys: the player follows, and the picture of that time is shown.
    browser.wait_until("a strip", async |b| b.text(".scrub").await).await?;
    browser.run("document.querySelector('.scrub input').focus()").await?;
    for key in ["\u{e014}", "\u{e014}", "\u{e00e}", "\u{e00f}"] {
        // Right, right, page up, page down.
        browser.type_into(".scrub input", key).await?;
    }
    browser.type_into(".scrub input", "\u{e00e}").await?;
    ensure!(
        (current_time(&browser).await? - 12.0).abs() < 0.1,
        "the player is at {}",
        current_time(&browser).await?
    );
    browser.wait_for(".peek .at", "0:12.0").await?;
    let valued =
        browser.run("return document.querySelector('.scrub input').getAttribute('aria-valuetext')").await?;
    ensure!(valued == "0:12.0 of 0:25.0", "a screen reader is told {valued}");
    let cell = "const p = document.querySelector('.peek .picture').style; return [p.backgroundImage, p.backgroundPositionX]";
    let shown = browser.run(cell).await?;
    ensure!(shown[0].as_str().is_some_and(|url| url.ends_with("/sprites/0.jpg\")")), "{shown}");
    ensure!(shown[1] == "-1280px", "12 s is the 25th picture, half a second each: {shown}");
    let sheet = format!("/api/videos/{id}/sprites/0.jpg");
    ensure!(server.get(&sheet).await?.status() == 200, "the pictures are there");
    // By the pointer, without moving the player.
    let strip = browser
        .run("document.activeElement.blur(); const r = document.querySelector('.scrub input').getBoundingClientRect(); return [r.x, r.y, r.width, r.height]")
        .await?;
    let at = |n: usize| strip[n].as_f64().unwrap_or_default();
    let params = json!({"type": "mouseMoved", "x": at(0) + at(2) * 0.9, "y": at(1) + at(3) / 2.0});
    browser.devtools("Input.dispatchMouseEvent", params).await?;
    browser.wait_for(".peek .at", "0:22.").await?;
    ensure!((current_time(&browser).await? - 12.0).abs() < 0.1, "a look moves nothing");
    ensure!(browser.run(cell).await?[1] == "-1600px");
    browser.assert_no_sideways_scroll().await?;

    // Older, newer.
    browser.click("a[rel=next]").await?;
    browser
        .wait_until("the older video", async |b| {
            Ok(b.client.current_url().await?.path().ends_with(&older).then_some(()))
        })
        .await?;
    browser.click("a[rel=prev]").await?;
    browser
        .wait_until("the newer video", async |b| {
            Ok(b.client.current_url().await?.path().ends_with(&id).then_some(()))
        })
        .await?;

    // Into an album, whatever its name.
    let album = "Summer <2019> & Oma's \"80th\"";
    for video in [&id, &older] {
        browser.open(&server.url(&format!("/videos/{video}"))).await?;
        browser.click("#albums summary").await?;
        if *video == id {
            browser.type_into("#album", album).await?;
            browser.click("#new-album button").await?;
        } else {
            browser.click("#album-choices button[aria-pressed=false]").await?;
        }
        browser.wait_for("#album-choices button[aria-pressed=true]", album).await?;
    }
    browser.click("nav a[href='/albums']").await?;
    browser.wait_for("main .card:first-child", album).await?;
    browser.wait_for("main .card:first-child", "2 videos").await?;
    browser.click("main .card:first-child .card-link").await?;
    browser.wait_for("#name", album).await?;
    ensure!(browser.run("return document.querySelectorAll('#videos .card').length").await? == 2);

    // Regenerated: the model's texts anew, the album stays.
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    browser.click("#favourite button").await?;
    browser.wait_for("#favourite button[aria-pressed=true]", "Favourite").await?;
    browser.click("#more summary").await?;
    browser.click("form[action$='/reread'] button").await?;
    browser
        .wait_until("a second reading", async |_| {
            let jobs = server.json(&format!("/api/videos/{id}")).await?["jobs"].clone();
            Ok(jobs.as_array().filter(|jobs| jobs.len() == 2).map(Vec::len))
        })
        .await?;
    let again = read(&server, &id).await?;
    ensure!(again["jobs"].as_array().is_some_and(|jobs| jobs.len() == 2), "{}", again["jobs"]);
    browser.wait_for("#album-choices", "").await?;
    let albums = server.json("/api/albums").await?["albums"].clone();
    ensure!(albums[0]["videos"] == 2, "the album stays: {albums}");

    // Every download is what it says.
    let links = browser
        .run("return [...document.querySelectorAll('main a[href^=\"/api/\"]')].map((a) => a.getAttribute('href'))")
        .await?;
    let links: Vec<&str> = links.as_array().context("links")?.iter().filter_map(Value::as_str).collect();
    for (end, kind, word) in [
        ("/file?download=1", "video/", ""),
        ("/moments.json", "application/json", "\"moments\""),
        ("/moments.srt", "application/x-subrip", " --> "),
        ("/moments.vtt", "text/vtt", "WEBVTT"),
        ("/moments.md", "text/markdown", "#"),
    ] {
        let Some(link) = links.iter().find(|link| link.ends_with(end)) else {
            // A test picture may have no moments; then only the original is offered.
            ensure!(
                end.starts_with("/moments") && again["moments"]["content"] == json!([]),
                "no {end} in {links:?}"
            );
            continue;
        };
        let file = server.get(link).await?.error_for_status()?;
        let is = file.headers()["content-type"].to_str()?.to_owned();
        ensure!(is.starts_with(kind), "{link} is {is}");
        let bytes = file.bytes().await?;
        if end.starts_with("/file") {
            ensure!(bytes == std::fs::read(&long)?, "the original is not what was uploaded");
        }
        ensure!(String::from_utf8_lossy(&bytes).contains(word), "{link} holds no {word}");
    }
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn a_closer_look_is_chosen_for_one_question() -> anyhow::Result<()> {
    let clip = clips::large_pattern()?;
    let roomy = model::demo_with_video_budget(4 << 20)?;
    let server = Server::start_with(&["--model", roomy.path().to_str().context("a path in UTF-8")?]).await?;
    let id = server.upload(&clip).await?;
    read(&server, &id).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    for (question, closer) in [("First question?", false), ("Second question?", true)] {
        if closer {
            browser.click("#look-closer input").await?;
        }
        browser.type_into("#question", question).await?;
        browser.click("#ask button").await?;
        browser.wait_for("#answers .answer .question", question).await?;
        let answer = server.json(&format!("/api/videos/{id}")).await?["answers"][0].clone();
        let chosen = if closer { json!({"cap_pixels_per_frame": false}) } else { json!({}) };
        ensure!(answer["question"] == question && answer["settings"] == chosen, "{answer}");
    }
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn all_videos_are_asked_the_answer_streams_and_can_be_stopped() -> anyhow::Result<()> {
    const WORDS: [&str; 12] = [
        "Oma",
        " swam",
        " in",
        " the",
        " lake",
        " [1]",
        ",",
        " and",
        " <b>not",
        "</b>",
        " elsewhere",
        " [7].",
    ];
    let reader = SlowModel::start(&WORDS, Duration::from_millis(150)).await?;
    let server = Server::start_with(&["--engine", "vllm", "--vllm-url", reader.url()]).await?;
    let id = server.upload(&clips::simple(63)?.file).await?;
    let url = server.url(&format!("/api/videos/{id}"));
    let known = json!({"name": "Lake <1998>.mp4", "description": "Oma swims in the lake."});
    server.client().patch(&url).json(&known).send().await?.error_for_status()?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/")).await?;
    browser.open(&server.url("/ask")).await?;
    browser.wait_for("#before", "link to the second").await?;
    browser.type_into("#all-question", "Where does Oma swim?").await?;
    browser.click("#ask-all button").await?;
    // Before the end: the notes, the first words, the way to stop.
    browser.wait_for("#all-answer .text", "Oma swam").await?;
    browser.wait_for("#all-answer .stop", "Stop").await?;
    ensure!(
        !browser.text("#all-answer .text").await?.unwrap_or_default().contains("[7]"),
        "it came all at once"
    );
    browser.wait_for("#notes li", "Lake <1998>.mp4").await?;
    let words = WORDS.concat();
    browser.wait_for("#all-answer .text", &words).await?;
    browser.wait_for("#all-answer .by", "reader").await?;
    let cited = browser
        .run(
            "return [...document.querySelectorAll('#all-answer .text a')].map((a) => a.getAttribute('href'))",
        )
        .await?;
    ensure!(cited == json!(["#note-1"]), "what is no note leads nowhere: {cited}");
    ensure!(browser.run("return !!document.querySelector('#all-answer b')").await? == json!(false));
    browser.click("#note-1 a").await?;
    browser.wait_for("#name", "Lake <1998>.mp4").await?;

    // From a search, and stopped: the model is told.
    let before = reader.hung_up();
    browser.type_into("#find", "swims").await?;
    browser.run("document.querySelector('.find').requestSubmit()").await?;
    browser.wait_for("#found", "").await?;
    browser.wait_for("main form[action='/ask']", "Ask this as a question").await?;
    browser.click("main form[action='/ask'] button").await?;
    browser.wait_for("#all-answer .text", "Oma").await?;
    browser.click("#all-answer .stop").await?;
    browser.wait_for("#all-answer .outcome", "Stopped").await?;
    browser
        .wait_until("an end at the model", async |_| Ok((reader.hung_up() > before).then_some(())))
        .await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await?;

    // Without JavaScript the page of the answer reloads until the answer is there.
    let plain = Browser::start(Settings { javascript: false, ..Settings::default() }).await?;
    plain.open(&server.url("/ask")).await?;
    plain.type_into("#all-question", "Where does Oma swim?").await?;
    plain.click("#ask-all button").await?;
    plain.wait_for("#all-answer .text", &words).await?;
    plain.click("#all-answer .text a").await?;
    plain.wait_for("#note-1", "Lake <1998>.mp4").await?;
    plain.close().await
}
