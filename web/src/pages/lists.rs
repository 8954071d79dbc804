//! Pages that list videos: the library, albums, tags and the trash.

use askama::Template;

use crate::views::{
    AlbumCard, AlbumHead, ArrangedVideo, BatchBar, CardGroup, DoneMessage, Link, ListForm, ModelStatus,
    PageLinks, RailEntry, Shell, StateKind, Trashed,
};

/// `/`: the library by month.
#[derive(Debug, Template)]
#[template(path = "library.html")]
pub struct LibraryPage {
    /// The frame.
    pub shell: Shell,
    /// Formatted size limit of uploads.
    pub upload_limit: String,
    /// Scheme and authority of the request, for the example command.
    pub base_url: String,
    /// There is no video in the library.
    pub is_empty: bool,
    /// Formatted number of videos that the filters allow.
    pub count: String,
    /// The videos, the latest first.
    pub groups: Vec<CardGroup>,
    /// The newer and the older page.
    pub links: PageLinks,
    /// Years and months.
    pub years: Vec<RailEntry>,
    /// URL of the videos without a date, if there are any.
    pub undated: Option<String>,
    /// Videos that were taken on this day of earlier years, if there are any.
    pub on_this_day: Option<Link>,
    /// The filters.
    pub form: ListForm,
    /// The bar for selected videos.
    pub batch: BatchBar,
    /// The video that was just moved to the trash, to undo that.
    pub trashed: Option<Link>,
    /// What was just done.
    pub done: Option<DoneMessage>,
}

/// `/albums`: albums of people, and tags.
#[derive(Debug, Template)]
#[template(path = "albums.html")]
pub struct AlbumsPage {
    /// The frame.
    pub shell: Shell,
    /// The albums, the newest first.
    pub albums: Vec<AlbumCard>,
    /// URL of the next page of albums.
    pub more_albums: Option<String>,
    /// The tags, those of the most videos first.
    pub tags: Vec<AlbumCard>,
    /// URL of the next page of tags.
    pub more_tags: Option<String>,
    /// It is the first page.
    pub is_start: bool,
}

/// `/albums/{id}` and `/tags/{tag}`: the videos of one album or tag.
#[derive(Debug, Template)]
#[template(path = "album.html")]
pub struct AlbumPage {
    /// The frame.
    pub shell: Shell,
    /// The album.
    pub head: AlbumHead,
    /// The videos, the earliest first, without headings where the album is ordered by hand.
    pub groups: Vec<CardGroup>,
    /// The earlier and the later page.
    pub links: PageLinks,
    /// The bar for selected videos.
    pub batch: BatchBar,
    /// What was just done.
    pub done: Option<DoneMessage>,
}

/// `/albums/{id}/arrange`: order and cover of an album.
#[derive(Debug, Template)]
#[template(path = "arrange.html")]
pub struct ArrangePage {
    /// The frame.
    pub shell: Shell,
    /// The album.
    pub head: AlbumHead,
    /// URL of this page, to which its forms return.
    pub here: String,
    /// The videos in their order.
    pub videos: Vec<ArrangedVideo>,
    /// The earlier and the later page.
    pub links: PageLinks,
}

/// `/trash`: deleted videos, which can be restored.
#[derive(Debug, Template)]
#[template(path = "trash.html")]
pub struct TrashPage {
    /// The frame.
    pub shell: Shell,
    /// Formatted total size.
    pub size: String,
    /// Formatted number of videos.
    pub count: String,
    /// The videos, most recently deleted first.
    pub videos: Vec<Trashed>,
    /// URL of the next page.
    pub more: Option<String>,
    /// What was just done.
    pub done: Option<DoneMessage>,
    /// A video that is deleted for good if the reader confirms it.
    pub confirm: Option<Link>,
}
