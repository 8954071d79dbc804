//! The videos of an album or a tag, from the earliest to the latest.

use sqlx::{QueryBuilder, Sqlite};

use crate::{
    error::LibraryError,
    library::Library,
    lists::{Cursor, Direction, Keyed, VideoList},
    neighbours::Neighbours,
};

/// An album or a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collection {
    /// The album with this id.
    Album(String),
    /// This tag, regardless of case.
    Tag(String),
}

/// Largest album or tag of which the number of a video is counted.
const MAX_NUMBERED: u64 = 2000;

impl Collection {
    /// Table, column of the sort key, and column of the collection's name.
    fn columns(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Album(_) => ("album_videos", "sort_key", "album_id"),
            Self::Tag(_) => ("tag_videos", "taken_ms", "tag"),
        }
    }

    fn name(&self) -> &str {
        let (Self::Album(name) | Self::Tag(name)) = self;
        name
    }
}

impl Library {
    /// Returns a page of at most `limit` videos of a collection outside the trash, the earliest first; of an album that is ordered
    /// by hand, in its order.
    ///
    /// # Errors
    /// `Database`.
    pub async fn collection(
        &self,
        collection: &Collection,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<VideoList, LibraryError> {
        let conditions = |sql: &mut QueryBuilder<'_, Sqlite>| push_members(sql, collection);
        let (table, key, _) = collection.columns();
        Keyed { table, key, shown: Direction::Ascending, range: (None, None), conditions: &conditions }
            .page(self, cursor, limit)
            .await
    }

    /// Returns the place of a video in a collection; `None` if it is not there or in the trash.
    ///
    /// # Errors
    /// `Database`.
    pub async fn neighbours_in(
        &self,
        collection: &Collection,
        video_id: &str,
    ) -> Result<Option<Neighbours>, LibraryError> {
        let (table, key, name) = collection.columns();
        let own = format!("SELECT {key} FROM {table} WHERE {name} = ? AND video_id = ? AND hidden = 0");
        let own = sqlx::query_scalar(&own).bind(collection.name()).bind(video_id);
        let Some(own) = own.fetch_optional(&self.pool).await? else { return Ok(None) };
        let own: i64 = own;
        let members = format!("FROM {table} WHERE {name} = ?1 AND hidden = 0");
        let (lists, id) = match collection {
            Collection::Album(_) => ("albums", "id"),
            Collection::Tag(_) => ("tags", "tag"),
        };
        let sql = format!(
            "SELECT videos,
                 CASE WHEN videos <= {MAX_NUMBERED} THEN (SELECT count(*) {members} AND ({key}, video_id) <= (?2, ?3)) ELSE 0 END,
                 (SELECT video_id {members} AND ({key}, video_id) < (?2, ?3) ORDER BY {key} DESC, video_id DESC LIMIT 1),
                 (SELECT video_id {members} AND ({key}, video_id) > (?2, ?3) ORDER BY {key}, video_id LIMIT 1)
             FROM {lists} WHERE {id} = ?1"
        );
        let (videos, number, previous, next): (i64, i64, _, _) = sqlx::query_as(&sql)
            .bind(collection.name())
            .bind(own)
            .bind(video_id)
            .fetch_one(&self.pool)
            .await?;
        let unsigned = |number| u64::try_from(number).unwrap_or_default();
        let count = if number == 0 { 0 } else { unsigned(videos) };
        Ok(Some(Neighbours { previous, next, number: unsigned(number), count }))
    }
}

/// Adds the conditions of a collection's videos outside the trash.
pub(crate) fn push_members(sql: &mut QueryBuilder<'_, Sqlite>, collection: &Collection) {
    let (_, _, name) = collection.columns();
    sql.push(format!("{name} = ")).push_bind(collection.name().to_owned()).push(" AND hidden = 0");
}
