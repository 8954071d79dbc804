//! `GET` and `POST /videos/{id}/edit`: what people can change about a video, as one form. The script shows the same form in a
//! dialog.

use axum::{
    Form,
    extract::rejection::FormRejection,
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{Moment, Video};
use homereel_web::{format, pages::EditPage, views::EditedMoment};

use super::{
    error::Failure,
    extract::Path,
    html::{self, PageContext},
    neighbours::Origin,
    pages::video::text::{SHOWN_CHARS, taken_fields},
    videos::{self, VideoEdit},
};

/// Maximum number of moments of a form; more are only changed by the API.
const MAX_MOMENTS: usize = 100;

/// Empty rows for new moments.
const NEW_MOMENTS: usize = 2;

/// Seconds by which the times of a moment may differ and still be the same: a form shows milliseconds.
const SAME: f64 = 0.001;

/// What a form holds. `None` means that the form lacks the field, which then stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
struct Entered {
    name: Option<String>,
    /// Day, time, zone.
    taken: Option<[String; 3]>,
    place: Option<String>,
    description: Option<String>,
    tags: Option<String>,
    moments: Option<Vec<EditedMoment>>,
}

/// `GET /videos/{id}/edit`
pub(super) async fn page(cx: PageContext, origin: Origin, Path(id): Path<String>) -> Response {
    let work = async || {
        let video = cx.state.library.video(&id).await?;
        html::render(&filled(&cx, &origin, &video, Entered::of(&video), String::new()))
    };
    html::or_error(&cx, work().await)
}

/// `POST /videos/{id}/edit`: a form. An invalid value is an error in the form, which keeps what was entered.
pub(super) async fn save(
    cx: PageContext,
    origin: Origin,
    Path(id): Path<String>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(fields) = form?;
        let video = cx.state.library.video(&id).await?;
        let entered = Entered::read(fields);
        let saved = match entered.edit(&video) {
            Ok(edit) => videos::change(&cx.state, &id, edit).await,
            Err(failure) => Err(failure),
        };
        match saved {
            Ok(()) => Ok(Redirect::to(&origin.url_of(&id)).into_response()),
            Err(failure) if failure.status.is_client_error() => {
                let page = filled(&cx, &origin, &video, entered.or(&video), failure.message);
                Ok((failure.status, html::render(&page)?).into_response())
            }
            Err(failure) => Err(failure),
        }
    };
    html::or_error(&cx, work().await)
}

fn filled(cx: &PageContext, origin: &Origin, video: &Video, entered: Entered, problem: String) -> EditPage {
    let moments = entered.moments.map(|mut moments| {
        moments.extend(vec![EditedMoment::default(); NEW_MOMENTS]);
        moments
    });
    EditPage {
        shell: html::shell(cx, &cx.words.with("edit-title", &[("name", &video.name)]), "videos", false),
        action: origin.edit_url_of(&video.id),
        back: origin.url_of(&video.id),
        video: video.name.clone(),
        problem,
        name: entered.name.unwrap_or_default(),
        taken: entered.taken.unwrap_or_default(),
        place: entered.place.unwrap_or_default(),
        description: entered.description,
        tags: entered.tags.unwrap_or_default(),
        moments,
        length: video.probe.as_ref().map(|probe| format::position(probe.duration_s)).unwrap_or_default(),
    }
}

impl Entered {
    /// Returns what a form shows before it is changed. Texts that are too long for a page are left out.
    fn of(video: &Video) -> Self {
        let texts = &video.texts;
        let description =
            texts.description.as_ref().and_then(|text| text.content.clone()).unwrap_or_default();
        let tags = texts.tags.as_ref().and_then(|text| text.content.as_ref());
        let moments = stored(video).iter().map(|moment| EditedMoment {
            start: exact(moment.start),
            end: exact(moment.end),
            text: moment.text.clone(),
        });
        Self {
            name: Some(video.name.clone()),
            taken: Some(taken_fields(video)),
            place: Some(video.place.clone().unwrap_or_default()),
            description: Some(description).filter(|text| text.len() <= SHOWN_CHARS),
            tags: Some(tags.map(|tags| tags.join(", ")).unwrap_or_default()),
            moments: Some(moments.collect()).filter(|moments: &Vec<_>| moments.len() <= MAX_MOMENTS),
        }
    }

    /// Reads the fields of a form; moments are three fields each.
    fn read(fields: Vec<(String, String)>) -> Self {
        let mut entered = Self::default();
        for (name, value) in fields {
            match name.as_str() {
                "name" => entered.name = Some(value),
                "day" => entered.taken.get_or_insert_default()[0] = value,
                "clock" => entered.taken.get_or_insert_default()[1] = value,
                "zone" => entered.taken.get_or_insert_default()[2] = value,
                "place" => entered.place = Some(value),
                // Browsers send line breaks as CR LF.
                "description" => entered.description = Some(value.replace("\r\n", "\n")),
                "tags" => entered.tags = Some(value),
                "moments" => entered.moments = Some(Vec::new()),
                "moment-start" => {
                    let row = EditedMoment { start: value, ..EditedMoment::default() };
                    entered.moments.get_or_insert_default().push(row);
                }
                "moment-end" | "moment-text" => {
                    if let Some(row) = entered.moments.as_mut().and_then(|rows| rows.last_mut()) {
                        *(if name == "moment-end" { &mut row.end } else { &mut row.text }) = value;
                    }
                }
                _ => {}
            }
        }
        entered
    }

    /// Fills in what the form lacked.
    fn or(self, video: &Video) -> Self {
        let present = Self::of(video);
        Self {
            name: self.name.or(present.name),
            taken: self.taken.or(present.taken),
            place: self.place.or(present.place),
            description: self.description.or(present.description),
            tags: self.tags.or(present.tags),
            moments: self.moments.or(present.moments),
        }
    }

    /// Returns what changes. A date that stays as it was is not a person's.
    fn edit(&self, video: &Video) -> Result<VideoEdit, Failure> {
        let taken = self.taken.as_ref().filter(|fields| **fields != taken_fields(video));
        let tags = self.tags.as_ref().map(|tags| tags.split([',', '\n']).map(str::to_owned).collect());
        let moments = self.moments.as_ref().map(|rows| {
            let rows = rows.iter().filter(|row| !row.text.trim().is_empty());
            rows.map(|row| moment(row, stored(video))).collect::<Result<Vec<_>, _>>()
        });
        Ok(VideoEdit {
            name: self.name.clone().filter(|name| name.trim() != video.name),
            place: self.place.clone(),
            favourite: None,
            description: self.description.clone(),
            tags,
            moments: moments.transpose()?,
            taken: taken.map(|[day, clock, zone]| videos::taken_text(day, clock, zone)),
        })
    }
}

fn stored(video: &Video) -> &[Moment] {
    video.texts.moments.as_ref().and_then(|text| text.content.as_deref()).unwrap_or_default()
}

/// Reads a row of the form. Times that are shown rounded stay what they were.
fn moment(row: &EditedMoment, present: &[Moment]) -> Result<Moment, Failure> {
    let time = |text: &str| {
        seconds(text).ok_or_else(|| {
            let message =
                format!("a moment is at {}; a time such as 1:02.5 would fit", super::error::shown(text));
            Failure::invalid("moments", message)
        })
    };
    let start = time(&row.start)?;
    let end = if row.end.trim().is_empty() { start } else { time(&row.end)? };
    let near = |a: f64, b: f64| (a - b).abs() <= SAME;
    let same = present.iter().find(|moment| near(moment.start, start));
    Ok(Moment {
        start: same.map_or(start, |moment| moment.start),
        end: same.filter(|moment| near(moment.end, end)).map_or(end, |moment| moment.end),
        text: row.text.trim().to_owned(),
    })
}

/// Formats a time to the millisecond: `1:02.5`, `0:04.079`.
fn exact(seconds: f64) -> String {
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    let text = format!("{}.{:03}", format::clock(ms / 1000), ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Parses a time: `62.5`, `1:02.5`, `1:01:02`.
fn seconds(text: &str) -> Option<f64> {
    let parts: Vec<&str> = text.trim().split(':').collect();
    let (last, before) = parts.split_last()?;
    if before.len() > 2
        || !before.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    {
        return None;
    }
    let rest: f64 = last.parse().ok().filter(|rest: &f64| rest.is_finite() && *rest >= 0.0)?;
    before
        .iter()
        .try_fold(0.0, |sum, part| Some(60.0 * sum + part.parse::<f64>().ok()?))
        .map(|sum| 60.0 * sum + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, expected) in [
            ("0:04.079", Some(4.079)),
            ("62.5", Some(62.5)),
            ("1:02.5", Some(62.5)),
            ("1:01:02", Some(3662.0)),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for bad in ["", "x", "-1", "1:-2", "1:2:3:4", ":5", "1:inf", "+1:2"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        for time in [0.0, 4.079, 59.9996, 62.5, 3662.0] {
            assert!((seconds(&exact(time)).unwrap() - time).abs() < SAME, "{time}");
        }
    }

    #[test]
    fn a_form_has_three_fields_for_each_moment_and_empty_rows_are_none() {
        let fields = vec![
            pair("place", "Lake"),
            pair("description", "a\r\nb"),
            pair("moment-start", "0:01"),
            pair("moment-end", "0:02"),
            pair("moment-text", "He jumps"),
            pair("moment-start", ""),
            pair("moment-end", ""),
            pair("moment-text", " "),
            pair("unknown", "x"),
        ];
        let entered = Entered::read(fields);
        assert_eq!((entered.place.as_deref(), entered.description.as_deref()), (Some("Lake"), Some("a\nb")));
        assert_eq!((entered.name, entered.moments.as_ref().unwrap().len()), (None, 2));
        assert_eq!(Entered::read(vec![pair("moment-end", "1")]).moments, None, "an end without a start");
        assert_eq!(Entered::read(vec![pair("moments", "")]).moments, Some(Vec::new()), "all were removed");
    }

    #[test]
    fn unchanged_times_stay_exact_and_bad_ones_are_named() {
        let present = [Moment { start: 4.079_31, end: 5.000_4, text: "old".into() }];
        let row = |start: &str, end: &str| EditedMoment {
            start: start.into(),
            end: end.into(),
            text: "new".into(),
        };
        let read = moment(&row("0:04.079", "0:05"), &present).unwrap();
        assert_eq!((read.start, read.end, read.text.as_str()), (4.079_31, 5.000_4, "new"));
        assert_eq!(moment(&row("0:07", ""), &present).unwrap().end, 7.0);
        assert!(moment(&row("soon", ""), &present).unwrap_err().message.contains("a moment is at soon"));
    }
}
