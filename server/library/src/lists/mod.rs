//! Lists of videos: page by page in the order of a key, with filters, and the numbers beside them.
//!
//! Every page reads its rows from an index of `facts`, `album_videos` or `tag_videos`, starting at a key. So a page takes as long in
//! a large library as in a small one, and a video that is added between two pages appears on neither twice.

mod facets;
mod filter;
mod key;
mod keyed;
mod timeline;

pub use facets::{Counted, FacetKind, FacetValue};
pub use filter::{LengthClass, ListFilter, Order, Period};
pub use key::{Cursor, ListKey, VideoList};

pub(crate) use keyed::{Direction, Keyed};

#[cfg(test)]
mod steps_tests;
#[cfg(test)]
mod tests;
