//! The library as a person uses it: by month, with the year rail and filters, several videos selected, albums, and new videos that
//! come while one looks.

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};
use crate::journeys::read;

/// A server with three videos of 2019 and 1963; returns their ids, the newest first.
async fn filled() -> anyhow::Result<(Server, Vec<String>)> {
    let server = Server::start().await?;
    let mut ids = Vec::new();
    for (seed, taken) in [(60, "2019-07-14"), (61, "2019-07-02"), (62, "1963-08-28")] {
        let id = server.upload(&clips::simple(seed)?.file).await?;
        let edit = json!({"taken": taken, "name": format!("Clip {seed}")});
        let patch = server.client().patch(server.url(&format!("/api/videos/{id}"))).json(&edit);
        patch.send().await?.error_for_status()?;
        ids.push(id);
    }
    for id in &ids {
        server.described(id).await?;
    }
    Ok((server, ids))
}

/// Distance of the first card from the header's lower edge, in pixels.
const FIRST_CARD: &str = "return document.querySelector('#videos .card').getBoundingClientRect().top - \
                          document.querySelector('#header').getBoundingClientRect().bottom";

/// Names of the cards that are shown.
async fn names(browser: &Browser) -> anyhow::Result<Value> {
    browser.run("return [...document.querySelectorAll('#videos .name')].map((name) => name.innerText)").await
}

/// What a first visit to a full page of the library may cost.
const REQUESTS: usize = 40;
const BYTES: u64 = 300_000;

#[tokio::test]
async fn a_full_page_is_light_and_shows_its_pictures_as_they_come_near() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let mut ids = Vec::new();
    for number in 0..50 {
        let source = format!("mandelbrot=size=480x270:rate=5:start_scale={}", 0.02 * f64::from(number + 1));
        let arguments = ["-f", "lavfi", "-i", &source, "-t", "1", "-pix_fmt", "yuv420p"];
        ids.push(server.upload(&clips::ffmpeg("fractal.mp4", &arguments)?).await?);
    }
    // To the end of all jobs: another change would refresh the page, which is a request more.
    for id in &ids {
        read(&server, id).await?;
    }
    for width in [1280, 390] {
        let browser = Browser::start(Settings { width, ..Settings::default() }).await?;
        browser.show_as(width, 860, false).await?;
        browser.open(&server.url("/")).await?;
        let seen = "[...document.querySelectorAll('#videos .card')].filter((card) => \
                    card.getBoundingClientRect().top < innerHeight).map((card) => card.querySelector('.poster'))";
        let loaded = "(i) => i.checkVisibility() && i.complete && i.naturalWidth";
        browser.holds("pictures in sight", &format!("{seen}.length > 5 && {seen}.every({loaded})")).await?;
        let traffic = browser.traffic().await?;
        let bytes: u64 = traffic.iter().map(|(_, bytes)| bytes).sum();
        println!("{width} px: {} requests, {bytes} bytes", traffic.len());
        ensure!(traffic.len() > 20, "the browser counted nothing: {traffic:?}");
        ensure!(
            traffic.len() <= REQUESTS && bytes <= BYTES,
            "{} requests, {bytes} bytes: {traffic:#?}",
            traffic.len()
        );
        for at in [24, 47] {
            let card = format!("document.querySelectorAll('#videos .card')[{at}]");
            browser.run(&format!("{card}.scrollIntoView()")).await?;
            browser
                .holds(
                    "picture that came near",
                    &format!("[{card}.querySelector('.poster')].every({loaded})"),
                )
                .await?;
        }
        browser.assert_console_is_clean(&[]).await?;
        browser.close().await?;
    }
    // Without scripts, nothing waits for one.
    let plain = Browser::start(Settings { javascript: false, ..Settings::default() }).await?;
    plain.open(&server.url("/")).await?;
    let hidden =
        "return [...document.querySelectorAll('#videos .poster')].filter((i) => !i.checkVisibility()).length";
    ensure!(plain.run(hidden).await? == json!(0), "pictures are hidden");
    plain.close().await
}

#[tokio::test]
async fn the_library_is_by_month_with_a_rail_of_years() -> anyhow::Result<()> {
    let (server, _) = filled().await?;
    for width in [1280, 390] {
        let browser = Browser::start(Settings::default()).await?;
        browser.show_as(width, 900, false).await?;
        browser.open(&server.url("/")).await?;
        browser.wait_for("#videos .group-head", "July 2019").await?;
        let top = browser.run(FIRST_CARD).await?.as_f64().context("a distance")?;
        ensure!((0.0..=200.0).contains(&top), "the first card is {top} px below the header at {width} px");
        let columns = "return getComputedStyle(document.querySelector('#videos')).gridTemplateColumns.split(' ').length";
        let columns = browser.run(columns).await?.as_u64().context("a number")?;
        ensure!(if width == 390 { columns == 2 } else { columns > 3 }, "{columns} columns at {width} px");
        browser.click(".rail a[href='/?when=1963']").await?;
        browser.wait_for("#videos .group-head", "August 1963").await?;
        ensure!(names(&browser).await? == json!(["Clip 62"]));
        browser.wait_for(".rail .month", "August").await?;
        browser.assert_no_sideways_scroll().await?;
        browser.assert_console_is_clean(&[]).await?;
        browser.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn several_videos_go_into_a_new_album_and_come_out_again() -> anyhow::Result<()> {
    let (server, ids) = filled().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/")).await?;
    let check = |id: &str| format!("document.querySelector('#video-{id} .choose').click();");
    browser.run(&format!("{}{}", check(&ids[0]), check(&ids[2]))).await?;
    browser.wait_for("#batch-count", "2 selected").await?;
    browser.click(".batch-album summary").await?;
    browser.type_into("#batch-new", "Summer").await?;
    browser.click("button[value=add_to_new_album]").await?;
    browser.wait_for("#toast", "Added 2 videos to the album").await?;
    let albums = server.json("/api/albums").await?;
    ensure!(albums["albums"][0]["videos"] == 2, "{albums}");
    browser.click("#toast button").await?;
    browser
        .wait_until("the album is empty again", async |_| {
            Ok((server.json("/api/albums").await?["albums"][0]["videos"] == 0).then_some(()))
        })
        .await?;

    // Favourites are marked where they are, and Escape ends the selection.
    browser.run(&check(&ids[1])).await?;
    browser.click(".batch button[value=favourite]").await?;
    browser
        .wait_until("a star", async |b| {
            let star = format!(
                "return !!document.querySelector('#video-{} .star-card[aria-pressed=true]') || null",
                ids[1]
            );
            Ok(b.run(&star).await?.as_bool())
        })
        .await?;
    browser.run(&check(&ids[1])).await?;
    browser.run("document.activeElement.blur(); document.querySelector('.choose:checked').focus();").await?;
    browser.run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))").await?;
    ensure!(browser.run("return document.querySelectorAll('.choose:checked').length").await? == 0);

    // Into the trash, and back by one press.
    browser.run(&check(&ids[0])).await?;
    browser.click(".batch-more summary").await?;
    browser.click(".batch button[value=trash]").await?;
    browser.wait_for("#toast", "Moved 1 video to the trash").await?;
    ensure!(browser.run("return document.querySelectorAll('#videos .card').length").await? == 2);
    browser.click("#toast button").await?;
    browser
        .wait_until("it is back", async |b| {
            let cards = b.run("return document.querySelectorAll('#videos .card').length").await?;
            Ok((cards == 3).then_some(()))
        })
        .await?;
    browser.wait_for("#toast", "Restored 1 video").await?;
    ensure!(browser.text("#new-videos:not([hidden])").await?.is_none(), "what came back is no new video");
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn a_star_is_pressed_on_the_card_and_filters_lead_to_a_video_and_back() -> anyhow::Result<()> {
    let (server, ids) = filled().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/")).await?;
    for id in &ids[1..] {
        browser.run(&format!("document.querySelector('#video-{id} .star-card').click()")).await?;
        browser
            .wait_until("a star", async |b| b.text(&format!("#video-{id} [aria-pressed=true]")).await)
            .await?;
    }
    ensure!(server.json("/api/videos?favourite=1").await?["total"] == 2);
    browser.open(&server.url("/?favourite=1")).await?;
    browser.wait_for(".chip.chosen", "Favourites").await?;
    ensure!(names(&browser).await? == json!(["Clip 61", "Clip 62"]));
    // Within the favourites, the next video is the next favourite.
    browser.click(&format!("#video-{} .card-link", ids[1])).await?;
    browser.wait_for(".trail .back", "Favourites").await?;
    ensure!(browser.text(".trail .previous").await?.is_none(), "Clip 60 is no favourite");
    browser.click(".trail .next").await?;
    browser.wait_for("#name", "Clip 62").await?;
    browser.click(".trail .back").await?;
    browser.wait_for("#count", "2 videos").await?;
    browser.click(".chip.chosen").await?;
    browser.wait_for("#count", "3 videos").await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn new_videos_do_not_move_what_the_reader_looks_at() -> anyhow::Result<()> {
    let (server, ids) = filled().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/")).await?;
    browser.run(&format!("document.querySelector('#video-{} .card-link').focus()", ids[2])).await?;
    server.upload(&clips::simple(63)?.file).await?;
    browser.wait_for("#new-videos", "1 new video").await?;
    ensure!(browser.run("return document.querySelectorAll('#videos .card').length").await? == 3);
    let focused = browser.run("return document.activeElement.getAttribute('href')").await?;
    ensure!(focused == json!(format!("/videos/{}", ids[2])), "the focus is on {focused}");
    browser.click("#new-videos button").await?;
    ensure!(browser.run("return document.querySelectorAll('#videos .card').length").await? == 4);
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}
