//! A row of `texts`: what a model wrote about a video, and which model with which settings.

use serde::{Deserialize, Serialize};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// A few sentences.
    Description,
    /// What happens when.
    Moments,
    /// Short keywords.
    Tags,
}

impl TextKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Moments => "moments",
            Self::Tags => "tags",
        }
    }
}

/// A stretch of a video and what happens in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds from the first frame.
    pub start: f64,
    /// Seconds from the first frame, not before `start`.
    pub end: f64,
    /// What happens.
    pub text: String,
}

/// A text and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Text<T> {
    /// The text. `None` when the model's answer was not usable (see `warning`).
    pub content: Option<T>,
    /// What a reader should know.
    pub warning: Option<String>,
    /// Id of the model that wrote it.
    pub model: String,
    /// Prompt and sampling that made it.
    pub settings: serde_json::Value,
    /// When, milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When a person changed it, if ever.
    pub edited_ms: Option<i64>,
}

/// The texts of one video. `None` where a text does not exist yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Texts {
    /// A few sentences.
    pub description: Option<Text<String>>,
    /// What happens when, in order of start.
    pub moments: Option<Text<Vec<Moment>>>,
    /// Short keywords.
    pub tags: Option<Text<Vec<String>>>,
}
