//! Encodes frames: raw RGB piped to the `ffmpeg` program.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{Painter, Scene};

/// Codec and container of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264 in MP4.
    H264,
    /// HEVC in MP4.
    Hevc,
    /// VP9 in WebM.
    Vp9,
}

impl Codec {
    /// All variants.
    pub const ALL: [Self; 3] = [Self::H264, Self::Hevc, Self::Vp9];

    /// Returns the usual file extension of the container.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::H264 | Self::Hevc => "mp4",
            Self::Vp9 => "webm",
        }
    }

    /// Returns encoder and settings: fast, at a quality that keeps edges sharp.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::H264 => {
                &["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-movflags", "+faststart"]
            }
            Self::Hevc => &[
                "-c:v",
                "libx265",
                "-preset",
                "ultrafast",
                "-crf",
                "25",
                "-x265-params",
                "log-level=error",
                "-tag:v",
                "hvc1",
            ],
            Self::Vp9 => {
                &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "0", "-crf", "34"]
            }
        }
    }
}

/// Draws and encodes all frames of `scene` into `file`, which appears only when it is complete.
///
/// # Errors
/// When `ffmpeg` is missing or fails, or writing fails.
pub fn encode(scene: &Scene, codec: Codec, file: &Path) -> anyhow::Result<()> {
    let part = file.with_extension(format!("part.{}", codec.extension()));
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"])
        .args(["-video_size", &format!("{}x{}", scene.width, scene.height)])
        .args(["-framerate", &scene.fps.to_string(), "-i", "-", "-pix_fmt", "yuv420p", "-threads", "2"])
        .args(codec.arguments())
        .arg(&part)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start ffmpeg; is it installed?")?;
    // A write fails if ffmpeg has exited; its message on stderr is more specific than EPIPE.
    let written = feed(scene, &mut ffmpeg);
    let mut message = String::new();
    if let Some(mut stderr) = ffmpeg.stderr.take() {
        stderr.read_to_string(&mut message)?;
    }
    if !ffmpeg.wait()?.success() {
        bail!("ffmpeg failed to encode {}: {}", file.display(), message.trim());
    }
    written?;
    std::fs::rename(&part, file).with_context(|| format!("failed to write {}", file.display()))
}

fn feed(scene: &Scene, ffmpeg: &mut Child) -> anyhow::Result<()> {
    let mut stdin = ffmpeg.stdin.take().context("ffmpeg has no standard input")?;
    let mut painter = Painter::new(scene);
    let mut frame = Vec::new();
    for index in 0..scene.total {
        painter.paint(index, &mut frame);
        stdin.write_all(&frame)?;
    }
    Ok(())
}
