//! A row of `albums`, and the rules for names.

use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use crate::{
    error::LibraryError,
    library::Library,
    values::{from_json, id, shorten},
};

/// Maximum number of characters of an album's name.
pub const MAX_ALBUM_NAME: usize = 60;

/// Maximum number of albums.
pub const MAX_ALBUMS: u32 = 1000;

/// Maximum number of videos in an album, with those in the trash.
pub const MAX_ALBUM_VIDEOS: u32 = 50_000;

/// Videos of an album or tag among which a cover is looked for, the latest.
pub(super) const COVERS: u32 = 10;

/// An album.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Album {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// Name, unique regardless of case.
    pub name: String,
    /// Number of videos outside the trash.
    pub videos: u64,
    /// Id of the video that is its cover: the chosen one, else the latest with a poster.
    pub cover: Option<String>,
    /// Whether its videos are ordered by hand instead of by date taken.
    pub by_hand: bool,
    /// When it was created, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
}

impl FromRow<'_, SqliteRow> for Album {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: id(row, "id")?,
            name: row.try_get("name")?,
            videos: u64::try_from(row.try_get::<i64, _>("videos")?).unwrap_or_default(),
            cover: row.try_get("shown_cover")?,
            by_hand: row.try_get("by_hand")?,
            created_ms: row.try_get("created_ms")?,
        })
    }
}

/// Returns the query of albums, which `rest` continues.
pub(super) fn select(rest: &str) -> String {
    format!(
        "SELECT a.*, coalesce(
             (SELECT m.video_id FROM album_videos m WHERE m.album_id = a.id AND m.video_id = a.cover AND m.hidden = 0),
             (SELECT v.id FROM (SELECT video_id, sort_key FROM album_videos WHERE album_id = a.id AND hidden = 0
                  ORDER BY sort_key DESC, video_id DESC LIMIT {COVERS}) m CROSS JOIN videos v ON v.id = m.video_id
                  WHERE v.poster = 'ready' LIMIT 1)) AS shown_cover
         FROM albums a {rest}"
    )
}

/// Returns a name without surrounding spaces.
pub(super) fn fitting(name: &str) -> Result<&str, LibraryError> {
    let name = name.trim();
    let count = name.chars().count();
    if count == 0 || count > MAX_ALBUM_NAME || name.chars().any(char::is_control) {
        return Err(LibraryError::Invalid(format!(
            "the name of an album has 1 to {MAX_ALBUM_NAME} characters and no control characters, not {count} characters: {:?}",
            shorten(name)
        )));
    }
    Ok(name)
}

impl Library {
    /// Returns at most `limit` albums after `offset`, the newest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn albums(&self, limit: u32, offset: u32) -> Result<Vec<Album>, LibraryError> {
        let sql = select("ORDER BY a.created_ms DESC, a.id DESC LIMIT ? OFFSET ?");
        Ok(sqlx::query_as(&sql).bind(limit).bind(offset).fetch_all(&self.pool).await?)
    }

    /// Returns id and name of at most `limit` albums, the newest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn album_names(&self, limit: u32) -> Result<Vec<(String, String)>, LibraryError> {
        // As one row: the driver takes longer for a row than SQLite does.
        let sql = "SELECT json_group_array(json_array(id, name))
                   FROM (SELECT id, name FROM albums ORDER BY created_ms DESC, id DESC LIMIT ?)";
        let rows: String = sqlx::query_scalar(sql).bind(limit).fetch_one(&self.pool).await?;
        from_json("albums", &rows)
    }

    /// Returns the album with this id.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn album(&self, id: &str) -> Result<Album, LibraryError> {
        let album = sqlx::query_as(&select("WHERE a.id = ?")).bind(id).fetch_optional(&self.pool).await?;
        album.ok_or_else(|| LibraryError::NotFound { what: "album", id: shorten(id) })
    }

    /// Returns the albums that a video is in, the newest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn albums_of(&self, video_id: &str) -> Result<Vec<Album>, LibraryError> {
        let sql = select(
            "WHERE a.id IN (SELECT album_id FROM album_videos WHERE video_id = ?) ORDER BY a.created_ms DESC, a.id DESC",
        );
        Ok(sqlx::query_as(&sql).bind(video_id).fetch_all(&self.pool).await?)
    }
}
