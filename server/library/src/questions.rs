//! Rows of `questions`: questions about all videos, their answers, and the notes that the answers rest on.

use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use crate::{
    answers::AnswerStatus,
    error::LibraryError,
    library::Library,
    search::Recalled,
    values::{id, new_id, now_ms, shorten},
};

/// Questions that are kept; with one more, the oldest is deleted.
const MOST: i64 = 1000;

/// A question about all videos and its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LibraryAnswer {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// The question.
    pub question: String,
    /// The text so far.
    pub answer: String,
    /// State.
    pub status: AnswerStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// Id of the model. `None` means that none was needed.
    pub model: Option<String>,
    /// When it was asked, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
}

impl FromRow<'_, SqliteRow> for LibraryAnswer {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: id(row, "id")?,
            question: row.try_get("question")?,
            answer: row.try_get("answer")?,
            status: AnswerStatus::parse(row.try_get("status")?),
            error: row.try_get("error")?,
            model: row.try_get("model")?,
            created_ms: row.try_get("created_ms")?,
        })
    }
}

impl Library {
    /// Stores a question as running, with its notes, and returns its id.
    ///
    /// # Errors
    /// `Database`.
    pub async fn start_question(
        &self,
        question: &str,
        model: Option<&str>,
        notes: &[Recalled],
    ) -> Result<String, LibraryError> {
        let id = new_id();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO questions (id, question, status, model, created_ms) VALUES (?, ?, 'running', ?, ?)",
        )
        .bind(&id)
        .bind(question)
        .bind(model)
        .bind(now_ms())
        .execute(&mut *transaction)
        .await?;
        for (number, note) in (1i64..).zip(notes) {
            // A video that was deleted for good meanwhile has no note.
            let sql = "INSERT INTO question_notes (question_id, number, video_id, kind, start_s, text)
                       SELECT ?, ?, id, ?, ?, ? FROM videos WHERE id = ?";
            sqlx::query(sql)
                .bind(&id)
                .bind(number)
                .bind(note.kind.as_str())
                .bind(note.start)
                .bind(&note.text)
                .bind(&note.video_id)
                .execute(&mut *transaction)
                .await?;
        }
        let oldest =
            "DELETE FROM questions WHERE id IN (SELECT id FROM questions ORDER BY id DESC LIMIT -1 OFFSET ?)";
        sqlx::query(oldest).bind(MOST).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Stores how a question was answered.
    ///
    /// # Errors
    /// `Database`.
    pub async fn end_question(
        &self,
        id: &str,
        status: AnswerStatus,
        answer: &str,
        error: Option<&str>,
    ) -> Result<(), LibraryError> {
        sqlx::query("UPDATE questions SET status = ?, answer = ?, error = ?, finished_ms = ? WHERE id = ?")
            .bind(status.as_str())
            .bind(answer)
            .bind(error)
            .bind(now_ms())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Returns a question with its answer.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn question(&self, id: &str) -> Result<LibraryAnswer, LibraryError> {
        let row = sqlx::query_as("SELECT * FROM questions WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.ok_or_else(|| LibraryError::NotFound { what: "question", id: shorten(id) })
    }

    /// Returns the notes of a question with their numbers. Those of videos that are in the trash, or were deleted, are left out.
    ///
    /// # Errors
    /// `Database`.
    pub async fn question_notes(&self, id: &str) -> Result<Vec<(usize, Recalled)>, LibraryError> {
        let sql = "SELECT n.number, n.video_id, n.kind, n.start_s, n.text, v.name,
                          date(v.local_ms / 1000, 'unixepoch') AS day
                   FROM question_notes n JOIN videos v ON v.id = n.video_id
                   WHERE n.question_id = ? AND v.deleted_ms IS NULL ORDER BY n.number";
        let rows = sqlx::query(sql).bind(id).fetch_all(&self.pool).await?;
        let note = |row: &SqliteRow| {
            let number = usize::try_from(row.try_get::<i64, _>("number")?).unwrap_or_default();
            Ok((number, Recalled::from_row(row)?))
        };
        Ok(rows.iter().map(note).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Returns the questions before the one with the id `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn questions(
        &self,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<LibraryAnswer>, LibraryError> {
        let sql = "SELECT * FROM questions WHERE id < ? ORDER BY id DESC LIMIT ?";
        // Ids are hexadecimal, so `g` comes after all of them.
        Ok(sqlx::query_as(sql).bind(before.unwrap_or("g")).bind(limit).fetch_all(&self.pool).await?)
    }

    /// Deletes a question with its answer.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn delete_question(&self, id: &str) -> Result<(), LibraryError> {
        let done = sqlx::query("DELETE FROM questions WHERE id = ?").bind(id).execute(&self.pool).await?;
        if done.rows_affected() == 0 {
            return Err(LibraryError::NotFound { what: "question", id: shorten(id) });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
