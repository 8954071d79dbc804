//! Tags as lists of videos.

use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use super::album::COVERS;
use crate::{error::LibraryError, library::Library};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tag {
    /// The tag, as it was spelled first.
    pub tag: String,
    /// Number of videos outside the trash.
    pub videos: u64,
    /// Id of the latest video that has a poster.
    pub cover: Option<String>,
}

impl FromRow<'_, SqliteRow> for Tag {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tag: row.try_get("tag")?,
            videos: u64::try_from(row.try_get::<i64, _>("videos")?).unwrap_or_default(),
            cover: row.try_get("cover")?,
        })
    }
}

fn select(rest: &str) -> String {
    format!(
        "SELECT t.tag, t.videos,
             (SELECT v.id FROM (SELECT video_id FROM tag_videos WHERE tag = t.tag AND hidden = 0
                  ORDER BY taken_ms DESC, video_id DESC LIMIT {COVERS}) m CROSS JOIN videos v ON v.id = m.video_id
                  WHERE v.poster = 'ready' LIMIT 1) AS cover
         FROM tags t WHERE t.videos > 0 {rest}"
    )
}

impl Library {
    /// Returns at most `limit` tags after `offset`, those of the most videos first. Tags whose videos are all in the trash are left
    /// out.
    ///
    /// # Errors
    /// `Database`.
    pub async fn tags(&self, limit: u32, offset: u32) -> Result<Vec<Tag>, LibraryError> {
        let sql = select("ORDER BY t.videos DESC, t.tag LIMIT ? OFFSET ?");
        Ok(sqlx::query_as(&sql).bind(limit).bind(offset).fetch_all(&self.pool).await?)
    }

    /// Returns a tag regardless of case; `None` if no video outside the trash has it.
    ///
    /// # Errors
    /// `Database`.
    pub async fn tag(&self, tag: &str) -> Result<Option<Tag>, LibraryError> {
        Ok(sqlx::query_as(&select("AND t.tag = ?")).bind(tag).fetch_optional(&self.pool).await?)
    }
}
