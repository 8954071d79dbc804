//! Files drawn at random: layouts of tracks, start offsets, and dates in every form and zone, with known truth.
//!
//! `HOMEREEL_DRAWN_FILES=300` draws more than the few of a usual run.

use homereel_video::DateSource;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::clips::{Clips, decode, number, numbered, probe};

/// Files of a usual run.
const FILES: u64 = 16;

/// What is drawn, and what a probe must say of it.
struct Drawn {
    name: String,
    /// Sources of pictures and sound, in the order of the tracks.
    source: String,
    options: String,
    pictures: usize,
    frames: u32,
    rate: u32,
    offset: f64,
    /// Codec of the sound that is played.
    sound: Option<String>,
    date: Option<(String, DateSource)>,
}

/// A date tag as `container` has it: the options that write it, and what is read.
fn dated(random: &mut StdRng, container: &str) -> (String, Option<(String, DateSource)>) {
    let (year, month, day) =
        (random.random_range(1985..2025), random.random_range(1..=12), random.random_range(1..=28));
    let (hour, minute, second) =
        (random.random_range(0..24), random.random_range(0..60), random.random_range(0..60));
    let (day, time) = (format!("{year}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}"));
    let sign = *["+", "-"].choose(random).unwrap();
    let (hours, minutes) = (random.random_range(1..=11), *[0, 30, 45].choose(random).unwrap());
    let zone = format!("{sign}{hours:02}:{minutes:02}");
    let short = zone.replace(':', "");
    let colons = day.replace('-', ":");
    let key = "-movflags use_metadata_tags -metadata com.apple.quicktime.creationdate";
    let header =
        (format!("-metadata creation_time={day}T{time}Z"), format!("{day}T{time}Z"), DateSource::Container);
    let camera =
        |tag: &str, value: String, read: String| (format!("{tag}={value}"), read, DateSource::Camera);
    let zoned = format!("{day}T{time}{zone}");
    let forms = match container {
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
    let (options, read, source) = forms.choose(random).unwrap().clone();
    (options, Some((read, source)))
}

fn draw(seed: u64) -> Drawn {
    let mut random = StdRng::seed_from_u64(seed);
    let container = *["mp4", "mov", "mkv", "avi"].choose(&mut random).unwrap();
    let (rate, frames) = (*[10, 15, 25].choose(&mut random).unwrap(), random.random_range(10..40));
    let seconds = f64::from(frames) / f64::from(rate);
    let mut sources = vec![numbered(rate, frames)];
    let mut tracks = String::from("-c:v:0 libx264 -bf 2 -preset ultrafast");
    let mut pictures = 0;
    if container != "avi" && random.random_bool(0.5) {
        // A preview, smaller and with more pictures, in front or behind; the film is marked as default.
        let preview = format!("color=gray:s=32x32:r=50:d={seconds}");
        pictures = usize::from(random.random_bool(0.5));
        sources.insert(1 - pictures, preview);
        let (film, other) = (pictures, 1 - pictures);
        tracks =
            format!("-c:v libx264 -preset ultrafast -disposition:v:{film} default -disposition:v:{other} 0");
    }
    let count = random.random_range(0..=2);
    // Matroska holds sound that cannot be read here.
    let codecs: &[&str] = match container {
        "mkv" => &["aac", "libmp3lame", "flac", "wavpack"],
        "avi" => &["libmp3lame", "pcm_s16le"],
        _ => &["aac", "libmp3lame", "alac"],
    };
    let sounds: Vec<&str> = (0..count).map(|_| *codecs.choose(&mut random).unwrap()).collect();
    let marked = (container != "avi" && count > 0).then(|| random.random_range(0..count));
    for (at, codec) in sounds.iter().enumerate() {
        sources.push(format!("sine=f={}:r=44100:d={seconds}", 300 + 100 * at));
        let flag = if marked == Some(at) { "default" } else { "0" };
        tracks += &format!(" -c:a:{at} {codec} -disposition:a:{at} {flag}");
    }
    let readable = |codec: &&&str| **codec != "wavpack";
    let played = marked
        .and_then(|at| sounds.get(at))
        .filter(readable)
        .or_else(|| sounds.iter().find(readable))
        .map(|codec| codec.trim_start_matches("lib").replace("mp3lame", "mp3"));
    let offset = if container == "avi" { 0.0 } else { *[0.0, 0.0, 1.25, 7.5].choose(&mut random).unwrap() };
    let (tag, date) = dated(&mut random, container);
    let maps: String = (0..sources.len()).map(|at| format!(" -map 0:{at}")).collect();
    let source: Vec<String> =
        sources.iter().enumerate().map(|(at, source)| format!("{source}[out{at}]")).collect();
    Drawn {
        name: format!("{seed}.{container}"),
        source: source.join(";"),
        options: format!("{maps} {tracks} -output_ts_offset {offset} {tag}").trim().to_owned(),
        pictures,
        frames,
        rate,
        offset,
        sound: played,
        date,
    }
}

#[tokio::test]
async fn tracks_offsets_and_dates_are_read_as_they_were_drawn() {
    let files = std::env::var("HOMEREEL_DRAWN_FILES").map_or(FILES, |count| count.parse().unwrap());
    let clips = Clips::new();
    for seed in 0..files {
        let drawn = draw(seed);
        let what = format!("{} ({})", drawn.name, drawn.options);
        let path = clips.draw(&drawn.name, &drawn.source, &drawn.options);
        let clip = probe(&path).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(clip.video.index, drawn.pictures, "{what}");
        assert_eq!(clip.audio.as_ref().map(|sound| sound.codec.clone()), drawn.sound, "{what}");
        let date = clip.creation_time.clone().zip(clip.creation_source);
        assert_eq!(date, drawn.date, "{what}");
        assert!((clip.start_offset_s - drawn.offset).abs() < 0.1, "{what}: {}", clip.start_offset_s);
        let times = &clip.index.frame_times;
        assert_eq!(times.len(), drawn.frames as usize, "{what}");
        for (at, time) in (0..).zip(times) {
            assert!((time - f64::from(at) / f64::from(drawn.rate)).abs() < 0.02, "{what}: {at} at {time}");
        }
        let wanted: Vec<u64> = (0..u64::from(drawn.frames)).collect();
        let (frames, end) = decode(&path, &wanted).await.unwrap();
        assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), wanted, "{what}");
        assert_eq!((end.replaced, end.warnings), (0, vec![]), "{what}");
        std::fs::remove_file(path).unwrap();
    }
}
