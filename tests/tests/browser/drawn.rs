//! Files drawn at random, from the upload to the browser: poster, scrub sprites, player and moments show the picture of their
//! time. `HOMEREEL_DRAWN_FILES=20` tests more of them than the usual ones.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_clips::recordings::{self, DrawnFile, Recording};
use homereel_tests::{PATIENCE, Server};
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};
use crate::reading_model::ReadingModel;

const USUAL_FILES: u64 = 4;

/// Seconds by which a time that the model is told may be off: it is written with one decimal.
const LABEL: f64 = 0.05;
/// Times of the pictures of which the poster is one.
const LOOKS: [f64; 6] = [0.0, 0.5, 1.5, 3.0, 6.0, 12.0];

/// Defines `read(drawable, x, y, width, height)`, which returns the number of a picture or `null`, as [`recordings::number_in`]
/// does.
const READ: &str = "
    const read = (drawable, x, y, width, height) => {
        const canvas = new OffscreenCanvas(64, 32), context = canvas.getContext('2d', { willReadFrequently: true });
        context.drawImage(drawable, x, y, width, height, 0, 0, 64, 32);
        let number = 0;
        for (let bit = 0; bit < 16; bit++) {
            const green = context.getImageData(bit % 8 * 8 + 4, Math.floor(bit / 8) * 16 + 8, 1, 1).data[1];
            if (green > 90 && green < 160) return null;
            if (green >= 160) number += 2 ** bit;
        }
        return number;
    };
    const picture = async (url) => { const image = new Image(); image.src = url; await image.decode(); return image; };";

#[tokio::test]
async fn poster_sprites_player_and_moments_show_the_pictures_of_their_times() -> anyhow::Result<()> {
    let files = std::env::var("HOMEREEL_DRAWN_FILES").map_or(Ok(USUAL_FILES), |files| files.parse())?;
    let dir = tempfile::tempdir()?;
    let model = ReadingModel::start().await?;
    model.hold.close();
    let server = Server::start_with(&["--engine", "vllm", "--vllm-url", &model.url]).await?;
    let browser = Browser::start(Settings::default()).await?;
    for seed in 0..files {
        // Other files than those of the tests of the video crate.
        let seed = 10_000 + seed;
        let file = match seed % 2 {
            0 => recordings::join(seed / 2, dir.path())?,
            _ => recordings::layout(seed, dir.path())?.file,
        };
        check(&server, &browser, &file).await.with_context(|| file.how.clone())?;
        std::fs::remove_file(&file.path)?;
    }
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

#[tokio::test]
async fn a_file_with_another_clock_is_not_played_before_its_rendition() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let model = ReadingModel::start().await?;
    let server = Server::start_with(&["--engine", "vllm", "--vllm-url", &model.url]).await?;
    let recording =
        Recording { first: 1, count: 60, rate: 20, start: 7.5, sound: true, options: "-c:v libx264".into() };
    let id = server.upload(&recording.write(dir.path(), "late.mkv")?).await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    browser.wait_for("#state", "Describing").await?;
    browser.wait_for("#player-box", "being prepared for playing").await?;
    ensure!(browser.run("return document.querySelector('#player')").await?.is_null(), "it plays");
    model.hold.close();
    wait_until_done(&server, &id).await?;
    // Without a reload.
    let player = "const player = document.querySelector('#player');";
    let source = browser
        .wait_until("a player", async |browser| {
            let source = browser.run(&format!("{player} return player && player.src")).await?;
            Ok(source.as_str().map(str::to_owned))
        })
        .await?;
    ensure!(source.ends_with("/playback.mp4"), "{source}");
    browser.wait_until("a slider", async |browser| browser.text(".scrub").await).await?;
    browser.assert_console_is_clean(&[]).await?;
    browser.close().await
}

/// Reads a time of WebVTT.
fn seconds(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |sum, part| Some(60.0 * sum + part.parse::<f64>().ok()?))
}

async fn check(server: &Server, browser: &Browser, file: &DrawnFile) -> anyhow::Result<()> {
    let id = server.upload(&file.path).await?;
    wait_until_done(server, &id).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    let found = browser.client.execute_async(&format!("{READ} {POSTER_AND_SPRITES}"), vec![]).await?;
    let poster: Vec<u32> = LOOKS.iter().flat_map(|time| around(file, *time)).collect();
    let shown = number(&found["poster"])?;
    ensure!(poster.contains(&shown), "the poster shows {shown}, not one of {poster:?}");
    let sprites = found["sprites"].as_array().context("sprites")?;
    let vtt = server.get(&format!("/api/videos/{id}/sprites.vtt")).await?.text().await?;
    let starts: Vec<f64> = vtt.lines().filter_map(|line| seconds(line.split_once(" --> ")?.0)).collect();
    ensure!(starts.len() == sprites.len(), "{} sprites, {} times", sprites.len(), starts.len());
    let apart = starts.get(1).copied().unwrap_or(10.0);
    ensure!((0.5..=10.0).contains(&apart), "sprites are {apart} s apart");
    // Sound may last a little longer.
    let most = ((end(file) + 0.2) / apart).ceil() as usize;
    ensure!(
        [most, ((end(file) / apart).ceil() as usize)].contains(&sprites.len()),
        "{} sprites",
        sprites.len()
    );
    for (at, (sprite, time)) in sprites.iter().zip(starts).enumerate() {
        let shown = number(sprite)?;
        let next = around(file, time);
        let near = file
            .pictures
            .iter()
            .any(|(number, of)| *number == shown && (of - time).abs() < apart / 4.0 + 0.001);
        ensure!(near || next.contains(&shown), "sprite {at} shows {shown}, where {next:?} are");
    }
    // The middle of some pictures' time, in no order, as people seek.
    let mut seeks: Vec<(f64, u32)> =
        (0..file.pictures.len()).step_by(7).map(|at| (middle(file, at), file.pictures[at].0)).collect();
    seeks.push((middle(file, file.pictures.len() - 1), file.pictures[file.pictures.len() - 1].0));
    let third = seeks.len() / 3;
    seeks.rotate_left(third);
    let moments = &server.json(&format!("/api/videos/{id}")).await?["moments"]["content"];
    let moments = moments
        .as_array()
        .filter(|moments| !moments.is_empty())
        .with_context(|| format!("moments: {moments}"))?;
    for moment in moments {
        let (start, text) =
            (moment["start"].as_f64().context("a start")?, moment["text"].as_str().context("a text")?);
        let number: u32 = text.parse().with_context(|| format!("the model saw {text:?}"))?;
        let (_, time) = file.pictures.iter().find(|(of, _)| *of == number).context("an unknown picture")?;
        ensure!((time - start).abs() < LABEL, "the model saw {number} at {start}, which is at {time}");
        // As the page does.
        let time = start + 0.001;
        let shown = file.pictures.iter().rfind(|(_, begins)| *begins <= time).context("a picture")?;
        seeks.push((time, shown.0));
    }
    for (time, expected) in seeks {
        let shown = browser
            .client
            .execute_async(&format!("{READ} {SEEK}"), vec![json!(time), json!(expected)])
            .await?;
        ensure!(shown.is_null(), "the player shows {shown}, where {expected} is at {time}");
    }
    Ok(())
}

const POSTER_AND_SPRITES: &str = "
    const done = arguments[0];
    (async () => {
        const poster = await picture(document.querySelector('#player').poster);
        const url = new URL(document.querySelector('#player-box').dataset.sprites, location);
        const track = await (await fetch(url)).text();
        const sprites = [];
        for (const [, sheet, place] of track.matchAll(/^(\\S+)#xywh=(\\S+)$/gm))
            sprites.push(read(await picture(new URL(sheet, url)), ...place.split(',').map(Number)));
        done({ poster: read(poster, 0, 0, poster.width, poster.height), sprites });
    })().catch((error) => done({ poster: String(error) }));";

/// Seeks and reads the picture. The player says that it has arrived before it shows the new picture, so the test looks again
/// until it is the expected one, or reports another one after 1000 looks (20 s; the driver's own limit is 30 s).
const SEEK: &str = "
    const [time, expected, done] = arguments, player = document.querySelector('#player');
    let looks = 0;
    const shown = () => {
        const number = read(player, 0, 0, player.videoWidth, player.videoHeight);
        if (number === expected) done(null);
        else if (++looks >= 1000) done(`${number} at ${player.currentTime}`);
        else setTimeout(shown, 20);
    };
    player.onerror = () => done(player.error.message);
    player.onseeked = shown;
    const seek = () => { player.currentTime = time; };
    if (player.readyState >= 2) seek(); else player.onloadeddata = seek;";

fn number(value: &Value) -> anyhow::Result<u32> {
    Ok(value.as_u64().with_context(|| format!("no number: {value}"))?.try_into()?)
}

/// Numbers of the first picture from `time` on and of the one before, which times that are rounded may mean; at the end of the
/// file, of the last ones.
fn around(file: &DrawnFile, time: f64) -> Vec<u32> {
    let next = file.pictures.partition_point(|(_, of)| *of < time).min(file.pictures.len() - 1);
    file.pictures[next.saturating_sub(1)..=next].iter().map(|(number, _)| *number).collect()
}

/// Time in the middle of picture `at`; the last one is taken to stay as long as the one before.
fn middle(file: &DrawnFile, at: usize) -> f64 {
    let time = |at: usize| file.pictures[at].1;
    let next = if at + 1 < file.pictures.len() { time(at + 1) } else { end(file) };
    f64::midpoint(time(at), next)
}

/// Time at which the last picture ends, which stays as long as the one before.
fn end(file: &DrawnFile) -> f64 {
    let last = file.pictures.len() - 1;
    2.0 * file.pictures[last].1 - file.pictures[last - 1].1
}

/// Waits until nothing is left to do for the video.
async fn wait_until_done(server: &Server, id: &str) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let jobs = server.json("/api/jobs").await?;
        let rows = jobs["jobs"].as_array().context("jobs")?;
        if !rows.is_empty() && rows.iter().all(|job| job["state"] == "done") {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not done: {id}, {jobs}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
