//! What pages call a video: its name; where a camera gave that name, the first sentence of the description.

use std::collections::HashMap;

use homereel_library::{LibraryError, Video};

use crate::state::AppState;

/// Characters of a description that are read for a title.
const CHARS: u32 = 200;

/// Words in names that cameras, phones and messengers give.
const GIVEN: [&str; 29] = [
    "at",
    "c",
    "cimg",
    "dji",
    "dsc",
    "dscf",
    "dscn",
    "fb",
    "final",
    "gh",
    "gopr",
    "gp",
    "gx",
    "hdr",
    "img",
    "lv",
    "mov",
    "mvi",
    "p",
    "pxl",
    "recording",
    "rpreplay",
    "sam",
    "screen",
    "signal",
    "trim",
    "vid",
    "video",
    "wa",
];

/// Titles of some videos; all others have their name.
#[derive(Debug, Default)]
pub(super) struct Titles(HashMap<String, String>);

impl Titles {
    /// Returns the title of a video.
    pub(super) fn of<'a>(&'a self, video: &'a Video) -> &'a str {
        self.0.get(&video.id).map_or(video.name.as_str(), |text| title(video, text))
    }
}

/// Reads the descriptions of those videos that are called by them.
///
/// # Errors
/// `Database`.
pub(super) async fn titles<'a>(
    state: &AppState,
    videos: impl IntoIterator<Item = &'a Video>,
) -> Result<Titles, LibraryError> {
    let nameless = videos.into_iter().filter(|video| is_given(&video.name));
    let ids: Vec<&str> = nameless.map(|video| video.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(Titles::default());
    }
    Ok(Titles(state.library.descriptions_begin(&ids, CHARS).await?))
}

/// Returns the title of a video whose description begins like this; an empty one counts as none.
pub(super) fn title<'a>(video: &'a Video, description: &'a str) -> &'a str {
    let sentence = if is_given(&video.name) { first_sentence(description) } else { "" };
    if sentence.is_empty() { &video.name } else { sentence }
}

/// Returns whether a name says nothing: it consists of numbers and of words that cameras put before them.
fn is_given(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let is_hash = stem.len() >= 16 && stem.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let has_number = stem.contains(|c: char| c.is_ascii_digit());
    let mut words = stem.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    is_hash || has_number && words.all(|word| is_given_word(&word.to_lowercase()))
}

fn is_given_word(word: &str) -> bool {
    GIVEN.contains(&word) || word == "whatsapp"
}

/// Returns the first sentence of the first line.
fn first_sentence(text: &str) -> &str {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.find(". ").map_or(line, |end| &line[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_sentence() {
        for (text, title) in [
            ("A boy runs. Then he jumps.", "A boy runs."),
            ("\n  A boy runs\nHe jumps", "A boy runs"),
            ("At 3.5 s he jumps", "At 3.5 s he jumps"),
            ("", ""),
        ] {
            assert_eq!(first_sentence(text), title);
        }
    }

    #[test]
    fn names_that_cameras_give_say_nothing_and_those_of_people_do() {
        for name in [
            "IMG_1234.MOV",
            "VID_20190714_101200.mp4",
            "20190714_101200.mp4",
            "PXL_20230101_120000000.mp4",
            "GOPR0012.MP4",
            "GX010034.MP4",
            "DSC00012.MTS",
            "MVI_0001.AVI",
            "DJI_0042.MP4",
            "P1010203.MOV",
            "WhatsApp Video 2021-03-01 at 10.12.13.mp4",
            "VID-20200101-WA0001.mp4",
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301.mov",
            "00012.MTS",
            "video (3).mp4",
        ] {
            assert!(is_given(name), "{name}");
        }
        for name in [
            "Bonfire on the beach.mp4",
            "Lake 2019.mp4",
            "Ben.mov",
            "Video of Oma.mp4",
            "IMG_1234 Ben jumps.mov",
            "Урок 3.mp4",
            "誕生日2019.mp4",
            "video.mp4",
            "",
        ] {
            assert!(!is_given(name), "{name}");
        }
    }
}
