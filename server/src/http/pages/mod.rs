//! The pages that belong to no API family: the library's list and one video.
//!
//! They read rows from the library and fill the structs of `homereel-web`; [`super::views`] chooses the words.

pub(super) mod library;
pub(super) mod video;
