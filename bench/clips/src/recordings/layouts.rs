//! Layouts drawn at random: tracks of pictures and sound, start offsets, and dates in every form and zone.

use std::path::Path;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{DrawnFile, draw, numbered};
use crate::sample::one_of;

/// Codec of sound that is not played.
const UNREADABLE: &str = "wavpack";

/// A file and what a probe must say of it.
#[derive(Debug)]
pub struct Layout {
    /// The file and the pictures of its film.
    pub file: DrawnFile,
    /// Track of the film.
    pub track: usize,
    /// Time in seconds of the first picture on the container's clock.
    pub offset: f64,
    /// Codec of the sound that is played, by ffmpeg's name.
    pub sound: Option<&'static str>,
    /// Date, and what wrote it: `camera` or `container`.
    pub date: Option<(String, &'static str)>,
}

/// A date tag as `container` has it: the options that write it, and what is read.
fn dated(random: &mut StdRng, container: &str) -> (String, Option<(String, &'static str)>) {
    let (year, month, day) =
        (random.random_range(1985..2025), random.random_range(1..=12), random.random_range(1..=28));
    let (hour, minute, second) =
        (random.random_range(0..24), random.random_range(0..60), random.random_range(0..60));
    let (day, time) = (format!("{year}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}"));
    let sign = one_of(random, &["+", "-"]);
    let (hours, minutes) = (random.random_range(1..=11), one_of(random, &[0, 30, 45]));
    let zone = format!("{sign}{hours:02}:{minutes:02}");
    let short = zone.replace(':', "");
    let colons = day.replace('-', ":");
    let key = "-movflags use_metadata_tags -metadata com.apple.quicktime.creationdate";
    let header = (format!("-metadata creation_time={day}T{time}Z"), format!("{day}T{time}Z"), "container");
    let camera = |tag: &str, value: String, read: String| (format!("{tag}={value}"), read, "camera");
    let zoned = format!("{day}T{time}{zone}");
    let mut forms = match container {
        "mov" => vec![
            camera(key, format!("{day}T{time}{short}"), zoned.clone()),
            camera(key, zoned.clone(), zoned.clone()),
            camera(key, format!("{colons}T{time}{zone}"), zoned.clone()),
            camera(key, format!("{day}T{time}.250{short}"), zoned.clone()),
            camera(key, format!("{day}T{time}Z"), format!("{day}T{time}Z")),
            camera(key, format!("{day}T{time}"), format!("{day}T{time}")),
            camera("-metadata date", format!("{day}T{time}{short}"), zoned.clone()),
            header,
        ],
        "mp4" => vec![camera("-metadata date", format!("{day}T{time}{short}"), zoned.clone()), header],
        "mkv" => vec![camera("-metadata DATE_RECORDED", day.clone(), day.clone()), header],
        _ => vec![camera("-metadata date", day.clone(), day.clone())],
    };
    if random.random_bool(0.1) {
        return (String::new(), None);
    }
    let (options, read, source) = forms.swap_remove(random.random_range(0..forms.len()));
    (options, Some((read, source)))
}

/// Draws layout number `seed` into `dir`.
///
/// # Errors
/// When ffmpeg fails.
pub fn layout(seed: u64, dir: &Path) -> anyhow::Result<Layout> {
    let mut random = StdRng::seed_from_u64(seed);
    let container = one_of(&mut random, &["mp4", "mov", "mkv", "avi"]);
    let (rate, count) = (one_of(&mut random, &[10, 15, 25]), random.random_range(10..40));
    let first = random.random_range(1..60_000);
    let seconds = f64::from(count) / f64::from(rate);
    let mut sources = vec![numbered(first, count, rate)];
    let mut tracks = String::from("-c:v:0 libx264 -bf 2 -preset ultrafast");
    let mut track = 0;
    if container != "avi" && random.random_bool(0.5) {
        // A preview, smaller and with more pictures, in front or behind; the film is marked as default.
        let preview = format!("color=gray:s=32x32:r=50:d={seconds}");
        track = usize::from(random.random_bool(0.5));
        sources.insert(1 - track, preview);
        let other = 1 - track;
        tracks =
            format!("-c:v libx264 -preset ultrafast -disposition:v:{track} default -disposition:v:{other} 0");
    }
    let (sounds, sound) = sounds(&mut random, container);
    for (at, (codec, marked)) in sounds.iter().enumerate() {
        sources.push(format!("sine=f={}:r=44100:d={seconds}", 300 + 100 * at));
        let flag = if *marked { "default" } else { "0" };
        tracks += &format!(" -c:a:{at} {codec} -disposition:a:{at} {flag}");
    }
    let offset = if container == "avi" { 0.0 } else { one_of(&mut random, &[0.0, 0.0, 1.25, 7.5]) };
    let (tag, date) = dated(&mut random, container);
    let maps: String = (0..sources.len()).map(|at| format!(" -map 0:{at}")).collect();
    let source: Vec<String> =
        sources.iter().enumerate().map(|(at, source)| format!("{source}[out{at}]")).collect();
    let options = format!("{maps} {tracks} -output_ts_offset {offset} {tag}");
    let how = format!("layout {seed} in {container}: {}", options.trim());
    let path = draw(dir, &format!("{seed}.{container}"), &source.join(";"), &options)?;
    let pictures = (0..count).map(|at| (first + at, f64::from(at) / f64::from(rate))).collect();
    Ok(Layout { file: DrawnFile { path, pictures, how }, track, offset, sound, date })
}

/// Draws up to two tracks of sound (encoder, and whether it is marked as default) and the codec of the one that is played.
fn sounds(random: &mut StdRng, container: &str) -> (Vec<(&'static str, bool)>, Option<&'static str>) {
    // Encoders and the codecs' names. Matroska also holds sound that cannot be read here.
    let codecs: &[(&str, &str)] = match container {
        "mkv" => &[("aac", "aac"), ("libmp3lame", "mp3"), ("flac", "flac"), ("wavpack", UNREADABLE)],
        "avi" => &[("libmp3lame", "mp3"), ("pcm_s16le", "pcm_s16le")],
        _ => &[("aac", "aac"), ("libmp3lame", "mp3"), ("alac", "alac")],
    };
    let count = random.random_range(0..=2);
    let sounds: Vec<(&str, &str)> = (0..count).map(|_| one_of(random, codecs)).collect();
    let marked = (container != "avi" && count > 0).then(|| random.random_range(0..count));
    let readable = |&&(_, codec): &&(&str, &'static str)| codec != UNREADABLE;
    let played =
        marked.and_then(|at| sounds.get(at)).filter(readable).or_else(|| sounds.iter().find(readable));
    let played = played.map(|&(_, codec)| codec);
    let tracks = sounds.iter().enumerate().map(|(at, &(encoder, _))| (encoder, marked == Some(at))).collect();
    (tracks, played)
}
