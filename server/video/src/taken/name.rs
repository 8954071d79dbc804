//! Finds the date in a file's name, and the time if it follows. Only a year, a month and a day together are a date: four
//! digits alone may be a counter.

use jiff::{
    civil::{Date, Time},
    tz::Offset,
};

use super::{TakenTime, text::half_day};

/// Maximum number of bytes of a name that are read.
const MAX: usize = 1024;

/// Maximum number of bytes between a date and its time: ` at `, ` alle `.
const MAX_GAP: usize = 8;

/// A run of ASCII digits in a name, with its place.
#[derive(Clone, Copy)]
struct Run<'a> {
    start: usize,
    digits: &'a str,
}

impl Run<'_> {
    fn end(&self) -> usize {
        self.start + self.digits.len()
    }

    fn len(&self) -> usize {
        self.digits.len()
    }

    /// Returns the number in these of its digits.
    fn part(&self, from: usize, to: usize) -> Option<i16> {
        self.digits.get(from..to)?.parse().ok()
    }
}

/// Returns the first date in a name such as `PXL_20231006_123456789.mp4`, `2019-02-15 21.13.20.mov`, `15.02.2019.mp4` or
/// `VID-20190215-WA0001.mp4` that is credible.
pub(super) fn find(name: &str, is_credible: impl Fn(TakenTime) -> bool) -> Option<TakenTime> {
    let name = &name[..name.floor_char_boundary(MAX)];
    let runs = runs(name);
    (0..runs.len()).find_map(|at| {
        if is_hash(name, runs[at]) {
            return None;
        }
        let (date, next) = date(name, &runs, at)?;
        let clock = match runs[at].len() {
            14.. => Some(time(runs[at].part(8, 10)?, runs[at].part(10, 12)?, runs[at].part(12, 14)?)?),
            _ => clock(name, &runs, next),
        };
        let found = match clock {
            None => TakenTime::Day(date),
            // Google's camera names its files in UTC.
            Some(time) if name.starts_with("PXL_") => {
                TakenTime::Instant(Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?)
            }
            Some(time) => TakenTime::Local(date.to_datetime(time)),
        };
        Some(found).filter(|found| is_credible(*found))
    })
}

/// The date that begins at run `at`, and the index of the run after it.
fn date(name: &str, runs: &[Run<'_>], at: usize) -> Option<(Date, usize)> {
    let run = runs[at];
    match run.len() {
        // Also with hundredths or thousandths of a second.
        8 | 14 | 16 | 17 => Some((ymd(run.part(0, 4)?, run.part(4, 6)?, run.part(6, 8)?)?, at + 1)),
        4 => {
            let second = *runs.get(at + 1)?;
            let separator = between(name, run, second)?;
            if second.len() == 4 {
                // `2019_0215`.
                return Some((ymd(run.part(0, 4)?, second.part(0, 2)?, second.part(2, 4)?)?, at + 2));
            }
            let third = *runs.get(at + 2)?;
            let same = between(name, second, third)? == separator;
            (same && second.len() <= 2 && third.len() <= 2).then_some(())?;
            Some((ymd(run.part(0, 4)?, number(second)?, number(third)?)?, at + 3))
        }
        1 | 2 => {
            let (second, third) = (*runs.get(at + 1)?, *runs.get(at + 2)?);
            let separator = between(name, run, second)?;
            let same = between(name, second, third)? == separator;
            (same && second.len() <= 2 && third.len() == 4).then_some(())?;
            let (one, two, year) = (number(run)?, number(second)?, number(third)?);
            // Dots are used for day, month, year. With other separators, the month may come first.
            let date = if separator == '.' || one > 12 || one == two {
                ymd(year, two, one)
            } else if two > 12 {
                ymd(year, one, two)
            } else {
                None
            };
            Some((date?, at + 3))
        }
        _ => None,
    }
}

/// The time that begins at run `at`, which follows a date.
fn clock(name: &str, runs: &[Run<'_>], at: usize) -> Option<Time> {
    let (before, run) = (runs.get(at.checked_sub(1)?)?, *runs.get(at)?);
    (run.start - before.end() <= MAX_GAP).then_some(())?;
    match run.len() {
        // Also with hundredths or thousandths of a second.
        6 | 8 | 9 => time(run.part(0, 2)?, run.part(2, 4)?, run.part(4, 6)?),
        1 | 2 => {
            let (second, third) = (*runs.get(at + 1)?, *runs.get(at + 2)?);
            let same = between(name, run, second)? == between(name, second, third)?;
            (same && second.len() == 2 && third.len() == 2).then_some(())?;
            let hour = i8::try_from(number(run)?).ok()?;
            let hour = half_day(hour, &name[third.end()..]).unwrap_or(hour);
            time(i16::from(hour), number(second)?, number(third)?)
        }
        _ => None,
    }
}

fn ymd(year: i16, month: i16, day: i16) -> Option<Date> {
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn time(hour: i16, minute: i16, second: i16) -> Option<Time> {
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, i8::try_from(second).ok()?, 0).ok()
}

fn number(run: Run<'_>) -> Option<i16> {
    run.digits.parse().ok()
}

/// Returns the only character between two runs.
fn between(name: &str, one: Run<'_>, next: Run<'_>) -> Option<char> {
    let mut chars = name.get(one.end()..next.start)?.chars();
    chars.next().filter(|c| chars.next().is_none() && !c.is_alphanumeric())
}

/// Returns whether a run is part of a long hexadecimal number.
fn is_hash(name: &str, run: Run<'_>) -> bool {
    let hexadecimal = |c: char| c.is_ascii_hexdigit();
    let before = name[..run.start].chars().rev().take_while(|c| hexadecimal(*c));
    let after = name[run.end()..].chars().take_while(|c| hexadecimal(*c));
    let letters = before.count() + after.count();
    letters > 0 && letters + run.len() >= 20
}

/// The runs of ASCII digits in `name`.
fn runs(name: &str) -> Vec<Run<'_>> {
    let mut runs = Vec::new();
    let mut at = 0;
    for part in name.split(|c: char| !c.is_ascii_digit()) {
        if !part.is_empty() {
            runs.push(Run { start: at, digits: part });
        }
        at += part.len() + name[at + part.len()..].chars().next().map_or(0, char::len_utf8);
    }
    runs
}
