//! Rows of `answers`: questions about a video and their answers.

use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{from_json, id, new_id, now_ms, shorten, to_json},
};

/// State of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AnswerStatus {
    /// The engine is generating it.
    Running,
    /// Complete.
    Done,
    /// Failed; `answer` holds the text up to then.
    Failed,
    /// The reader left; `answer` holds the text up to then.
    Cancelled,
}

impl AnswerStatus {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "running" => Self::Running,
            "done" => Self::Done,
            "cancelled" => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Answer {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// Id of the video.
    pub video_id: String,
    /// The question.
    pub question: String,
    /// The text so far.
    pub answer: String,
    /// State.
    pub status: AnswerStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// Id of the model.
    pub model: String,
    /// `stop` or `length`.
    pub finish_reason: Option<String>,
    /// Sampling of frames and tokens.
    pub settings: Value,
    /// Token counts of prompt and answer.
    pub usage: Option<Value>,
    /// Milliseconds per stage.
    pub stages_ms: Option<Value>,
    /// Frames, timestamps, size, warnings.
    pub media: Option<Value>,
    /// When it was asked, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it ended.
    pub finished_ms: Option<i64>,
}

/// A question to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAnswer {
    /// Id of the video.
    pub video_id: String,
    /// The question.
    pub question: String,
    /// Id of the model.
    pub model: String,
    /// Sampling of frames and tokens.
    pub settings: Value,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerEnd {
    /// `Done`, `Failed` or `Cancelled`.
    pub status: AnswerStatus,
    /// The text, as far as it came.
    pub answer: String,
    /// The text so far.
    pub error: Option<String>,
    /// `stop` or `length`.
    pub finish_reason: Option<String>,
    /// Token counts.
    pub usage: Option<Value>,
    /// Milliseconds per stage.
    pub stages_ms: Option<Value>,
    /// Frames, timestamps, size, warnings.
    pub media: Option<Value>,
}

impl FromRow<'_, SqliteRow> for Answer {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let json = |column: &'static str| -> Result<Option<Value>, sqlx::Error> {
            let text: Option<String> = row.try_get(column)?;
            text.map(|text| from_json(column, &text))
                .transpose()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))
        };
        Ok(Self {
            id: id(row, "id")?,
            video_id: id(row, "video_id")?,
            question: row.try_get("question")?,
            answer: row.try_get("answer")?,
            status: AnswerStatus::parse(row.try_get("status")?),
            error: row.try_get("error")?,
            model: row.try_get("model")?,
            finish_reason: row.try_get("finish_reason")?,
            settings: json("settings")?.unwrap_or_default(),
            usage: json("usage")?,
            stages_ms: json("stages_ms")?,
            media: json("media")?,
            created_ms: row.try_get("created_ms")?,
            finished_ms: row.try_get("finished_ms")?,
        })
    }
}

impl Library {
    /// Stores a question as running and returns the id of its answer.
    ///
    /// # Errors
    /// `Database` (also when the video is gone).
    pub async fn start_answer(&self, new: &NewAnswer) -> Result<String, LibraryError> {
        let id = new_id();
        sqlx::query(
            "INSERT INTO answers (id, video_id, question, status, model, settings, created_ms)
             VALUES (?, ?, ?, 'running', ?, ?, ?)",
        )
        .bind(&id)
        .bind(&new.video_id)
        .bind(&new.question)
        .bind(&new.model)
        .bind(to_json("answers.settings", &new.settings)?)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        Ok(id)
    }

    /// Stores the end of an answer.
    ///
    /// # Errors
    /// `Database`.
    pub async fn end_answer(&self, id: &str, end: &AnswerEnd) -> Result<(), LibraryError> {
        let json = |value: &Option<Value>| value.as_ref().map(|value| to_json("answers", value)).transpose();
        sqlx::query(
            "UPDATE answers SET status = ?, answer = ?, error = ?, finish_reason = ?, usage = ?, stages_ms = ?,
             media = ?, finished_ms = ? WHERE id = ?",
        )
        .bind(end.status.as_str())
        .bind(&end.answer)
        .bind(&end.error)
        .bind(&end.finish_reason)
        .bind(json(&end.usage)?)
        .bind(json(&end.stages_ms)?)
        .bind(json(&end.media)?)
        .bind(now_ms())
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Returns the answers about a video, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn answers(&self, video_id: &str, limit: u32) -> Result<Vec<Answer>, LibraryError> {
        let rows = sqlx::query_as(
            "SELECT * FROM answers WHERE video_id = ? ORDER BY created_ms DESC, id DESC LIMIT ?",
        )
        .bind(video_id)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// Deletes an answer about a video.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while it is being written; `Database`.
    pub async fn delete_answer(&self, video_id: &str, id: &str) -> Result<(), LibraryError> {
        let deleted =
            sqlx::query("DELETE FROM answers WHERE id = ? AND video_id = ? AND status <> 'running'")
                .bind(id)
                .bind(video_id)
                .execute(&self.pool)
                .await?;
        if deleted.rows_affected() > 0 {
            self.announce(Change::Video { id: video_id.into() });
            return Ok(());
        }
        let present = sqlx::query_scalar::<_, i64>("SELECT 1 FROM answers WHERE id = ? AND video_id = ?");
        match present.bind(id).bind(video_id).fetch_optional(&self.pool).await? {
            Some(_) => {
                Err(LibraryError::Conflict("this answer is still being written; stop it first".into()))
            }
            None => Err(LibraryError::NotFound { what: "answer", id: shorten(id) }),
        }
    }

    /// Marks the answers that a killed process left running as failed.
    pub(crate) async fn fail_running_answers(&self) -> Result<(), LibraryError> {
        for table in ["answers", "questions"] {
            let sql = format!(
                "UPDATE {table} SET status = 'failed', error = 'the server stopped before the end', finished_ms = ?
                 WHERE status = 'running'"
            );
            sqlx::query(&sql).bind(now_ms()).execute(&self.pool).await?;
        }
        Ok(())
    }
}
