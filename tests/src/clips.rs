//! Test clips: drawn ones with known contents, and unusual ones from ffmpeg's sources. Each is created once per build
//! directory.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use homereel_clips::{self as draw, Clip, ClipSpec, Codec, FIRST_TEST_SEED, SceneKind};

use crate::command::target_dir;

/// Folder of the clips of this build; made if it is missing.
///
/// # Errors
/// When it can't be made.
pub fn folder() -> anyhow::Result<PathBuf> {
    let dir = target_dir().join("test-clips");
    std::fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    Ok(dir)
}

/// Draws the clip of `order` (`seed` counts from [`FIRST_TEST_SEED`]); may block for a second.
///
/// # Errors
/// When ffmpeg fails.
pub fn drawn(order: ClipSpec) -> anyhow::Result<Clip> {
    let order = ClipSpec { seed: FIRST_TEST_SEED + order.seed, ..order };
    // A folder per order: the same seed is drawn in several ways, and tests run side by side.
    let dir = folder()?.join(format!("{:016x}", hash(&format!("{order:?}"))));
    std::fs::create_dir_all(&dir)?;
    let scratch = tempfile::tempdir_in(&dir)?;
    let mut clip = draw::draw(order, scratch.path())?;
    let file = dir.join(clip.file.file_name().context("a clip has a name")?);
    std::fs::rename(&clip.file, &file)?;
    clip.file = file;
    Ok(clip)
}

/// One object that moves all the time on a plain background for four seconds: the simplest clip that has a truth.
#[must_use]
pub fn simple_spec(seed: u64) -> ClipSpec {
    ClipSpec {
        kind: SceneKind::Plain,
        codec: Some(Codec::H264),
        size: Some((320, 240)),
        fps: Some(15.0),
        duration_s: Some(4.0),
        ..ClipSpec::seeded(seed)
    }
}

/// Draws the clip of [`simple_spec`].
///
/// # Errors
/// When ffmpeg fails.
pub fn simple(seed: u64) -> anyhow::Result<Clip> {
    drawn(simple_spec(seed))
}

/// Runs ffmpeg with `arguments` into a file called `name`, unless that is there already.
///
/// # Errors
/// When ffmpeg fails.
pub fn ffmpeg(name: &str, arguments: &[&str]) -> anyhow::Result<PathBuf> {
    let dir = folder()?.join(format!("{:016x}", hash(&arguments.join(" "))));
    let file = dir.join(name);
    if file.exists() {
        return Ok(file);
    }
    std::fs::create_dir_all(&dir)?;
    let scratch = tempfile::tempdir_in(&dir)?;
    let part = scratch.path().join(name);
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(arguments)
        .arg(&part)
        .output()
        .context("failed to start ffmpeg")?;
    ensure!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&part, &file)?;
    Ok(file)
}

/// A test picture that moves: `seconds` of 320x240 at 25 frames per second, H.264 in MP4.
///
/// # Errors
/// When ffmpeg fails.
pub fn test_pattern(seconds: u32) -> anyhow::Result<PathBuf> {
    let source = format!("testsrc=size=320x240:rate=25:duration={seconds}");
    ffmpeg("pattern.mp4", &["-f", "lavfi", "-i", &source, "-c:v", "libx264", "-pix_fmt", "yuv420p"])
}

/// A moving test pattern whose frames have more than 768 visual tokens: 2 s of 1280x720 at 10 frames per second.
///
/// # Errors
/// When ffmpeg fails.
pub fn large_pattern() -> anyhow::Result<PathBuf> {
    let source = "testsrc=size=1280x720:rate=10:duration=2";
    ffmpeg("large.mp4", &["-f", "lavfi", "-i", source, "-c:v", "libx264"])
}

/// Makes a file called `name` that holds `bytes`.
///
/// # Errors
/// When it can't be written.
pub fn file(name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let dir = folder()?.join(format!("{:016x}", hasher.finish()));
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(name);
    std::fs::write(&path, bytes)?;
    Ok(path)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
