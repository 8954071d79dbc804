//! A row of `videos`.

use homereel_video::ProbeSummary;
use jiff::civil::DateTime;
use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use crate::{
    taken::{Taken, local_time},
    text::Texts,
    values::{from_json, hash, id},
};

/// State of the poster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Poster {
    /// Not made yet.
    Pending,
    /// At [`crate::Library::poster_path`].
    Ready,
    /// Could not be made.
    Failed,
}

impl Poster {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// The columns of `videos` that a [`Video`] is read from. `*` would also compute the generated columns, each of which parses the
/// probe.
pub(crate) const COLUMNS: &str = "id, sha256, name, size, mime, created_ms, taken, taken_source, place, deleted_ms, favourite, probe, poster, error";

/// A video of the library.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Video {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// Lower-case hexadecimal SHA-256 of the original.
    pub sha256: String,
    /// Name of the uploaded file, without directories.
    pub name: String,
    /// Bytes of the original.
    pub size: u64,
    /// Media type of the original (`video/mp4`).
    pub mime: String,
    /// When it was added, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it was taken; `None` means that nothing is known.
    pub taken: Option<Taken>,
    /// When it was taken, else when it was added; in milliseconds since 1970 (UTC). Where the zone is unknown, the server's.
    pub taken_ms: i64,
    /// Where it was taken, as entered by a person.
    pub place: Option<String>,
    /// When it was moved to the trash, in milliseconds since 1970; `None` means that it is not there.
    pub deleted_ms: Option<i64>,
    /// Whether it is a favourite.
    pub favourite: bool,
    /// The probe; `None` means that it cannot be read.
    pub probe: Option<ProbeSummary>,
    /// State of the poster.
    pub poster: Poster,
    /// Why the video cannot be read.
    pub error: Option<String>,
    /// Texts by a model.
    #[serde(flatten)]
    pub texts: Texts,
}

impl Video {
    /// Returns the local time at which it was taken, else at which it was added.
    #[must_use]
    pub fn local(&self) -> DateTime {
        self.taken.as_ref().map_or_else(|| local_time(self.created_ms), |taken| taken.local)
    }
}

impl FromRow<'_, SqliteRow> for Video {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let probe: Option<String> = row.try_get("probe")?;
        let probe = probe.map(|text| from_json("videos.probe", &text)).transpose();
        let (taken, created_ms) = (Taken::of(row)?, row.try_get("created_ms")?);
        Ok(Self {
            id: id(row, "id")?,
            sha256: hash(row, "sha256")?,
            name: row.try_get("name")?,
            size: u64::try_from(row.try_get::<i64, _>("size")?).unwrap_or_default(),
            mime: row.try_get("mime")?,
            created_ms,
            taken_ms: taken.as_ref().map_or(created_ms, Taken::moment_ms),
            taken,
            place: row.try_get("place")?,
            deleted_ms: row.try_get("deleted_ms")?,
            favourite: row.try_get("favourite")?,
            probe: probe.map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            poster: match row.try_get::<&str, _>("poster")? {
                "ready" => Poster::Ready,
                "failed" => Poster::Failed,
                _ => Poster::Pending,
            },
            error: row.try_get("error")?,
            texts: Texts::default(),
        })
    }
}
