//! `homereel backup`, `restore` and `export`: work on the library's files, without a server.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use homereel_library::{
    Collection, Cursor, Library, MAX_ALBUM_VIDEOS, MAX_ALBUMS, MAX_LINES, Video, backup, restore,
};

use super::{
    DataArgs,
    terminal::{print, print_lines},
};
use crate::{captions, config, file_name::free_name};

/// Number of videos that are read per page.
const PAGE: u32 = 100;

/// Copies the database.
pub(super) async fn back_up(data: DataArgs, file: &Path) -> anyhow::Result<()> {
    let data = config::data(data.data, data.config.as_ref())?;
    let made = backup(&data, file).await?;
    let originals = data.join("originals");
    print_lines([
        format!("{} holds {} videos and all that is known of them.", file.display(), made.videos),
        format!(
            "Their originals ({} bytes) are not in it: copy {} too, it only ever grows by new files.",
            made.bytes,
            originals.display()
        ),
        format!("Check a copy with: cd COPY && sha256sum --check {}", made.list.display()),
    ])
}

/// Replaces the database with a copy.
pub(super) async fn bring_back(data: DataArgs, file: &Path, keep_keys: bool) -> anyhow::Result<()> {
    let data = config::data(data.data, data.config.as_ref())?;
    let back = restore(&data, file, keep_keys).await?;
    print(&format!("{} has {} videos again.", data.display(), back.videos))?;
    if back.sessions_left_out > 0 {
        print("Sessions were not restored; everybody has to log in again.")?;
    }
    if back.keys_left_out > 0 {
        print(&format!(
            "{} API keys were not restored; create new ones with `homereel keys add`.",
            back.keys_left_out
        ))?;
    }
    if back.missing.is_empty() {
        return Ok(());
    }
    print_lines(back.missing.iter().map(|hash| format!("missing  originals/{hash}")))?;
    anyhow::bail!(
        "{} originals are missing; copy them into {} before you start the server",
        back.missing.len(),
        data.join("originals").display()
    )
}

/// Exports every video with its texts as files that any program can read.
pub(super) async fn export(data: DataArgs, out: &Path) -> anyhow::Result<()> {
    let data = config::data(data.data, data.config.as_ref())?;
    let library = Library::peek(&data).await?;
    fs::create_dir_all(out).with_context(|| format!("failed to create {}", out.display()))?;
    ensure!(fs::read_dir(out)?.next().is_none(), "{} is not empty; name a new directory", out.display());
    let (mut names, mut files) = (HashSet::new(), HashMap::new());
    let mut offset = 0;
    loop {
        let videos = library.videos(PAGE, offset).await?;
        if videos.is_empty() {
            break;
        }
        offset += PAGE;
        for video in videos {
            let name = free_name(&video, &mut names);
            write_one(&library, &video, &out.join(&name)).await.with_context(|| name.clone())?;
            print(&name)?;
            files.insert(video.id, name);
        }
    }
    write_albums(&library, &files, &out.join("albums.json")).await?;
    print(&format!("{} videos are in {}", names.len(), out.display()))
}

/// Writes the albums with the names of their files, in their order. `files` are those names by id of the video.
async fn write_albums(library: &Library, files: &HashMap<String, String>, file: &Path) -> anyhow::Result<()> {
    let mut albums = Vec::new();
    for album in library.albums(MAX_ALBUMS, 0).await? {
        let collection = Collection::Album(album.id);
        let videos = library.collection(&collection, &Cursor::Start, MAX_ALBUM_VIDEOS as usize).await?.videos;
        let names: Vec<&String> = videos.iter().filter_map(|video| files.get(&video.id)).collect();
        albums.push(serde_json::json!({
            "name": album.name, "created_ms": album.created_ms, "by_hand": album.by_hand, "files": names,
        }));
    }
    if !albums.is_empty() {
        fs::write(file, serde_json::to_string_pretty(&albums)? + "\n")?;
    }
    Ok(())
}

async fn write_one(library: &Library, video: &Video, file: &Path) -> anyhow::Result<()> {
    // A copy, not a hard link: editing an export must not change the original.
    fs::copy(library.original_path(&video.sha256), file)?;
    let beside = |ending: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let mut json = serde_json::to_value(video)?;
    let albums = library.albums_of(&video.id).await?;
    json["albums"] = albums.into_iter().map(|album| album.name).collect();
    json["answers"] = serde_json::to_value(library.answers(&video.id, 1000).await?)?;
    let transcript = library.transcript(&video.id).await?;
    let lines = library.transcript_lines(&video.id, 0, MAX_LINES).await?;
    if let Some(transcript) = &transcript {
        json["transcript"] = serde_json::to_value(transcript)?;
        json["transcript"]["lines"] = serde_json::to_value(&lines)?;
    }
    fs::write(beside(".json"), serde_json::to_string_pretty(&json)? + "\n")?;
    if let Some(text) = &video.texts.moments {
        let moments = text.content.as_deref().unwrap_or_default();
        fs::write(beside(".md"), captions::md(&video.name, &text.model, moments))?;
        fs::write(beside(".srt"), captions::srt(moments))?;
        fs::write(beside(".vtt"), captions::vtt(moments))?;
    }
    if !lines.is_empty() {
        fs::write(beside(".speech.srt"), captions::srt(&lines))?;
        fs::write(beside(".speech.vtt"), captions::vtt(&lines))?;
        fs::write(beside(".speech.txt"), captions::txt(&lines))?;
    }
    Ok(())
}
