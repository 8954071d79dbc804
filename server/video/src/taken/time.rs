//! A date with what is known of its clock and its zone.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    fmt::temporal::{Pieces, PiecesOffset},
    tz::{Offset, TimeZone},
};

/// When a clip was taken, as exactly as it is known. Its text is RFC 3339 as RFC 9557 reads it: `Z` means that the moment is
/// known in UTC, but not the local time of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenTime {
    /// The local day: `1987-06-14`.
    Day(Date),
    /// Local time; the zone is unknown: `2004-08-17T21:30:00`.
    Local(DateTime),
    /// Local time and its offset from UTC: `2023-10-06T08:00:00+09:00`.
    Zoned(DateTime, Offset),
    /// The moment; the zone of the place is unknown: `2011-06-07T08:09:10Z`.
    Instant(Timestamp),
}

/// The text is no date.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTakenTime(jiff::Error);

impl TakenTime {
    /// Returns the local time of the place: as it was written, or as it is in `home`, the household's zone, where only the
    /// moment is known. A day begins at midnight.
    #[must_use]
    pub fn local(self, home: &TimeZone) -> DateTime {
        match self {
            Self::Day(date) => date.to_datetime(Time::midnight()),
            Self::Local(local) | Self::Zoned(local, _) => local,
            Self::Instant(moment) => home.to_datetime(moment),
        }
    }

    /// Returns the moment, where the zone is unknown as if it were `home`.
    #[must_use]
    pub fn moment(self, home: &TimeZone) -> Timestamp {
        match self {
            Self::Instant(moment) => Some(moment),
            Self::Zoned(local, offset) => offset.to_timestamp(local).ok(),
            Self::Day(_) | Self::Local(_) => {
                home.to_ambiguous_zoned(self.local(home)).compatible().ok().map(|zoned| zoned.timestamp())
            }
        }
        .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for TakenTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LOCAL: &str = "%Y-%m-%dT%H:%M:%S";
        match self {
            Self::Day(date) => write!(f, "{date}"),
            Self::Local(local) => write!(f, "{}", local.strftime(LOCAL)),
            Self::Zoned(local, offset) => write!(f, "{}{}", local.strftime(LOCAL), hours(*offset)),
            Self::Instant(moment) => write!(f, "{}Z", TimeZone::UTC.to_datetime(*moment).strftime(LOCAL)),
        }
    }
}

/// Formats an offset: `+09:00`.
fn hours(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

impl FromStr for TakenTime {
    type Err = InvalidTakenTime;

    /// Reads a day, or a time with or without an offset, `Z`, or a zone in brackets (`2023-10-06T08:00[Asia/Tokyo]`).
    fn from_str(text: &str) -> Result<Self, InvalidTakenTime> {
        let pieces = Pieces::parse(text.trim()).map_err(InvalidTakenTime)?;
        let Some(time) = pieces.time() else { return Ok(Self::Day(pieces.date())) };
        let time = Time::constant(time.hour(), time.minute(), time.second(), 0);
        let local = pieces.date().to_datetime(time);
        if pieces.time_zone_annotation().is_some()
            && let Some(zone) = pieces.to_time_zone().map_err(InvalidTakenTime)?
        {
            let zoned = local.to_zoned(zone).map_err(InvalidTakenTime)?;
            return Ok(Self::Zoned(zoned.datetime(), zoned.offset()));
        }
        Ok(match pieces.offset() {
            None => Self::Local(local),
            Some(PiecesOffset::Zulu) => {
                Self::Instant(Offset::UTC.to_timestamp(local).map_err(InvalidTakenTime)?)
            }
            Some(offset) => Self::Zoned(local, offset.to_numeric_offset()),
        })
    }
}

impl serde::Serialize for TakenTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TakenTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
