//! Files drawn at random, from the upload to the browser: poster, scrub sprites, player and moments show the picture of their
//! time. `HOMEREEL_DRAWN_FILES=20` tests more of them than the usual ones.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_clips::recordings::{self, DrawnFile};
use homereel_tests::{PATIENCE, Server};
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};
use crate::reading_model::ReadingModel;

const USUAL_FILES: u64 = 6;

/// Seconds between two scrub sprites; each may show a picture a quarter of that away.
const SPRITES: f64 = 10.0;
/// Times of the pictures of which the poster is one.
const LOOKS: [f64; 6] = [0.0, 0.5, 1.5, 3.0, 6.0, 12.0];

/// Defines `read(drawable, x, y, width, height)`, which returns the number of a picture or `null`, as [`recordings::number_in`]
/// does.
const READ: &str = "
    const read = (drawable, x, y, width, height) => {
        const canvas = new OffscreenCanvas(64, 32), context = canvas.getContext('2d');
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

async fn check(server: &Server, browser: &Browser, file: &DrawnFile) -> anyhow::Result<()> {
    let id = server.upload(&file.path).await?;
    wait_until_done(server, &id).await?;
    browser.open(&server.url(&format!("/videos/{id}"))).await?;
    let found = browser.client.execute_async(&format!("{READ} {POSTER_AND_SPRITES}"), vec![]).await?;
    let poster: Vec<u32> = LOOKS.iter().flat_map(|time| around(file, *time)).collect();
    let shown = number(&found["poster"])?;
    ensure!(poster.contains(&shown), "the poster shows {shown}, not one of {poster:?}");
    let sprites = found["sprites"].as_array().context("sprites")?;
    // Sound may last a little longer.
    let most = ((end(file) + 0.2) / SPRITES).ceil() as usize;
    ensure!(
        [most, ((end(file) / SPRITES).ceil() as usize)].contains(&sprites.len()),
        "{} sprites",
        sprites.len()
    );
    for (at, sprite) in sprites.iter().enumerate() {
        let (shown, time) = (number(sprite)?, at as f64 * SPRITES);
        let next = around(file, time);
        let near =
            file.pictures.iter().any(|(number, of)| *number == shown && (of - time).abs() < SPRITES / 4.0);
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
        let shown = file.pictures.iter().rfind(|(_, time)| *time <= start + 1e-9).map(|(number, _)| *number);
        ensure!(shown == Some(number), "the model saw {number} at {start}, where {shown:?} is");
        seeks.push((start, number));
    }
    for (time, expected) in seeks {
        let shown = browser.client.execute_async(&format!("{READ} {SEEK}"), vec![json!(time)]).await?;
        ensure!(shown == json!(expected), "the player shows {shown} at {time}, where {expected} is");
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

const SEEK: &str = "
    const [time, done] = arguments, player = document.querySelector('#player');
    const shown = () => done(read(player, 0, 0, player.videoWidth, player.videoHeight));
    player.onerror = () => done(player.error.message);
    player.onseeked = shown;
    const seek = () => { player.currentTime = time; };
    if (player.readyState >= 1) seek(); else { player.onloadedmetadata = seek; player.load(); }";

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

/// Waits for the moments, the poster, the sprites, and something to play.
async fn wait_until_done(server: &Server, id: &str) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let video = server.json(&format!("/api/videos/{id}")).await?;
        let page = server.get(&format!("/videos/{id}")).await?.text().await?;
        if !video["moments"]["content"].is_null()
            && ["data-sprites", "poster=", "id=\"player\""].iter().all(|part| page.contains(part))
        {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not done: {video}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
