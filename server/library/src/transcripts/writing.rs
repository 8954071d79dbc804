//! Stores what a transcription finds, and what people correct. A change of a transcript is one transaction.

use super::{MAX_LINE_CHARS, MAX_LINES, NewLine, Transcript, TranscriptLine, reading::number};
use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    values::{now_ms, shorten},
};

impl Library {
    /// Begins the transcription of a video, or continues the one that was interrupted, and returns its state.
    ///
    /// # Errors
    /// `Database` (also when the video was deleted meanwhile).
    pub async fn begin_transcript(&self, video_id: &str, model: &str) -> Result<Transcript, LibraryError> {
        let transcript = sqlx::query_as(
            "INSERT INTO transcripts (video_id, state, model, created_ms) VALUES (?, 'listening', ?, ?)
             ON CONFLICT (video_id) DO UPDATE SET state = 'listening', model = excluded.model, error = NULL,
                 note = NULL, done_ms = NULL
             RETURNING *",
        )
        .bind(video_id)
        .bind(model)
        .bind(now_ms())
        .fetch_one(&self.pool)
        .await?;
        self.announce(Change::Video { id: video_id.into() });
        Ok(transcript)
    }

    /// Appends lines and stores the position that the transcription has reached, from which it is resumed. Returns the number of
    /// lines that were left out because the transcript has [`MAX_LINES`].
    ///
    /// # Errors
    /// `NotFound` when there is no transcript (also when the video was deleted meanwhile); `Database`.
    pub async fn append_transcript(
        &self,
        video_id: &str,
        lines: &[NewLine],
        position: f64,
        language: Option<&str>,
    ) -> Result<usize, LibraryError> {
        let mut transaction = self.begin().await?;
        let sql = "SELECT lines FROM transcripts WHERE video_id = ?";
        let count: Option<i64> =
            sqlx::query_scalar(sql).bind(video_id).fetch_optional(&mut *transaction).await?;
        let count = count.ok_or_else(|| missing(video_id))?;
        let room = usize::try_from(number(MAX_LINES).saturating_sub(count)).unwrap_or_default();
        let kept = &lines[..lines.len().min(room)];
        for (line, index) in kept.iter().zip(count..) {
            sqlx::query(
                "INSERT INTO transcript_lines (video_id, number, start_s, end_s, text, language, confidence)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(video_id)
            .bind(index)
            .bind(line.start)
            .bind(line.end.max(line.start))
            .bind(line.text.chars().take(MAX_LINE_CHARS).collect::<String>())
            .bind(&line.language)
            .bind(line.confidence.clamp(0.0, 1.0))
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "UPDATE transcripts SET lines = lines + ?, position_s = max(position_s, ?),
             language = coalesce(?, language) WHERE video_id = ?",
        )
        .bind(i64::try_from(kept.len()).unwrap_or(i64::MAX))
        .bind(position)
        .bind(language)
        .bind(video_id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(lines.len() - kept.len())
    }

    /// Adds the lines so far to the search index. Costs as much as all lines of the video, so it is called now and then, and
    /// [`Library::finish_transcript`] and [`Library::fail_transcript`] call it at the end.
    ///
    /// # Errors
    /// `Database`.
    pub async fn index_transcript(&self, video_id: &str) -> Result<(), LibraryError> {
        sqlx::query("UPDATE transcripts SET indexed = lines WHERE video_id = ? AND indexed < lines")
            .bind(video_id)
            .execute(&self.pool)
            .await?;
        self.announce(Change::Video { id: video_id.into() });
        Ok(())
    }

    /// Stores that a transcript is complete. `note` says why it has no lines, or fewer than it could have.
    ///
    /// # Errors
    /// `Database`.
    pub async fn finish_transcript(&self, video_id: &str, note: Option<&str>) -> Result<(), LibraryError> {
        sqlx::query(
            "UPDATE transcripts SET state = 'done', indexed = lines, note = ?, error = NULL, done_ms = ?
             WHERE video_id = ?",
        )
        .bind(note)
        .bind(now_ms())
        .bind(video_id)
        .execute(&self.pool)
        .await?;
        self.announce(Change::Video { id: video_id.into() });
        Ok(())
    }

    /// Stores why a transcription failed. What it has found stays.
    ///
    /// # Errors
    /// `Database`.
    pub async fn fail_transcript(&self, video_id: &str, error: &str) -> Result<(), LibraryError> {
        let sql = "UPDATE transcripts SET state = 'failed', indexed = lines, error = ? WHERE video_id = ?";
        sqlx::query(sql).bind(error).bind(video_id).execute(&self.pool).await?;
        self.announce(Change::Video { id: video_id.into() });
        Ok(())
    }

    /// Changes the text of a line. Its times stay, and the search finds the new text.
    ///
    /// # Errors
    /// `Invalid` for a text that is empty, too long, or has control characters; `NotFound`, `Database`.
    pub async fn edit_transcript_line(
        &self,
        video_id: &str,
        index: u64,
        text: &str,
    ) -> Result<TranscriptLine, LibraryError> {
        let text = text.trim();
        let chars = text.chars().count();
        if !(1..=MAX_LINE_CHARS).contains(&chars) || text.chars().any(char::is_control) {
            return Err(LibraryError::Invalid(format!(
                "a line has 1 to {MAX_LINE_CHARS} characters and no control characters; this one has {chars} characters"
            )));
        }
        let line = sqlx::query_as(
            "UPDATE transcript_lines SET text = ?, edited_ms = ? WHERE video_id = ? AND number = ? RETURNING *",
        )
        .bind(text)
        .bind(now_ms())
        .bind(video_id)
        .bind(number(index))
        .fetch_optional(&self.pool)
        .await?;
        let missing = || LibraryError::NotFound { what: "line of this transcript", id: index.to_string() };
        let line = line.ok_or_else(missing)?;
        self.announce(Change::Video { id: video_id.into() });
        Ok(line)
    }
}

fn missing(video_id: &str) -> LibraryError {
    LibraryError::NotFound { what: "transcript of a video", id: shorten(video_id) }
}
