//! Rows of `videos`: queries, results of jobs (poster, error), edits by people, and deletion for good with the files.

use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{is_hash, shorten},
    video::{COLUMNS, Poster, Video},
};

impl Library {
    /// Returns the videos that were taken last, at most `limit`, after skipping `offset`, with their texts.
    ///
    /// # Errors
    /// `Database`.
    pub async fn videos(&self, limit: u32, offset: u32) -> Result<Vec<Video>, LibraryError> {
        let mut videos = self.video_rows(limit, offset).await?;
        self.load_texts(&mut videos).await?;
        Ok(videos)
    }

    /// Returns the same videos without their texts, for lists.
    ///
    /// # Errors
    /// `Database`.
    pub async fn video_rows(&self, limit: u32, offset: u32) -> Result<Vec<Video>, LibraryError> {
        // The index has no videos of the trash, and skips by offset without reading rows.
        let sql = "SELECT video_id FROM facts WHERE deleted = 0 ORDER BY taken_ms DESC, video_id DESC LIMIT ? OFFSET ?";
        let ids: Vec<String> = sqlx::query_scalar(sql).bind(limit).bind(offset).fetch_all(&self.pool).await?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut videos = self.videos_by_id(&ids).await?;
        Ok(ids.into_iter().filter_map(|id| videos.remove(id)).collect())
    }

    /// Returns the number of videos, not counting the trash.
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
        let sql = format!("SELECT {COLUMNS} FROM videos WHERE id = ?");
        let video = sqlx::query_as(&sql).bind(id).fetch_optional(&self.pool).await?;
        self.with_texts(video).await?.ok_or_else(|| LibraryError::NotFound { what: "video", id: shorten(id) })
    }

    /// Returns the video whose original has this hash.
    ///
    /// # Errors
    /// `Database`.
    pub async fn video_by_hash(&self, sha256: &str) -> Result<Option<Video>, LibraryError> {
        let sql = format!("SELECT {COLUMNS} FROM videos WHERE sha256 = ?");
        let video = sqlx::query_as(&sql).bind(sha256).fetch_optional(&self.pool).await?;
        self.with_texts(video).await
    }

    async fn with_texts(&self, video: Option<Video>) -> Result<Option<Video>, LibraryError> {
        let Some(mut video) = video else { return Ok(None) };
        video.texts = self.texts(&video.id).await?;
        Ok(Some(video))
    }

    /// Stores the state of the poster.
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

    /// Marks a video as a favourite, or removes the mark.
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
                    tracing::warn!(
                        %error,
                        path = %path.display(),
                        "failed to remove a file of a deleted video; the next start of the server retries"
                    );
                    return Ok(());
                }
                _ => {}
            }
        }
        sqlx::query("DELETE FROM doomed WHERE sha256 = ?").bind(sha256).execute(&self.pool).await?;
        Ok(())
    }

    /// Ends what a killed process had begun: files of videos that are deleted for good go.
    pub(crate) async fn remove_all_doomed(&self) -> Result<(), LibraryError> {
        let doomed: Vec<String> =
            sqlx::query_scalar("SELECT sha256 FROM doomed").fetch_all(&self.pool).await?;
        for sha256 in doomed {
            if !is_hash(&sha256) {
                tracing::warn!(
                    sha256 = shorten(&sha256),
                    "ignored a row of the table `doomed` (files to delete) whose value is not a hash; no file was deleted, and the database was damaged or edited by hand"
                );
                continue;
            }
            self.remove_doomed(&sha256).await?;
        }
        Ok(())
    }
}
