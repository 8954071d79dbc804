//! Transcripts: what is said in a video, line by line with times. A transcription stores each group of lines together with the
//! position that it has reached, so that one that was interrupted goes on from there.
//!
//! [`reading`] has the queries, [`writing`] what a transcription and people store, [`queueing`] the jobs.

mod queueing;
mod reading;
mod writing;

use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use crate::values::id;

/// Maximum number of lines of a transcript: 30 hours of people who speak all the time.
pub const MAX_LINES: u64 = 50_000;

/// Maximum number of characters of a line.
pub const MAX_LINE_CHARS: usize = 2000;

/// State of a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TranscriptState {
    /// Lines up to `position` are there; more may follow.
    Listening,
    /// Complete.
    Done,
    /// The transcription failed at `position`; see the error.
    Failed,
}

impl TranscriptState {
    fn parse(text: &str) -> Self {
        match text {
            "done" => Self::Done,
            "failed" => Self::Failed,
            _ => Self::Listening,
        }
    }
}

/// The transcript of a video, without its lines.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Transcript {
    /// State.
    pub state: TranscriptState,
    /// All before this second of the video is transcribed.
    pub position: f64,
    /// Number of lines.
    pub line_count: u64,
    /// Code of the language of the whole video, such as `en`; `None` means that it is not known.
    pub language: Option<String>,
    /// Name of the model.
    pub model: String,
    /// Why there are no lines, or fewer than there could be.
    pub note: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// When the transcription began, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it was complete.
    pub done_ms: Option<i64>,
}

impl FromRow<'_, SqliteRow> for Transcript {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            state: TranscriptState::parse(row.try_get("state")?),
            position: row.try_get("position_s")?,
            line_count: u64::try_from(row.try_get::<i64, _>("lines")?).unwrap_or_default(),
            language: row.try_get("language")?,
            model: row.try_get("model")?,
            note: row.try_get("note")?,
            error: row.try_get("error")?,
            created_ms: row.try_get("created_ms")?,
            done_ms: row.try_get("done_ms")?,
        })
    }
}

/// A line of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TranscriptLine {
    /// Number of the line, from 0.
    pub index: u64,
    /// Start in seconds of the video.
    pub start: f64,
    /// End in seconds of the video.
    pub end: f64,
    /// What is said.
    pub text: String,
    /// Code of its language; `None` means that it is not known.
    pub language: Option<String>,
    /// How certain the model was, 0 to 1.
    pub confidence: f64,
    /// When a person last changed it, in milliseconds since 1970 (UTC).
    pub edited_ms: Option<i64>,
}

impl FromRow<'_, SqliteRow> for TranscriptLine {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            index: u64::try_from(row.try_get::<i64, _>("number")?).unwrap_or_default(),
            start: row.try_get("start_s")?,
            end: row.try_get("end_s")?,
            text: row.try_get("text")?,
            language: row.try_get("language")?,
            confidence: row.try_get("confidence")?,
            edited_ms: row.try_get("edited_ms")?,
        })
    }
}

/// A line that a transcription has found.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLine {
    /// Start in seconds of the video.
    pub start: f64,
    /// End in seconds of the video.
    pub end: f64,
    /// What is said; longer texts than [`MAX_LINE_CHARS`] are cut.
    pub text: String,
    /// Code of its language.
    pub language: Option<String>,
    /// How certain the model was, 0 to 1.
    pub confidence: f64,
}

/// The state of a video's transcript, for what waits for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TranscriptProgress {
    /// All before this second is transcribed, or never will be.
    pub position: f64,
    /// A job that continues the transcription is queued or running, and its last attempt did not fail.
    pub is_going_on: bool,
}

impl TranscriptProgress {
    /// Returns whether what is said before `second` is known as far as it ever will be.
    #[must_use]
    pub fn covers(self, second: f64) -> bool {
        !self.is_going_on || self.position >= second
    }
}

/// Reads the id of a video in a row.
fn video_id(row: &SqliteRow) -> Result<String, sqlx::Error> {
    id(row, "video_id")
}

#[cfg(test)]
mod tests;
