//! Finds what in a file makes browsers show it otherwise than we do, beside its codecs: another stream, another time, a length
//! that they do not know, or settings of the encoder that change.

mod boxes;
mod elements;

use std::fs::File;

use super::{MP4, near};
use crate::ffmpeg::{Medium, StreamFacts};
pub(super) use boxes::Boxes;

/// What the scan has found.
pub(super) struct Shown<'a> {
    pub(super) streams: &'a [StreamFacts],
    pub(super) pictures: &'a StreamFacts,
    pub(super) sound: Option<&'a StreamFacts>,
    pub(super) fps: f64,
    /// Seconds on the file's clock at which the first picture is shown.
    pub(super) zero: f64,
    /// The clip's end, by its packets and by the header.
    pub(super) duration_s: f64,
    pub(super) claimed_s: Option<f64>,
    pub(super) recordings: usize,
    /// Frames that are not shown.
    pub(super) hidden: u64,
    pub(super) counted: bool,
    /// Whether the settings of the encoder change on the way.
    pub(super) reconfigured: bool,
    /// Of an MP4.
    pub(super) boxes: &'a Boxes,
}

/// Returns why browsers would show `file`, whose container is `container`, otherwise than we do, for display.
pub(super) fn difference(file: &File, container: &str, shown: &Shown<'_>) -> Option<String> {
    in_streams(shown).or_else(|| in_time(shown)).or_else(|| in_coding(shown)).or_else(|| match container {
        "matroska,webm" => elements::difference(file),
        MP4 => shown.boxes.difference(),
        _ => None,
    })
}

/// Browsers play the first stream of each kind, or what the file enables.
fn in_streams(shown: &Shown<'_>) -> Option<String> {
    let first = |medium: Medium| {
        shown.streams.iter().find(|facts| facts.medium == medium && !facts.cover_art).map(|facts| facts.index)
    };
    if first(Medium::Video) != Some(shown.pictures.index) {
        return Some("browsers would show another of its streams of pictures".into());
    }
    let sound = shown.sound.map(|facts| facts.index);
    if first(Medium::Audio) != sound {
        return Some("browsers would play another of its streams of sound, or none".into());
    }
    let alone = shown.streams.iter().filter(|facts| facts.medium == Medium::Audio).count() < 2;
    (!alone && shown.sound.is_some_and(|facts| !facts.default))
        .then(|| "browsers would play another of its streams of sound".into())
}

fn in_coding(shown: &Shown<'_>) -> Option<String> {
    let changes = "the settings of its encoder change on the way, which not every browser follows";
    shown.reconfigured.then(|| changes.into())
}

fn in_time(shown: &Shown<'_>) -> Option<String> {
    if shown.recordings > 1 {
        return Some("it is made of several recordings, of which browsers play the first".into());
    }
    if shown.counted {
        return Some("its pictures have no times of their own".into());
    }
    if shown.hidden > 0 {
        return Some("parts of it are not meant to be shown, which not every browser heeds".into());
    }
    // By half a picture, a time opens its neighbour.
    if shown.zero.abs() * shown.fps > 0.5 {
        return Some(format!("its first picture is at {:.3} s of its clock", shown.zero));
    }
    let claimed = shown.claimed_s?;
    (!near(claimed, shown.duration_s))
        .then(|| format!("its header says that it lasts {claimed:.1} s, which is wrong"))
}
