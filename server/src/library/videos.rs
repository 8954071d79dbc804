//! Rows of `videos`.

use homereel_video::Probe;
use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use super::{Change, Library, LibraryError, Texts, from_json, to_json};

/// Whether a poster is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Poster {
    /// Not made yet.
    Pending,
    /// Lies at [`Library::poster_path`].
    Ready,
    /// Could not be made.
    Failed,
}

impl Poster {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// A video of the library.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Video {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// Lower-case hexadecimal SHA-256 of the original.
    pub sha256: String,
    /// Name of the file as it was uploaded, without directories.
    pub name: String,
    /// Bytes of the original.
    pub size: u64,
    /// Media type of the original (`video/mp4`).
    pub mime: String,
    /// When it came, milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// What the file holds, without the times of its frames; none when it cannot be read.
    pub probe: Option<Probe>,
    /// Whether a poster is there.
    pub poster: Poster,
    /// Why the video cannot be read.
    pub error: Option<String>,
    /// What a model wrote about it.
    #[serde(flatten)]
    pub texts: Texts,
}

impl FromRow<'_, SqliteRow> for Video {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let probe: Option<String> = row.try_get("probe")?;
        let probe = probe.map(|text| from_json("videos.probe", &text)).transpose();
        Ok(Self {
            id: row.try_get("id")?,
            sha256: row.try_get("sha256")?,
            name: row.try_get("name")?,
            size: u64::try_from(row.try_get::<i64, _>("size")?).unwrap_or_default(),
            mime: row.try_get("mime")?,
            created_ms: row.try_get("created_ms")?,
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

impl Library {
    /// Returns the newest videos, at most `limit`, after skipping `offset`, with their texts.
    ///
    /// # Errors
    /// `Database`.
    pub async fn videos(&self, limit: u32, offset: u32) -> Result<Vec<Video>, LibraryError> {
        let mut videos: Vec<Video> =
            sqlx::query_as("SELECT * FROM videos ORDER BY created_ms DESC, id DESC LIMIT ? OFFSET ?")
                .bind(limit)
                .bind(offset)
                .fetch_all(&self.pool)
                .await?;
        for video in &mut videos {
            video.texts = self.texts(&video.id).await?;
        }
        Ok(videos)
    }

    /// Returns how many videos there are.
    ///
    /// # Errors
    /// `Database`.
    pub async fn video_count(&self) -> Result<u64, LibraryError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM videos").fetch_one(&self.pool).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Returns the video with this id.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn video(&self, id: &str) -> Result<Video, LibraryError> {
        let video =
            sqlx::query_as("SELECT * FROM videos WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        self.with_texts(video).await?.ok_or_else(|| LibraryError::NotFound { what: "video", id: shorten(id) })
    }

    /// Returns the video whose original has this hash.
    ///
    /// # Errors
    /// `Database`.
    pub async fn video_by_hash(&self, sha256: &str) -> Result<Option<Video>, LibraryError> {
        let video = sqlx::query_as("SELECT * FROM videos WHERE sha256 = ?")
            .bind(sha256)
            .fetch_optional(&self.pool)
            .await?;
        self.with_texts(video).await
    }

    async fn with_texts(&self, video: Option<Video>) -> Result<Option<Video>, LibraryError> {
        let Some(mut video) = video else { return Ok(None) };
        video.texts = self.texts(&video.id).await?;
        Ok(Some(video))
    }

    /// Stores what a probe found.
    ///
    /// # Errors
    /// `Database`.
    pub async fn set_probe(&self, id: &str, probe: &Probe) -> Result<(), LibraryError> {
        sqlx::query("UPDATE videos SET probe = ?, error = NULL WHERE id = ?")
            .bind(to_json("videos.probe", probe)?)
            .bind(id)
            .execute(&self.pool)
            .await?;
        self.announce(Change::Video { id: id.into() });
        Ok(())
    }

    /// Stores whether a poster is there.
    ///
    /// # Errors
    /// `Database`.
    pub async fn set_poster(&self, id: &str, poster: Poster) -> Result<(), LibraryError> {
        sqlx::query("UPDATE videos SET poster = ? WHERE id = ?")
            .bind(poster.as_str())
            .bind(id)
            .execute(&self.pool)
            .await?;
        self.announce(Change::Video { id: id.into() });
        Ok(())
    }

    /// Stores why the video cannot be read.
    ///
    /// # Errors
    /// `Database`.
    pub async fn set_video_error(&self, id: &str, error: &str) -> Result<(), LibraryError> {
        sqlx::query("UPDATE videos SET error = ? WHERE id = ?")
            .bind(error)
            .bind(id)
            .execute(&self.pool)
            .await?;
        self.announce(Change::Video { id: id.into() });
        Ok(())
    }

    /// Renames a video (the name shown, not the file).
    ///
    /// # Errors
    /// `Invalid` for an empty name, `NotFound`, `Database`.
    pub async fn rename_video(&self, id: &str, name: &str) -> Result<Video, LibraryError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            return Err(LibraryError::Invalid(
                "a name has 1 to 200 characters and no control characters".into(),
            ));
        }
        sqlx::query("UPDATE videos SET name = ? WHERE id = ?")
            .bind(name)
            .bind(id)
            .execute(&self.pool)
            .await?;
        let video = self.video(id).await?;
        self.announce(Change::Video { id: id.into() });
        Ok(video)
    }

    /// Deletes a video: its row with texts, answers and jobs, then its files.
    ///
    /// # Errors
    /// `NotFound`, `Database`. A file that stays behind is logged: no row names it any more.
    pub async fn delete_video(&self, id: &str) -> Result<(), LibraryError> {
        let _originals = self.originals.lock().await;
        let video = self.video(id).await?;
        sqlx::query("DELETE FROM videos WHERE id = ?").bind(id).execute(&self.pool).await?;
        for path in [self.original_path(&video.sha256), self.poster_path(&video.sha256)] {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "failed to remove a file of a deleted video");
                }
                _ => {}
            }
        }
        self.remove_derived(&video.sha256).await;
        self.announce(Change::VideoDeleted { id: id.into() });
        Ok(())
    }
}

/// Cuts what a caller sent as an id, so that a message stays short.
pub(super) fn shorten(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(64).collect()
}
