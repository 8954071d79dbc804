//! A row of `jobs`, and the steps of a job.

use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use crate::values::{from_json, id};

/// Attempts before a job has failed.
pub(super) const MAX_ATTEMPTS: i64 = 4;

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits to run.
    Queued,
    /// Running.
    Running,
    /// All steps are done.
    Done,
    /// Failed; see the error.
    Failed,
    /// Cancelled by a person.
    Cancelled,
}

impl JobState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "done" => Self::Done,
            "cancelled" => Self::Cancelled,
            _ => Self::Failed,
        }
    }
}

/// Steps of a job, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reads the file's streams and metadata.
    Probe,
    /// Makes the poster.
    Poster,
    /// Makes the scrub sprites.
    Sprites,
    /// Describes the video in a few sentences.
    Describe,
    /// Finds the moments.
    Moments,
    /// Finds tags.
    Tags,
    /// Makes the scrub sprites of a video that was described first, because the model had nothing else to do.
    LateSprites,
    /// Transcodes for browsers that cannot play the original. Last, because it may take longer than the clip.
    Playback,
    /// Transcribes what is said. The only step of a job of the kind `speech`.
    Transcribe,
}

/// The lanes of the queue, whose jobs run independently of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Decoding: facts, poster and sprites.
    Media,
    /// Questions to the model.
    Model,
    /// Transcodes, which may take longer than the video.
    Rendition,
    /// Transcriptions.
    Speech,
}

impl Lane {
    /// Returns the name used in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Model => "model",
            Self::Rendition => "rendition",
            Self::Speech => "speech",
        }
    }

    /// Returns the names of its steps, as a JSON array.
    pub(super) fn steps(self) -> &'static str {
        match self {
            Self::Media => r#"["probe","poster","sprites","late_sprites"]"#,
            Self::Model => r#"["describe","moments","tags"]"#,
            Self::Rendition => r#"["playback"]"#,
            Self::Speech => r#"["transcribe"]"#,
        }
    }
}

impl Step {
    /// Returns the lane that runs this step.
    #[must_use]
    pub fn lane(self) -> Lane {
        match self {
            Self::Probe | Self::Poster | Self::Sprites | Self::LateSprites => Lane::Media,
            Self::Describe | Self::Moments | Self::Tags => Lane::Model,
            Self::Playback => Lane::Rendition,
            Self::Transcribe => Lane::Speech,
        }
    }

    /// Returns the next step.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Probe => Some(Self::Poster),
            Self::Poster => Some(Self::Sprites),
            Self::Sprites => Some(Self::Describe),
            Self::Describe => Some(Self::Moments),
            Self::Moments => Some(Self::Tags),
            Self::Tags => Some(Self::LateSprites),
            Self::LateSprites => Some(Self::Playback),
            Self::Playback | Self::Transcribe => None,
        }
    }

    /// Returns the name used in rows, JSON and pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Poster => "poster",
            Self::Sprites => "sprites",
            Self::Playback => "playback",
            Self::Describe => "describe",
            Self::Moments => "moments",
            Self::Tags => "tags",
            Self::LateSprites => "late_sprites",
            Self::Transcribe => "transcribe",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "poster" => Self::Poster,
            "sprites" => Self::Sprites,
            "playback" => Self::Playback,
            "describe" => Self::Describe,
            "moments" => Self::Moments,
            "tags" => Self::Tags,
            "late_sprites" => Self::LateSprites,
            "transcribe" => Self::Transcribe,
            _ => Self::Probe,
        }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    /// 32 hexadecimal digits that sort by time.
    pub id: String,
    /// `ingest`, or `speech` for a transcription.
    pub kind: String,
    /// Id of the video.
    pub video_id: String,
    /// State.
    pub state: JobState,
    /// The current or next step.
    pub step: Step,
    /// Attempts so far, including the running one.
    pub attempts: i64,
    /// Earliest time of the next attempt, in milliseconds since 1970.
    pub run_after_ms: i64,
    /// Error of the last attempt.
    pub error: Option<String>,
    /// Warnings for people.
    pub warnings: Vec<String>,
    /// Priority; the largest goes first.
    pub priority: i64,
    /// Windows of a long video that are done; seconds of its sound where it is transcribed.
    pub parts_done: i64,
    /// Windows of a long video, 0 for a short one; seconds of the video where it is transcribed.
    pub parts: i64,
    /// The description waits for what is said; everything else is done before it.
    pub awaits_speech: bool,
    /// When it was created.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

impl Job {
    /// Returns whether a failure now would be final.
    #[must_use]
    pub fn is_last_try(&self) -> bool {
        self.attempts >= MAX_ATTEMPTS
    }
}

impl FromRow<'_, SqliteRow> for Job {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let warnings = from_json("jobs.warnings", row.try_get("warnings")?);
        Ok(Self {
            id: id(row, "id")?,
            kind: row.try_get("kind")?,
            video_id: id(row, "video_id")?,
            state: JobState::parse(row.try_get("state")?),
            step: Step::parse(row.try_get("step")?),
            attempts: row.try_get("attempts")?,
            run_after_ms: row.try_get("run_after_ms")?,
            error: row.try_get("error")?,
            warnings: warnings.map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            priority: row.try_get("priority")?,
            parts_done: row.try_get("parts_done")?,
            parts: row.try_get("parts")?,
            awaits_speech: row.try_get("awaits_speech")?,
            created_ms: row.try_get("created_ms")?,
            updated_ms: row.try_get("updated_ms")?,
        })
    }
}
