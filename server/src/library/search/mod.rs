//! Finding: words over everything that is known of the videos, with the places where they are said.
//!
//! A video is found when each wanted term occurs somewhere in it (its name, place, camera, description, moments,
//! tags, answers) and no unwanted one does. Videos are ordered by BM25 over these, weighed by what kind of text it is.
//! A list by another measure, such as embeddings, would be merged with [`Library::ranked`]. Knows no HTTP.

mod query;
mod recall;

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};

pub use recall::Recalled;

use self::query::{Lookup, Query, Term};
use super::{Library, LibraryError, Video, to_json};

/// Videos that are ranked at most, the newest; more can only match words that say little.
pub const MAX_RANKED: usize = 1000;

/// What a word in each column of `documents` tells of a video, in their order: name, place, camera, description,
/// moment, tag, answer. People's own words first; answers last, for a question may ask for what is not there.
const WEIGHTS: [f64; 7] = [6.0, 4.0, 1.5, 3.0, 1.5, 5.0, 1.0];

/// Places of one video that are looked at.
const MAX_PLACES: i64 = 200;

/// Places shown of one video.
const PLACES: usize = 4;

/// Words around a match.
const SNIPPET_TOKENS: i64 = 24;

/// What a video must be besides being matched.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Taken at this time or later, milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Taken before this time.
    pub before_ms: Option<i64>,
    /// By exactly this camera.
    pub camera: Option<String>,
    /// Seconds at least.
    pub min_s: Option<f64>,
    /// Seconds at most.
    pub max_s: Option<f64>,
    /// With this tag, in any case.
    pub tag: Option<String>,
    /// Only somebody's favourites.
    pub favourite: bool,
}

/// Which text of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// The name of the file.
    Name,
    /// Where it was taken, by a person.
    Place,
    /// What took it.
    Camera,
    /// A few sentences.
    Description,
    /// What happens at some time.
    Moment,
    /// A keyword.
    Tag,
    /// A question and its answer.
    Answer,
}

impl PieceKind {
    fn parse(word: &str) -> Self {
        match word {
            "name" => Self::Name,
            "place" => Self::Place,
            "camera" => Self::Camera,
            "description" => Self::Description,
            "moment" => Self::Moment,
            "tag" => Self::Tag,
            _ => Self::Answer,
        }
    }

    /// What kind of text is worth showing first where a word occurs in several; moments lead to their second.
    fn weight(self) -> f64 {
        match self {
            Self::Moment => 2.0,
            Self::Name | Self::Place => 1.8,
            Self::Description => 1.5,
            Self::Tag | Self::Camera => 1.2,
            Self::Answer => 1.0,
        }
    }
}

/// Part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The words.
    pub text: String,
    /// Whether they are what was looked for.
    #[serde(rename = "match")]
    pub matched: bool,
}

/// A place in a video where something was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Place {
    /// Which text.
    pub kind: PieceKind,
    /// Seconds from the first frame, of a moment.
    pub start: Option<f64>,
    /// Where the moment ends.
    pub end: Option<f64>,
    /// Id of the answer, of an answer.
    pub answer_id: Option<String>,
    /// The words around the match.
    pub snippet: Vec<Part>,
}

/// A video that was found. Its texts are not loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The video.
    pub video: Video,
    /// The best places, best first; none when only the filter was asked.
    pub places: Vec<Place>,
}

/// One page of what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The videos, best first.
    pub found: Vec<Found>,
    /// Videos in all; at most [`MAX_RANKED`] where words were looked for.
    pub total: usize,
}

impl Library {
    /// Finds videos by words and filter; `limit` of them after `offset`. Without words all that the filter lets
    /// through, newest first.
    ///
    /// # Errors
    /// `Invalid` for a query that does not fit; `Database`.
    pub async fn search(
        &self,
        text: &str,
        filter: &Filter,
        limit: usize,
        offset: usize,
    ) -> Result<Results, LibraryError> {
        let query = Query::parse(text)?;
        if query.wanted.is_empty() {
            return self.filtered(filter, limit, offset).await;
        }
        let ranked = self.ranked(&query, filter).await?;
        let total = ranked.len();
        let shown: Vec<&str> = ranked.iter().skip(offset).take(limit).map(String::as_str).collect();
        let mut videos = self.videos_by_id(&shown).await?;
        let mut found = Vec::with_capacity(shown.len());
        for id in shown {
            // Deleted between two statements: gone from the page too.
            let Some(video) = videos.remove(id) else { continue };
            found.push(Found { video, places: self.places(&query, id).await? });
        }
        Ok(Results { found, total })
    }

    async fn filtered(&self, filter: &Filter, limit: usize, offset: usize) -> Result<Results, LibraryError> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM videos v WHERE v.deleted_ms IS NULL");
        push_filter(&mut sql, filter);
        let total: i64 = sql.build_query_scalar().fetch_one(&self.pool).await?;
        let mut sql = QueryBuilder::new("SELECT v.* FROM videos v WHERE v.deleted_ms IS NULL");
        push_filter(&mut sql, filter);
        sql.push(" ORDER BY v.taken_ms DESC, v.id DESC LIMIT ");
        sql.push_bind(limit as i64).push(" OFFSET ").push_bind(offset as i64);
        let videos: Vec<Video> = sql.build_query_as().fetch_all(&self.pool).await?;
        let found = videos.into_iter().map(|video| Found { video, places: Vec::new() }).collect();
        Ok(Results { found, total: usize::try_from(total).unwrap_or_default() })
    }

    /// Returns ids of the videos that have every wanted term and no unwanted one, best first.
    async fn ranked(&self, query: &Query, filter: &Filter) -> Result<Vec<String>, LibraryError> {
        let (matches, likes) = split(&query.wanted);
        let (unwanted, unlike) = split(&query.unwanted);
        let weights = WEIGHTS.map(|weight| format!("{weight:.1}")).join(", ");
        let mut sql = QueryBuilder::new("SELECT d.video_id, ");
        if matches.is_empty() {
            sql.push(
                "1.0 AS score FROM documents d JOIN videos v ON v.id = d.video_id WHERE v.deleted_ms IS NULL",
            );
        } else {
            sql.push(format!("-bm25(documents_fts, {weights}) AS score FROM documents_fts"));
            sql.push(" JOIN documents d ON d.id = documents_fts.rowid JOIN videos v ON v.id = d.video_id");
            sql.push(" WHERE documents_fts MATCH ");
            let mut expression = matches.join(" AND ");
            if !unwanted.is_empty() {
                expression = format!("({expression}) NOT ({})", unwanted.join(" OR "));
            }
            sql.push_bind(expression).push(" AND v.deleted_ms IS NULL");
        }
        push_filter(&mut sql, filter);
        for like in likes {
            sql.push(" AND v.id IN (SELECT video_id FROM pieces WHERE text LIKE ");
            sql.push_bind(like).push(" ESCAPE '\\')");
        }
        for like in unlike {
            sql.push(" AND v.id NOT IN (SELECT video_id FROM pieces WHERE text LIKE ");
            sql.push_bind(like).push(" ESCAPE '\\')");
        }
        if matches.is_empty() {
            for expression in unwanted {
                sql.push(" AND d.id NOT IN (SELECT rowid FROM documents_fts WHERE documents_fts MATCH ");
                sql.push_bind(expression).push(")");
            }
            sql.push(" ORDER BY d.id DESC LIMIT ");
        } else {
            sql.push(" ORDER BY documents_fts.rowid DESC LIMIT ");
        }
        sql.push_bind(MAX_RANKED as i64);
        let mut ranked: Vec<(String, f64)> = sql.build_query_as().fetch_all(&self.pool).await?;
        // Ids sort by time: of equals the newest first.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
        Ok(ranked.into_iter().map(|(id, _)| id).collect())
    }

    /// Finds the places in a video, the best first: those with most of the terms.
    async fn places(&self, query: &Query, video_id: &str) -> Result<Vec<Place>, LibraryError> {
        let (matches, likes) = split(&query.wanted);
        // A video's pieces were mostly written together: their range spares looking at all others.
        let range = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM pieces WHERE video_id = ?";
        let (first, last): (i64, i64) = sqlx::query_as(range).bind(video_id).fetch_one(&self.pool).await?;
        let mut scored: Vec<(f64, Place)> = Vec::new();
        if !matches.is_empty() {
            let rows = sqlx::query(
                "SELECT p.*, snippet(pieces_fts, 0, char(2), char(3), '…', ?) AS snippet
                 FROM pieces_fts JOIN pieces p ON p.id = pieces_fts.rowid
                 WHERE pieces_fts MATCH ? AND pieces_fts.rowid BETWEEN ? AND ? AND p.video_id = ? LIMIT ?",
            )
            .bind(SNIPPET_TOKENS)
            .bind(matches.join(" OR "))
            .bind(first)
            .bind(last)
            .bind(video_id)
            .bind(MAX_PLACES)
            .fetch_all(&self.pool)
            .await?;
            for row in rows {
                scored.push(place(&row, row.try_get("snippet")?)?);
            }
        }
        for like in likes {
            let sql = "SELECT * FROM pieces WHERE video_id = ? AND text LIKE ? ESCAPE '\\' LIMIT ?";
            let rows =
                sqlx::query(sql).bind(video_id).bind(like).bind(MAX_PLACES).fetch_all(&self.pool).await?;
            for row in rows {
                let text: String = row.try_get("text")?;
                let text: String = text.chars().take(200).collect();
                scored.push(place(&row, &text)?);
            }
        }
        // Stable: of equals the earlier in the video.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(scored.into_iter().take(PLACES).map(|(_, place)| place).collect())
    }

    /// Returns the cameras that took the videos, in order.
    ///
    /// # Errors
    /// `Database`.
    pub async fn cameras(&self) -> Result<Vec<String>, LibraryError> {
        let sql = "SELECT DISTINCT camera FROM videos WHERE camera IS NOT NULL ORDER BY camera LIMIT 100";
        Ok(sqlx::query_scalar(sql).fetch_all(&self.pool).await?)
    }

    /// Returns those of `ids` that exist, without their texts.
    ///
    /// # Errors
    /// `Database`.
    pub async fn videos_by_id(&self, ids: &[&str]) -> Result<HashMap<String, Video>, LibraryError> {
        // SQLite has no lists as parameters; a JSON array is one.
        let sql = "SELECT * FROM videos WHERE id IN (SELECT value FROM json_each(?))";
        let videos: Vec<Video> =
            sqlx::query_as(sql).bind(to_json("video ids", &ids)?).fetch_all(&self.pool).await?;
        Ok(videos.into_iter().map(|video| (video.id.clone(), video)).collect())
    }
}

/// Reads a place and how many of the words it has.
fn place(row: &SqliteRow, snippet: &str) -> Result<(f64, Place), LibraryError> {
    let kind = PieceKind::parse(row.try_get("kind")?);
    let snippet = parts(snippet);
    let words: HashSet<String> =
        snippet.iter().filter(|part| part.matched).map(|part| part.text.to_lowercase()).collect();
    let place = Place {
        kind,
        start: row.try_get("start_s")?,
        end: row.try_get("end_s")?,
        answer_id: row.try_get("source")?,
        snippet,
    };
    Ok((kind.weight() * words.len().max(1) as f64, place))
}

fn split(terms: &[Term]) -> (Vec<String>, Vec<String>) {
    let (mut matches, mut likes) = (Vec::new(), Vec::new());
    for term in terms {
        match term.lookup() {
            Lookup::Match(expression) => matches.push(expression),
            Lookup::Like(pattern) => likes.push(pattern),
        }
    }
    (matches, likes)
}

fn push_filter(sql: &mut QueryBuilder<'_, Sqlite>, filter: &Filter) {
    if let Some(from) = filter.from_ms {
        sql.push(" AND v.taken_ms >= ").push_bind(from);
    }
    if let Some(before) = filter.before_ms {
        sql.push(" AND v.taken_ms < ").push_bind(before);
    }
    if let Some(camera) = &filter.camera {
        sql.push(" AND v.camera = ").push_bind(camera.clone());
    }
    if let Some(min) = filter.min_s {
        sql.push(" AND v.duration_s >= ").push_bind(min);
    }
    if let Some(max) = filter.max_s {
        sql.push(" AND v.duration_s <= ").push_bind(max);
    }
    if filter.favourite {
        sql.push(" AND v.favourite = 1");
    }
    if let Some(tag) = &filter.tag {
        sql.push(" AND v.id IN (SELECT video_id FROM pieces WHERE kind = 'tag' AND text = ");
        sql.push_bind(tag.clone()).push(" COLLATE NOCASE)");
    }
}

/// Cuts a snippet at the marks that SQLite put around matches.
fn parts(marked: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut push = |text: &str, matched: bool| {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if !text.is_empty() {
            parts.push(Part { text, matched });
        }
    };
    for (index, piece) in marked.split('\u{2}').enumerate() {
        match piece.split_once('\u{3}') {
            Some((hit, after)) if index > 0 => {
                push(hit, true);
                push(after, false);
            }
            _ => push(piece, false),
        }
    }
    parts
}

#[cfg(test)]
mod tests;
