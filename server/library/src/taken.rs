//! When videos were taken: the columns `taken`, `taken_source` and `local_ms` of `videos`.
//!
//! [`homereel_video::capture_date`] decides; this file stores what it decides, when a video is added and when it is probed
//! again. What a person entered stays.

use homereel_video::{CaptureDate, DateSource, ProbeSummary, TakenTime, capture_date, is_credible};
use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{Offset, TimeZone},
};
use serde::Serialize;
use sqlx::{FromRow, Row, SqlitePool, sqlite::SqliteRow};

use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{from_json, now_ms, to_json},
    video::Video,
};

/// Rows that are read at once when the dates of all videos are decided again.
const BATCH: u32 = 500;

/// Version of the rules by which dates are decided. All dates are decided again when it changes.
const RULES: u32 = 1;

/// When a video was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Taken {
    /// As exactly as it is known: a day (`1987-06-14`), a local time whose zone is unknown (`2004-08-17T21:30:00`), a local
    /// time with its offset (`2023-10-06T08:00:00+09:00`), or a moment whose place's zone is unknown (`2011-06-07T08:09:10Z`).
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub time: TakenTime,
    /// The local time at the place: of a moment in UTC, that of the server's zone.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub local: DateTime,
    /// Who or what says so.
    pub source: DateSource,
    /// Whether it is a guess from the file's name or the file's own time.
    pub guessed: bool,
}

impl Taken {
    fn new(CaptureDate { time, source }: CaptureDate, home: &TimeZone) -> Self {
        Self { time, local: time.local(home), source, guessed: source.is_guess() }
    }

    /// Reads the columns of a row. A value that this release cannot read counts as unknown.
    pub(crate) fn of(row: &SqliteRow) -> Result<Option<Self>, sqlx::Error> {
        let (taken, source) = (row.try_get::<Option<&str>, _>("taken")?, row.try_get("taken_source")?);
        let time = taken.and_then(|text| text.parse().ok());
        Ok(time.map(|time| Self::new(CaptureDate { time, source: source_of(source) }, &home())))
    }

    /// Returns the moment, in milliseconds since 1970; where the zone is unknown, as if it were the server's.
    #[must_use]
    pub fn moment_ms(&self) -> i64 {
        self.time.moment(&home()).as_millisecond()
    }
}

/// The household's time zone: the server's.
pub(crate) fn home() -> TimeZone {
    TimeZone::system()
}

fn source_of(text: Option<&str>) -> DateSource {
    use DateSource::{Camera, Container, FileName, FileTime, Person};
    let known = [Person, Camera, Container, FileName, FileTime];
    known.into_iter().find(|source| Some(source.as_str()) == text).unwrap_or(Container)
}

/// Returns the local time of the household at a moment.
#[must_use]
pub fn local_time(ms: i64) -> DateTime {
    home().to_datetime(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Returns a local time in milliseconds since 1970 as if it were UTC: the unit of [`crate::Filter::from_ms`].
#[must_use]
pub fn local_ms(local: DateTime) -> i64 {
    Offset::UTC.to_timestamp(local).map_or(0, Timestamp::as_millisecond)
}

/// What dates are decided from.
#[derive(Debug, Clone)]
pub(crate) struct DateFacts {
    pub(crate) name: String,
    pub(crate) file_ms: Option<i64>,
    pub(crate) created_ms: i64,
    pub(crate) probe: Option<ProbeSummary>,
    /// What a person entered.
    pub(crate) entered: Option<TakenTime>,
}

/// The values of the columns.
#[derive(Debug)]
pub(crate) struct DateColumns {
    pub(crate) taken: Option<String>,
    pub(crate) source: Option<&'static str>,
    pub(crate) local_ms: i64,
}

impl DateFacts {
    /// Decides.
    pub(crate) fn decide(&self) -> DateColumns {
        let modified = self.file_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let date = match self.entered {
            Some(time) => Some(CaptureDate { time, source: DateSource::Person }),
            None => capture_date(self.probe.as_ref(), &self.name, modified, now()),
        };
        let local =
            date.as_ref().map_or_else(|| local_time(self.created_ms), |date| date.time.local(&home()));
        DateColumns {
            taken: date.as_ref().map(|date| date.time.to_string()),
            source: date.map(|date| date.source.as_str()),
            local_ms: local_ms(local),
        }
    }
}

impl FromRow<'_, SqliteRow> for DateFacts {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let entered = Taken::of(row)?.filter(|taken| taken.source == DateSource::Person);
        let probe: Option<&str> = row.try_get("probe")?;
        Ok(Self {
            name: row.try_get("file_name")?,
            file_ms: row.try_get("file_ms")?,
            created_ms: row.try_get("created_ms")?,
            // A probe that cannot be read is reported where the video is.
            probe: probe.and_then(|text| from_json("videos.probe", text).ok()),
            entered: entered.map(|taken| taken.time),
        })
    }
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The facts of a row; a row of an earlier release has no name of its file.
const SELECT: &str =
    "SELECT id, coalesce(file_name, name) AS file_name, file_ms, created_ms, probe, taken, taken_source
                      FROM videos WHERE id";

const UPDATE: &str = "UPDATE videos SET taken = ?, taken_source = ?, local_ms = ? WHERE id = ?";

fn update(
    columns: DateColumns,
    id: &str,
) -> sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments<'_>> {
    sqlx::query(UPDATE).bind(columns.taken).bind(columns.source).bind(columns.local_ms).bind(id)
}

impl Library {
    /// Stores the probe, and the date that follows from it.
    ///
    /// # Errors
    /// `Database`.
    pub async fn set_probe(&self, id: &str, probe: &ProbeSummary) -> Result<(), LibraryError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE videos SET probe = ?, error = NULL WHERE id = ?")
            .bind(to_json("videos.probe", probe)?)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        let facts: Option<DateFacts> =
            sqlx::query_as(&format!("{SELECT} = ?")).bind(id).fetch_optional(&mut *transaction).await?;
        if let Some(facts) = facts {
            update(facts.decide(), id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.announce(Change::Video { id: id.into() });
        Ok(())
    }

    /// Stores when a video was taken, as a person says; `None` returns to what the file says.
    ///
    /// # Errors
    /// `Invalid` for a date before film existed or in the future, `NotFound`, `Database`.
    pub async fn set_taken(&self, id: &str, taken: Option<TakenTime>) -> Result<Video, LibraryError> {
        if let Some(time) = taken.filter(|time| !is_credible(*time, now())) {
            return Err(LibraryError::Invalid(format!(
                "the date is {time}; one from 1888-01-01 to today would fit, except the days at which clocks begin (1904-01-01, 1970-01-01)"
            )));
        }
        let mut transaction = self.begin().await?;
        let facts: Option<DateFacts> =
            sqlx::query_as(&format!("{SELECT} = ?")).bind(id).fetch_optional(&mut *transaction).await?;
        if let Some(facts) = facts {
            update(DateFacts { entered: taken, ..facts }.decide(), id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        let video = self.video(id).await?;
        self.announce(Change::Video { id: id.into() });
        Ok(video)
    }
}

/// Decides the dates of all videos again if the rules or the server's time zone changed, and those of videos that an earlier
/// release added.
pub(crate) async fn settle(pool: &SqlitePool) -> Result<(), LibraryError> {
    let zone = home();
    let state = format!("{RULES} {}", zone.iana_name().unwrap_or("unnamed"));
    let settled = sqlx::query_scalar("SELECT value FROM settings WHERE name = 'dates'");
    let all = settled.fetch_optional(pool).await?.is_none_or(|settled: String| settled != state);
    let sql = format!("{SELECT} > ? AND (? OR local_ms IS NULL) ORDER BY id LIMIT ?");
    let mut last = String::new();
    loop {
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(&sql).bind(&last).bind(all).bind(BATCH).fetch_all(&mut *transaction).await?;
        let Some(end) = rows.last() else { break };
        last = end.try_get("id")?;
        for row in &rows {
            update(DateFacts::from_row(row)?.decide(), row.try_get("id")?).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    let sql = "INSERT OR REPLACE INTO settings (name, value) VALUES ('dates', ?)";
    sqlx::query(sql).bind(state).execute(pool).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
