//! Formats numbers for pages: durations, positions in a clip, sizes, counts.

/// A duration in words: `4.2 s`, `3 min 20 s`, `1 h 5 min`. Empty for a negative or infinite one.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return String::new();
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours == 0 { format!("{minutes} min {rest} s") } else { format!("{hours} h {minutes} min") }
}

/// An estimated duration in words: `4 s`, `3 min`, `1 h 5 min`. Empty for a negative or infinite one.
#[must_use]
pub fn rough_duration(seconds: f64) -> String {
    match seconds {
        _ if !seconds.is_finite() || seconds < 0.0 => String::new(),
        ..59.5 => format!("{:.0} s", seconds.max(1.0)),
        ..3570.0 => format!("{:.0} min", seconds / 60.0),
        _ => duration(seconds),
    }
}

/// A position in a clip: `0:04.2`, `12:09.0`, `1:02:03.5`.
#[must_use]
pub fn position(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0).round() as u64;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours == 0 {
        format!("{minutes}:{rest:02}.{tenth}")
    } else {
        format!("{hours}:{minutes:02}:{rest:02}.{tenth}")
    }
}

/// Whole seconds as a clock shows them: `0:04`, `12:09`, `1:02:03`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{rest:02}") } else { format!("{hours}:{minutes:02}:{rest:02}") }
}

/// A time in a clip for a URL, in seconds: `83.0`, `4.079`. To the millisecond and rounded up, because a time that is rounded down
/// opens the picture before.
#[must_use]
pub fn second(seconds: f64) -> String {
    // Of 3.5 s, a little more than 3500 ms may be left by binary fractions.
    let text = format!("{:.3}", (seconds.max(0.0) * 1000.0 - 1e-6).ceil().max(0.0) / 1000.0);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// A number of bytes in decimal units: `13 bytes`, `4.1 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `1 video`, `2 videos`.
#[must_use]
pub fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// A number with `digits` decimals, or a dash if it was not measured.
#[must_use]
pub fn number_or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_have_one_unit_below_an_hour() {
        for (seconds, text) in [
            (0.0, "1 s"),
            (12.4, "12 s"),
            (59.4, "59 s"),
            (59.9, "1 min"),
            (150.0, "2 min"),
            (3600.0, "1 h 0 min"),
            (f64::NAN, ""),
        ] {
            assert_eq!(rough_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!(duration(4.24), "4.2 s");
        assert_eq!(duration(59.97), "1 min 0 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(3900.0), "1 h 5 min");
        assert_eq!(duration(f64::NAN), "");
        assert_eq!(duration(-1.0), "");
    }

    #[test]
    fn positions_round_to_tenths() {
        assert_eq!(position(4.2), "0:04.2");
        assert_eq!(position(59.96), "1:00.0");
        assert_eq!(position(3723.5), "1:02:03.5");
        assert_eq!(position(-3.0), "0:00.0");
    }

    #[test]
    fn clocks_have_hours_where_there_are_any() {
        assert_eq!([4, 729, 3723].map(clock), ["0:04", "12:09", "1:02:03"]);
    }

    #[test]
    fn times_in_urls_are_rounded_up() {
        for (seconds, text) in [
            (0.0, "0.0"),
            (83.0, "83.0"),
            (3.5, "3.5"),
            (4.079, "4.079"),
            (2.519_274, "2.52"),
            (12.3401, "12.341"),
            (-1.0, "0.0"),
            (f64::NAN, "0.0"),
        ] {
            assert_eq!(second(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn unmeasured_numbers_are_dashes() {
        assert_eq!((number_or_dash(Some(1.25), 1).as_str(), number_or_dash(None, 1).as_str()), ("1.2", "–"));
    }

    #[test]
    fn sizes_keep_three_digits() {
        assert_eq!(size(13), "13 bytes");
        assert_eq!(size(4_100_000), "4.1 MB");
        assert_eq!(size(999_700), "1.0 MB");
        assert_eq!(size(123_456_789_000), "123 GB");
    }
}
