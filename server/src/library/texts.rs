//! Rows of `texts`: what a model wrote about a video, and which model with which settings.

use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::{Change, Library, LibraryError, from_json, now_ms, to_json};

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
    fn as_str(self) -> &'static str {
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
    /// The text; none when the model's answer was not usable (see `warning`).
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

/// The texts of one video; none where a text is not made yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Texts {
    /// A few sentences.
    pub description: Option<Text<String>>,
    /// What happens when, in order of start.
    pub moments: Option<Text<Vec<Moment>>>,
    /// Short keywords.
    pub tags: Option<Text<Vec<String>>>,
}

impl Library {
    /// Returns the texts of a video.
    ///
    /// # Errors
    /// `Database`, `Damaged`.
    pub async fn texts(&self, video_id: &str) -> Result<Texts, LibraryError> {
        let rows = sqlx::query("SELECT * FROM texts WHERE video_id = ?")
            .bind(video_id)
            .fetch_all(&self.pool)
            .await?;
        let mut texts = Texts::default();
        for row in rows {
            let content: Option<String> = row.try_get("content")?;
            let text = Text {
                content: Some(()),
                warning: row.try_get("warning")?,
                model: row.try_get("model")?,
                settings: from_json("texts.settings", row.try_get("settings")?)?,
                created_ms: row.try_get("created_ms")?,
                edited_ms: row.try_get("edited_ms")?,
            };
            match row.try_get::<&str, _>("kind")? {
                "description" => texts.description = Some(text.with(content)),
                "moments" => texts.moments = Some(text.with(parsed("texts.content", content)?)),
                _ => texts.tags = Some(text.with(parsed("texts.content", content)?)),
            }
        }
        Ok(texts)
    }

    /// Stores a text in place of an earlier one of its kind. `content` is the plain text of a description,
    /// else JSON. What a person wrote stays: tags, for they are albums, always; the others if they were written after
    /// the newest reading was asked for.
    ///
    /// # Errors
    /// `Database` (also when the video was deleted meanwhile).
    pub async fn put_text(
        &self,
        video_id: &str,
        kind: TextKind,
        text: Text<String>,
    ) -> Result<(), LibraryError> {
        sqlx::query(
            "INSERT OR REPLACE INTO texts (video_id, kind, content, warning, model, settings, created_ms)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS
             (SELECT 1 FROM texts WHERE video_id = ?1 AND kind = ?2 AND (kind = 'tags' AND edited_ms IS NOT NULL
              OR edited_ms >= (SELECT max(created_ms) FROM jobs WHERE video_id = ?1)))",
        )
        .bind(video_id)
        .bind(kind.as_str())
        .bind(text.content)
        .bind(text.warning)
        .bind(text.model)
        .bind(to_json("texts.settings", &text.settings)?)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        self.announce(Change::Video { id: video_id.into() });
        Ok(())
    }
}

impl Library {
    /// Stores what a person writes in place of a model's text (`content` as in [`Library::put_text`]); which model
    /// was there before stays known.
    ///
    /// # Errors
    /// `Database` (also when the video was deleted meanwhile).
    pub async fn edit_text(
        &self,
        video_id: &str,
        kind: TextKind,
        content: Option<String>,
    ) -> Result<(), LibraryError> {
        let now = now_ms();
        sqlx::query(
            "INSERT INTO texts (video_id, kind, content, model, settings, created_ms, edited_ms)
             VALUES (?1, ?2, ?3, '', '{}', ?4, ?4)
             ON CONFLICT (video_id, kind) DO UPDATE SET content = ?3, warning = NULL, edited_ms = ?4",
        )
        .bind(video_id)
        .bind(kind.as_str())
        .bind(content)
        .bind(now)
        .execute(&self.pool)
        .await?;
        self.announce(Change::Video { id: video_id.into() });
        Ok(())
    }
}

impl Text<()> {
    fn with<T>(self, content: Option<T>) -> Text<T> {
        let Self { content: _, warning, model, settings, created_ms, edited_ms } = self;
        Text { content, warning, model, settings, created_ms, edited_ms }
    }
}

fn parsed<T: serde::de::DeserializeOwned>(
    column: &'static str,
    text: Option<String>,
) -> Result<Option<T>, LibraryError> {
    text.map(|text| from_json(column, &text)).transpose()
}
