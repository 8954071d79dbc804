//! Queries over transcripts and their lines.

use super::{Transcript, TranscriptLine, TranscriptProgress};
use crate::{error::LibraryError, library::Library};

impl Library {
    /// Returns the transcript of a video without its lines; `None` means that its transcription has not begun.
    ///
    /// # Errors
    /// `Database`.
    pub async fn transcript(&self, video_id: &str) -> Result<Option<Transcript>, LibraryError> {
        let sql = "SELECT * FROM transcripts WHERE video_id = ?";
        Ok(sqlx::query_as(sql).bind(video_id).fetch_optional(&self.pool).await?)
    }

    /// Returns at most `limit` lines from number `first` on, in order.
    ///
    /// # Errors
    /// `Database`.
    pub async fn transcript_lines(
        &self,
        video_id: &str,
        first: u64,
        limit: u64,
    ) -> Result<Vec<TranscriptLine>, LibraryError> {
        let sql = "SELECT * FROM transcript_lines WHERE video_id = ? AND number >= ? ORDER BY number LIMIT ?";
        let query = sqlx::query_as(sql).bind(video_id).bind(number(first)).bind(number(limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Returns the lines that are spoken between two seconds, in order, at most `limit`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn transcript_between(
        &self,
        video_id: &str,
        from: f64,
        to: f64,
        limit: u64,
    ) -> Result<Vec<TranscriptLine>, LibraryError> {
        let sql = "SELECT * FROM transcript_lines WHERE video_id = ? AND start_s < ? AND end_s > ?
                   ORDER BY number LIMIT ?";
        let query = sqlx::query_as(sql).bind(video_id).bind(to).bind(from).bind(number(limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Returns the number of the last line that begins at or before `second`; 0 if there is none.
    ///
    /// # Errors
    /// `Database`.
    pub async fn transcript_line_at(&self, video_id: &str, second: f64) -> Result<u64, LibraryError> {
        let sql = "SELECT coalesce(max(number), 0) FROM transcript_lines WHERE video_id = ? AND start_s <= ?";
        let line: i64 = sqlx::query_scalar(sql).bind(video_id).bind(second).fetch_one(&self.pool).await?;
        Ok(u64::try_from(line).unwrap_or_default())
    }

    /// Returns the lines that contain `text`, ignoring the case of ASCII letters; in order, at most `limit`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn transcript_lines_with(
        &self,
        video_id: &str,
        text: &str,
        limit: u64,
    ) -> Result<Vec<TranscriptLine>, LibraryError> {
        let sql = "SELECT * FROM transcript_lines WHERE video_id = ? AND text LIKE ? ESCAPE '\\' ORDER BY number LIMIT ?";
        let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let query = sqlx::query_as(sql).bind(video_id).bind(format!("%{escaped}%")).bind(number(limit));
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Returns how far the transcription of a video is, and whether it goes on.
    ///
    /// # Errors
    /// `Database`.
    pub async fn transcript_progress(&self, video_id: &str) -> Result<TranscriptProgress, LibraryError> {
        let sql = "SELECT coalesce((SELECT position_s FROM transcripts WHERE video_id = ?1 AND state <> 'failed'), 0.0),
                   EXISTS (SELECT 1 FROM jobs WHERE video_id = ?1 AND kind = 'speech' AND error IS NULL
                           AND state IN ('queued', 'running'))";
        let (position, is_going_on) = sqlx::query_as(sql).bind(video_id).fetch_one(&self.pool).await?;
        Ok(TranscriptProgress { position, is_going_on })
    }
}

/// Returns a number as SQLite stores it.
pub(super) fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
