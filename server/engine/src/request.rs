//! What is asked of an engine: messages of text, images and clips, and how to sample the answer.
//! Knows nothing of where the frames came from.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value};

/// One RGB8 picture, row-major, `3 * width * height` bytes. Clones share its bytes.
#[derive(Clone)]
pub struct Frame {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `3 * width * height` bytes, R, G, B.
    pub rgb: Bytes,
    /// The same as a picture file, where an engine sends such.
    file: Arc<OnceLock<Result<Bytes, String>>>,
}

impl Frame {
    /// Makes a picture of `3 * width * height` bytes.
    #[must_use]
    pub fn new(width: u32, height: u32, rgb: Bytes) -> Self {
        Self { width, height, rgb, file: Arc::default() }
    }

    /// Returns the bytes that it holds, its file included as far as there is one by now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let file = self.file.get().and_then(|file| file.as_ref().ok());
        self.rgb.len() + file.map_or(0, Bytes::len)
    }

    /// Returns the picture as the file that `encode` makes; it is made once for all clones.
    pub(crate) fn file(&self, encode: impl FnOnce(&Self) -> Result<Bytes, String>) -> Result<Bytes, String> {
        self.file.get_or_init(|| encode(self)).clone()
    }

    /// Tells whether another clone of it is held.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.file) > 1
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, &self.rgb) == (other.width, other.height, &other.rgb)
    }
}

impl Eq for Frame {}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}x{})", self.width, self.height)
    }
}

/// The chosen frames of one video, already at the size that [`crate::Engine::video_size`] named.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Frames in order of time, all of one size.
    pub frames: Vec<Frame>,
    /// Seconds from the first frame of the video, one per frame.
    pub times: Vec<f64>,
    /// Index of each frame in the video.
    pub indices: Vec<u64>,
    /// Frames per second of the video (`total_frames / duration`).
    pub native_fps: f64,
    /// Frames in the video.
    pub total_frames: u64,
    /// Length of the video in seconds.
    pub duration_s: f64,
    /// Identity of content and sampling for caches; none when the content is not known.
    pub key: Option<String>,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text of the user, the assistant or the system; never trusted to hold special tokens.
    Text(String),
    /// One picture, already at the size that [`crate::Engine::image_size`] named.
    Image(Frame),
    /// One video.
    Video(Clip),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// Result of a tool.
    Tool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The pieces, in order.
    pub content: Vec<Part>,
    /// Further fields by OpenAI's names (`tool_calls`, `tool_call_id`, …), for engines that take such
    /// ([`crate::ModelInfo::takes_extras`]).
    pub extra: Map<String, Value>,
}

impl Message {
    /// Makes a message of these pieces.
    #[must_use]
    pub fn new(role: Role, content: Vec<Part>) -> Self {
        Self { role, content, extra: Map::new() }
    }
}

/// How to choose the next token; names as in vLLM's `SamplingParams`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus; 1 is off.
    pub top_p: f64,
    /// 0 is off.
    pub top_k: usize,
    /// 0 is off.
    pub min_p: f64,
    /// 1 is off.
    pub repetition_penalty: f64,
    /// 0 is off.
    pub presence_penalty: f64,
    /// 0 is off.
    pub frequency_penalty: f64,
    /// The same seed gives the same answer on the same machine.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// Greedy, without penalties.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
        }
    }
}

/// What form the answer must have; names as in OpenAI's `response_format`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// One JSON object.
    JsonObject,
    /// JSON that this schema admits.
    JsonSchema(Value),
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The conversation; the last message is the question.
    pub messages: Vec<Message>,
    /// How to sample.
    pub sampling: Sampling,
    /// Tokens to generate at most; none means what the context leaves, capped by the engine.
    pub max_tokens: Option<usize>,
    /// Strings that end the answer (not part of it).
    pub stop: Vec<String>,
    /// Token ids that end the answer besides the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Goes on past the model's end-of-text (benchmarks).
    pub ignore_eos: bool,
    /// Number of alternatives whose log-probabilities to return (0: only the chosen token's).
    pub logprobs: Option<usize>,
    /// What form the answer must have.
    pub response_format: ResponseFormat,
    /// Further parameters by OpenAI's and vLLM's names (`tools`, `logit_bias`, …), for engines that take such
    /// ([`crate::ModelInfo::takes_extras`]).
    pub extra: Map<String, Value>,
}
