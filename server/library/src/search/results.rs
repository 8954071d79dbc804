//! Filters and results of a search.

use serde::Serialize;

use crate::video::Video;

/// Maximum number of videos that are ranked, the newest; a query that matches more is too general to rank.
pub const MAX_RANKED: usize = 500;

/// Conditions besides the words of a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Taken at this local time or later, as [`crate::local_ms`] gives it.
    pub from_ms: Option<i64>,
    /// Taken before this local time.
    pub before_ms: Option<i64>,
    /// Taken by exactly this camera.
    pub camera: Option<String>,
    /// Minimum duration in seconds.
    pub min_s: Option<f64>,
    /// Maximum duration in seconds.
    pub max_s: Option<f64>,
    /// With this tag, ignoring case.
    pub tag: Option<String>,
    /// Favourites only.
    pub favourite: bool,
}

/// The kind of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// The name of the file.
    Name,
    /// The place, as entered by a person.
    Place,
    /// The camera.
    Camera,
    /// The description.
    Description,
    /// A moment.
    Moment,
    /// A tag.
    Tag,
    /// A question and its answer.
    Answer,
    /// A line of the transcript.
    Speech,
}

impl PieceKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Place => "place",
            Self::Camera => "camera",
            Self::Description => "description",
            Self::Moment => "moment",
            Self::Tag => "tag",
            Self::Speech => "speech",
            Self::Answer => "answer",
        }
    }

    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "name" => Self::Name,
            "place" => Self::Place,
            "camera" => Self::Camera,
            "description" => Self::Description,
            "moment" => Self::Moment,
            "tag" => Self::Tag,
            "speech" => Self::Speech,
            _ => Self::Answer,
        }
    }

    /// Returns the reasons for which a place of this kind is found by `why`.
    pub(super) fn reasons(self, why: Why) -> Vec<Why> {
        if self == Self::Speech { vec![why, Why::Speech] } else { vec![why] }
    }

    /// Rank of a kind of text when a word occurs in several: moments and speech first, since they lead to a time.
    pub(super) fn weight(self) -> f64 {
        match self {
            Self::Moment => 2.0,
            Self::Name | Self::Place | Self::Speech => 1.8,
            Self::Description => 1.5,
            Self::Tag | Self::Camera => 1.2,
            Self::Answer => 1.0,
        }
    }
}

/// Part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnippetPart {
    /// The text.
    pub text: String,
    /// Whether it matches the query.
    #[serde(rename = "match")]
    pub matched: bool,
}

/// A match in one text of a video.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hit {
    /// Kind of text.
    pub kind: PieceKind,
    /// Start of a moment or line, in seconds.
    pub start: Option<f64>,
    /// End of a moment or line, in seconds.
    pub end: Option<f64>,
    /// Id of an answer.
    pub answer_id: Option<String>,
    /// The words around the match.
    pub snippet: Vec<SnippetPart>,
    /// Why it was found.
    pub why: Vec<Why>,
}

/// Why a place was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It has words of the query.
    Words,
    /// It is near in meaning.
    Meaning,
    /// It is something said in the video; beside one of the others.
    Speech,
}

impl Hit {
    /// Adds a reason, unless it is one already.
    pub(super) fn add(&mut self, why: Why) {
        if !self.why.contains(&why) {
            self.why.push(why);
        }
    }
}

/// A video in the results. Its texts are not loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The video.
    pub video: Video,
    /// The best matches, best first. Empty when the search had only a filter.
    pub places: Vec<Hit>,
}

/// One page of results.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The videos, best first.
    pub found: Vec<Found>,
    /// Total number of videos; at most [`MAX_RANKED`] when the search had words.
    pub total: usize,
}

/// A video in the results, before its row is read.
pub(super) struct DocumentHit {
    /// Row of `documents`.
    pub(super) document: i64,
    pub(super) video_id: String,
}
