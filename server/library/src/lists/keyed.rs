//! Reads a page of a list by key from an index.

use sqlx::{QueryBuilder, Sqlite};

use super::key::{Cursor, ListKey, VideoList};
use crate::{error::LibraryError, library::Library};

/// The order in which a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

/// A list: rows of one table with the columns `video_id` and `key`, and conditions that an index covers.
pub(crate) struct Keyed<'a> {
    pub(crate) table: &'static str,
    /// The column that the list is sorted by, before `video_id`.
    pub(crate) key: &'static str,
    pub(crate) shown: Direction,
    /// The least key, and the key before which the list ends.
    pub(crate) range: (Option<i64>, Option<i64>),
    /// Adds conditions after `WHERE`, at least one.
    pub(crate) conditions: &'a (dyn Fn(&mut QueryBuilder<'_, Sqlite>) + Sync),
}

impl Keyed<'_> {
    /// Returns the query of the first `limit` keys in this order, beyond `bound`.
    pub(crate) fn query(
        &self,
        order: Direction,
        bound: Option<&ListKey>,
        limit: usize,
    ) -> QueryBuilder<'static, Sqlite> {
        let Self { table, key, .. } = self;
        let mut sql = QueryBuilder::new(format!("SELECT {key}, video_id FROM {table} WHERE "));
        (self.conditions)(&mut sql);
        let (sign, word) = match order {
            Direction::Ascending => (">", ""),
            Direction::Descending => ("<", " DESC"),
        };
        // Of two bounds on one side, only the stricter one, because SQLite seeks by one and compares with the other row by row.
        let (from, before) = self.range;
        let within = |bound: &&ListKey| match order {
            Direction::Ascending => from.is_none_or(|from| bound.value >= from),
            Direction::Descending => before.is_none_or(|before| bound.value < before),
        };
        let bound = bound.filter(within);
        if let Some(bound) = bound {
            sql.push(format!(" AND ({key}, video_id) {sign} ("));
            sql.push_bind(bound.value).push(", ").push_bind(bound.id.clone()).push(")");
        }
        if let Some(from) = from.filter(|_| bound.is_none() || order == Direction::Descending) {
            sql.push(format!(" AND {key} >= ")).push_bind(from);
        }
        if let Some(before) = before.filter(|_| bound.is_none() || order == Direction::Ascending) {
            sql.push(format!(" AND {key} < ")).push_bind(before);
        }
        sql.push(format!(" ORDER BY {key}{word}, video_id{word} LIMIT "));
        sql.push_bind(limit as i64);
        sql
    }

    async fn keys(
        &self,
        library: &Library,
        order: Direction,
        bound: Option<&ListKey>,
        limit: usize,
    ) -> Result<Vec<ListKey>, LibraryError> {
        let mut sql = self.query(order, bound, limit);
        let rows: Vec<(i64, String)> = sql.build_query_as().fetch_all(&library.pool).await?;
        Ok(rows.into_iter().map(|(value, id)| ListKey { value, id }).collect())
    }

    /// Returns a page of at most `limit` videos.
    pub(crate) async fn page(
        &self,
        library: &Library,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<VideoList, LibraryError> {
        use Direction::{Ascending, Descending};
        let (order, bound) = match cursor {
            Cursor::Start => (self.shown, None),
            Cursor::Before(key) => (Descending, Some(key)),
            Cursor::After(key) => (Ascending, Some(key)),
        };
        // One more than shown, to know whether there is a next page.
        let mut keys = self.keys(library, order, bound, limit.saturating_add(1)).await?;
        let goes_on = keys.len() > limit;
        keys.truncate(limit);
        if order == Descending {
            keys.reverse();
        }
        let (first, last) = (keys.first().cloned(), keys.last().cloned());
        let behind = match (cursor, order) {
            (Cursor::Start, _) => false,
            (_, Descending) => !self.keys(library, Ascending, last.as_ref(), 1).await?.is_empty(),
            (_, Ascending) => !self.keys(library, Descending, first.as_ref(), 1).await?.is_empty(),
        };
        let (before, after) = if order == Descending { (goes_on, behind) } else { (behind, goes_on) };
        if self.shown == Descending {
            keys.reverse();
        }
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        let mut videos = library.videos_by_id(&ids).await?;
        Ok(VideoList {
            videos: ids.into_iter().filter_map(|id| videos.remove(id)).collect(),
            before: first.filter(|_| before),
            after: last.filter(|_| after),
        })
    }
}
