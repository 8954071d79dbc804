//! What a search is limited to and what it returns.

use serde::Serialize;

use crate::video::Video;

/// Videos that are ranked at most, the newest; more can only match words that say little.
pub const MAX_RANKED: usize = 500;

/// What a video must be besides being matched.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Taken at this time or later, milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Taken before this time.
    pub before_ms: Option<i64>,
    /// By exactly this camera.
    pub camera: Option<String>,
    /// Seconds at least.
    pub min_s: Option<f64>,
    /// Seconds at most.
    pub max_s: Option<f64>,
    /// With this tag, in any case.
    pub tag: Option<String>,
    /// Only somebody's favourites.
    pub favourite: bool,
}

/// Which text of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// The name of the file.
    Name,
    /// Where it was taken, by a person.
    Place,
    /// What took it.
    Camera,
    /// A few sentences.
    Description,
    /// What happens at some time.
    Moment,
    /// A keyword.
    Tag,
    /// A question and its answer.
    Answer,
}

impl PieceKind {
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "name" => Self::Name,
            "place" => Self::Place,
            "camera" => Self::Camera,
            "description" => Self::Description,
            "moment" => Self::Moment,
            "tag" => Self::Tag,
            _ => Self::Answer,
        }
    }

    /// What kind of text is worth showing first where a word occurs in several; moments lead to their second.
    pub(super) fn weight(self) -> f64 {
        match self {
            Self::Moment => 2.0,
            Self::Name | Self::Place => 1.8,
            Self::Description => 1.5,
            Self::Tag | Self::Camera => 1.2,
            Self::Answer => 1.0,
        }
    }
}

/// Part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The words.
    pub text: String,
    /// Whether they are what was looked for.
    #[serde(rename = "match")]
    pub matched: bool,
}

/// A place in a video where something was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Which text.
    pub kind: PieceKind,
    /// Seconds from the first frame, of a moment.
    pub start: Option<f64>,
    /// Where the moment ends.
    pub end: Option<f64>,
    /// Id of the answer, of an answer.
    pub answer_id: Option<String>,
    /// The words around the match.
    pub snippet: Vec<Part>,
}

/// A video that was found. Its texts are not loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The video.
    pub video: Video,
    /// The best places, best first. Empty when the search had only a filter.
    pub places: Vec<Hit>,
}

/// One page of what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The videos, best first.
    pub found: Vec<Found>,
    /// Videos in all; at most [`MAX_RANKED`] where words were looked for.
    pub total: usize,
}

/// A video that was found, before anything of it is read.
pub(super) struct DocumentHit {
    /// Row of `documents`.
    pub(super) document: i64,
    pub(super) video_id: String,
}
