//! The clips of a measurement: drawn, or those of a directory; long clips, and their windows.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use homereel_clips::Codec;
use homereel_video::Worker;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::serve::dataset::{self, ClipProperties};

/// Length of the pieces of a long clip in seconds. A drawn clip has few events, so one of an hour would be still.
const PIECE_S: f64 = 20.0;

/// Timeout of one run of ffmpeg.
const FFMPEG_TIMEOUT: Duration = Duration::from_secs(3600);

/// A clip, or a window of one.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaFile {
    /// The file.
    pub path: PathBuf,
    /// Length in seconds.
    pub duration_s: f64,
}

/// Draws `count` clips of `seconds` into `dir`, with the seeds from `seed` on. `on_clip` is called with the number of clips
/// drawn so far.
///
/// # Errors
/// When ffmpeg is missing or fails, or the disk is full.
pub async fn drawn(
    dir: &Path,
    count: usize,
    seconds: f64,
    seed: u64,
    on_clip: impl Fn(usize) + Send,
) -> anyhow::Result<Vec<MediaFile>> {
    let properties = ClipProperties { seconds: Some(seconds), size: None, fps: None, codec: None };
    draw(dir, &properties, count, seed, on_clip).await
}

/// Draws a clip of `seconds` into `dir`: drawn pieces, joined without encoding them again.
///
/// # Errors
/// When ffmpeg is missing or fails, or the disk is full.
pub async fn drawn_long(
    dir: &Path,
    seconds: f64,
    seed: u64,
    on_piece: impl Fn(usize) + Send,
) -> anyhow::Result<MediaFile> {
    let count = pieces(seconds);
    // Pieces can only be joined if they are alike.
    let properties = ClipProperties {
        seconds: Some(seconds / count as f64),
        size: Some((320, 240)),
        fps: Some(24.0),
        codec: Some(Codec::H264),
    };
    let pieces = draw(dir, &properties, count, seed, on_piece).await?;
    let names = pieces.iter().filter_map(|piece| piece.path.file_name()?.to_str());
    let list: String = names.map(|name| format!("file '{name}'\n")).collect();
    let list_file = dir.join(format!("{seed}.txt"));
    std::fs::write(&list_file, list).with_context(|| format!("failed to write {}", list_file.display()))?;
    let path = dir.join(format!("{seed}-long.mp4"));
    let mut ffmpeg = ffmpeg();
    ffmpeg.args(["-f", "concat", "-i"]).arg(&list_file).args(["-c", "copy"]).arg(&path);
    run(&mut ffmpeg).await.context("failed to join the pieces of the long clip")?;
    Ok(MediaFile { path, duration_s: pieces.iter().map(|piece| piece.duration_s).sum() })
}

/// Returns the number of pieces of a long clip.
#[must_use]
pub fn pieces(seconds: f64) -> usize {
    (seconds / PIECE_S).ceil().max(1.0) as usize
}

async fn draw(
    dir: &Path,
    properties: &ClipProperties,
    count: usize,
    seed: u64,
    on_clip: impl Fn(usize) + Send,
) -> anyhow::Result<Vec<MediaFile>> {
    let prompts = dataset::drawn(dir, properties, count, 1, seed, on_clip).await?;
    let file =
        |prompt: dataset::BenchPrompt| Some(MediaFile { path: prompt.clip?, duration_s: prompt.video_s });
    Ok(prompts.into_iter().filter_map(file).collect())
}

/// Probes the clips of a directory.
///
/// # Errors
/// When the directory has no clips, or one of them is not a video.
pub async fn directory(dir: &Path, worker: &Worker) -> anyhow::Result<Vec<MediaFile>> {
    let cancel = CancellationToken::new();
    let mut clips = Vec::new();
    for path in dataset::files(dir)? {
        let failed = || format!("failed to probe {}", path.display());
        let file = File::open(&path).with_context(failed)?;
        let probe = homereel_video::probe(worker, file, &cancel).await.with_context(failed)?;
        clips.push(MediaFile { duration_s: probe.summary.duration_s, path });
    }
    Ok(clips)
}

/// Cuts the windows of long clips into files in `dir`, by the server's rule. Short clips stay as they are.
///
/// # Errors
/// When ffmpeg is missing or fails, or the disk is full.
pub async fn windows(clips: &[MediaFile], window_s: f64, dir: &Path) -> anyhow::Result<Vec<MediaFile>> {
    let mut parts = Vec::new();
    for (number, clip) in clips.iter().enumerate() {
        let bounds = bounds(clip.duration_s, window_s);
        if bounds.len() == 1 {
            parts.push(clip.clone());
            continue;
        }
        for (index, (start, end)) in bounds.into_iter().enumerate() {
            let path = dir.join(format!("{number}-{index}.mp4"));
            cut(&clip.path, start, end - start, &path)
                .await
                .with_context(|| format!("failed to cut a window of {}", clip.path.display()))?;
            parts.push(MediaFile { path, duration_s: end - start });
        }
    }
    Ok(parts)
}

/// Returns start and end of each window. Only a clip of more than two windows is divided; its windows are equal.
fn bounds(duration: f64, window: f64) -> Vec<(f64, f64)> {
    if duration <= 2.0 * window {
        return vec![(0.0, duration)];
    }
    let count = (duration / window).ceil();
    let at = |index: usize| duration * index as f64 / count;
    (0..count as usize).map(|index| (at(index), at(index + 1))).collect()
}

/// Encodes a part of `clip` as a file of its own.
async fn cut(clip: &Path, start: f64, length: f64, out: &Path) -> anyhow::Result<()> {
    let mut ffmpeg = ffmpeg();
    ffmpeg.args(["-ss", &start.to_string(), "-t", &length.to_string(), "-i"]).arg(clip);
    // The encoder needs even sides.
    ffmpeg.args(["-an", "-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"]);
    ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "18"]).arg(out);
    run(&mut ffmpeg).await
}

fn ffmpeg() -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-nostats", "-loglevel", "error", "-y"]);
    ffmpeg
}

async fn run(ffmpeg: &mut Command) -> anyhow::Result<()> {
    let output = ffmpeg.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(FFMPEG_TIMEOUT, output).await.context("ffmpeg did not exit in time")?;
    let output = output.context("failed to start ffmpeg; is it installed?")?;
    ensure!(output.status.success(), "ffmpeg failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_equal_and_only_long_clips_have_several() {
        assert_eq!(bounds(240.0, 120.0), [(0.0, 240.0)]);
        let windows = bounds(301.0, 100.0);
        assert_eq!((windows.len(), windows[0].0, windows[3].1), (4, 0.0, 301.0));
        assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert!(windows.iter().all(|(start, end)| (end - start - 75.25).abs() < 1e-9));
    }

    #[test]
    fn pieces_are_at_most_as_long_as_one() {
        assert_eq!((pieces(1.0), pieces(20.0), pieces(20.5), pieces(3600.0)), (1, 1, 2, 180));
    }
}
