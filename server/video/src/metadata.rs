//! Reads where and with which camera a clip was taken, from its tags. For when, see [`crate::taken`].

use crate::Location;

/// Tags of a container or a stream.
pub(crate) type Tags = [(String, String)];

fn find<'a>(tags: &'a Tags, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let tag = tags.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty());
        tag.map(|(_, value)| value.trim())
    })
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
