//! Queries over `texts`, and edits by people.

use sqlx::Row;

use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    text::{Text, TextKind, Texts},
    values::{from_json, now_ms, to_json},
};

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

    /// Stores a text, replacing an earlier one of its kind. `content` is plain text for a description, else JSON. Edits by people
    /// are kept: tags always, since they are albums; other texts if they were edited after the newest description was requested.
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
              OR edited_ms >= (SELECT max(created_ms) FROM jobs WHERE video_id = ?1 AND kind = 'ingest')))",
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
    /// Stores a person's edit of a text (`content` as in [`Library::put_text`]); the model that wrote the earlier version stays
    /// recorded.
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
