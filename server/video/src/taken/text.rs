//! Reads dates as cameras and programs write them: ISO 8601 with or without colons, Exif, `ctime`, slashes, 12-hour clocks.
//! Only a year, a month and a day together are a date.

use jiff::{
    civil::{Date, DateTime, Time},
    tz::Offset,
};

use super::TakenTime;

/// Maximum number of bytes of a text that is read.
const MAX: usize = 80;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Reads a date.
pub(super) fn parse(text: &str) -> Option<TakenTime> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let text = &text[..text.floor_char_boundary(MAX)];
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return numeric(text).or_else(|| worded(text));
    }
    worded(text)
}

/// The rest of a text that is read from its start.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Takes the digits here.
    fn digits(&mut self) -> &'a str {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits
    }

    /// Takes a number of one or two digits.
    fn pair(&mut self) -> Option<i8> {
        let digits = self.digits();
        (1..=2).contains(&digits.len()).then(|| digits.parse().ok())?
    }

    /// Skips these characters and returns whether there was one.
    fn skip(&mut self, set: &str) -> bool {
        let rest = self.0.trim_start_matches(|c| set.contains(c));
        let skipped = rest.len() < self.0.len();
        self.0 = rest;
        skipped
    }

    /// Takes a word, in lower case.
    fn word(&mut self) -> String {
        let end = self.0.find(|c: char| !c.is_alphabetic()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word.to_lowercase()
    }
}

/// `2004-08-17T21:30:00+02:00`, `2004:08:17 21:30:00`, `2004/08/17/ 21:30`, `2001/ 1/27  1:42PM`, `20040817T213000Z`.
fn numeric(text: &str) -> Option<TakenTime> {
    let mut rest = Rest(text);
    let first = rest.digits();
    let date = match first.len() {
        4 => {
            rest.skip("-:/. ").then_some(())?;
            let month = rest.pair()?;
            rest.skip("-:/. ").then_some(())?;
            Date::new(first.parse().ok()?, month, rest.pair()?).ok()?
        }
        8 | 14 => {
            if first.len() == 14 {
                rest = Rest(&text[8..]);
            }
            Date::new(first[..4].parse().ok()?, first[4..6].parse().ok()?, first[6..8].parse().ok()?).ok()?
        }
        _ => return None,
    };
    rest.skip(" \t/,.-_Tt");
    Some(with_clock(date, rest))
}

/// `Tue Aug 17 21:30:00 2004`, `17 Aug 2004 21:30:00 +0200`, `August 17, 2004 9:30 PM`.
fn worded(text: &str) -> Option<TakenTime> {
    let (mut month, mut day, mut year) = (None, None, None);
    let mut clock = None;
    let mut rest = Rest(text);
    while !rest.0.is_empty() {
        rest.skip(" \t,./-");
        if rest.0.starts_with(|c: char| c.is_ascii_digit()) {
            let start = rest;
            let digits = rest.digits();
            if rest.0.starts_with(':') {
                clock = Some(start);
                // The year may follow: `21:30:00 2004`.
                rest.skip("0123456789:");
            } else if digits.len() == 4 && year.is_none() {
                year = digits.parse::<i16>().ok();
            } else if digits.len() <= 2 && day.is_none() {
                day = digits.parse::<i8>().ok();
            }
            continue;
        }
        let word = rest.word();
        if word.is_empty() {
            // Any other character.
            let mut chars = rest.0.chars();
            chars.next();
            rest = Rest(chars.as_str());
        } else if month.is_none() {
            let known = word.get(..3).and_then(|head| MONTHS.iter().position(|name| *name == head));
            month = known.and_then(|at| i8::try_from(at + 1).ok());
        }
    }
    let date = Date::new(year?, month?, day?).ok()?;
    Some(clock.map_or(TakenTime::Day(date), |clock| with_clock(date, clock)))
}

/// Reads the time after a date, and the offset after the time. Without a valid time, only the day is known.
fn with_clock(date: Date, mut rest: Rest<'_>) -> TakenTime {
    let Some(time) = clock(&mut rest) else { return TakenTime::Day(date) };
    let local = date.to_datetime(time);
    rest.skip(" \t");
    zone(local, rest.0)
}

fn clock(rest: &mut Rest<'_>) -> Option<Time> {
    let digits = rest.digits();
    let (hour, minute, second) = match digits.len() {
        1 | 2 => {
            rest.skip(":").then_some(())?;
            rest.skip(" ");
            let minute = rest.pair()?;
            let second = if rest.skip(":") { rest.pair()? } else { 0 };
            (digits.parse::<i8>().ok()?, minute, second)
        }
        6 => (digits[..2].parse().ok()?, digits[2..4].parse().ok()?, digits[4..].parse().ok()?),
        _ => return None,
    };
    // A fraction of a second.
    if rest.0.starts_with(['.', ',']) {
        rest.skip(".,");
        rest.digits();
    }
    let hour = half_day(hour, rest.0).unwrap_or(hour);
    if starts_with_half(rest.0) {
        rest.skip(" \u{202f}\u{a0}");
        rest.0 = rest.0.get(2..).unwrap_or_default();
    }
    // A leap second counts as the one before.
    Time::new(hour, minute, if second == 60 { 59 } else { second }, 0).ok()
}

/// Returns the hour of 24 for an hour of 12 whose time is followed by `after`, such as ` PM`. `None` without such a mark.
pub(super) fn half_day(hour: i8, after: &str) -> Option<i8> {
    let after = after.trim_start_matches([' ', '\u{202f}', '\u{a0}', '_', '-', '.']);
    let mark = after.get(..2)?.to_ascii_lowercase();
    if after[2..].starts_with(char::is_alphanumeric) || !(1..=12).contains(&hour) {
        return None;
    }
    match mark.as_str() {
        "am" => Some(hour % 12),
        "pm" => Some(hour % 12 + 12),
        _ => None,
    }
}

fn starts_with_half(after: &str) -> bool {
    half_day(1, after).is_some()
}

fn zone(local: DateTime, rest: &str) -> TakenTime {
    let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    if ["z", "utc", "gmt"].contains(&word.to_ascii_lowercase().as_str())
        && let Ok(moment) = Offset::UTC.to_timestamp(local)
    {
        return TakenTime::Instant(moment);
    }
    offset(rest).map_or(TakenTime::Local(local), |offset| TakenTime::Zoned(local, offset))
}

/// Reads an offset from UTC: `+02:00`, `+0200`, `-05`.
pub(super) fn offset(text: &str) -> Option<Offset> {
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' | '\u{2212}' => -1,
        _ => return None,
    };
    let mut rest = Rest(text.trim_start_matches(['+', '-', '\u{2212}']));
    let digits = rest.digits();
    let (hours, minutes) = match digits.len() {
        4 => (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?),
        1 | 2 => {
            let minutes = if rest.skip(":") { i32::from(rest.pair()?) } else { 0 };
            (digits.parse().ok()?, minutes)
        }
        _ => return None,
    };
    // The offsets in use are from -12:00 to +14:00.
    (hours <= 14 && minutes < 60).then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok())?
}
