//! The pages under a finger: a phone without a mouse and without hovering.

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};

const WIDTH: u32 = 390;
const HEIGHT: u32 = 844;

/// Taps the middle of the first element of `css` with a finger, after it was scrolled into view.
async fn tap(browser: &Browser, css: &str) -> anyhow::Result<()> {
    tap_at(browser, css, 0.5).await
}

/// Taps the first element of `css` with a finger, at a share of its width.
async fn tap_at(browser: &Browser, css: &str, share: f64) -> anyhow::Result<()> {
    // What covers the element, such as a bar at the edge of the window, would get the tap: only the element itself will do.
    let script = "const [css, share] = arguments, element = document.querySelector(css); if (!element) return null; \
                  element.scrollIntoView({ block: 'center', behavior: 'instant' }); \
                  const box = element.getBoundingClientRect(); \
                  const x = box.x + box.width * share, y = box.y + box.height / 2, hit = document.elementFromPoint(x, y); \
                  return element.contains(hit) || hit?.contains(element) || hit?.closest('label')?.control === element ? [x, y] : null;";
    let place = browser
        .wait_until(&format!("place to tap on {css}"), async |browser| {
            let place = browser.client.execute(script, vec![json!(css), json!(share)]).await?;
            Ok(Some(place).filter(Value::is_array))
        })
        .await?;
    let finger = json!([{"x": place[0], "y": place[1]}]);
    browser
        .devtools("Input.dispatchTouchEvent", json!({"type": "touchStart", "touchPoints": finger}))
        .await?;
    browser.devtools("Input.dispatchTouchEvent", json!({"type": "touchEnd", "touchPoints": []})).await?;
    Ok(())
}

/// Makes the browser behave as a phone from now on: with touch, and without a mouse.
async fn be_a_phone(browser: &Browser) -> anyhow::Result<()> {
    let size = json!({"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": true});
    browser.devtools("Emulation.setDeviceMetricsOverride", size).await?;
    browser
        .devtools("Emulation.setTouchEmulationEnabled", json!({"enabled": true, "maxTouchPoints": 5}))
        .await?;
    Ok(())
}

/// A server with two described videos that have moments, and a browser that behaves as a phone.
async fn phone() -> anyhow::Result<(Server, Browser, Vec<String>)> {
    let server = Server::start().await?;
    let mut ids = Vec::new();
    for seed in [80, 81] {
        let id = server.upload(&clips::simple(seed)?.file).await?;
        server.described(&id).await?;
        ids.push(id);
    }
    let browser = Browser::start(Settings::default()).await?;
    be_a_phone(&browser).await?;
    Ok((server, browser, ids))
}

#[tokio::test]
async fn a_video_is_watched_starred_and_filed_by_touch() -> anyhow::Result<()> {
    let (server, browser, ids) = phone().await?;
    browser.open(&server.url("/")).await?;
    tap(&browser, &format!("#video-{} .card-link", ids[0])).await?;
    browser.wait_for("#favourite button", "Favourite").await?;
    browser
        .run("const p = document.querySelector('#player'); p.muted = true; p.play(); window.player = p")
        .await?;
    browser.holds("playing video", "window.player.currentTime > 0").await?;
    browser.run("window.player.pause()").await?;

    tap(&browser, "#favourite button").await?;
    browser.wait_for("#favourite button[aria-pressed=true]", "Favourite").await?;
    browser.wait_for("#toast", "Added to favourites").await?;
    tap(&browser, "#toast button").await?;
    browser.wait_for("#favourite button[aria-pressed=false]", "Favourite").await?;

    tap(&browser, "#albums summary").await?;
    tap(&browser, "#album").await?;
    browser.holds("focus on the name", "document.activeElement.id === 'album'").await?;
    browser.type_into("#album", "Summer").await?;
    tap(&browser, "#new-album button").await?;
    browser.wait_for("#album-choices [aria-pressed=true]", "Summer").await?;
    // A tap beside an open menu closes it.
    tap(&browser, "h1").await?;
    browser.holds("closed menu", "!document.querySelector('#albums').open").await?;

    // The strip under the player, and the moments, move the player.
    tap_at(&browser, ".scrub input", 0.75).await?;
    browser.holds("later picture", "window.player.currentTime > window.player.duration / 2").await?;
    tap(&browser, ".moments a[data-seek]").await?;
    let first = "Math.abs(window.player.currentTime - Number(document.querySelector('.moments a[data-seek]').dataset.seek)) < 0.1";
    browser.holds("the first moment", first).await?;
    ensure!(browser.run("return window.player.isConnected").await? == true, "the player was replaced");

    tap(&browser, "#edit-open").await?;
    browser.wait_for("#edit-dialog h2", "Edit video").await?;
    tap(&browser, "#edit-place").await?;
    browser.type_into("#edit-place", "Riva").await?;
    tap(&browser, "#edit-dialog button[type=submit]").await?;
    browser.wait_for("#when", "Riva").await?;
    browser.assert_no_sideways_scroll().await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn videos_are_selected_by_touch() -> anyhow::Result<()> {
    let (server, browser, ids) = phone().await?;
    browser.open(&server.url("/")).await?;
    tap(&browser, ".selecting").await?;
    // Now a tap on a card selects it, instead of opening it.
    for id in &ids {
        tap(&browser, &format!("#video-{id} .card-link")).await?;
    }
    browser.wait_for("#batch-count", "2 selected").await?;
    ensure!(browser.client.current_url().await?.path() == "/", "a tap opened a video");
    tap(&browser, ".batch button[value=favourite]").await?;
    browser.wait_for("#toast", "2 videos").await?;
    let videos = server.json("/api/videos?favourite=1").await?;
    ensure!(videos["total"] == 2, "{videos}");
    browser.holds("nothing is selected", "!document.querySelector('.choose:checked')").await?;
    browser.assert_no_sideways_scroll().await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

/// What cannot be hovered over must be tapped: every control of a page is large enough for a finger, or stands in a text.
#[tokio::test]
async fn what_is_tapped_is_large_enough_and_nothing_covers_it() -> anyhow::Result<()> {
    let (server, browser, ids) = phone().await?;
    let album = json!({"name": "Summer", "videos": ids});
    let created = server.client().post(server.url("/api/albums")).json(&album).send().await?;
    let created: Value = created.error_for_status()?.json().await?;
    let album = created["id"].as_str().context("an id")?;
    let small = "const text = (e) => e.closest('p:not(.row), li, dd, td, summary, .made') && getComputedStyle(e).display === 'inline'; \
                 return [...document.querySelectorAll('main a[href], main button, main input:not([type=hidden]), main select, main summary, header a[href], header button')] \
                   .filter((e) => e.checkVisibility() && !e.closest('.visually-hidden') && !e.classList.contains('visually-hidden') && !text(e)) \
                   .map((e) => [e.outerHTML.slice(0, 120), e.getBoundingClientRect()]) \
                   .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24)) \
                   .map(([html, box]) => `${Math.round(box.width)} x ${Math.round(box.height)}: ${html}`)";
    for path in [
        "/",
        "/albums",
        &format!("/albums/{album}"),
        &format!("/albums/{album}/arrange"),
        &format!("/videos/{}", ids[0]),
        &format!("/videos/{}/edit", ids[0]),
        "/add",
        "/search?q=a",
        "/ask",
        "/jobs",
        "/trash",
        "/system",
        "/household",
    ] {
        browser.open(&server.url(path)).await?;
        be_a_phone(&browser).await?;
        let small = browser.run(small).await?;
        ensure!(small == json!([]), "controls of {path} are smaller than 24 px: {small:#}");
        browser.assert_no_sideways_scroll().await.with_context(|| path.to_owned())?;
    }
    browser.close().await
}
