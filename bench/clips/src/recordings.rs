//! Recordings whose pictures carry their number: files joined from them, and layouts of tracks, drawn at random. What they show
//! is known from how they were drawn, so tests can check everything that is read or played.

mod joins;
mod layouts;

pub use joins::join;
pub use layouts::{Layout, layout};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Width and height of the pictures: eight by two blocks, one for each bit of a number.
pub const SIZE: (u32, u32) = (64, 32);
const BLOCK: (u32, u32) = (8, 16);

/// A file and the pictures that it shows: number and time in seconds from the first.
#[derive(Debug)]
pub struct DrawnFile {
    /// The file.
    pub path: PathBuf,
    /// Its pictures, in order.
    pub pictures: Vec<(u32, f64)>,
    /// How it was drawn, for messages of failed tests.
    pub how: String,
}

/// A recording: pictures with rising numbers, and a tone beside them if it has sound.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Number of the first picture; all numbers are below 65,536.
    pub first: u32,
    /// Number of pictures.
    pub count: u32,
    /// Pictures per second.
    pub rate: u32,
    /// Time in seconds at which its clock begins.
    pub start: f64,
    /// Whether it has sound.
    pub sound: bool,
    /// Options of the codecs and the muxer, as ffmpeg takes them.
    pub options: String,
}

impl Recording {
    /// Returns its length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        f64::from(self.count) / f64::from(self.rate)
    }

    /// Writes the recording as `name` in `dir`.
    ///
    /// # Errors
    /// When ffmpeg fails.
    pub fn write(&self, dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let pictures = numbered(self.first, self.count, self.rate);
        let seconds = self.seconds();
        let sound = if self.sound { format!(";sine=f=440:r=48000:d={seconds}[out1]") } else { String::new() };
        let options = format!("-map 0 -output_ts_offset {} -threads 1 {}", self.start, self.options);
        draw(dir, name, &format!("{pictures}[out0]{sound}"), &options)
    }
}

/// Returns ffmpeg's source of `count` pictures with numbers from `first` on.
fn numbered(first: u32, count: u32, rate: u32) -> String {
    let seconds = f64::from(count) / f64::from(rate);
    let bit = format!("floor(X/{})+8*floor(Y/{})", BLOCK.0, BLOCK.1);
    let (width, height) = SIZE;
    format!(
        "color=black:s={width}x{height}:r={rate}:d={seconds},\
         geq=lum='if(mod(floor((N+{first})/pow(2,{bit})),2),210,40)':cb=128:cr=128,format=yuv420p"
    )
}

/// Runs ffmpeg on the filter graph `source` with output options `options`.
fn draw(dir: &Path, name: &str, source: &str, options: &str) -> anyhow::Result<PathBuf> {
    let input = ["-bitexact", "-f", "lavfi", "-i", source];
    ffmpeg(&dir.join(name), &input.into_iter().chain(options.split_whitespace()).collect::<Vec<_>>())
}

fn ffmpeg(path: &Path, arguments: &[&str]) -> anyhow::Result<PathBuf> {
    let program =
        Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(arguments).arg(path).output();
    let output = program.context("failed to start ffmpeg")?;
    ensure!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(path.to_owned())
}

/// Writes `recordings` one after the other into one file, byte by byte.
///
/// # Errors
/// When ffmpeg fails or the disk is full.
pub fn joined(dir: &Path, name: &str, recordings: &[Recording]) -> anyhow::Result<PathBuf> {
    let mut bytes = Vec::new();
    for (at, recording) in recordings.iter().enumerate() {
        let part = recording.write(dir, &part(name, at))?;
        bytes.extend(fs::read(&part)?);
        fs::remove_file(part)?;
    }
    let path = dir.join(name);
    fs::write(&path, &bytes)?;
    Ok(path)
}

/// Joins `recordings` as editors do, packet by packet, each `gaps` seconds behind the one before.
///
/// # Errors
/// When ffmpeg fails.
pub fn remuxed(dir: &Path, name: &str, recordings: &[Recording], gaps: &[f64]) -> anyhow::Result<PathBuf> {
    let mut list = String::from("ffconcat version 1.0\n");
    for (at, recording) in recordings.iter().enumerate() {
        let part = part(name, at);
        recording.write(dir, &part)?;
        let seconds = recording.seconds() + gaps.get(at).copied().unwrap_or(0.0);
        list.push_str(&format!("file {part}\nduration {seconds}\n"));
    }
    let listed = dir.join(format!("{name}.txt"));
    fs::write(&listed, list)?;
    let listed = listed.to_str().context("the folder's name is no Unicode")?;
    ffmpeg(&dir.join(name), &["-f", "concat", "-i", listed, "-map", "0", "-c", "copy"])
}

/// Name of part `at` of a file, with the same extension.
fn part(name: &str, at: usize) -> String {
    let extension = name.rsplit('.').next().unwrap_or_default();
    format!("{name}.{at}.{extension}")
}

/// Reads the number of a picture of any size, rows of RGB8; `None` where a block is neither dark nor bright.
#[must_use]
pub fn number_in(rgb: &[u8], width: u32, height: u32) -> Option<u32> {
    let mut number = 0;
    for bit in 0..16 {
        let x = (bit % 8) * BLOCK.0 + BLOCK.0 / 2;
        let y = (bit / 8) * BLOCK.1 + BLOCK.1 / 2;
        let (x, y) = (x * width / SIZE.0, y * height / SIZE.1);
        match rgb.get(((y * width + x) * 3 + 1) as usize)? {
            0..=90 => {}
            160..=255 => number |= 1 << bit,
            _ => return None,
        }
    }
    Some(number)
}
