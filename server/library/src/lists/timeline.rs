//! The library itself as a list.

use super::{
    filter::{ListFilter, Order},
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
        keyed(order, &|sql| filter.push(sql)).page(self, cursor, limit).await
    }
}

/// Returns the list of the library in an order, with conditions.
pub(super) fn keyed<'a>(
    order: Order,
    conditions: &'a (dyn Fn(&mut sqlx::QueryBuilder<'_, sqlx::Sqlite>) + Sync),
) -> Keyed<'a> {
    Keyed { table: "facts", key: order.column(), shown: Direction::Descending, conditions }
}
