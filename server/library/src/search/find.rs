//! Runs a search: matches, ranks and filters videos in SQL.

use std::{collections::HashMap, sync::Arc};

use sqlx::{QueryBuilder, Sqlite};

use super::{
    near::{Near, digest},
    query::{Query, split},
    results::{DocumentHit, Filter, Found, MAX_RANKED, Results},
};
use crate::{
    error::LibraryError,
    library::Library,
    values::to_json,
    video::{COLUMNS, Video},
};

/// Weight of a match in each column of `documents`, in order: name, place, camera, description, moment, tag, answer, speech.
/// People's own words weigh most. Answers weigh least, because a question may be about something that is not in the video, and so
/// does speech, because people say a lot.
const WEIGHTS: [f64; 8] = [6.0, 4.0, 1.5, 3.0, 1.5, 5.0, 1.0, 1.0];

impl Library {
    /// Finds videos by words and filter; `limit` of them after `offset`. Without words, returns all videos that the filter allows,
    /// newest first.
    ///
    /// # Errors
    /// `Invalid` for a malformed query; `Database`.
    pub async fn search(
        &self,
        text: &str,
        filter: &Filter,
        limit: usize,
        offset: usize,
    ) -> Result<Arc<Results>, LibraryError> {
        self.search_near(text, filter, &[], limit, offset).await
    }

    /// Does what [`Library::search`] does, and merges the result with the pieces `near` in meaning, the nearest first. They must be
    /// of documents of [`Library::meaning_query`].
    ///
    /// # Errors
    /// As [`Library::search`].
    pub async fn search_near(
        &self,
        text: &str,
        filter: &Filter,
        near: &[Near],
        limit: usize,
        offset: usize,
    ) -> Result<Arc<Results>, LibraryError> {
        let query = Query::parse(text)?;
        // Read first, so that a change during the search makes the result outdated.
        let generation: i64 =
            sqlx::query_scalar("SELECT generation FROM totals").fetch_one(&self.pool).await?;
        let key = format!("{limit} {offset} {filter:?} {query:?} {:x}", digest(near));
        if let Some(kept) = self.searches.get(&key, generation) {
            return Ok(kept);
        }
        let results = Arc::new(match query.wanted.as_slice() {
            [] => self.filtered(filter, limit, offset).await?,
            _ if near.is_empty() => self.matched(&query, filter, limit, offset).await?,
            _ => self.fused(&query, filter, near, limit, offset).await?,
        });
        self.searches.put(key, generation, &results);
        Ok(results)
    }

    async fn matched(
        &self,
        query: &Query,
        filter: &Filter,
        limit: usize,
        offset: usize,
    ) -> Result<Results, LibraryError> {
        let (shown, total) = self.ranked(query, filter, limit, offset).await?;
        let ids: Vec<&str> = shown.iter().map(|hit| hit.video_id.as_str()).collect();
        let mut videos = self.videos_by_id(&ids).await?;
        let mut places = self.places(query, &shown).await?;
        let found = shown.iter().filter_map(|hit| {
            // Deleted between two statements.
            let video = videos.remove(&hit.video_id)?;
            Some(Found { video, places: places.remove(&hit.document).unwrap_or_default() })
        });
        Ok(Results { found: found.collect(), total })
    }

    async fn filtered(&self, filter: &Filter, limit: usize, offset: usize) -> Result<Results, LibraryError> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM facts f WHERE f.deleted = 0");
        push_filter(&mut sql, filter);
        let total: i64 = sql.build_query_scalar().fetch_one(&self.pool).await?;
        let mut sql = QueryBuilder::new("SELECT f.video_id FROM facts f WHERE f.deleted = 0");
        push_filter(&mut sql, filter);
        sql.push(" ORDER BY f.taken_ms DESC, f.video_id DESC LIMIT ");
        sql.push_bind(limit as i64).push(" OFFSET ").push_bind(offset as i64);
        let ids: Vec<String> = sql.build_query_scalar().fetch_all(&self.pool).await?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut videos = self.videos_by_id(&ids).await?;
        let found = ids.into_iter().filter_map(|id| videos.remove(id));
        let found = found.map(|video| Found { video, places: Vec::new() }).collect();
        Ok(Results { found, total: usize::try_from(total).unwrap_or_default() })
    }

    /// Returns the videos that match every wanted term and no unwanted one, best first, `limit` of them after `offset`, and their
    /// total number.
    pub(super) async fn ranked(
        &self,
        query: &Query,
        filter: &Filter,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<DocumentHit>, usize), LibraryError> {
        let (matches, likes) = split(&query.wanted);
        let (unwanted, unlike) = split(&query.unwanted);
        let weights = WEIGHTS.map(|weight| format!("{weight:.1}")).join(", ");
        // The only filter is the trash: few videos are in it, so their ids are looked up once.
        let words_only = likes.is_empty() && unlike.is_empty() && *filter == Filter::default();
        let mut sql = QueryBuilder::new(
            "SELECT id, video_id, total FROM (SELECT id, score, count(*) OVER () AS total FROM (SELECT ",
        );
        if matches.is_empty() {
            sql.push("f.id, 1.0 AS score FROM facts f WHERE f.deleted = 0");
        } else {
            sql.push(format!(
                "documents_fts.rowid AS id, -bm25(documents_fts, {weights}) AS score FROM documents_fts"
            ));
            if !words_only {
                sql.push(" CROSS JOIN facts f ON f.id = documents_fts.rowid AND f.deleted = 0");
            }
            let mut expression = matches.join(" AND ");
            if !unwanted.is_empty() {
                expression = format!("({expression}) NOT ({})", unwanted.join(" OR "));
            }
            sql.push(" WHERE documents_fts MATCH ").push_bind(expression);
            if words_only {
                sql.push(" AND documents_fts.rowid NOT IN (SELECT id FROM facts WHERE deleted = 1)");
            }
        }
        push_filter(&mut sql, filter);
        push_likes(&mut sql, likes, unlike);
        if matches.is_empty() {
            for expression in unwanted {
                sql.push(" AND f.id NOT IN (SELECT rowid FROM documents_fts WHERE documents_fts MATCH ");
                sql.push_bind(expression).push(")");
            }
            sql.push(" ORDER BY f.id DESC LIMIT ");
        } else {
            sql.push(" ORDER BY documents_fts.rowid DESC LIMIT ");
        }
        // Documents are numbered by time: equal ranks are ordered newest first.
        sql.push_bind(MAX_RANKED as i64).push(") ORDER BY score DESC, id DESC LIMIT ");
        sql.push_bind(limit as i64).push(" OFFSET ").push_bind(offset as i64);
        sql.push(") CROSS JOIN facts USING (id) ORDER BY score DESC, id DESC");
        let ranked: Vec<(i64, String, i64)> = sql.build_query_as().fetch_all(&self.pool).await?;
        // Beyond the last page no row carries the total.
        let total = match ranked.first() {
            Some((.., total)) => usize::try_from(*total).unwrap_or_default(),
            None if offset == 0 => 0,
            None => Box::pin(self.ranked(query, filter, 1, 0)).await?.1,
        };
        Ok((
            ranked.into_iter().map(|(document, video_id, _)| DocumentHit { document, video_id }).collect(),
            total,
        ))
    }

    /// Returns the camera names, in alphabetical order.
    ///
    /// # Errors
    /// `Database`.
    pub async fn cameras(&self) -> Result<Vec<String>, LibraryError> {
        let sql = "SELECT value FROM facets WHERE kind = 'camera' ORDER BY value LIMIT 100";
        Ok(sqlx::query_scalar(sql).fetch_all(&self.pool).await?)
    }

    /// Returns those of `ids` that exist, without their texts.
    ///
    /// # Errors
    /// `Database`.
    pub async fn videos_by_id(&self, ids: &[&str]) -> Result<HashMap<String, Video>, LibraryError> {
        // SQLite has no list parameters, so the ids are passed as a JSON array.
        let sql = format!("SELECT {COLUMNS} FROM videos WHERE id IN (SELECT value FROM json_each(?))");
        let videos: Vec<Video> =
            sqlx::query_as(&sql).bind(to_json("video ids", &ids)?).fetch_all(&self.pool).await?;
        Ok(videos.into_iter().map(|video| (video.id.clone(), video)).collect())
    }
}

/// Adds the terms that need a substring scan: those that must occur, and those that must not.
pub(super) fn push_likes(sql: &mut QueryBuilder<'_, Sqlite>, likes: Vec<String>, unlike: Vec<String>) {
    let conditions = [("IN", likes), ("NOT IN", unlike)];
    for (condition, patterns) in conditions {
        for pattern in patterns {
            sql.push(format!(" AND f.video_id {condition} (SELECT video_id FROM pieces WHERE text LIKE "));
            sql.push_bind(pattern).push(" ESCAPE '\\')");
        }
    }
}

/// Adds the conditions besides words.
pub(super) fn push_filter(sql: &mut QueryBuilder<'_, Sqlite>, filter: &Filter) {
    if let Some(from) = filter.from_ms {
        sql.push(" AND f.taken_ms >= ").push_bind(from);
    }
    if let Some(before) = filter.before_ms {
        sql.push(" AND f.taken_ms < ").push_bind(before);
    }
    if let Some(camera) = &filter.camera {
        sql.push(" AND f.camera = ").push_bind(camera.clone());
    }
    if let Some(min) = filter.min_s {
        sql.push(" AND f.duration_s >= ").push_bind(min);
    }
    if let Some(max) = filter.max_s {
        sql.push(" AND f.duration_s <= ").push_bind(max);
    }
    if filter.favourite {
        sql.push(" AND f.favourite = 1");
    }
    if let Some(tag) = &filter.tag {
        sql.push(" AND f.video_id IN (SELECT video_id FROM pieces WHERE kind = 'tag' AND text = ");
        sql.push_bind(tag.clone()).push(" COLLATE NOCASE)");
    }
}
