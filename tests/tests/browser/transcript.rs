//! What is said, on the pages: captions in the player, lines that follow it, seek and are corrected, and a search that lands where
//! it is said.

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use serde_json::{Value, json};

use crate::accessibility::named_by;
use crate::driver::{Browser, Settings};
use crate::speech_stub::StubSpeech;

/// More words than lines of a clip.
const WORDS: [&str; 26] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo",
    "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor",
    "whiskey", "xray", "yankee", "zulu",
];

/// A clip of two minutes in which somebody speaks every six seconds.
fn spoken() -> anyhow::Result<std::path::PathBuf> {
    let sound = "flite=text='Look at the little green frog, it jumps into the pond behind our house.':voice=slt,\
                 apad=whole_dur=6,aloop=loop=19:size=96000";
    let pictures = "testsrc=size=320x240:rate=5:duration=120";
    let inputs = ["-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound];
    let codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart"];
    clips::ffmpeg("two minutes.mp4", &[&inputs[..], &codecs[..]].concat())
}

/// Waits until the player is at `second`, within one.
async fn player_at(browser: &Browser, second: f64) -> anyhow::Result<()> {
    let now = "const player = document.querySelector('#player'); \
               return player && player.readyState >= 1 && !player.seeking ? player.currentTime : null";
    browser
        .wait_until(&format!("player at {second}"), async |b| {
            Ok(b.run(now).await?.as_f64().filter(|time| (time - second).abs() <= 1.0))
        })
        .await?;
    Ok(())
}

async fn seek(browser: &Browser, second: f64) -> anyhow::Result<()> {
    browser
        .client
        .execute("document.querySelector('#player').currentTime = arguments[0]", vec![json!(second)])
        .await?;
    player_at(browser, second).await
}

/// Waits until the line of a word is the current one.
async fn current(browser: &Browser, word: &str) -> anyhow::Result<()> {
    browser.wait_for(".lines [aria-current=true]", word).await?;
    Ok(())
}

/// Where the list of lines is scrolled to, and the window.
async fn scrolled(browser: &Browser) -> anyhow::Result<(f64, f64)> {
    let places = browser.run("return [document.querySelector('.lines').scrollTop, scrollY]").await?;
    Ok((places[0].as_f64().context("a place")?, places[1].as_f64().context("a place")?))
}

#[tokio::test]
async fn captions_show_and_lines_follow_seek_and_are_corrected() -> anyhow::Result<()> {
    let stub = StubSpeech::start().await?;
    stub.inner().words = WORDS.to_vec();
    let server = Server::start_with(&["--speech-url", &stub.url, "--speech-url-model", "stub"]).await?;
    let browser = Browser::start(Settings::default()).await?;
    let id = server.upload(&spoken()?).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    // The page follows the transcription without a reload.
    browser.wait_for("#transcript .made", "Transcribed by AI (stub)").await?;
    browser
        .wait_until("complete transcript", async |_| {
            let found = server.json(&format!("/api/videos/{id}/transcript.json")).await?;
            Ok((found["state"] == "done").then_some(()))
        })
        .await?;
    let transcript = server.json(&format!("/api/videos/{id}/transcript.json")).await?;
    let lines = transcript["lines"].as_array().context("lines")?.clone();
    ensure!(lines.len() > 12, "{transcript}");
    let start = |at: usize| lines[at]["start"].as_f64().context("a start");
    let word = |at: usize| {
        let text = lines[at]["text"].as_str().unwrap_or_default();
        text.split(' ').nth(3).unwrap_or_default().to_owned()
    };
    let shown = format!("return document.querySelectorAll('.lines li').length === {} || null", lines.len());
    browser.wait_until("all lines", async |b| Ok(b.run(&shown).await?.as_bool())).await?;

    let captions = format!(
        "const track = [...document.querySelector('#player').textTracks].find((t) => t.label === 'What is said'); \
         if (!track) return null; track.mode = 'showing'; return track.cues?.length === {} || null",
        lines.len()
    );
    browser.wait_until("captions", async |b| Ok(b.run(&captions).await?.as_bool())).await?;
    seek(&browser, start(2)? + 1.0).await?;
    let active = "return [...document.querySelector('#player').textTracks].find((t) => t.mode === 'showing').activeCues[0]?.text";
    let caption =
        browser.wait_until("caption", async |b| Ok(b.run(active).await?.as_str().map(str::to_owned))).await?;
    ensure!(caption.contains(&word(2)), "{caption:?} is shown at {}", start(2)?);

    current(&browser, &word(2)).await?;
    let before = scrolled(&browser).await?;
    seek(&browser, start(lines.len() - 1)? + 1.0).await?;
    current(&browser, &word(lines.len() - 1)).await?;
    let after = scrolled(&browser).await?;
    ensure!(after.0 > before.0 && after.1 == before.1, "only the list scrolls: {before:?} {after:?}");

    // A person who scrolls reads on their own, until they follow again.
    let scroll = "const list = document.querySelector('.lines'); list.scrollTop = 0; \
                  list.dispatchEvent(new WheelEvent('wheel', { bubbles: true, deltaY: -500 }));";
    browser.run(scroll).await?;
    browser.wait_for("#follow[aria-pressed=false]", "Follow").await?;
    seek(&browser, start(lines.len() - 2)? + 1.0).await?;
    current(&browser, &word(lines.len() - 2)).await?;
    ensure!(scrolled(&browser).await?.0 == 0.0, "the list scrolled by itself");
    browser.click("#follow").await?;
    browser.wait_until("list at the line", async |b| Ok((scrolled(b).await?.0 > 0.0).then_some(()))).await?;

    browser.click("#line-1 [data-seek]").await?;
    player_at(&browser, start(1)?).await?;
    current(&browser, &word(1)).await?;
    if let Some(axe) = named_by("HOMEREEL_AXE")? {
        browser.assert_accessible(&axe).await?;
    }

    browser.type_into("#said-words", &word(5)).await?;
    browser.click("#find-line button").await?;
    browser.wait_for(".lines li:only-child", &word(5)).await?;
    browser.click(".lines .fix").await?;
    browser.wait_for("#edit-line label", "Correct the line").await?;
    let field = browser.client.find(fantoccini::Locator::Css("#line-text")).await?;
    field.clear().await?;
    field.send_keys("Now we say <b>pomegranate</b>.").await?;
    browser.click("#edit-line button").await?;
    browser.wait_for("#line-5", "<b>pomegranate</b>").await?;
    browser.assert_console_is_clean(&[]).await?;

    // What is said is found, and the page opens there.
    for (query, at) in [(word(9), 9), ("pomegranate".to_owned(), 5)] {
        browser.open(&server.url(&format!("/search?q={query}"))).await?;
        browser.click("#found .places a[href*='?t=']").await?;
        player_at(&browser, start(at)?).await?;
        browser.wait_for(&format!("#line-{at}"), "Now we say").await?;
    }
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn everything_about_speech_works_without_javascript_and_nothing_of_it_is_there_when_it_is_off()
-> anyhow::Result<()> {
    let stub = StubSpeech::start().await?;
    stub.inner().words = WORDS.to_vec();
    let server = Server::start_with(&["--speech-url", &stub.url, "--speech-url-model", "stub"]).await?;
    let browser = Browser::start(Settings { javascript: false, ..Settings::default() }).await?;
    let id = server.upload(&spoken()?).await?;
    browser
        .wait_until("transcript", async |_| {
            let response = server.get(&format!("/api/videos/{id}/transcript.json")).await?;
            if response.status() != 200 {
                return Ok(None);
            }
            Ok((response.json::<Value>().await?["state"] == "done").then_some(()))
        })
        .await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    browser.wait_for("#line-0", "Now we say alpha").await?;
    browser.type_into("#said-words", "delta").await?;
    browser.click("#find-line button").await?;
    browser.wait_for(".lines li:only-child", "delta").await?;
    browser.click(".lines .fix").await?;
    let field = browser.client.find(fantoccini::Locator::Css("#line-text")).await?;
    field.clear().await?;
    field.send_keys("A papaya.").await?;
    browser.click("#edit-line button").await?;
    browser.wait_for("#line-3", "A papaya.").await?;

    let off = Server::start().await?;
    let id = off.upload(&clips::simple(70)?.file).await?;
    browser.open(&off.url(&format!("/videos/{id}"))).await?;
    browser.wait_for("#name", "").await?;
    let source = browser.client.source().await?;
    ensure!(!source.contains("What is said") && !source.contains("transcript."), "{source}");
    browser.close().await
}
