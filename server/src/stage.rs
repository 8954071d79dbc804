//! The stages of an answer, from the probe to the last token.

use serde::Serialize;

/// A stage of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Probing the file.
    Probe,
    /// Decoding; counts frames.
    Decode,
    /// Turning pixels into patches and text into tokens.
    Preprocess,
    /// Vision tower; counts blocks.
    Vision,
    /// Prompt processing in the text model.
    Prefill,
    /// Generating tokens.
    Generate,
}

impl Stage {
    /// Returns the name used in JSON and pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Decode => "decode",
            Self::Preprocess => "preprocess",
            Self::Vision => "vision",
            Self::Prefill => "prefill",
            Self::Generate => "generate",
        }
    }
}

impl From<homereel_engine::Stage> for Stage {
    fn from(stage: homereel_engine::Stage) -> Self {
        match stage {
            homereel_engine::Stage::Preprocess => Self::Preprocess,
            homereel_engine::Stage::Vision => Self::Vision,
            homereel_engine::Stage::Prefill => Self::Prefill,
        }
    }
}
