//! A conversation to continue: turns of text, images and videos, and how to generate the answer.

use std::sync::Arc;

use homereel_engine::{GenerationOptions, MessageRole, SamplingParams};
use serde_json::{Map, Value};

use crate::media::{ClipRequest, PreparedClip, Source};

/// A part of a turn.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Text.
    Text(String),
    /// A still image.
    Image(Source),
    /// A video and how to sample it.
    Video(Source, ClipRequest),
    /// The frames of a video as pictures, their number per second, and the limit of their size.
    Frames(Vec<Source>, f64, ClipRequest),
    /// Frames of a video that are decoded already.
    Clip(Arc<PreparedClip>),
}

/// One turn of a conversation.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Who speaks.
    pub role: MessageRole,
    /// The parts, in order.
    pub content: Vec<Piece>,
    /// Further fields under OpenAI's names, such as tool calls.
    pub extra: Map<String, Value>,
}

impl Turn {
    /// Creates a turn from its parts.
    #[must_use]
    pub fn new(role: MessageRole, content: Vec<Piece>) -> Self {
        Self { role, content, extra: Map::new() }
    }
}

/// A conversation to continue: like [`homereel_engine::Request`], with media that are not decoded yet.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The turns; the last one is the question.
    pub turns: Vec<Turn>,
    /// How to generate the answer.
    pub options: GenerationOptions,
    /// Number of answers.
    pub n: usize,
}

impl Conversation {
    /// Creates a conversation of one question about one video.
    #[must_use]
    pub fn about(
        source: Source,
        frames: impl Into<ClipRequest>,
        question: &str,
        sampling: SamplingParams,
    ) -> Self {
        Self::of(vec![Piece::Video(source, frames.into()), Piece::Text(question.to_owned())], sampling)
    }

    /// Creates a conversation of one question without a video.
    #[must_use]
    pub fn text(question: &str, sampling: SamplingParams) -> Self {
        Self::of(vec![Piece::Text(question.to_owned())], sampling)
    }

    /// Creates a conversation of one question from its parts.
    #[must_use]
    pub fn of(content: Vec<Piece>, sampling: SamplingParams) -> Self {
        Self {
            turns: vec![Turn::new(MessageRole::User, content)],
            options: GenerationOptions { sampling, ..GenerationOptions::default() },
            n: 1,
        }
    }
}
