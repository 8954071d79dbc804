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
    /// When it was taken as far as the file tells, else when it came; milliseconds since 1970 (UTC).
    pub taken_ms: i64,
    /// Where it was taken, as a person says it.
    pub place: Option<String>,
    /// In the trash since (milliseconds since 1970); none when it is not there.
    pub deleted_ms: Option<i64>,
    /// Somebody likes it.
    pub favourite: bool,
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
            taken_ms: row.try_get("taken_ms")?,
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

impl Library {
    /// Returns the newest videos, at most `limit`, after skipping `offset`, with their texts.
    ///
    /// # Errors
    /// `Database`.
    pub async fn videos(&self, limit: u32, offset: u32) -> Result<Vec<Video>, LibraryError> {
        let mut videos = self.video_rows(limit, offset).await?;
        for video in &mut videos {
            video.texts = self.texts(&video.id).await?;
        }
        Ok(videos)
    }

    /// Returns the newest videos without their texts: lists show none.
    ///
    /// # Errors
    /// `Database`.
    pub async fn video_rows(&self, limit: u32, offset: u32) -> Result<Vec<Video>, LibraryError> {
        let sql = "SELECT * FROM videos WHERE deleted_ms IS NULL ORDER BY created_ms DESC, id DESC LIMIT ? OFFSET ?";
        Ok(sqlx::query_as(sql).bind(limit).bind(offset).fetch_all(&self.pool).await?)
    }

    /// Returns how many videos there are, those in the trash not counted.
    ///
    /// # Errors
    /// `Database`.
    pub async fn video_count(&self) -> Result<u64, LibraryError> {
        let count: i64 = sqlx::query_scalar("SELECT videos FROM totals").fetch_one(&self.pool).await?;
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

    /// Marks a video as somebody's favourite, or no more.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn set_favourite(&self, id: &str, favourite: bool) -> Result<Video, LibraryError> {
        let sql = "UPDATE videos SET favourite = ? WHERE id = ?";
        sqlx::query(sql).bind(favourite).bind(id).execute(&self.pool).await?;
        let video = self.video(id).await?;
        self.announce(Change::Video { id: id.into() });
        Ok(video)
    }

    /// Says where a video was taken; empty forgets it.
    ///
    /// # Errors
    /// `Invalid` for more than a line, `NotFound`, `Database`.
    pub async fn set_place(&self, id: &str, place: &str) -> Result<Video, LibraryError> {
        let place = place.trim();
        if place.chars().count() > 200 || place.chars().any(char::is_control) {
            return Err(LibraryError::Invalid(
                "a place has at most 200 characters and no control characters".into(),
            ));
        }
        let sql = "UPDATE videos SET place = ? WHERE id = ?";
        let place = Some(place).filter(|place| !place.is_empty());
        sqlx::query(sql).bind(place).bind(id).execute(&self.pool).await?;
        let video = self.video(id).await?;
        self.announce(Change::Video { id: id.into() });
        Ok(video)
    }

    /// Returns the video before and the one after, in the order of lists (newest first).
    ///
    /// # Errors
    /// `Database`.
    pub async fn neighbours(&self, video: &Video) -> Result<(Option<String>, Option<String>), LibraryError> {
        let one = async |sql: &'static str| {
            let row = sqlx::query_scalar(sql).bind(video.created_ms).bind(&video.id);
            row.fetch_optional(&self.pool).await
        };
        let newer = "SELECT id FROM videos WHERE deleted_ms IS NULL AND (created_ms, id) > (?, ?)
                     ORDER BY created_ms, id LIMIT 1";
        let older = "SELECT id FROM videos WHERE deleted_ms IS NULL AND (created_ms, id) < (?, ?)
                     ORDER BY created_ms DESC, id DESC LIMIT 1";
        Ok((one(newer).await?, one(older).await?))
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

    /// Deletes a video that is in the trash for good: its row with texts, answers and jobs, then its files.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not in the trash; `Database`. A file that stays behind is logged: no row
    /// names it any more.
    pub async fn delete_trashed_video(&self, id: &str) -> Result<(), LibraryError> {
        let _originals = self.originals.lock().await;
        let video = self.video(id).await?;
        if video.deleted_ms.is_none() {
            return Err(LibraryError::Conflict("only what is in the trash can be deleted for good".into()));
        }
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM videos WHERE id = ?").bind(id).execute(&mut *transaction).await?;
        let doom = sqlx::query("INSERT OR IGNORE INTO doomed (sha256) VALUES (?)").bind(&video.sha256);
        doom.execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.remove_doomed(&video.sha256).await?;
        self.announce(Change::VideoDeleted { id: id.into() });
        Ok(())
    }
}

impl Library {
    /// Removes the files of a video that is deleted for good. One that stays behind is logged, and tried again at
    /// the next start.
    async fn remove_doomed(&self, sha256: &str) -> Result<(), LibraryError> {
        self.remove_derived(sha256).await;
        for path in [self.original_path(sha256), self.poster_path(sha256), self.card_path(sha256)] {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "failed to remove a file of a deleted video");
                    return Ok(());
                }
                _ => {}
            }
        }
        sqlx::query("DELETE FROM doomed WHERE sha256 = ?").bind(sha256).execute(&self.pool).await?;
        Ok(())
    }

    /// Ends what a killed process had begun: files of videos that are deleted for good go.
    pub(super) async fn remove_all_doomed(&self) -> Result<(), LibraryError> {
        let doomed: Vec<String> =
            sqlx::query_scalar("SELECT sha256 FROM doomed").fetch_all(&self.pool).await?;
        for sha256 in doomed {
            self.remove_doomed(&sha256).await?;
        }
        Ok(())
    }
}

/// Cuts what a caller sent as an id, so that a message stays short.
pub(super) fn shorten(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(64).collect()
}
