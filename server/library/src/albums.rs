//! Albums: all videos with a tag form an album, so a video is in as many albums as it has tags.

use sqlx::Row as _;

use crate::{error::LibraryError, library::Library, video::Video};

/// An album.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Album {
    /// The tag, in its most frequent spelling.
    pub tag: String,
    /// Number of videos.
    pub videos: u64,
    /// Id of the newest video that has a poster.
    pub cover: Option<String>,
}

impl Library {
    /// Returns the albums, the largest first. Albums whose videos are all in the trash are left out.
    ///
    /// # Errors
    /// `Database`.
    pub async fn albums(&self, limit: u32, offset: u32) -> Result<Vec<Album>, LibraryError> {
        // Ids sort by time, so the largest id is the newest.
        let sql = "SELECT min(text) AS tag, count(DISTINCT videos.id) AS videos,
                          max(CASE WHEN videos.poster = 'ready' THEN videos.id END) AS cover
                   FROM pieces JOIN videos ON videos.id = pieces.video_id
                   WHERE pieces.kind = 'tag' AND videos.deleted_ms IS NULL
                   GROUP BY text COLLATE NOCASE ORDER BY videos DESC, tag LIMIT ? OFFSET ?";
        let rows = sqlx::query(sql).bind(limit).bind(offset).fetch_all(&self.pool).await?;
        let album = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Album {
                tag: row.try_get("tag")?,
                videos: u64::try_from(row.try_get::<i64, _>("videos")?).unwrap_or_default(),
                cover: row.try_get("cover")?,
            })
        };
        Ok(rows.iter().map(album).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Returns the number of videos in an album and one page of them, in the order in which they were taken.
    ///
    /// # Errors
    /// `Database`.
    pub async fn album(&self, tag: &str, limit: u32, offset: u32) -> Result<(u64, Vec<Video>), LibraryError> {
        let counted = "SELECT count(*) FROM videos WHERE deleted_ms IS NULL AND id IN
                       (SELECT video_id FROM pieces WHERE kind = 'tag' AND text = ? COLLATE NOCASE)";
        let count: i64 = sqlx::query_scalar(counted).bind(tag).fetch_one(&self.pool).await?;
        let sql = "SELECT * FROM videos WHERE deleted_ms IS NULL AND id IN
                   (SELECT video_id FROM pieces WHERE kind = 'tag' AND text = ? COLLATE NOCASE)
                   ORDER BY local_ms, id LIMIT ? OFFSET ?";
        let videos = sqlx::query_as(sql).bind(tag).bind(limit).bind(offset).fetch_all(&self.pool).await?;
        Ok((u64::try_from(count).unwrap_or_default(), videos))
    }
}
