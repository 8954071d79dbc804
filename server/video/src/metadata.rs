//! What a file says of when, where and with what it was taken. Knows tags, no ffmpeg.

use jiff::{Timestamp, Zoned, fmt::strtime};

use crate::Location;

/// Tags of a container or a stream.
pub(crate) type Tags = [(String, String)];

fn find<'a>(tags: &'a Tags, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let tag = tags.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty());
        tag.map(|(_, value)| value.trim())
    })
}

/// Returns when the clip was taken (RFC 3339, with the camera's own offset where it is known). Clocks that
/// were never set (1904, 1970) count as unknown.
pub(crate) fn creation_time(tags: &Tags) -> Option<String> {
    if let Some(local) = find(tags, &["com.apple.quicktime.creationdate"]).and_then(with_offset) {
        return Some(local);
    }
    let time: Timestamp = find(tags, &["creation_time"])?.parse().ok()?;
    plausible(time).then(|| time.to_string())
}

fn plausible(time: Timestamp) -> bool {
    time.as_second() > 365 * 24 * 3600
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

/// Reads the decimal-degrees form of ISO 6709, `+48.8577+002.2950+035.000/`.
fn iso6709(text: &str) -> Option<Location> {
    let longitude_at = 1 + text.get(1..)?.find(['+', '-'])?;
    let (latitude, rest) = text.split_at(longitude_at);
    let end = rest.get(1..)?.find(['+', '-', '/', 'C']).map_or(rest.len(), |at| at + 1);
    let location = Location { latitude: latitude.parse().ok()?, longitude: rest.get(..end)?.parse().ok()? };
    let on_earth = location.latitude.abs() <= 90.0 && location.longitude.abs() <= 180.0;
    let known = location.latitude != 0.0 || location.longitude != 0.0;
    (on_earth && known).then_some(location)
}

/// Returns make and model of the camera.
pub(crate) fn camera(tags: &Tags) -> Option<String> {
    let make = find(tags, &["com.apple.quicktime.make", "make", "com.android.manufacturer"]);
    let model = find(tags, &["com.apple.quicktime.model", "model", "com.android.model"]);
    match (make, model) {
        (Some(make), Some(model)) if model.starts_with(make) => Some(model.into()),
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

    #[test]
    fn the_cameras_own_date_comes_first_and_keeps_its_offset() {
        let both = tags(&[
            ("creation_time", "2023-10-06T10:34:56.000000Z"),
            ("com.apple.quicktime.creationdate", "2023-10-06T12:34:56+0200"),
        ]);
        assert_eq!(creation_time(&both).as_deref(), Some("2023-10-06T12:34:56+02:00"));
        assert_eq!(creation_time(&both[..1]).as_deref(), Some("2023-10-06T10:34:56Z"));
    }

    #[test]
    fn clocks_that_were_never_set_are_unknown() {
        assert_eq!(creation_time(&tags(&[("creation_time", "1970-01-01T00:00:00.000000Z")])), None);
        assert_eq!(creation_time(&tags(&[("creation_time", "yesterday")])), None);
    }

    #[test]
    fn places_are_read_and_null_island_is_not_one() {
        let place = |text| location(&tags(&[("location", text)]));
        assert_eq!(
            place("+48.8577-002.2950+035.000/"),
            Some(Location { latitude: 48.8577, longitude: -2.295 })
        );
        assert_eq!(place("-33.9+18.4/"), Some(Location { latitude: -33.9, longitude: 18.4 }));
        for none in ["+00.0000+000.0000/", "+95.0+000.1/", "north", "", "+", "é+é"] {
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
