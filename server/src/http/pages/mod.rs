//! The pages that belong to no API family: the list of videos and the page of one video.
//!
//! They read rows from the library and fill the structs of `homereel-web`; [`super::views`] has the texts.

pub(super) mod add;
pub(super) mod library;
pub(super) mod reading;
pub(super) mod transcript;
pub(super) mod video;
