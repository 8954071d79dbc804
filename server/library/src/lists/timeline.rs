//! The library itself as a list.

use super::{
    filter::{ListFilter, Order, Period},
    key::{Cursor, VideoList},
    keyed::{Direction, Keyed},
};
use crate::{error::LibraryError, library::Library};

impl Library {
    /// Returns a page of at most `limit` videos outside the trash, the latest first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn list(
        &self,
        filter: &ListFilter,
        order: Order,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<VideoList, LibraryError> {
        keyed(filter, order, &|sql| filter.push(sql, order)).page(self, cursor, limit).await
    }
}

/// Returns the list of the library in an order. `conditions` are those of `filter`.
pub(super) fn keyed<'a>(
    filter: &ListFilter,
    order: Order,
    conditions: &'a (dyn Fn(&mut sqlx::QueryBuilder<'_, sqlx::Sqlite>) + Sync),
) -> Keyed<'a> {
    let range = filter.period.filter(|_| order == Order::Taken).map(Period::range_ms);
    let range = range.map_or((None, None), |(from, before)| (Some(from), before));
    // SQLite would rather read all favourites and sort them than walk along the order, of which a page needs little. Of a place or a
    // camera, there are fewer videos.
    let is_few = filter.place.is_some() || filter.camera.is_some() || filter.day.is_some();
    let table = if order == Order::Added && !is_few { "facts INDEXED BY facts_added" } else { "facts" };
    Keyed { table, key: order.column(), shown: Direction::Descending, range, conditions }
}
