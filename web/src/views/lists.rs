//! View models of lists of videos: groups, the year rail, filters, albums, and the bar for selected videos.

use super::{Card, Link, SelectOption, Time};

/// Videos under one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardGroup {
    /// The month or day of all of them.
    pub heading: Time,
    /// Place of most of them; may be empty.
    pub place: String,
    /// The videos.
    pub cards: Vec<Card>,
}

/// A year, or a month of the chosen year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RailEntry {
    /// The year or month.
    pub time: Time,
    /// URL.
    pub url: String,
    /// Number of videos; empty where a filter applies.
    pub count: String,
    /// It is the chosen one.
    pub chosen: bool,
    /// It is a month, which stands below its year.
    pub is_month: bool,
}

/// The filters of the library as a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListForm {
    /// The filters that apply, with the URL without each.
    pub chosen: Vec<Link>,
    /// URL without filters.
    pub clear: String,
    /// Year or month, as in the URL.
    pub when: String,
    /// Day of any year, as in the URL.
    pub on: String,
    /// Favourites only.
    pub favourite: bool,
    /// Videos without a date only.
    pub undated: bool,
    /// Orders.
    pub orders: Vec<SelectOption>,
    /// Places.
    pub places: Vec<SelectOption>,
    /// Cameras.
    pub cameras: Vec<SelectOption>,
    /// Lengths.
    pub lengths: Vec<SelectOption>,
}

/// The bar that appears when videos are selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchBar {
    /// URL of the list, to which the form returns.
    pub back: String,
    /// Albums to which videos can be added.
    pub albums: Vec<SelectOption>,
    /// Id of the album that is shown; empty elsewhere.
    pub album: String,
    /// Query of the links to videos, with which their pages know the list: `?in=album:1`, or empty.
    pub from: String,
}

/// An album or tag in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlbumCard {
    /// Name.
    pub name: String,
    /// URL.
    pub url: String,
    /// URL of the cover, if there is one.
    pub cover: Option<String>,
    /// Formatted number of videos.
    pub count: String,
}

/// A video in an album that is being arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrangedVideo {
    /// The video.
    pub card: Card,
    /// It is the cover.
    pub is_cover: bool,
}

/// An album, with what can be done with it; or a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlbumHead {
    /// Name.
    pub name: String,
    /// Id of an album; `None` means a tag.
    pub id: Option<String>,
    /// URL.
    pub url: String,
    /// Formatted number of videos.
    pub count: String,
    /// URL that plays all videos, if there are any.
    pub play: Option<String>,
    /// URL of all originals in one file.
    pub download: String,
    /// URL of the search within it.
    pub search: String,
    /// Ordered by hand.
    pub by_hand: bool,
}

/// Links to the neighbours of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageLinks {
    /// URL of the page before this one.
    pub back: Option<String>,
    /// URL of the page after this one.
    pub on: Option<String>,
}

/// What was just done to videos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneMessage {
    /// Sentence.
    pub text: String,
    /// Where the result is.
    pub link: Option<Link>,
}
