//! What a list of the library is restricted to, and how it is sorted.

use std::{fmt, str::FromStr};

use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Sqlite};

use crate::{error::LibraryError, taken::local_ms};

/// What a list is sorted by; the latest comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// When videos were taken; where that is unknown, when they were added.
    #[default]
    Taken,
    /// When videos were added.
    Added,
}

impl Order {
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Taken => "taken_ms",
            Self::Added => "created_ms",
        }
    }
}

/// A range of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthClass {
    /// At most a minute.
    Minute,
    /// At most 10 minutes.
    TenMinutes,
    /// At most an hour.
    Hour,
    /// More than an hour.
    Longer,
}

impl LengthClass {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::TenMinutes, Self::Hour, Self::Longer];

    /// Returns the range in seconds, as URLs have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "0-60",
            Self::TenMinutes => "60-600",
            Self::Hour => "600-3600",
            Self::Longer => "3600-",
        }
    }

    /// Returns the value of `facts.length`.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Minute => 0,
            Self::TenMinutes => 1,
            Self::Hour => 2,
            Self::Longer => 3,
        }
    }
}

/// A year or a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    year: i16,
    /// From 1; `None` means the whole year.
    month: Option<i8>,
}

impl Period {
    /// Returns the year.
    #[must_use]
    pub fn year(self) -> i16 {
        self.year
    }

    /// Returns whether it is a month.
    #[must_use]
    pub fn is_month(self) -> bool {
        self.month.is_some()
    }

    /// Returns the first day.
    #[must_use]
    pub fn first_day(self) -> Date {
        date(self.year, self.month.unwrap_or(1), 1)
    }

    /// Returns the local times of its beginning and of its end, the latter exclusive; in milliseconds as [`local_ms`] gives them.
    pub(super) fn range_ms(self) -> (i64, Option<i64>) {
        let first = self.first_day();
        let last = if self.is_month() { first.last_of_month() } else { first.last_of_year() };
        let start = |day: Date| local_ms(day.to_datetime(jiff::civil::Time::midnight()));
        (start(first), last.tomorrow().ok().map(start))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.month {
            Some(month) => write!(f, "{:04}-{month:02}", self.year),
            None => write!(f, "{:04}", self.year),
        }
    }
}

impl FromStr for Period {
    type Err = LibraryError;

    fn from_str(text: &str) -> Result<Self, LibraryError> {
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        let (year, month) = match text.split_once('-') {
            Some((year, month)) => (year, Some(month)),
            None => (text, None),
        };
        let period = || {
            let year = Some(year).filter(|year| digits(year, 4))?.parse().ok()?;
            let month = match month {
                Some(month) => Some(Some(month).filter(|month| digits(month, 2))?.parse().ok()?),
                None => None,
            };
            Date::new(year, month.unwrap_or(1), 1).ok().map(|_| Self { year, month })
        };
        period().ok_or_else(|| {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(32).collect();
            LibraryError::Invalid(format!(
                "the period is {shown:?}; a year such as 2019 or a month such as 2019-07 would fit"
            ))
        })
    }
}

/// What a list is restricted to. All conditions hold at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListFilter {
    /// Favourites only.
    pub favourite: bool,
    /// Only videos of which nobody knows when they were taken.
    pub undated: bool,
    /// Taken at exactly this place.
    pub place: Option<String>,
    /// Taken by exactly this camera.
    pub camera: Option<String>,
    /// Of this length.
    pub length: Option<LengthClass>,
    /// Taken in this year or month.
    pub period: Option<Period>,
    /// Taken on this day of any year: month and day.
    pub day: Option<(i8, i8)>,
}

impl ListFilter {
    /// Returns the number of conditions.
    #[must_use]
    pub fn conditions(&self) -> usize {
        [
            self.favourite,
            self.undated,
            self.place.is_some(),
            self.camera.is_some(),
            self.length.is_some(),
            self.period.is_some(),
            self.day.is_some(),
        ]
        .into_iter()
        .filter(|&set| set)
        .count()
    }

    /// Adds the conditions to a query of `facts` in an order, except for the period where it is a range of that order. Those that
    /// partial indexes have are not bound, because SQLite must see them.
    pub(super) fn push(&self, sql: &mut QueryBuilder<'_, Sqlite>, order: Order) {
        sql.push("deleted = 0");
        if self.favourite {
            sql.push(" AND favourite = 1");
        }
        if self.undated {
            sql.push(" AND undated = 1");
        }
        if let Some(place) = &self.place {
            sql.push(" AND place = ").push_bind(place.clone());
        }
        if let Some(camera) = &self.camera {
            sql.push(" AND camera = ").push_bind(camera.clone());
        }
        if let Some(length) = self.length {
            sql.push(" AND length = ").push_bind(length.number());
        }
        if let Some(period) = self.period.filter(|_| order != Order::Taken) {
            let (from, before) = period.range_ms();
            sql.push(" AND taken_ms >= ").push_bind(from);
            if let Some(before) = before {
                sql.push(" AND taken_ms < ").push_bind(before);
            }
        }
        if let Some((month, day)) = self.day {
            sql.push(" AND undated = 0 AND day = ").push_bind(format!("{month:02}-{day:02}"));
        }
    }
}
