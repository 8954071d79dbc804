//! Chooses the streams of a clip: one of pictures, which everything shows, and one of sound, which everything plays.

use std::cmp::Reverse;

use crate::{
    VideoError,
    ffmpeg::{Medium, StreamFacts},
    timeline::Stamp,
};

/// A stream with less than one `MIN_SHARE`th of the pictures of another one is not chosen.
const MIN_SHARE: usize = 16;

/// Returns the candidate streams: video that can be decoded, no cover art.
pub(crate) fn candidates(streams: &[StreamFacts]) -> Result<Vec<StreamFacts>, VideoError> {
    let moving: Vec<&StreamFacts> =
        streams.iter().filter(|facts| facts.medium == Medium::Video && !facts.cover_art).collect();
    if moving.is_empty() {
        return Err(VideoError::NoVideoStream { found: inventory(streams) });
    }
    let decodable: Vec<StreamFacts> =
        moving.iter().filter(|facts| facts.decodable).map(|facts| (*facts).clone()).collect();
    if decodable.is_empty() {
        if let Some(scheme) = moving.iter().find_map(|facts| facts.encryption) {
            return Err(VideoError::Encrypted { scheme: scheme.into() });
        }
        let name = |facts: &StreamFacts| {
            if facts.codec == "none" { facts.tag.clone() } else { facts.codec.clone() }
        };
        let names: Vec<String> = moving.iter().map(|facts| name(facts)).collect();
        return Err(VideoError::Unsupported { message: format!("no decoder for {}", names.join(", ")) });
    }
    Ok(decodable)
}

fn inventory(streams: &[StreamFacts]) -> String {
    let names: Vec<String> = streams
        .iter()
        .map(|facts| match facts.medium {
            Medium::Audio => format!("sound ({})", facts.codec),
            Medium::Video => format!("cover art ({})", facts.codec),
            Medium::Other => format!("data ({})", facts.codec),
        })
        .collect();
    if names.is_empty() { "no streams at all".into() } else { names.join(", ") }
}

/// Chooses the stream of pictures. Still pictures (cover art, previews, the still of a motion photo) lose against moving ones.
/// What the file marks as default, or as enabled, wins; then what has at least a sixteenth of the most pictures (a phone's best
/// shots in full size are a track of a few), then what lasts at least half as long as the longest, then the largest.
pub(crate) fn pictures<'a, 'b>(
    candidates: &'a [StreamFacts],
    stamps: impl Fn(&StreamFacts) -> &'b [Stamp],
) -> Result<&'a StreamFacts, VideoError> {
    let moving = |facts: &&StreamFacts| !facts.still && stamps(facts).len() > 1;
    let filled: Vec<&StreamFacts> = candidates.iter().filter(|facts| !stamps(facts).is_empty()).collect();
    let filled = preferred(filled, moving);
    let mut marked = preferred(filled, |facts| facts.default);
    let most = marked.iter().map(|facts| stamps(facts).len()).max().unwrap_or(0);
    marked.retain(|facts| stamps(facts).len() * MIN_SHARE >= most);
    let longest = marked.iter().map(|facts| length(facts, stamps(facts))).fold(0.0, f64::max);
    marked
        .into_iter()
        .filter(|facts| 2.0 * length(facts, stamps(facts)) >= longest)
        .max_by_key(|facts| (i64::from(facts.width) * i64::from(facts.height), Reverse(facts.index)))
        .ok_or_else(|| VideoError::NoFrames { message: "the video stream holds no packets".into() })
}

/// Returns those that `is` holds for, or all where there are none.
fn preferred<'a>(all: Vec<&'a StreamFacts>, is: impl Fn(&&'a StreamFacts) -> bool) -> Vec<&'a StreamFacts> {
    let some: Vec<_> = all.iter().copied().filter(|facts| is(facts)).collect();
    if some.is_empty() { all } else { some }
}

/// Seconds from the first to the last picture; the number of pictures where the packets have no times.
fn length(facts: &StreamFacts, stamps: &[Stamp]) -> f64 {
    let times = || stamps.iter().filter_map(|stamp| stamp.pts);
    let (num, den) = facts.time_base;
    match (times().min(), times().max()) {
        (Some(first), Some(last)) if den > 0 => {
            last.saturating_sub(first) as f64 * f64::from(num) / f64::from(den)
        }
        _ => stamps.len() as f64,
    }
}

/// The stream of sound.
#[derive(Debug)]
pub(crate) struct SoundChoice<'a> {
    /// The stream that is played; `None` means that the clip has no sound that can be read.
    pub(crate) stream: Option<&'a StreamFacts>,
    /// What a person should know about the others.
    pub(crate) note: Option<String>,
}

/// Chooses the stream of sound: of those that can be decoded, the one that the file marks as default, else the first.
pub(crate) fn sound(streams: &[StreamFacts]) -> SoundChoice<'_> {
    let all: Vec<&StreamFacts> = streams.iter().filter(|facts| facts.medium == Medium::Audio).collect();
    let readable: Vec<&StreamFacts> = all.iter().copied().filter(|facts| facts.decodable).collect();
    let stream = preferred(readable, |facts| facts.default).first().copied();
    let unreadable: Vec<&str> = all
        .iter()
        .filter(|facts| !facts.decodable)
        .map(
            |facts| {
                if matches!(facts.codec.as_str(), "none" | "unknown") { &*facts.tag } else { &*facts.codec }
            },
        )
        .collect();
    let note = match stream {
        _ if unreadable.is_empty() => None,
        Some(stream) => Some(format!(
            "a sound track cannot be read (no decoder for {}); the one coded as {} is played",
            unreadable.join(", "),
            stream.codec
        )),
        None => Some(format!("the sound cannot be read (no decoder for {})", unreadable.join(", "))),
    };
    SoundChoice { stream, note }
}
