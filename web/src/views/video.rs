//! Parts of the page of a video.

use super::Link;

/// The way back to the list from which a reader came, and the videos before and after this one there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail {
    /// The list, with the place of the video in it.
    pub back: Link,
    /// URL of the video before it.
    pub previous: Option<String>,
    /// URL of the video after it.
    pub next: Option<String>,
    /// The next video plays when this one ends.
    pub plays_all: bool,
}

/// An interval of a video in which something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MomentView {
    /// Seconds from the start, as a decimal number for links.
    pub start: String,
    /// Seconds from the start at which it ends.
    pub end: String,
    /// Formatted start and end: `0:04.2–0:05.0`.
    pub at: String,
    /// Text by the model.
    pub text: String,
    /// Last part of the URL of its file.
    pub clip: String,
}

/// An album of a person, which a video can be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlbumChoice {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// The video is in it.
    pub chosen: bool,
}

/// A moment as a form shows it. All fields are empty in a row for a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditedMoment {
    /// When it begins: `0:04.2`.
    pub start: String,
    /// When it ends.
    pub end: String,
    /// What happens.
    pub text: String,
}
