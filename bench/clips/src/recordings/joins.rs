//! Joins drawn at random: recordings whose clocks restart, leap, pause or overlap, and clocks that begin anywhere.

use std::path::Path;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{DrawnFile, Recording, joined, remuxed};
use crate::sample::one_of;

/// A container, the options of codecs and muxer, and how files are joined in it.
struct Kind {
    extension: &'static str,
    pictures: &'static [&'static str],
    sound: &'static str,
    muxer: &'static str,
    join: Join,
}

#[derive(Clone, Copy, PartialEq)]
enum Join {
    /// Bytes behind bytes, in a container whose clock may leap.
    Stream,
    /// Bytes behind bytes, in a container whose clock may only go back, and as many files.
    Files(usize),
    /// Packets behind packets, as an editor does it: pauses only.
    Remuxed,
}

const H264: &str = "-c:v libx264 -preset ultrafast";
const MPEG2: &str = "-c:v mpeg2video -q:v 2";
const MPEG4: &str = "-c:v mpeg4 -q:v 2";
const MJPEG: &str = "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p";

const KINDS: [Kind; 9] = [
    Kind { extension: "ts", pictures: &[H264, MPEG2], sound: "-c:a mp2", muxer: "", join: Join::Stream },
    Kind {
        extension: "mts",
        pictures: &[H264],
        sound: "-c:a ac3",
        muxer: "-mpegts_m2ts_mode 1",
        join: Join::Stream,
    },
    Kind { extension: "vob", pictures: &[MPEG2], sound: "-c:a ac3", muxer: "", join: Join::Stream },
    Kind {
        // ffmpeg reads no third one.
        extension: "mkv",
        pictures: &[H264, MPEG4, MJPEG],
        sound: "-c:a mp2",
        muxer: "",
        join: Join::Files(2),
    },
    Kind { extension: "avi", pictures: &[MJPEG], sound: "-c:a pcm_s16le", muxer: "", join: Join::Files(5) },
    Kind { extension: "mp4", pictures: &[H264, MPEG4], sound: "", muxer: "", join: Join::Remuxed },
    Kind { extension: "mov", pictures: &[H264], sound: "-c:a pcm_s16le", muxer: "", join: Join::Remuxed },
    Kind { extension: "mkv", pictures: &[H264], sound: "-c:a pcm_s16le", muxer: "", join: Join::Remuxed },
    Kind { extension: "avi", pictures: &[MPEG4], sound: "-c:a pcm_s16le", muxer: "", join: Join::Remuxed },
];

/// Draws join number `seed` into `dir`.
///
/// # Errors
/// When ffmpeg fails.
pub fn join(seed: u64, dir: &Path) -> anyhow::Result<DrawnFile> {
    let mut random = StdRng::seed_from_u64(seed);
    let kind = &KINDS[(seed % KINDS.len() as u64) as usize];
    let most = if let Join::Files(most) = kind.join { most } else { 5 };
    let parts = if random.random_bool(0.1) { 1 } else { random.random_range(2..=most) };
    let sound = !kind.sound.is_empty() && random.random_bool(0.5);
    let codec = one_of(&mut random, kind.pictures);
    let reordered = if [MJPEG, MPEG4].contains(&codec) { 0 } else { random.random_range(0..=2) };
    let rates = [24, 25, 30];
    let rate = one_of(&mut random, &rates);
    let mut recordings: Vec<Recording> = Vec::new();
    let mut gaps: Vec<f64> = Vec::new();
    for at in 0..parts {
        let group = random.random_range(4..=30);
        let sound_options = if sound { kind.sound } else { "" };
        let options = format!("{codec} -bf {reordered} -g {group} {sound_options} {}", kind.muxer);
        let rate = if kind.join == Join::Stream { one_of(&mut random, &rates) } else { rate };
        let count = random.random_range(8..=40);
        let first = 100 * at as u32 + random.random_range(1..50);
        let (start, gap) = match recordings.last() {
            None if parts == 1 => (random.random_range(0.0..50_000.0), 0.0),
            None => (f64::from(random.random_range(1..40_000)), 0.0),
            Some(last) => next_start(&mut random, kind.join, last),
        };
        // AVI counts pictures from zero, and editors move what they join.
        let from_zero = kind.extension == "avi" || kind.join == Join::Remuxed && parts > 1;
        let start = if from_zero { 0.0 } else { start };
        gaps.extend((at > 0).then_some(gap));
        recordings.push(Recording { first, count, rate, start, sound, options });
    }
    let name = format!("{seed}.{}", kind.extension);
    let how = format!("join {seed}: {recordings:?}");
    let path = match kind.join {
        Join::Stream | Join::Files(_) => joined(dir, &name, &recordings)?,
        Join::Remuxed => remuxed(dir, &name, &recordings, &gaps)?,
    };
    gaps.push(0.0);
    let mut begin = 0.0;
    let mut pictures = Vec::new();
    for (recording, gap) in recordings.iter().zip(&gaps) {
        let time = |at: u32| begin + f64::from(at) / f64::from(recording.rate);
        pictures.extend((0..recording.count).map(|at| (recording.first + at, time(at))));
        begin += recording.seconds() + gap;
    }
    Ok(DrawnFile { path, pictures, how })
}

/// Draws where the clock of a recording behind `last` begins, and the pause that it makes on the one timeline.
fn next_start(random: &mut StdRng, join: Join, last: &Recording) -> (f64, f64) {
    let end = last.start + last.seconds();
    let step = 1.0 / f64::from(last.rate);
    let overlap = f64::from(random.random_range(1..last.count)) * step;
    let back = random.random_range(1.0..=last.start.max(1.5));
    let pause = random.random_range(0.1..8.0);
    match (join, random.random_range(0..5)) {
        (Join::Remuxed, 0..=2) => (end, 0.0),
        (Join::Remuxed, _) => (end, pause),
        (_, 0) => (1.0, 0.0),
        (_, 1) => (back, 0.0),
        (_, 2) => (end - overlap, 0.0),
        (Join::Stream, 3) => (end + random.random_range(15.0..70_000.0), 0.0),
        (Join::Stream, _) => (end + pause, pause),
        (Join::Files(_), _) => (last.start, 0.0),
    }
}
