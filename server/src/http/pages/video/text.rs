//! What a model or a person wrote about a video, and the facts of its file, as its page shows them.

use homereel_library::{Moment, Video};
use homereel_video::{DateSource, ProbeSummary, TakenTime};
use homereel_web::{
    Words, format,
    views::{Fact, Link, Made, MomentView},
};
use jiff::tz::TimeZone;

use crate::http::views;

/// Maximum number of characters of a text that a page shows; files and JSON have all of it.
pub(in crate::http) const SHOWN_CHARS: usize = 6000;

/// Length of the file of a moment in seconds, at least and at most.
const CLIP: (f64, f64) = (1.0, 600.0);

/// Truncates a text that would make a page heavy.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// Describes what the model saw.
pub(super) fn description(video: &Video) -> Option<Made> {
    let text = video.texts.description.as_ref()?;
    Some(Made {
        text: shortened(text.content.as_deref()?),
        model: text.model.clone(),
        edited: text.edited_ms.is_some(),
    })
}

/// Tags, each with a link to its videos.
pub(super) fn tags(video: &Video) -> Vec<Link> {
    let words = video.texts.tags.as_ref().and_then(|text| text.content.as_deref()).unwrap_or_default();
    words.iter().map(|word| Link { text: word.clone(), url: views::tag_url(word) }).collect()
}

/// Moments for the page.
pub(super) fn moments(video: &Video) -> Vec<MomentView> {
    let moments = video.texts.moments.as_ref().and_then(|text| text.content.as_deref()).unwrap_or_default();
    let duration_s = video.probe.as_ref().map_or(f64::INFINITY, |probe| probe.duration_s);
    moments.iter().map(|moment| view(moment, duration_s)).collect()
}

fn view(moment: &Moment, duration_s: f64) -> MomentView {
    let (least, most) = CLIP;
    let end = moment.end.clamp(moment.start + least, moment.start + most).min(duration_s);
    let start = moment.start.min(end - least).max(0.0);
    MomentView {
        start: format::second(moment.start),
        end: format::second(moment.end),
        at: format!("{}–{}", format::position(moment.start), format::position(moment.end)),
        text: moment.text.clone(),
        clip: format!("clip.mp4?start={start:.3}&end={end:.3}&download=1"),
    }
}

/// Facts about the file. Names are keys of messages.
pub(super) fn facts(words: &Words, video: &Video) -> Vec<Fact> {
    let mut facts = vec![
        Fact { name: "fact-name", value: video.name.clone() },
        Fact { name: "fact-taken", value: taken(words, video) },
        Fact { name: "fact-size", value: format::size(video.size) },
    ];
    if let Some(place) = &video.place {
        facts.push(Fact { name: "fact-place", value: place.clone() });
    }
    if let Some(probe) = &video.probe {
        facts.extend(probe_facts(words, probe));
    }
    facts
}

fn probe_facts(words: &Words, probe: &ProbeSummary) -> Vec<Fact> {
    let stream = &probe.video;
    let mut facts = vec![
        Fact { name: "fact-length", value: format::duration(probe.duration_s) },
        Fact { name: "fact-resolution", value: format!("{} × {}", stream.width, stream.height) },
        Fact {
            name: "fact-rate",
            value: words
                .with("fact-rate-value", &[("rate", format!("{:.2}", stream.fps).trim_end_matches(".00"))]),
        },
        Fact { name: "fact-codec", value: stream.codec.clone() },
    ];
    let sound = probe.audio.as_ref().map_or_else(|| words.t("fact-no-audio"), |audio| audio.codec.clone());
    facts.push(Fact { name: "fact-audio", value: sound });
    if let Some(place) = probe.location {
        facts.push(Fact {
            name: "fact-coordinates",
            value: format!("{:.4}, {:.4}", place.latitude, place.longitude),
        });
    }
    if let Some(camera) = &probe.camera {
        facts.push(Fact { name: "fact-camera", value: camera.clone() });
    }
    facts
}

/// When the clip was taken, with what is known of the zone, and who says so.
fn taken(words: &Words, video: &Video) -> String {
    let Some(taken) = &video.taken else { return words.t("taken-unknown") };
    let date = views::date(video).text;
    let offset;
    let (key, value) = match taken.time {
        TakenTime::Day(_) => ("taken-day", ""),
        TakenTime::Local(_) => ("taken-local", ""),
        TakenTime::Zoned(..) => {
            offset = taken.time.to_string().split_off(19);
            ("taken-zoned", offset.as_str())
        }
        TakenTime::Instant(moment) => {
            offset = TimeZone::UTC.to_datetime(moment).strftime("%H:%M").to_string();
            ("taken-instant", offset.as_str())
        }
    };
    let when = words.with(key, &[("date", &date), ("zone", value)]);
    match taken.source {
        DateSource::Person => words.with("taken-by-hand", &[("when", &when)]),
        DateSource::FileName => words.with("taken-from-name", &[("when", &when)]),
        DateSource::FileTime => words.with("taken-from-file", &[("when", &when)]),
        DateSource::Camera | DateSource::Container => when,
    }
}

/// The fields of the form that corrects a date: day, time, zone.
pub(in crate::http) fn taken_fields(video: &Video) -> [String; 3] {
    let Some(taken) = &video.taken else { return Default::default() };
    let text = taken.time.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
    let zone = match taken.time {
        TakenTime::Instant(_) => "UTC".to_owned(),
        _ => text.get(19..).unwrap_or_default().to_owned(),
    };
    [part(0, 10), part(11, 19), zone]
}

#[cfg(test)]
pub(super) mod tests {
    use homereel_library::{Poster, Text, Texts};
    use homereel_video::fixtures::summary;
    use serde_json::json;

    use super::*;

    /// A video with one moment.
    pub(in crate::http::pages::video) fn video() -> Video {
        let moments = vec![Moment { start: 1.0, end: 1.2, text: "He jumps".into() }];
        let text = Text {
            content: Some(moments),
            warning: None,
            model: "m".into(),
            settings: json!({}),
            created_ms: 0,
            edited_ms: None,
        };
        Video {
            id: "1".into(),
            sha256: "0".repeat(64),
            name: "Lake.mp4".into(),
            size: 9,
            mime: "video/mp4".into(),
            created_ms: 0,
            taken: None,
            taken_ms: 0,
            place: None,
            deleted_ms: None,
            favourite: false,
            probe: Some(ProbeSummary { duration_s: 1.5, ..summary() }),
            poster: Poster::Pending,
            error: None,
            texts: Texts { moments: Some(text), ..Texts::default() },
        }
    }

    #[test]
    fn the_file_of_a_moment_has_a_second_within_the_video() {
        assert_eq!(moments(&video())[0].clip, "clip.mp4?start=0.500&end=1.500&download=1");
        let long = Moment { start: 10.0, end: 5000.0, text: "Talk".into() };
        assert_eq!(view(&long, 6000.0).clip, "clip.mp4?start=10.000&end=610.000&download=1");
    }

    #[test]
    fn a_date_that_nobody_knows_is_called_unknown() {
        assert_eq!(taken(Words::english(), &video()), "Unknown");
        assert_eq!(taken_fields(&video()), ["", "", ""]);
    }
}
