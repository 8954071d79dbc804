//! Recordings whose pictures carry their number, and files joined from them.

use std::{fs, path::PathBuf, process::Command};

use homereel_video::Frame;

use crate::clips::Clips;

/// Width and height of the pictures: eight by two blocks, one for each bit of a number.
pub(crate) const SIZE: (u32, u32) = (64, 32);
const BLOCK: (u32, u32) = (8, 16);

/// A recording: `count` pictures from number `first` on, with a beep of its own beside them if it has sound.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) rate: u32,
    /// Where its clock begins, in seconds.
    pub(crate) start: f64,
    pub(crate) sound: bool,
    /// Options of the codecs and the muxer.
    pub(crate) options: String,
}

impl Recording {
    pub(crate) fn seconds(&self) -> f64 {
        f64::from(self.count) / f64::from(self.rate)
    }

    /// Writes the recording as `name`.
    pub(crate) fn write(&self, clips: &Clips, name: &str) -> PathBuf {
        let Self { first, rate, start, options, .. } = self;
        let (seconds, (width, height)) = (self.seconds(), SIZE);
        let bit = format!("floor(X/{})+8*floor(Y/{})", BLOCK.0, BLOCK.1);
        let pictures = format!(
            "color=black:s={width}x{height}:r={rate}:d={seconds},\
             geq=lum='if(mod(floor((N+{first})/pow(2,{bit})),2),210,40)':cb=128:cr=128,format=yuv420p"
        );
        let sound = if self.sound { format!(";sine=f=440:r=48000:d={seconds}[out1]") } else { String::new() };
        let options = format!("-map 0 -output_ts_offset {start} -threads 1 {options}");
        clips.draw(name, &format!("{pictures}[out0]{sound}"), &options)
    }
}

/// Writes `recordings` one after the other into one file, byte by byte.
pub(crate) fn joined(clips: &Clips, name: &str, recordings: &[Recording]) -> PathBuf {
    let extension = name.rsplit('.').next().unwrap();
    let mut bytes = Vec::new();
    for (at, recording) in recordings.iter().enumerate() {
        let part = recording.write(clips, &format!("{name}.{at}.{extension}"));
        bytes.extend(fs::read(&part).unwrap());
        fs::remove_file(part).unwrap();
    }
    clips.write(name, &bytes)
}

/// Joins `recordings` as editors do, packet by packet, each `gaps` seconds behind the one before.
pub(crate) fn remuxed(clips: &Clips, name: &str, recordings: &[Recording], gaps: &[f64]) -> PathBuf {
    let extension = name.rsplit('.').next().unwrap();
    let mut list = String::from("ffconcat version 1.0\n");
    for (at, recording) in recordings.iter().enumerate() {
        let part = format!("{name}.{at}.{extension}");
        recording.write(clips, &part);
        let seconds = recording.seconds() + gaps.get(at).copied().unwrap_or(0.0);
        list.push_str(&format!("file {part}\nduration {seconds}\n"));
    }
    let list = clips.write(&format!("{name}.txt"), list.as_bytes());
    let path = clips.path(name);
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "concat", "-i"])
        .arg(list)
        .args(["-map", "0", "-c", "copy"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(done.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&done.stderr));
    path
}

/// Reads the number of a picture; `None` where a block is neither dark nor bright.
pub(crate) fn coded_number(frame: &Frame) -> Option<u32> {
    let mut number = 0;
    for bit in 0..16 {
        let x = (bit % 8) * BLOCK.0 + BLOCK.0 / 2;
        let y = (bit / 8) * BLOCK.1 + BLOCK.1 / 2;
        let (x, y) = (x * frame.width / SIZE.0, y * frame.height / SIZE.1);
        match frame.rgb[((y * frame.width + x) * 3 + 1) as usize] {
            0..=90 => {}
            160..=255 => number |= 1 << bit,
            _ => return None,
        }
    }
    Some(number)
}
