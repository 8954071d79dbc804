//! Decides when a clip was taken: its tags, else the name that it came with, else the time of its file, else unknown.
//!
//! This is the only place that ranks dates. The worker calls [`tagged`] with what the file holds; whoever stores the clip
//! calls [`capture_date`] with the name and the time of the file. A date that cannot be true (a clock that was never set, the
//! future, before film existed) is skipped, so that it never hides a good one below it.

mod asf;
mod name;
mod quicktime;
mod recorded;
mod riff;
mod text;
mod time;

use std::fs::File;

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

use crate::{CaptureDate, DateSource, ProbeSummary, metadata::Tags};

pub(crate) use self::recorded::in_packet;
pub use self::time::{InvalidTakenTime, TakenTime};

/// The first year of film.
const FIRST_YEAR: i16 = 1888;

/// The first year of files that a computer keeps, for the times of files.
const FIRST_FILE_YEAR: i16 = 1990;

/// When this was written, in case that the clock of the server was never set.
const WRITTEN: i64 = 1_767_225_600; // 2026-01-01

/// Days at which clocks and counters begin. No film is believed to be of these days.
const EPOCHS: [(i16, i8, i8); 4] = [(1903, 12, 31), (1904, 1, 1), (1969, 12, 31), (1970, 1, 1)];

/// Dates that a file holds outside of the tags that ffmpeg reads.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FileDates {
    /// The camera's own words, best first.
    pub(crate) texts: Vec<String>,
    /// Times in headers, UTC by the standard, best first; each with its possible readings, best first.
    pub(crate) headers: Vec<Vec<Timestamp>>,
}

impl FileDates {
    /// Reads the dates in the headers of `file`, whose container ffmpeg calls `container`.
    pub(crate) fn read(file: &File, container: &str) -> Self {
        match container {
            "avi" => riff::read(file),
            "asf" => asf::read(file),
            _ if container.split(',').any(|name| name == "mov") => quicktime::read(file),
            _ => Self::default(),
        }
    }
}

/// Returns when a clip was taken by its tags, by `dates` of its file, and by `recorded`, the date in its pictures.
pub(crate) fn tagged(
    tags: &Tags,
    dates: &FileDates,
    recorded: Option<TakenTime>,
    now: Timestamp,
) -> Option<CaptureDate> {
    let named = |wanted: &'static str| {
        let named = tags.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(wanted));
        named.filter_map(|(_, value)| text::parse(value))
    };
    let camera = named("com.apple.quicktime.creationdate")
        .chain(recorded)
        .chain(dates.texts.iter().filter_map(|text| text::parse(text)))
        .chain(named("date_recorded"))
        .chain(named("creationdate"))
        .chain(named("date"))
        .map(|time| (time, DateSource::Camera));
    // ffmpeg reads the headers of QuickTime with one epoch only.
    let container = named("creation_time").filter(|_| dates.headers.is_empty());
    let headers = dates.headers.iter().filter_map(|readings| {
        let readings = readings.iter().map(|time| TakenTime::Instant(*time));
        readings.into_iter().find(|time| is_credible(*time, now))
    });
    let clock = HeaderClock::of(tags);
    let container = headers.chain(container).map(|time| match time {
        TakenTime::Instant(instant) => clock.read(instant),
        // FLV and others name no zone: the camera's local time.
        local => (local, DateSource::Camera),
    });
    let (time, source) = camera.chain(container).find(|(time, _)| is_credible(*time, now))?;
    Some(CaptureDate { time, source })
}

/// What the time in a header means, by the maker of the camera.
enum HeaderClock {
    /// UTC, as the standard says.
    Utc,
    /// Local time (GoPro).
    Local,
    /// UTC, and the offset is in another tag (Samsung).
    Offset(jiff::tz::Offset),
}

impl HeaderClock {
    fn of(tags: &Tags) -> Self {
        let find = |name: &str| tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = find("com.samsung.android.utc_offset")
            && let Some(offset) = text::offset(value.trim())
        {
            return Self::Offset(offset);
        }
        // `HD9.01.01.60.00`, `H21.01.01.62.00`.
        let gopro = |firmware: &str| firmware.starts_with('H') && firmware.matches('.').count() >= 3;
        if find("firmware").is_some_and(|(_, firmware)| gopro(firmware.trim())) {
            return Self::Local;
        }
        Self::Utc
    }

    fn read(&self, instant: Timestamp) -> (TakenTime, DateSource) {
        match self {
            Self::Utc => (TakenTime::Instant(instant), DateSource::Container),
            Self::Local => (TakenTime::Local(TimeZone::UTC.to_datetime(instant)), DateSource::Camera),
            Self::Offset(offset) => {
                (TakenTime::Zoned(offset.to_datetime(instant), *offset), DateSource::Camera)
            }
        }
    }
}

/// Returns when the clip was taken: what its tags said ([`ProbeSummary::creation_time`]), else the date in `name`, the
/// name that the file came with, else `modified`, when the file was written last. Dates after `now` are not believed.
#[must_use]
pub fn capture_date(
    probe: Option<&ProbeSummary>,
    name: &str,
    modified: Option<Timestamp>,
    now: Timestamp,
) -> Option<CaptureDate> {
    let tagged = probe.and_then(|probe| {
        let time = probe.creation_time.as_deref()?.parse().ok()?;
        Some(CaptureDate { time, source: probe.creation_source.unwrap_or(DateSource::Container) })
    });
    let named = || {
        let time = name::find(name, |time| is_credible(time, now))?;
        Some(CaptureDate { time, source: DateSource::FileName })
    };
    let file = || {
        let time = TakenTime::Instant(Timestamp::from_second(modified?.as_second()).ok()?);
        let credible = is_credible(time, now) && time.local(&TimeZone::UTC).year() >= FIRST_FILE_YEAR;
        credible.then_some(CaptureDate { time, source: DateSource::FileTime })
    };
    tagged.filter(|date| is_credible(date.time, now)).or_else(named).or_else(file)
}

/// Returns whether a film can be of this time: not before film existed, not after `now`, and not when a clock that was never
/// set begins to count.
#[must_use]
pub fn is_credible(time: TakenTime, now: Timestamp) -> bool {
    let local = time.local(&TimeZone::UTC);
    let date = local.date();
    let is = |(year, month, day)| (date.year(), date.month(), date.day()) == (year, month, day);
    date.year() >= FIRST_YEAR && !EPOCHS.into_iter().any(is) && date <= last_day(now)
}

/// Tomorrow: the day in the earliest zone, and clocks that are slightly fast.
fn last_day(now: Timestamp) -> Date {
    let written = Timestamp::from_second(WRITTEN).unwrap_or(Timestamp::UNIX_EPOCH);
    let today = Zoned::new(now.max(written), TimeZone::UTC).date();
    today.tomorrow().unwrap_or(today)
}

#[cfg(test)]
mod tests;
