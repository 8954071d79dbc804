//! Albums, which people fill, and tags, which models write: both are lists of videos with a name.

mod album;
mod edit;
mod members;
mod tags;

pub use album::{Album, MAX_ALBUM_NAME, MAX_ALBUM_VIDEOS, MAX_ALBUMS};
pub use edit::AlbumChange;
pub use members::Collection;
#[cfg(test)]
pub(crate) use members::push_members;
pub use tags::Tag;

#[cfg(test)]
mod tests;
