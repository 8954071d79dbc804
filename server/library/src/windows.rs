//! Rows of `windows`: a model's text about each window of a long video.

use serde::Serialize;
use sqlx::Row;

use crate::{
    error::LibraryError,
    library::Library,
    text::Moment,
    values::{from_json, to_json},
};

/// One stretch of a long video.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Window {
    /// Counted from 0.
    pub number: usize,
    /// Seconds from the first frame.
    pub start: f64,
    /// Seconds from the first frame.
    pub end: f64,
    /// A few sentences. `None` when the model's answer was not usable, or when it is to come.
    pub description: Option<String>,
    /// The description waits for what is said in the window.
    pub is_undescribed: bool,
    /// What happens when, in seconds of the whole video.
    pub moments: Vec<Moment>,
    /// Keywords.
    pub tags: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Id of the model that looked.
    pub model: String,
    /// When it was done, milliseconds since 1970 (UTC).
    pub created_ms: i64,
}

impl Library {
    /// Returns the windows of a video that are done, in order.
    ///
    /// # Errors
    /// `Database`, `Damaged`.
    pub async fn windows(&self, video_id: &str) -> Result<Vec<Window>, LibraryError> {
        let rows = sqlx::query("SELECT * FROM windows WHERE video_id = ? ORDER BY number")
            .bind(video_id)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Window {
                    number: usize::try_from(row.try_get::<i64, _>("number")?).unwrap_or_default(),
                    start: row.try_get("start_s")?,
                    end: row.try_get("end_s")?,
                    description: row.try_get("description")?,
                    is_undescribed: row.try_get("undescribed")?,
                    moments: from_json("windows.moments", row.try_get("moments")?)?,
                    tags: from_json("windows.tags", row.try_get("tags")?)?,
                    warnings: from_json("windows.warnings", row.try_get("warnings")?)?,
                    model: row.try_get("model")?,
                    created_ms: row.try_get("created_ms")?,
                })
            })
            .collect()
    }

    /// Stores a window that is done.
    ///
    /// # Errors
    /// `Database` (also when the video was deleted meanwhile).
    pub async fn put_window(&self, video_id: &str, window: &Window) -> Result<(), LibraryError> {
        sqlx::query(
            "INSERT OR REPLACE INTO windows
             (video_id, number, start_s, end_s, description, undescribed, moments, tags, warnings, model, created_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(video_id)
        .bind(i64::try_from(window.number).unwrap_or(i64::MAX))
        .bind(window.start)
        .bind(window.end)
        .bind(&window.description)
        .bind(window.is_undescribed)
        .bind(to_json("windows.moments", &window.moments)?)
        .bind(to_json("windows.tags", &window.tags)?)
        .bind(to_json("windows.warnings", &window.warnings)?)
        .bind(&window.model)
        .bind(window.created_ms)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets the windows of a video: they were cut differently, or are to be read anew.
    ///
    /// # Errors
    /// `Database`.
    pub async fn clear_windows(&self, video_id: &str) -> Result<(), LibraryError> {
        sqlx::query("DELETE FROM windows WHERE video_id = ?").bind(video_id).execute(&self.pool).await?;
        Ok(())
    }
}
