//! The page of a video: what is changed while it plays, the dialog, shortcuts, the strip, neighbours, and downloads.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server, clips};
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};

const ESCAPE: &str = "\u{e00c}";

/// Uploads six seconds with three moments, and waits until they are processed.
async fn lake(server: &Server) -> anyhow::Result<String> {
    let source = "testsrc2=size=320x180:rate=25:duration=6";
    let options = ["-c:v", "libx264", "-g", "50", "-pix_fmt", "yuv420p"];
    let file = clips::ffmpeg("Lake.mp4", &[&["-f", "lavfi", "-i", source][..], &options].concat())?;
    let id = server.upload(&file).await?;
    let end = Instant::now() + PATIENCE;
    while server.json(&format!("/api/videos/{id}")).await?["jobs"][0]["state"] != "done" {
        ensure!(Instant::now() < end, "not processed: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let moments = json!([
        {"start": 0.5, "end": 1.5, "text": "Ben runs"},
        {"start": 2.5, "end": 3.7, "text": "He jumps"},
        {"start": 4.5, "end": 5.5, "text": "A splash"},
    ]);
    change(
        server,
        &id,
        json!({"name": "Lake.mp4", "moments": moments, "tags": ["lake"], "taken": "2019-06-02T10:00:00"}),
    )
    .await?;
    Ok(id)
}

async fn change(server: &Server, id: &str, fields: Value) -> anyhow::Result<()> {
    let patch = server.client().patch(server.url(&format!("/api/videos/{id}"))).json(&fields);
    patch.send().await?.error_for_status()?;
    Ok(())
}

/// Plays the video over and over without sound, and remembers the element.
async fn play(browser: &Browser) -> anyhow::Result<()> {
    browser
        .run("window.player = document.querySelector('#player'); player.muted = player.loop = true; player.play();")
        .await?;
    played(browser, 0).await
}

/// Waits until the same player has gone on by itself after `times` looks.
async fn played(browser: &Browser, times: u32) -> anyhow::Result<()> {
    let now = "return window.player?.isConnected && !window.player.paused ? window.player.currentTime : null";
    let before = browser.run(now).await?.as_f64().with_context(|| format!("no playing player, {times}"))?;
    browser
        .wait_until("player that goes on", async |b| {
            let time = b.run(now).await?.as_f64().context("the player was stopped or replaced")?;
            Ok((time != before).then_some(()))
        })
        .await
}

/// Clicks an element after it was scrolled to the middle: a driver leaves it below the bar at the bottom of a phone.
async fn reach(browser: &Browser, css: &str) -> anyhow::Result<()> {
    browser.run(&format!("document.querySelector({css:?}).scrollIntoView({{ block: 'center' }})")).await?;
    browser.click(css).await
}

async fn press(browser: &Browser, keys: &str) -> anyhow::Result<()> {
    let active = browser.client.active_element().await?;
    Ok(active.send_keys(keys).await?)
}

#[tokio::test]
async fn the_video_plays_on_while_it_is_starred_filed_and_edited() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    for (width, height) in [(1280, 900), (390, 844)] {
        change(&server, &id, json!({"favourite": false, "place": ""})).await?;
        let browser = Browser::start(Settings { width, height, ..Settings::default() }).await?;
        browser.open(&server.url(&format!("/videos/{id}?in=tag%3Alake"))).await?;
        play(&browser).await?;
        let scrolled = browser.run("return scrollY").await?;

        browser.click("#favourite button").await?;
        browser.wait_for("#favourite button[aria-pressed=true]", "Favourite").await?;
        browser.wait_for("#toast", "Added to favourites").await?;
        browser.wait_for("#said", "Added to favourites").await?;
        ensure!(server.json(&format!("/api/videos/{id}")).await?["favourite"] == true);
        let focused = "document.activeElement.closest('#favourite') !== null";
        browser.holds("focus on the star", focused).await?;
        played(&browser, 1).await?;
        browser.click("#toast button").await?;
        browser.wait_for("#favourite button[aria-pressed=false]", "Favourite").await?;
        played(&browser, 2).await?;

        browser.click("#albums summary").await?;
        browser.type_into("#album", "Summer 2019").await?;
        browser.click("#new-album button").await?;
        browser.wait_for("#toast", "Added to").await?;
        press(&browser, ESCAPE).await?;
        played(&browser, 3).await?;

        browser.click("#edit-open").await?;
        browser.wait_for("#edit-dialog h2", "Edit video").await?;
        browser.type_into("#edit-place", "Riva").await?;
        browser.click("#edit-dialog button[type=submit]").await?;
        browser.wait_for("#when", "Riva").await?;
        browser.wait_for("#toast", "Saved").await?;
        played(&browser, 4).await?;
        // Somebody else changes something.
        change(&server, &id, json!({"description": format!("At the lake, {width}.")})).await?;
        browser.wait_for("#about", &format!("At the lake, {width}.")).await?;
        played(&browser, 5).await?;
        ensure!(browser.run("return scrollY").await? == scrolled, "the page was scrolled");
        browser.assert_no_sideways_scroll().await?;
        browser.assert_console_is_clean(&[]).await?;
        browser.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_player_stays_where_it_is_when_the_state_changes() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    for (width, height) in [(1280, 900), (390, 844)] {
        let browser = Browser::start(Settings { width, height, ..Settings::default() }).await?;
        browser.open(&server.url(&format!("/videos/{id}"))).await?;
        let place = "const r = document.querySelector('#player').getBoundingClientRect(); \
                     const a = document.querySelector('.actions').getBoundingClientRect(); return [r.y, r.height, a.y]";
        let before = browser.run(place).await?;
        // Work that waits for its turn is told in the line under the title.
        server.client().post(server.url("/api/jobs/pause")).send().await?.error_for_status()?;
        server
            .client()
            .post(server.url(&format!("/api/videos/{id}/reread")))
            .send()
            .await?
            .error_for_status()?;
        browser.wait_for("#state .state", "").await?;
        ensure!(browser.run(place).await? == before, "the player moved from {before}");
        server.client().post(server.url("/api/jobs/resume")).send().await?.error_for_status()?;
        browser.holds("end of the work", "!document.querySelector('#state .state')").await?;
        ensure!(browser.run(place).await? == before, "the player moved from {before}");
        browser.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_edit_dialog_is_used_by_keyboard_and_gives_the_focus_back() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    browser.run("document.querySelector('#edit-open').focus()").await?;
    press(&browser, "\u{e007}").await?;
    browser.holds("open dialog", "document.querySelector('#edit-dialog')?.open").await?;
    browser.holds("focus in the dialog", "document.activeElement.closest('#edit-dialog') !== null").await?;
    press(&browser, ESCAPE).await?;
    browser.holds("closed dialog", "!document.querySelector('#edit-dialog')").await?;
    let back = "document.activeElement.id === 'edit-open'";
    browser.holds("focus on the button", back).await?;

    // A date that cannot be is told in the form, which keeps what was entered.
    press(&browser, "\u{e007}").await?;
    browser.holds("open dialog", "document.querySelector('#edit-dialog')?.open").await?;
    browser.run("document.querySelector('#edit-form').noValidate = true; document.querySelector('#edit-day').value = '1750-01-01'").await?;
    browser.click("#edit-dialog button[type=submit]").await?;
    browser.wait_for("#edit-problem", "one from 1888-01-01 to today would fit").await?;
    browser.holds("focus on the problem", "document.activeElement.id === 'edit-problem'").await?;
    ensure!(browser.run("return document.querySelector('#edit-day').value").await? == "1750-01-01");

    // Before 1970, in another zone; a moment less, one more, and one with another text.
    let fill = "const set = (id, value) => { document.querySelector(id).value = value; }; \
                set('#edit-day', '1968-07-02'); set('#edit-clock', '15:00:00'); set('#edit-zone', 'America/New_York'); \
                document.querySelector('.edit-moments [name=moment-text]').value = 'Ben walks'; \
                document.querySelectorAll('#edit-dialog [data-remove]')[1].click(); \
                window.player = document.querySelector('#player'); player.currentTime = 3; \
                document.querySelector('#edit-dialog [data-add]').click();";
    browser.run(fill).await?;
    press(&browser, "The sun sets").await?;
    browser.click("#edit-dialog button[type=submit]").await?;
    browser.wait_for("#when", "1968").await?;
    browser.holds("focus on the button", back).await?;
    let texts =
        "return [...document.querySelectorAll('.moments [data-seek] [dir]')].map((text) => text.innerText)";
    ensure!(browser.run(texts).await? == json!(["Ben walks", "The sun sets", "A splash"]));
    let video = server.json(&format!("/api/videos/{id}")).await?;
    ensure!(video["taken"]["time"] == "1968-07-02T15:00:00-04:00", "{}", video["taken"]);
    ensure!(video["moments"]["content"][0]["start"] == 0.5, "{}", video["moments"]);
    browser.assert_console_is_clean(&["Failed to load resource"]).await?;
    browser.close().await
}

#[tokio::test]
async fn shortcuts_work_outside_of_fields_and_can_be_switched_off() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    let other = server.upload(&clips::simple(110)?.file).await?;
    change(&server, &other, json!({"taken": "2018-06-02", "tags": ["lake"]})).await?;
    let browser = Browser::start(Settings::default()).await?;
    let page = server.url(&format!("/videos/{id}?in=tag%3Alake"));
    browser.open(&page).await?;
    let ready = "document.querySelector('#player').readyState >= 1";
    browser.holds("metadata", ready).await?;
    let time = "document.querySelector('#player').currentTime";
    browser.run("document.querySelector('#player').muted = true").await?;
    for (key, is) in [
        ("\u{e014}", format!("Math.abs({time} - 5) < 0.2")),
        ("\u{e012}", format!("{time} < 0.2")),
        ("l", format!("{time} > 5.9")),
        ("j", format!("{time} < 0.2")),
        (".", format!("Math.abs({time} - 0.5) < 0.1")),
        (".", format!("Math.abs({time} - 2.5) < 0.1")),
        (",", format!("Math.abs({time} - 0.5) < 0.1")),
        ("m", "!document.querySelector('#player').muted".into()),
        ("m", "document.querySelector('#player').muted".into()),
        ("c", "[...document.querySelector('#player').textTracks].some((t) => t.mode === 'showing')".into()),
        ("c", "![...document.querySelector('#player').textTracks].some((t) => t.mode === 'showing')".into()),
        ("k", "!document.querySelector('#player').paused".into()),
        (" ", "document.querySelector('#player').paused".into()),
        ("s", "document.querySelector('#favourite [aria-pressed=true]') !== null".into()),
        ("/", "document.activeElement.id === 'find'".into()),
    ] {
        press(&browser, key).await?;
        browser.holds(&format!("effect of {key:?}"), &is).await?;
    }
    // In a field, keys are text.
    press(&browser, "kjl ?").await?;
    ensure!(browser.run("return document.querySelector('#find').value").await? == "kjl ?");
    browser.holds("player that stands still", "document.querySelector('#player').paused").await?;
    browser.run("document.activeElement.blur()").await?;

    press(&browser, "?").await?;
    browser.holds("help", "document.querySelector('#shortcuts').open").await?;
    browser.holds("focus on Close", "document.activeElement.closest('#shortcuts form') !== null").await?;
    browser.click("#shortcuts-on").await?;
    browser.click("#shortcuts button").await?;
    press(&browser, "k?").await?;
    let still = "document.querySelector('#player').paused && !document.querySelector('#shortcuts').open";
    browser.holds("nothing", still).await?;
    // It is remembered, and the button that shows the list works all the same.
    browser.open(&page).await?;
    browser.holds("metadata", ready).await?;
    press(&browser, "n").await?;
    browser.click("#shortcuts-open").await?;
    ensure!(browser.run("return document.querySelector('#shortcuts-on').checked").await? == false);
    browser.click("#shortcuts-on").await?;
    browser.click("#shortcuts button").await?;
    press(&browser, "p").await?;
    browser
        .wait_until("the video before", async |b| {
            Ok(b.client.current_url().await?.path().ends_with(&other).then_some(()))
        })
        .await?;
    browser.wait_for(".trail .back", "lake (1 of 2)").await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn a_short_clip_has_pictures_on_its_strip_and_beside_its_moments() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    for (width, height) in [(1280, 900), (390, 844)] {
        let browser = Browser::start(Settings { width, height, ..Settings::default() }).await?;
        browser.open(&server.url(&format!("/videos/{id}"))).await?;
        let pictures = "[...document.querySelectorAll('.moments img')].length === 3 && \
                        [...document.querySelectorAll('.moments img')].every((img) => { img.scrollIntoView(); return img.complete && img.naturalWidth; })";
        browser.holds("pictures of the moments", pictures).await?;
        browser.run("scrollTo(0, 0)").await?;
        browser.holds("marks", "document.querySelectorAll('.marks span').length === 3").await?;
        ensure!(
            browser.run("return document.querySelectorAll('input[type=range]').length").await? == 1,
            "one strip"
        );
        let strip = browser
            .run("const r = document.querySelector('.scrub input').getBoundingClientRect(); return [r.x, r.y, r.width, r.height]")
            .await?;
        let at = |n: usize| strip[n].as_f64().unwrap_or_default();
        let params = json!({"type": "mouseMoved", "x": at(0) + at(2) * 3.1 / 6.0, "y": at(1) + at(3) / 2.0});
        browser.devtools("Input.dispatchMouseEvent", params).await?;
        browser.wait_for(".peek .at", "He jumps").await?;
        // 12 pictures of half a second: 3.1 s is nearest to the seventh.
        let cell = "return document.querySelector('.peek .picture').style.backgroundPositionX";
        ensure!(browser.run(cell).await? == "-1920px", "{}", browser.run(cell).await?);
        reach(&browser, ".moments li:nth-child(2) [data-seek]").await?;
        let there = "Math.abs(document.querySelector('#player').currentTime - 2.5) < 0.1";
        browser.holds("player at the moment", there).await?;
        browser.assert_no_sideways_scroll().await?;
        browser.assert_console_is_clean(&[]).await?;
        browser.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn neighbours_are_those_of_the_list_that_one_came_from() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let mut ids = Vec::new();
    for (seed, taken, tags) in [
        (111, "2019-06-01", vec!["lake"]),
        (112, "2019-06-02T09:00:00", vec!["garden"]),
        (113, "2019-06-02T10:00:00", vec!["lake"]),
        (114, "2019-06-03", vec!["lake"]),
    ] {
        let id = server.upload(&clips::simple(seed)?.file).await?;
        change(&server, &id, json!({"taken": taken, "tags": tags, "place": "Riva"})).await?;
        ids.push(id);
    }
    let browser = Browser::start(Settings::default()).await?;
    let query = "q%3Driva%26tag%3Dlake";
    for (origin, back, url, previous, next) in [
        ("tag%3Alake", "lake (2 of 3)", "lake", Some(0), Some(3)),
        ("day%3A2019-06-02", "2 Jun 2019 (1 of 2)", "from=2019-06-02", None, Some(1)),
        ("day%3A1999-01-01", "All videos", "/", Some(3), Some(1)),
        ("tag%3A", "All videos", "/", Some(3), Some(1)),
        ("search%3A%00", "All videos", "/", Some(3), Some(1)),
    ] {
        browser.open(&server.url(&format!("/videos/{}?in={origin}", ids[2]))).await?;
        browser.wait_for(".trail .back", back).await?;
        let link = browser.run("return document.querySelector('.trail .back').getAttribute('href')").await?;
        ensure!(link.as_str().is_some_and(|link| link.contains(url)), "{origin}: {link}");
        for (rel, expected) in [("prev", previous), ("next", next)] {
            let script = format!("return document.querySelector('.trail [rel={rel}]')?.pathname ?? null");
            let path = browser.run(&script).await?;
            let expected = expected.map(|at: usize| format!("/videos/{}", ids[at]));
            ensure!(path.as_str() == expected.as_deref(), "{origin}: {rel} is {path}, not {expected:?}");
        }
    }
    // In a search, the order is that of the results.
    let results = server.json("/api/search?q=riva&tag=lake").await?;
    let found: Vec<&str> =
        results["videos"].as_array().context("a list")?.iter().filter_map(|v| v["id"].as_str()).collect();
    ensure!(found.len() == 3, "{results}");
    browser.open(&server.url(&format!("/videos/{}?in=search%3A{}", found[0], query))).await?;
    browser.wait_for(".trail .back", "Search: riva (1 of 3)").await?;
    browser.click(".trail .next").await?;
    browser.wait_for(".trail .back", "Search: riva (2 of 3)").await?;
    ensure!(browser.client.current_url().await?.path().ends_with(found[1]));
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn the_moment_and_the_picture_that_are_shown_are_saved() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    browser.holds("metadata", "document.querySelector('#player').readyState >= 1").await?;
    browser.run("document.querySelector('#player').currentTime = 3").await?;
    browser.click("#downloads summary").await?;
    browser.holds("link to the moment", "!document.querySelector('#save-moment').hidden").await?;
    let links = browser
        .run("return ['#save-moment', '#save-picture'].map((id) => document.querySelector(id).href)")
        .await?;
    let moment = links[0].as_str().context("a link")?;
    ensure!(moment.contains("/clip.mp4?start=2.500&end=3.700"), "{moment}");
    let file = server.client().get(moment).send().await?.error_for_status()?;
    ensure!(file.headers()["homereel-clip"] == "copied");
    let saved = tempfile::Builder::new().suffix(".mp4").tempfile()?;
    std::fs::write(saved.path(), file.bytes().await?)?;
    let probe = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"])
        .arg(saved.path())
        .output()?;
    let seconds: f64 = String::from_utf8(probe.stdout)?.trim().parse()?;
    ensure!((seconds - 1.2).abs() < 0.08, "the moment has {seconds} s");
    let picture =
        server.client().get(links[1].as_str().context("a link")?).send().await?.error_for_status()?;
    ensure!(picture.headers()["homereel-frame-time"] == "3.000", "{:?}", picture.headers());
    ensure!(picture.headers()["content-disposition"].to_str()?.contains("Lake 2019-06-02 0.03.0.jpg"));
    // Between two moments there is none to save.
    browser.run("document.querySelector('#player').currentTime = 2").await?;
    browser.click("#downloads summary").await?;
    browser.click("#downloads summary").await?;
    browser.holds("no link", "document.querySelector('#save-moment').hidden").await?;
    browser.close().await
}

#[tokio::test]
async fn answers_are_suggested_asked_again_and_deleted() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    // The demo model is offered the one question that it can answer.
    ensure!(browser.run("return document.querySelectorAll('#suggestions button').length").await? == 1);
    browser.click("#suggestions button").await?;
    browser.wait_for("#answers .answer .question", "What color is the object?").await?;
    browser.wait_for("#answers .answer .made", "Written by AI").await?;
    ensure!(
        browser.run("return document.querySelector('#answers details').open").await? == false,
        "timings are open"
    );
    browser.click("#answers [data-ask] button").await?;
    browser.holds("second answer", "document.querySelectorAll('#answers .answer').length === 2").await?;
    for left in [1, 0] {
        browser.click("#answers form[action$='/delete'] button").await?;
        browser.client.accept_alert().await?;
        let gone = format!("document.querySelectorAll('#answers .answer').length === {left}");
        browser.holds("one answer less", &gone).await?;
        browser.wait_for("#toast", "Answer deleted").await?;
    }
    ensure!(server.json(&format!("/api/videos/{id}")).await?["answers"] == json!([]));
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn the_page_works_without_javascript() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = lake(&server).await?;
    for (width, height) in [(1280, 900), (390, 844)] {
        change(&server, &id, json!({"favourite": false})).await?;
        let settings = Settings { javascript: false, width, height, ..Settings::default() };
        let browser = Browser::start(settings).await?;
        browser.open(&server.url(&format!("/videos/{id}"))).await?;
        browser.click("#favourite button").await?;
        browser.wait_for("#favourite button[aria-pressed=true]", "Favourite").await?;
        reach(&browser, "#albums summary").await?;
        browser.type_into("#album", &format!("Album {width}")).await?;
        browser.click("#new-album button").await?;
        browser.wait_for("#name", "Lake").await?;
        reach(&browser, "#edit-open").await?;
        browser.wait_for("h1", "Edit video").await?;
        browser.type_into("#edit-place", &format!(" {width}")).await?;
        // The empty row for a new moment.
        for (field, text) in [("start", "5.6"), ("end", "5.8"), ("text", "The end")] {
            browser
                .type_into(&format!(".edit-moments li:nth-last-child(2) [name=moment-{field}]"), text)
                .await?;
        }
        reach(&browser, "#edit-form button[type=submit]").await?;
        browser.wait_for("#when", &width.to_string()).await?;
        browser.wait_for("#moments", "The end").await?;
        // An invalid time keeps what was entered.
        browser.open(&server.url(&format!("/videos/{id}/edit"))).await?;
        browser.type_into(".edit-moments li:nth-child(1) [name=moment-start]", "x").await?;
        browser.type_into("#edit-tags", ", kept").await?;
        reach(&browser, "#edit-form button[type=submit]").await?;
        browser.wait_for("#edit-problem", "would fit").await?;
        ensure!(browser.client.source().await?.contains(", kept"), "the form lost what was entered");
        browser.assert_no_sideways_scroll().await?;
        browser.close().await?;
        change(&server, &id, json!({"moments": [{"start": 0.5, "end": 1.5, "text": "Ben runs"}]})).await?;
    }
    Ok(())
}
