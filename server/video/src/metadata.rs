//! Reads when, where and with which camera a clip was taken, from its tags, its name, or its file.
//!
//! The date comes from the first available source, which is kept beside it: QuickTime's `creationdate` (the camera's local
//! time with offset), `creation_time` (UTC by the standard, though some cameras write local time), the date in the file's
//! name (local time without a zone), the file's modification time.

use std::time::SystemTime;

use jiff::{Timestamp, Zoned, civil, fmt::strtime};

use crate::{CaptureDate, DateSource, Location, ProbeSummary};

/// Tags of a container or a stream.
pub(crate) type Tags = [(String, String)];

fn find<'a>(tags: &'a Tags, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let tag = tags.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty());
        tag.map(|(_, value)| value.trim())
    })
}

/// Returns when the clip was taken by its tags. Clocks that were never set (1904, 1970) count as unknown.
pub(crate) fn tagged_date(tags: &Tags) -> Option<CaptureDate> {
    let camera = find(tags, &["com.apple.quicktime.creationdate"]).and_then(with_offset);
    if let Some(time) = camera {
        return Some(CaptureDate { time, source: DateSource::Camera });
    }
    let text = find(tags, &["creation_time"])?;
    let time = match text.parse::<Timestamp>() {
        Ok(time) => plausible(time).then(|| time.to_string())?,
        // FLV and others give no zone.
        Err(_) => local(civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?)?,
    };
    Some(CaptureDate { time, source: DateSource::Container })
}

/// Returns when the clip was taken: what its tags said ([`ProbeSummary::creation_time`]), else the date in `name`, the
/// name that the file came with, else `modified`, when the file was written last.
#[must_use]
pub fn capture_date(probe: &ProbeSummary, name: &str, modified: Option<SystemTime>) -> Option<CaptureDate> {
    if let (Some(time), Some(source)) = (&probe.creation_time, probe.creation_source) {
        return Some(CaptureDate { time: time.clone(), source });
    }
    named_date(name).map(|time| CaptureDate { time, source: DateSource::FileName }).or_else(|| {
        let time = Timestamp::try_from(modified?).ok().filter(|time| plausible(*time))?;
        let time = Timestamp::from_second(time.as_second()).ok()?.to_string();
        Some(CaptureDate { time, source: DateSource::FileTime })
    })
}

/// The years in which home videos were taken: clocks that were never set, and nonsense, lie outside.
fn plausible(time: Timestamp) -> bool {
    const YEAR: i64 = 31_556_952;
    (YEAR..130 * YEAR).contains(&time.as_second())
}

fn local(time: civil::DateTime) -> Option<String> {
    (1971..2100).contains(&time.year()).then(|| time.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

/// Finds the date in a name such as `PXL_20231006_123456789.mp4`, `2019-02-15 21.13.20.mov` or
/// `VID-20190215-WA0001.mp4`, and the time if it follows.
fn named_date(name: &str) -> Option<String> {
    let digits: Vec<(usize, &str)> = runs(name);
    (0..digits.len()).find_map(|i| {
        let number = |at: usize, length: usize| {
            digits.get(at).filter(|(_, run)| run.len() == length).and_then(|(_, run)| run.parse::<i32>().ok())
        };
        // Three numbers with one character between.
        let three = |at: usize, first: usize| {
            let numbers = (number(at, first)?, number(at + 1, 2)?, number(at + 2, 2)?);
            (end(digits[at]) + 1 == digits[at + 1].0 && end(digits[at + 1]) + 1 == digits[at + 2].0)
                .then_some(numbers)
        };
        let (date, next) = match number(i, 8) {
            Some(all) => ((all / 10_000, all / 100 % 100, all % 100), i + 1),
            None => (three(i, 4)?, i + 3),
        };
        let (year, month, day) = (i16::try_from(date.0).ok()?, i8::try_from(date.1).ok()?, date.2 as i8);
        let date = civil::Date::new(year, month, day).ok().filter(|d| (1990..2100).contains(&d.year()))?;
        let clock = digits.get(next).filter(|(at, _)| name[end(digits[next - 1])..*at].len() <= 4);
        let clock = clock.and_then(|(_, run)| match run.len() {
            6 | 9 => run[..6].parse::<i32>().ok(),
            2 => three(next, 2).map(|(hour, minute, second)| hour * 10_000 + minute * 100 + second),
            _ => None,
        });
        let time = clock.and_then(|clock| {
            civil::Time::new((clock / 10_000) as i8, (clock / 100 % 100) as i8, (clock % 100) as i8, 0).ok()
        });
        time.map_or_else(|| Some(date.to_string()), |time| local(date.to_datetime(time)))
    })
}

/// The runs of ASCII digits in `name`, with their places.
fn runs(name: &str) -> Vec<(usize, &str)> {
    let mut runs = Vec::new();
    let mut at = 0;
    for part in name.split(|c: char| !c.is_ascii_digit()) {
        if !part.is_empty() {
            runs.push((at, part));
        }
        at += part.len() + name[at + part.len()..].chars().next().map_or(0, char::len_utf8);
    }
    runs
}

fn end((at, run): (usize, &str)) -> usize {
    at + run.len()
}

/// Reads `2023-10-06T12:34:56+0200`, which has no colon in its offset.
fn with_offset(text: &str) -> Option<String> {
    let zoned: Zoned = strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?.to_zoned().ok()?;
    plausible(zoned.timestamp()).then(|| strtime::format("%Y-%m-%dT%H:%M:%S%:z", &zoned).ok())?
}

/// Returns where the clip was taken. The exact null point means that the camera did not know.
pub(crate) fn location(tags: &Tags) -> Option<Location> {
    iso6709(find(tags, &["com.apple.quicktime.location.ISO6709", "location", "location-eng"])?)
}

/// Reads ISO 6709: `+48.8577+002.2950+035.000/`, or with minutes `+4851.46+00217.70/`, or with seconds too.
fn iso6709(text: &str) -> Option<Location> {
    let longitude_at = 1 + text.get(1..)?.find(['+', '-'])?;
    let (latitude, rest) = text.split_at(longitude_at);
    let end = rest.get(1..)?.find(['+', '-', '/', 'C']).map_or(rest.len(), |at| at + 1);
    let location = Location { latitude: degrees(latitude, 2)?, longitude: degrees(rest.get(..end)?, 3)? };
    let on_earth = location.latitude.abs() <= 90.0 && location.longitude.abs() <= 180.0;
    let known = location.latitude != 0.0 || location.longitude != 0.0;
    (on_earth && known).then_some(location)
}

/// Reads an angle whose degrees have so many digits; two more are minutes, and two more are seconds.
fn degrees(text: &str, digits: usize) -> Option<f64> {
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    let whole = text.trim_start_matches(['+', '-']).split('.').next()?.len();
    let size = value.abs();
    let angle = match whole.checked_sub(digits) {
        Some(2) => (size / 100.0).trunc() + size % 100.0 / 60.0,
        Some(4) => (size / 1e4).trunc() + (size % 1e4 / 100.0).trunc() / 60.0 + size % 100.0 / 3600.0,
        Some(1 | 3 | 5..) => return None,
        Some(0) | None => size,
    };
    Some(angle.copysign(value))
}

/// Returns make and model of the camera.
pub(crate) fn camera(tags: &Tags) -> Option<String> {
    let make = find(tags, &["com.apple.quicktime.make", "make", "com.android.manufacturer"]);
    let model = find(tags, &["com.apple.quicktime.model", "model", "com.android.model"]);
    match (make, model) {
        (Some(make), Some(model)) if model.to_lowercase().starts_with(&make.to_lowercase()) => {
            Some(model.into())
        }
        (Some(make), Some(model)) => Some(format!("{make} {model}")),
        (one, other) => one.or(other).map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn tagged(pairs: &[(&str, &str)]) -> Option<(String, DateSource)> {
        tagged_date(&tags(pairs)).map(|date| (date.time, date.source))
    }

    #[test]
    fn the_cameras_own_date_comes_first_and_keeps_its_offset() {
        let both = [
            ("creation_time", "2023-10-06T10:34:56.000000Z"),
            ("com.apple.quicktime.creationdate", "2023-10-06T12:34:56+0200"),
        ];
        assert_eq!(tagged(&both), Some(("2023-10-06T12:34:56+02:00".into(), DateSource::Camera)));
        assert_eq!(tagged(&both[..1]), Some(("2023-10-06T10:34:56Z".into(), DateSource::Container)));
        let zoneless = tagged(&[("creation_time", "2016-05-31 17:01:35")]);
        assert_eq!(zoneless, Some(("2016-05-31T17:01:35".into(), DateSource::Container)));
    }

    #[test]
    fn clocks_that_were_never_set_are_unknown() {
        for never in [
            "1970-01-01T00:00:00.000000Z",
            "1904-01-01T00:00:00Z",
            "1970-01-01 00:00:00",
            "yesterday",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(tagged(&[("creation_time", never)]), None, "{never}");
        }
        // A camera date that cannot be read leaves the next rung.
        let next =
            tagged(&[("com.apple.quicktime.creationdate", "?"), ("creation_time", "2020-01-05T11:19:45Z")]);
        assert_eq!(next, Some(("2020-01-05T11:19:45Z".into(), DateSource::Container)));
    }

    #[test]
    fn names_tell_dates() {
        for (name, expected) in [
            ("PXL_20231006_123456789.mp4", Some("2023-10-06T12:34:56")),
            ("VID_20190215_211320.mp4", Some("2019-02-15T21:13:20")),
            ("20240128_105420(1).mp4", Some("2024-01-28T10:54:20")),
            ("2019-02-15 21.13.20.mov", Some("2019-02-15T21:13:20")),
            ("Screen Recording 2023-05-09 at 12.41.46.mov", Some("2023-05-09T12:41:46")),
            ("signal-2021-04-05-101112.mp4", Some("2021-04-05T10:11:12")),
            ("VID-20190215-WA0001.mp4", Some("2019-02-15")),
            ("Été 2020-07-14.mov", Some("2020-07-14")),
            ("20191399_000000.mp4", None),
            ("clip 12345678.mp4", None),
            ("MVI_0042.AVI", None),
            ("MVI_2041 (12) 24.avi", None),
            ("201902151234.mp4", None),
            ("20190215_999999.mp4", Some("2019-02-15")),
            ("", None),
            ("é1é2é", None),
        ] {
            assert_eq!(named_date(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn places_are_read_and_null_island_is_not_one() {
        let place = |text| location(&tags(&[("location", text)]));
        assert_eq!(
            place("+48.8577-002.2950+035.000/"),
            Some(Location { latitude: 48.8577, longitude: -2.295 })
        );
        assert_eq!(place("-33.9+18.4/"), Some(Location { latitude: -33.9, longitude: 18.4 }));
        let close = |text, latitude: f64, longitude: f64| {
            let found = place(text).unwrap();
            assert!((found.latitude - latitude).abs() < 1e-6, "{text}: {found:?}");
            assert!((found.longitude - longitude).abs() < 1e-6, "{text}: {found:?}");
        };
        close("+4851.462+00217.7/", 48.8577, 2.295);
        close("-335400-0182406/", -33.9, -18.401_666_667);
        for none in
            ["+1234567+00.1/", "+nan+inf/", "+00.0000+000.0000/", "+95.0+000.1/", "north", "", "+", "é+é"]
        {
            assert_eq!(place(none), None, "{none}");
        }
    }

    #[test]
    fn make_and_model_are_joined_once() {
        assert_eq!(
            camera(&tags(&[("make", "Apple"), ("model", "iPhone 14")])).as_deref(),
            Some("Apple iPhone 14")
        );
        assert_eq!(camera(&tags(&[("make", "Canon"), ("model", "Canon R5")])).as_deref(), Some("Canon R5"));
        assert_eq!(camera(&tags(&[])), None);
    }
}
