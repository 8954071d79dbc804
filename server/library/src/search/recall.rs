//! Retrieves texts that may answer a question: those that share its words, best first.

use jiff::civil::Date;
use sqlx::Row;

use super::results::PieceKind;
use crate::{error::LibraryError, library::Library};

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

impl Library {
    /// Returns at most `limit` texts that share words with a question, best first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn recall(&self, question: &str, limit: usize) -> Result<Vec<Recalled>, LibraryError> {
        let words = words(question);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let rows = sqlx::query(
            "SELECT p.video_id, p.kind, p.start_s, p.text, v.name, date(v.local_ms / 1000, 'unixepoch') AS day
             FROM pieces_fts JOIN pieces p ON p.id = pieces_fts.rowid JOIN videos v ON v.id = p.video_id
             WHERE pieces_fts MATCH ? AND v.deleted_ms IS NULL AND p.kind IN ('moment', 'speech', 'description', 'name', 'place')
             ORDER BY bm25(pieces_fts) LIMIT ?",
        )
        .bind(quoted.join(" OR "))
        .bind(limit as i64)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Recalled {
                    video_id: row.try_get("video_id")?,
                    name: row.try_get("name")?,
                    day: row.try_get::<Option<&str>, _>("day")?.and_then(|day| day.parse().ok()),
                    kind: PieceKind::parse(row.try_get("kind")?),
                    start: row.try_get("start_s")?,
                    text: row.try_get("text")?,
                })
            })
            .collect()
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
