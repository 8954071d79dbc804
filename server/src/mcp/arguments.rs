//! Arguments of the tools. Their doc comments are the descriptions that a model reads.

use schemars::JsonSchema;
use serde::Deserialize;

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchVideos {
    /// What happens, is seen or is said. "quotes" find exact words, -word excludes one. Empty lists what the other arguments
    /// leave.
    #[serde(default)]
    pub(super) query: String,
    /// First day on which the videos were taken, such as 2024-05-31.
    pub(super) from: Option<String>,
    /// Last day on which the videos were taken.
    pub(super) to: Option<String>,
    /// Name of the camera, exactly as search results spell it.
    pub(super) camera: Option<String>,
    /// A tag that the videos have.
    pub(super) tag: Option<String>,
    /// Whether to return favourites only.
    #[serde(default)]
    pub(super) favourites_only: bool,
    /// Maximum number of videos, 1 to 50; 10 by default.
    pub(super) limit: Option<u32>,
    /// Number of videos to skip, to read on.
    pub(super) offset: Option<u32>,
}

/// Which part of the list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListVideos {
    /// Maximum number of videos, 1 to 50; 20 by default.
    pub(super) limit: Option<u32>,
    /// Number of videos to skip, to read on.
    pub(super) offset: Option<u32>,
}

/// Which video.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OneVideo {
    /// Id of the video, as the other tools return it.
    pub(super) video: String,
}

/// Which part of a transcript.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetTranscript {
    /// Id of the video.
    pub(super) video: String,
    /// Number of lines to skip, to read on.
    pub(super) first: Option<u32>,
    /// Maximum number of lines, 1 to 500; 200 by default.
    pub(super) limit: Option<u32>,
}

/// Which picture.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetFrame {
    /// Id of the video.
    pub(super) video: String,
    /// Second of the video, such as 83.5.
    pub(super) second: f64,
    /// Maximum width in pixels, 16 to 1920; 768 by default.
    pub(super) width: Option<u32>,
}

/// What to ask about a video.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskVideo {
    /// Id of the video.
    pub(super) video: String,
    /// The question.
    pub(super) question: String,
    /// Second at which the part begins that the question is about; the beginning by default.
    pub(super) start: Option<f64>,
    /// Second at which the part ends; the end by default.
    pub(super) end: Option<f64>,
}

/// What to ask about all videos.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskAllVideos {
    /// The question.
    pub(super) question: String,
}
