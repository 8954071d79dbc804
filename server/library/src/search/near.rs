//! Texts that are near a query in meaning: merged with what the words found, for whole videos and for places in them.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use sqlx::Row as _;

use super::{
    fuse::{fuse, worth},
    places::{PLACES, whole},
    query::Query,
    results::{DocumentHit, Filter, Found, Hit, MAX_RANKED, Results, Why},
};
use crate::{error::LibraryError, library::Library, values::to_json};

/// A piece that is near the query in meaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// The piece.
    pub piece: i64,
    /// Its document, which is one video.
    pub document: i64,
    /// Cosine of its vector and the query's, at most 1.
    pub cosine: f32,
}

/// Returns a digest of what is near, by which results are cached.
pub(super) fn digest(near: &[Near]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for Near { piece, document, cosine } in near {
        (piece, document, cosine.to_bits()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns the documents in order of their nearest piece.
fn documents(near: &[Near]) -> Vec<i64> {
    let mut seen = HashSet::new();
    near.iter().map(|near| near.document).filter(|&document| seen.insert(document)).collect()
}

impl Library {
    /// Merges the videos that match with those that are near, and returns one page of them.
    pub(super) async fn fused(
        &self,
        query: &Query,
        filter: &Filter,
        near: &[Near],
        limit: usize,
        offset: usize,
    ) -> Result<Results, LibraryError> {
        let (matching, _) = self.ranked(query, filter, MAX_RANKED, 0).await?;
        let by_words: Vec<i64> = matching.iter().map(|hit| hit.document).collect();
        let mut order = fuse(&by_words, &documents(near));
        order.truncate(MAX_RANKED);
        let page: Vec<i64> = order.iter().skip(offset).take(limit).copied().collect();
        let shown: HashSet<i64> = page.iter().copied().collect();

        let matching: Vec<DocumentHit> =
            matching.into_iter().filter(|hit| shown.contains(&hit.document)).collect();
        let mut by_words = match matching.is_empty() {
            true => HashMap::new(),
            false => self.places(query, &matching).await?,
        };
        let mut by_meaning = self.near_places(near, &shown).await?;
        let video_ids = self.video_ids(&page).await?;
        let ids: Vec<&str> = video_ids.values().map(String::as_str).collect();
        let mut videos = self.videos_by_id(&ids).await?;
        let found = page.iter().filter_map(|document| {
            // Deleted between two statements.
            let video = videos.remove(video_ids.get(document)?)?;
            let places = merged(
                by_words.remove(document).unwrap_or_default(),
                by_meaning.remove(document).unwrap_or_default(),
            );
            Some(Found { video, places })
        });
        Ok(Results { found: found.collect(), total: order.len() })
    }

    /// Returns the ids of the videos of documents, without those in the trash.
    async fn video_ids(&self, documents: &[i64]) -> Result<HashMap<i64, String>, LibraryError> {
        // SQLite has no list parameters, so the ids are passed as a JSON array.
        let sql = "SELECT f.id, f.video_id FROM json_each(?) v CROSS JOIN facts f ON f.id = v.value WHERE f.deleted = 0";
        let rows: Vec<(i64, String)> =
            sqlx::query_as(sql).bind(to_json("documents", &documents)?).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().collect())
    }

    /// Returns the nearest places of each shown document, the nearest first.
    async fn near_places(
        &self,
        near: &[Near],
        shown: &HashSet<i64>,
    ) -> Result<HashMap<i64, Vec<Hit>>, LibraryError> {
        let mut taken: HashMap<i64, usize> = HashMap::new();
        let best: Vec<&Near> = near
            .iter()
            .filter(|near| shown.contains(&near.document))
            .filter(|near| {
                let count = taken.entry(near.document).or_default();
                *count += 1;
                *count <= PLACES
            })
            .collect();
        let pieces: Vec<i64> = best.iter().map(|near| near.piece).collect();
        let sql = "SELECT p.* FROM json_each(?) v CROSS JOIN pieces p ON p.id = v.value";
        let rows = sqlx::query(sql).bind(to_json("pieces", &pieces)?).fetch_all(&self.pool).await?;
        let mut hits = HashMap::new();
        for row in rows {
            hits.insert(row.try_get::<i64, _>("id")?, whole(&row, Why::Meaning)?);
        }
        let mut places: HashMap<i64, Vec<Hit>> = HashMap::new();
        for near in best {
            places.entry(near.document).or_default().extend(hits.remove(&near.piece));
        }
        Ok(places)
    }

    /// Returns the videos that the pieces are of, in order of their nearest piece, without texts.
    ///
    /// # Errors
    /// `Database`.
    pub async fn videos_of(
        &self,
        near: &[Near],
        limit: usize,
    ) -> Result<Vec<crate::video::Video>, LibraryError> {
        let documents = documents(near);
        let ids = self.video_ids(&documents).await?;
        let order: Vec<&str> = documents
            .iter()
            .filter_map(|document| ids.get(document))
            .map(String::as_str)
            .take(limit)
            .collect();
        let mut videos = self.videos_by_id(&order).await?;
        Ok(order.into_iter().filter_map(|id| videos.remove(id)).collect())
    }
}

/// Merges the places that the words found with those near in meaning. One that is both comes once, as the words found it, since
/// its words are marked.
fn merged(words: Vec<Hit>, near: Vec<Hit>) -> Vec<Hit> {
    let mut scored: Vec<(f64, Hit)> =
        words.into_iter().enumerate().map(|(rank, hit)| (worth(rank), hit)).collect();
    let by_words = scored.len();
    for (rank, hit) in near.into_iter().enumerate() {
        match scored[..by_words].iter_mut().find(|(_, other)| is_same(other, &hit)) {
            Some((score, other)) => {
                *score += worth(rank);
                hit.why.iter().for_each(|&why| other.add(why));
            }
            None => scored.push((worth(rank), hit)),
        }
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(PLACES).map(|(_, hit)| hit).collect()
}

/// Returns whether two hits are the same place of one video.
fn is_same(a: &Hit, b: &Hit) -> bool {
    (a.kind, a.start, a.end, &a.answer_id) == (b.kind, b.start, b.end, &b.answer_id)
}
