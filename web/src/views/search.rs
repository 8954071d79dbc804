//! What a search found.

use super::Card;

/// A video in search results, with its hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundView {
    /// The video.
    pub card: Card,
    /// URL of its page.
    pub url: String,
    /// URL of the picture of the best hit, or else of the poster.
    pub picture: Option<String>,
    /// The hits, best first.
    pub places: Vec<HitView>,
}

/// A search hit within a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HitView {
    /// URL, with the time if it has one.
    pub url: String,
    /// The formatted time, or the kind of text.
    pub at: String,
    /// Pieces of text, and whether each matches the query.
    pub parts: Vec<(String, bool)>,
    /// Why it was found: `words`, `meaning`, `said`.
    pub why: Vec<String>,
}
