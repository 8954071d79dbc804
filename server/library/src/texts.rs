//! Queries over `texts`, and edits by people.

use std::collections::HashMap;

use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{
    changes::Change,
    error::LibraryError,
    library::Library,
    text::{Text, TextKind, Texts},
    values::{from_json, now_ms, to_json},
    video::Video,
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
            texts.read(&row)?;
        }
        Ok(texts)
    }

    /// Reads the texts of videos.
    ///
    /// # Errors
    /// `Database`, `Damaged`.
    pub async fn load_texts(&self, videos: &mut [Video]) -> Result<(), LibraryError> {
        let ids: Vec<&str> = videos.iter().map(|video| video.id.as_str()).collect();
        let sql = "SELECT * FROM texts WHERE video_id IN (SELECT value FROM json_each(?))";
        let rows = sqlx::query(sql).bind(to_json("video ids", &ids)?).fetch_all(&self.pool).await?;
        let mut texts: HashMap<String, Texts> = HashMap::new();
        for row in rows {
            texts.entry(row.try_get("video_id")?).or_default().read(&row)?;
        }
        for video in videos {
            video.texts = texts.remove(&video.id).unwrap_or_default();
        }
        Ok(())
    }

    /// Returns the beginnings of descriptions, `chars` characters each, of those of `ids` that have one.
    ///
    /// # Errors
    /// `Database`.
    pub async fn descriptions_begin(
        &self,
        ids: &[&str],
        chars: u32,
    ) -> Result<HashMap<String, String>, LibraryError> {
        let sql = "SELECT t.video_id, substr(t.content, 1, ?) FROM json_each(?)
                   CROSS JOIN texts t ON t.video_id = value AND t.kind = 'description' AND t.content IS NOT NULL";
        let rows: Vec<(String, String)> =
            sqlx::query_as(sql).bind(chars).bind(to_json("video ids", &ids)?).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().collect())
    }

    /// Stores a text, replacing an earlier one of its kind. `content` is plain text for a description, else JSON. Edits by people
    /// are kept: tags always; other texts if they were edited after the newest description was requested.
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

impl Texts {
    /// Adds the text of a row.
    fn read(&mut self, row: &SqliteRow) -> Result<(), LibraryError> {
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
            "description" => self.description = Some(text.with(content)),
            "moments" => self.moments = Some(text.with(parsed("texts.content", content)?)),
            _ => self.tags = Some(text.with(parsed("texts.content", content)?)),
        }
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
