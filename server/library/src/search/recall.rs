//! Retrieves texts that may answer a question: those that share its words and those that are near in meaning, best first.

use std::collections::HashMap;

use jiff::civil::Date;
use sqlx::{FromRow, Row as _, sqlite::SqliteRow};

use super::{fuse::fuse, near::Near, results::PieceKind};
use crate::{error::LibraryError, library::Library, values::to_json};

/// Maximum words of a question that are looked up.
const MAX_WORDS: usize = 16;

/// Words that occur in most questions.
const STOP: &[&str] = &[
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can",
    "could", "did", "do", "does", "ever", "find", "for", "from", "had", "has", "have", "he", "her", "his",
    "how", "i", "in", "is", "it", "its", "many", "me", "much", "my", "of", "on", "or", "our", "see", "she",
    "show", "so", "some", "than", "that", "the", "their", "them", "there", "they", "this", "to", "us",
    "video", "videos", "was", "we", "were", "what", "when", "where", "which", "who", "whose", "why", "will",
    "with", "would", "you", "your", "clip",
];

/// A text that may contain the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Recalled {
    /// Id of the video.
    pub video_id: String,
    /// Its name.
    pub name: String,
    /// The local day on which it was taken, else added; `None` for a damaged row.
    pub day: Option<Date>,
    /// Kind of text.
    pub kind: PieceKind,
    /// The time of a moment or of what is said, in seconds.
    pub start: Option<f64>,
    /// The whole text.
    pub text: String,
}

/// What a note is made of. Tags and cameras say too little, and answers may be wrong.
const COLUMNS: &str =
    "p.id, p.video_id, p.kind, p.start_s, p.text, v.name, date(v.local_ms / 1000, 'unixepoch') AS day";
const CONDITION: &str = "v.deleted_ms IS NULL AND p.kind NOT IN ('tag', 'camera', 'answer')";

impl Library {
    /// Returns at most `limit` texts that share words with a question or are `near` it in meaning, best first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn recall(
        &self,
        question: &str,
        near: &[Near],
        limit: usize,
    ) -> Result<Vec<Recalled>, LibraryError> {
        let words = words(question);
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM pieces_fts JOIN pieces p ON p.id = pieces_fts.rowid JOIN videos v ON v.id = p.video_id
             WHERE pieces_fts MATCH ? AND {CONDITION} ORDER BY bm25(pieces_fts) LIMIT ?"
        );
        let matching = match quoted.is_empty() {
            true => Vec::new(),
            false => {
                sqlx::query(&sql).bind(quoted.join(" OR ")).bind(limit as i64).fetch_all(&self.pool).await?
            }
        };
        let nearest: Vec<i64> = near.iter().map(|near| near.piece).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM json_each(?) j CROSS JOIN pieces p ON p.id = j.value
                 CROSS JOIN videos v ON v.id = p.video_id WHERE {CONDITION}"
        );
        let others = match nearest.is_empty() {
            true => Vec::new(),
            false => sqlx::query(&sql).bind(to_json("pieces", &nearest)?).fetch_all(&self.pool).await?,
        };
        let mut notes = HashMap::new();
        let mut by_words = Vec::with_capacity(matching.len());
        for row in &matching {
            by_words.push(row.try_get::<i64, _>("id")?);
        }
        for row in matching.iter().chain(&others) {
            notes.insert(row.try_get::<i64, _>("id")?, Recalled::from_row(row)?);
        }
        // Those of other kinds, and of videos in the trash, are not among the rows.
        let by_meaning: Vec<i64> = nearest.into_iter().filter(|piece| notes.contains_key(piece)).collect();
        let order = fuse(&by_words, &by_meaning);
        Ok(order.iter().filter_map(|piece| notes.remove(piece)).take(limit).collect())
    }
}

impl FromRow<'_, SqliteRow> for Recalled {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            video_id: row.try_get("video_id")?,
            name: row.try_get("name")?,
            day: row.try_get::<Option<&str>, _>("day")?.and_then(|day| day.parse().ok()),
            kind: PieceKind::parse(row.try_get("kind")?),
            start: row.try_get("start_s")?,
            text: row.try_get("text")?,
        })
    }
}

/// Returns the words of a question that distinguish it.
fn words(question: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in question.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        if !STOP.contains(&word.as_str()) && !words.contains(&word) && words.len() < MAX_WORDS {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_question_is_about_its_rare_words() {
        assert_eq!(words("When did the DOG eat grandma's cake?"), ["dog", "eat", "grandma", "s", "cake"]);
        assert!(words("who is in this video").is_empty());
        assert!(words("\" OR * NEAR(").iter().all(|word| word.chars().all(char::is_alphanumeric)));
    }
}
