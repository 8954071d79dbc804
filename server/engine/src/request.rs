//! A request to an engine: messages of text, pictures and clips, and how to sample the answer.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value};

/// One RGB8 picture, row-major, `3 * width * height` bytes. Clones share its bytes.
#[derive(Clone)]
pub struct RgbImage {
    /// Pixels per row.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `3 * width * height` bytes, R, G, B.
    pub rgb: Bytes,
    /// The picture as an encoded file, cached for engines that send files.
    file: Arc<OnceLock<Result<Bytes, String>>>,
}

impl RgbImage {
    /// Creates a picture from `3 * width * height` bytes.
    #[must_use]
    pub fn new(width: u32, height: u32, rgb: Bytes) -> Self {
        Self { width, height, rgb, file: Arc::default() }
    }

    /// Returns the bytes that it holds, including the cached file.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let file = self.file.get().and_then(|file| file.as_ref().ok());
        self.rgb.len() + file.map_or(0, Bytes::len)
    }

    /// Returns the picture as the file that `encode` produces, encoding it once for all clones.
    pub(crate) fn file(&self, encode: impl FnOnce(&Self) -> Result<Bytes, String>) -> Result<Bytes, String> {
        self.file.get_or_init(|| encode(self)).clone()
    }

    /// Returns whether another clone is alive.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.file) > 1
    }
}

impl PartialEq for RgbImage {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, &self.rgb) == (other.width, other.height, &other.rgb)
    }
}

impl Eq for RgbImage {}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}

/// The selected frames of one video, already at the size that [`crate::Engine::video_size`] returned.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInput {
    /// Frames in temporal order, all of one size.
    pub frames: Vec<RgbImage>,
    /// Time of each frame in seconds from the first frame of the video.
    pub times: Vec<f64>,
    /// Index of each frame in the video.
    pub indices: Vec<u64>,
    /// Frames per second of the video (`total_frames / duration`).
    pub native_fps: f64,
    /// Frames in the video.
    pub total_frames: u64,
    /// Duration of the video in seconds.
    pub duration_s: f64,
    /// Cache key for content and sampling; `None` when the content is not known.
    pub key: Option<String>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentPart {
    /// Text; special tokens in it have no effect.
    Text(String),
    /// A picture, already at the size that [`crate::Engine::image_size`] returned.
    Image(RgbImage),
    /// A clip.
    Video(VideoInput),
}

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRole {
    /// System prompt.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// Result of a tool.
    Tool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The author.
    pub role: MessageRole,
    /// The parts, in order.
    pub content: Vec<ContentPart>,
    /// Additional fields with OpenAI's names (`tool_calls`, `tool_call_id`, `name`, `reasoning_content`), for the chat
    /// template.
    pub extra: Map<String, Value>,
}

impl Message {
    /// Creates a message from parts.
    #[must_use]
    pub fn new(role: MessageRole, content: Vec<ContentPart>) -> Self {
        Self { role, content, extra: Map::new() }
    }
}

/// How to choose the next token; names as in vLLM's `SamplingParams`.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 means greedy.
    pub temperature: f64,
    /// 1 means off.
    pub top_p: f64,
    /// 0 means off.
    pub top_k: usize,
    /// 0 means off.
    pub min_p: f64,
    /// 1 means off.
    pub repetition_penalty: f64,
    /// 0 means off.
    pub presence_penalty: f64,
    /// 0 means off.
    pub frequency_penalty: f64,
    /// Equal seeds give equal answers on the same machine.
    pub seed: Option<u64>,
}

impl Default for SamplingParams {
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

/// Constraint on the answer's form; names as in OpenAI's `response_format`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum AnswerFormat {
    /// Any text.
    #[default]
    Text,
    /// One JSON object.
    JsonObject,
    /// JSON that matches this schema.
    JsonSchema(Value),
    /// Text that matches this regular expression as a whole; `regex` of vLLM's `structured_outputs`.
    Regex(String),
    /// One of these texts; `choice` of vLLM's `structured_outputs`.
    Choice(Vec<String>),
    /// Text of this grammar; `grammar` of vLLM's `structured_outputs`.
    Grammar(String),
}

/// Which tools the model calls; OpenAI's `tool_choice`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// The function with this name.
    Function(String),
}

/// The tools that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOptions {
    /// OpenAI's `tools`, each `{"type": "function", "function": {"name", "description", "parameters"}}`.
    pub tools: Vec<Value>,
    /// Which of them the model calls.
    pub choice: ToolChoice,
    /// Whether the model may call several at once; OpenAI's `parallel_tool_calls`.
    pub parallel: bool,
}

/// How to generate an answer; shared by a request and by what callers build one from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationOptions {
    /// Sampling parameters.
    pub sampling: SamplingParams,
    /// Limit of generated tokens; `None` means what the context leaves, up to the engine's default.
    pub max_tokens: Option<usize>,
    /// Strings that end the answer; they are not part of it, unless `include_stop_str_in_output`.
    pub stop: Vec<String>,
    /// Token ids that end the answer, in addition to the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Whether to continue past the model's end token (for benchmarks).
    pub ignore_eos: bool,
    /// Number of alternatives whose log-probabilities to return (0 means only the chosen token's).
    pub logprobs: Option<usize>,
    /// Number of tokens before which no end token and no stop string ends the answer.
    pub min_tokens: usize,
    /// Whether the stop string or the stop token that ended the answer is part of it.
    pub include_stop_str_in_output: bool,
    /// What to add to the logits of these token ids, -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// The only token ids that the answer may have; `None` means all. As in vLLM, an end token is one of them only if it is
    /// named: without it, the answer ends at its limit or a stop string.
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Texts that the answer does not contain.
    pub bad_words: Vec<String>,
    /// Whether the answer continues the last message, which is the assistant's.
    pub continue_final_message: bool,
    /// Constraint on the answer's form.
    pub response_format: AnswerFormat,
    /// The tools that the model may call; `None` means none.
    pub tools: Option<ToolOptions>,
    /// Arguments of the checkpoint's chat template (`chat_template_kwargs`).
    pub template_arguments: Map<String, Value>,
    /// Whether the request gives way to others, where the engine has priorities.
    pub background: bool,
    /// Id of the request for the log of a backend (`X-Request-Id`): ASCII letters, digits, `-`, `_` and `.`.
    pub request_id: Option<String>,
    /// Additional parameters with OpenAI's and vLLM's names (`reasoning_effort`, `cache_salt`, …), for engines that accept
    /// them ([`crate::ModelInfo::takes_extras`]).
    pub extra: Map<String, Value>,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The conversation; the last message holds the question.
    pub messages: Vec<Message>,
    /// How to generate the answer.
    pub options: GenerationOptions,
}
