//! Albums as a person watches them: all of one in a row, from one video to the next and back, and without scripts.

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use serde_json::json;

use crate::driver::{Browser, Settings};

/// A server with three described videos in an album, from 2019 to 2021; returns the ids, the album's last.
async fn holiday() -> anyhow::Result<(Server, Vec<String>, String)> {
    let server = Server::start().await?;
    let mut ids = Vec::new();
    for (seed, year) in (70_u64..).zip([2019, 2020, 2021]) {
        let id = server.upload(&clips::simple(seed)?.file).await?;
        let edit = json!({"taken": format!("{year}-07-14"), "name": format!("Day of {year}")});
        let patch = server.client().patch(server.url(&format!("/api/videos/{id}"))).json(&edit);
        patch.send().await?.error_for_status()?;
        ids.push(id);
    }
    for id in &ids {
        server.described(id).await?;
    }
    // A video that is not in the album lies between its videos.
    let other = server.upload(&clips::simple(73)?.file).await?;
    let edit = json!({"taken": "2020-08-01", "name": "Another day"});
    let patch = server.client().patch(server.url(&format!("/api/videos/{other}"))).json(&edit);
    patch.send().await?.error_for_status()?;
    let album = json!({"name": "Holidays", "videos": ids});
    let created = server.client().post(server.url("/api/albums")).json(&album).send().await?;
    let created: serde_json::Value = created.error_for_status()?.json().await?;
    let album = created["id"].as_str().context("an id")?.to_owned();
    Ok((server, ids, album))
}

#[tokio::test]
async fn an_album_is_played_from_its_first_video_to_its_last() -> anyhow::Result<()> {
    let (server, _, album) = holiday().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/albums/{album}"))).await?;
    browser.click(".list-head a[href*='play=all']").await?;
    let first = browser.wait_for("#name", "Day of").await?;
    ensure!(first != "Day of 2020", "an album begins at one of its ends");
    let last = if first == "Day of 2019" { "Day of 2021" } else { "Day of 2019" };
    for name in ["Day of 2020", last] {
        // Plays, and goes on to the next video when it ends.
        let plays =
            "const p = document.querySelector('#player'); return (p && !p.paused && p.duration > 0) || null";
        browser.wait_until("playing video", async |b| Ok(b.run(plays).await?.as_bool())).await?;
        browser
            .run("const p = document.querySelector('#player'); p.muted = true; p.currentTime = p.duration - 0.05")
            .await?;
        browser.wait_for("#name", name).await?;
    }
    ensure!(browser.text(".trail .next").await?.is_none(), "the last video of the album has no next one");
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

/// Another page would end the full screen.
#[tokio::test]
async fn an_album_goes_on_in_full_screen() -> anyhow::Result<()> {
    let (server, ids, album) = holiday().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{}?in=album%3A{album}&play=all", ids[1]))).await?;
    let next = browser.run("return document.querySelector('.trail .next').pathname").await?;
    let next = next.as_str().context("the middle one has a next one")?.to_owned();
    let ready = "const p = document.querySelector('#player'); p.muted = true; return p.duration > 0 || null";
    browser.wait_until("metadata", async |b| Ok(b.run(ready).await?.as_bool())).await?;
    browser.client.active_element().await?.send_keys("f").await?;
    let fills = "return document.fullscreenElement?.id === 'player' || null";
    browser.wait_until("full screen", async |b| Ok(b.run(fills).await?.as_bool())).await?;
    browser
        .run("const p = document.querySelector('#player'); p.play(); p.currentTime = p.duration - 0.05")
        .await?;
    let plays = format!(
        "const p = document.querySelector('#player'); return (document.fullscreenElement === p \
         && p.src.includes('{next}') && !p.paused && p.currentTime > 0) || null"
    );
    browser
        .wait_until("the next video, in full screen", async |b| Ok(b.run(&plays).await?.as_bool()))
        .await?;
    // Its page is shown afterwards.
    browser.run("document.exitFullscreen()").await?;
    browser
        .wait_until("the page of the next video", async |b| {
            Ok((b.client.current_url().await?.path() == next).then_some(()))
        })
        .await?;
    browser.wait_for(".trail .back", "Holidays").await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn within_an_album_the_next_video_is_that_of_the_album() -> anyhow::Result<()> {
    let (server, ids, album) = holiday().await?;
    for (width, height) in [(1280, 900), (390, 844)] {
        let browser = Browser::start(Settings { width, height, ..Settings::default() }).await?;
        browser.open(&server.url(&format!("/albums/{album}"))).await?;
        browser.click(&format!("#video-{} .card-link", ids[1])).await?;
        browser.wait_for("#name", "Day of 2020").await?;
        browser.wait_for(".trail .back", "Holidays").await?;
        browser.wait_for(".trail .back", "2 of 3").await?;
        let mut names = Vec::new();
        for step in ["next", "previous", "previous", "next"] {
            browser.click(&format!(".trail .{step}")).await?;
            browser
                .wait_until("another video", async |b| {
                    let name = b.text("#name").await?;
                    Ok(name.filter(|name| names.last().map_or("Day of 2020", String::as_str) != name))
                })
                .await
                .map(|name| names.push(name))?;
        }
        let ends = [names[0].as_str(), names[2].as_str()];
        ensure!(ends.contains(&"Day of 2019") && ends.contains(&"Day of 2021"), "{names:?}");
        ensure!(names[1] == "Day of 2020" && names[3] == "Day of 2020", "{names:?}");
        browser.click(".trail .back").await?;
        browser.wait_for("h1#name", "Holidays").await?;
        browser.assert_console_is_clean(&[]).await?;
        browser.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_scripts_a_video_keeps_its_place_in_the_album() -> anyhow::Result<()> {
    let (server, ids, album) = holiday().await?;
    let browser = Browser::start(Settings { javascript: false, ..Settings::default() }).await?;
    browser.open(&server.url(&format!("/albums/{album}"))).await?;
    browser.click(&format!("#video-{} .card-link", ids[1])).await?;
    browser.wait_for(".trail .back", "Holidays").await?;
    browser.click("#favourite button").await?;
    browser.wait_for("#favourite button[aria-pressed=true]", "Favourite").await?;
    browser.wait_for(".trail .back", "Holidays").await?;
    browser.click(".moments a[data-seek]").await?;
    browser.wait_for(".trail .back", "Holidays").await?;
    browser.click("#edit-open").await?;
    browser.type_into("#edit-place", "Riva").await?;
    browser.click("#edit-form button[type=submit]").await?;
    browser.wait_for("#when", "Riva").await?;
    browser.wait_for(".trail .back", "Holidays").await?;
    browser.click(".trail .next").await?;
    browser.wait_for(".trail .back", "Holidays").await?;
    browser.close().await
}
