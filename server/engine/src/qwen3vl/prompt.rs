//! Builds a prompt: renders the chat template, neutralizes special tokens in the user's text, and expands pictures and clips
//! to placeholder tokens with timestamps between.
//!
//! Equal to `Qwen3VLProcessor` of transformers 5.x, or of 4.57 with [`PromptWrapper`].

use serde_json::{Map, Value};

use super::config::Config;
use super::input::Prompt;
use super::processor::{Grid, Processor};
use super::template::{ChatTemplate, TemplateContent, TemplateMessage, TemplatePart};
use super::tokenizer::{PromptPiece, Tokenizer};
use crate::{ContentPart, EngineError, Message, MessageRole, Request, RgbImage, VideoInput};

/// Pictures per request.
const MAX_IMAGES: usize = 64;
/// Videos per request.
const MAX_VIDEOS: usize = 16;
/// Bytes of text per token of context up to which text is tokenized to count its tokens exactly.
const MAX_BYTES_PER_TOKEN: usize = 32;
/// Characters that may mark neutralized text; none has a meaning of its own.
const GUARDS: std::ops::RangeInclusive<char> = '\u{E000}'..='\u{F8FF}';

/// The transformers version whose video prompt format the model expects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum PromptWrapper {
    /// 5.x and vLLM: the template's `<|vision_start|>`, `<|vision_end|>` stay around the frames.
    #[default]
    #[cfg_attr(feature = "clap", value(name = "5", help = "5.x and vLLM"))]
    #[serde(rename = "5")]
    V5,
    /// 4.57: the frames replace them.
    #[cfg_attr(feature = "clap", value(name = "4.57", help = "4.57, with which Qwen3-VL was published"))]
    #[serde(rename = "4.57")]
    V4_57,
}

/// Builds prompts for one checkpoint.
pub struct PromptBuilder {
    /// The checkpoint's tokenizer.
    pub tokenizer: Tokenizer,
    /// The checkpoint's chat template.
    pub template: ChatTemplate,
    /// The checkpoint's processor.
    pub processor: Processor,
    /// The checkpoint's configuration, for the ids of placeholders.
    pub config: Config,
    /// Video prompt format.
    pub wrapper: PromptWrapper,
    /// Tokens that prompt and answer share.
    pub context: usize,
}

/// A picture or clip of a prompt.
#[derive(Debug, Clone)]
pub enum PromptMedia {
    /// A picture.
    Image(RgbImage),
    /// A video.
    Video(VideoInput),
}

/// A prompt with its pictures and clips.
#[derive(Debug, Clone)]
pub struct PreparedPrompt {
    /// Token ids, placeholders included, and their positions.
    pub prompt: Prompt,
    /// Pictures and clips in order of appearance, with their grids.
    pub media: Vec<(PromptMedia, Grid)>,
}

impl PromptBuilder {
    /// Checks that tokenizer and config agree on the placeholder tokens.
    ///
    /// # Errors
    /// Names the token that the tokenizer lacks.
    pub fn check(&self) -> Result<(), String> {
        let specials = self.tokenizer.specials();
        for (name, id) in [
            ("image_token_id", self.config.image_token_id),
            ("video_token_id", self.config.video_token_id),
            ("vision_start_token_id", self.config.vision_start_token_id),
            ("vision_end_token_id", self.config.vision_end_token_id),
        ] {
            if !specials.values().any(|special| *special == id) {
                return Err(format!(
                    "config.json: {name} is {id}, which is no special token of tokenizer.json"
                ));
            }
        }
        let rows = self.config.text.vocab_size;
        if let Some((token, id)) = specials.iter().find(|(_, id)| **id as usize >= rows) {
            return Err(format!(
                "tokenizer.json: {token} has id {id} but config.json's vocab_size is {rows}"
            ));
        }
        Ok(())
    }

    /// Builds the prompt of a request.
    ///
    /// # Errors
    /// `Invalid` for content that the model cannot be shown, `ContextLength` when the prompt is too long.
    pub fn build(&self, request: &Request) -> Result<PreparedPrompt, EngineError> {
        let media = self.media(&request.messages)?;
        let pieces = self.pieces(request)?;
        let (ids, used) = self.expand(pieces, &media)?;
        if used != media.len() {
            let message = format!(
                "the model's chat template shows {used} of the {} pictures and videos; those of \
                 user messages are shown",
                media.len()
            );
            return Err(EngineError::invalid("messages", message));
        }
        if ids.len() >= self.context {
            let hint = self.hint(ids.len(), &media);
            let (prompt_tokens, context) = (ids.len(), self.context);
            return Err(EngineError::ContextLength { prompt_tokens, context, hint });
        }
        let grids = |keep: fn(&PromptMedia) -> bool| -> Vec<[usize; 3]> {
            media.iter().filter(|(media, _)| keep(media)).map(|&(_, grid)| grid.into()).collect()
        };
        let images = grids(|media| matches!(media, PromptMedia::Image(_)));
        let videos = grids(|media| matches!(media, PromptMedia::Video(_)));
        let prompt = Prompt::new(&self.config, ids, &images, &videos)?;
        Ok(PreparedPrompt { prompt, media })
    }

    fn media(&self, messages: &[Message]) -> Result<Vec<(PromptMedia, Grid)>, EngineError> {
        let parts = || messages.iter().flat_map(|message| &message.content);
        let count = |keep: fn(&ContentPart) -> bool| parts().filter(|part| keep(part)).count();
        for (what, count, max) in [
            ("pictures", count(|part| matches!(part, ContentPart::Image(_))), MAX_IMAGES),
            ("videos", count(|part| matches!(part, ContentPart::Video(_))), MAX_VIDEOS),
        ] {
            if count > max {
                let message = format!("the request has {count} {what}; {max} would fit");
                return Err(EngineError::invalid("messages", message));
            }
        }
        let mut media = Vec::new();
        for part in parts() {
            match part {
                ContentPart::Text(_) => {}
                ContentPart::Image(image) => {
                    let grid = self.processor.image_grid(image)?;
                    media.push((PromptMedia::Image(image.clone()), grid));
                }
                ContentPart::Video(clip) => {
                    let grid = self.processor.video_grid(clip)?;
                    media.push((PromptMedia::Video(clip.clone()), grid));
                }
            }
        }
        Ok(media)
    }

    /// Renders the template and splits the result at the template's special tokens.
    fn pieces(&self, request: &Request) -> Result<Vec<PromptPiece>, EngineError> {
        let messages = &request.messages;
        if messages.is_empty() {
            return Err(EngineError::invalid("messages", "messages is empty; at least 1 is needed"));
        }
        let texts = || {
            messages.iter().flat_map(|message| &message.content).filter_map(|part| match part {
                ContentPart::Text(text) => Some(text.as_str()),
                ContentPart::Image(_) | ContentPart::Video(_) => None,
            })
        };
        let more = template_variables(request);
        let bytes =
            texts().map(str::len).sum::<usize>() + if more.is_empty() { 0 } else { json_bytes(&more) };
        if bytes / MAX_BYTES_PER_TOKEN >= self.context {
            // Too long to count: no vocabulary averages this many bytes per token.
            let hint = "a shorter text would fit".to_owned();
            let prompt_tokens = bytes / MAX_BYTES_PER_TOKEN;
            return Err(EngineError::ContextLength { prompt_tokens, context: self.context, hint });
        }
        let used: std::collections::HashSet<char> =
            texts().flat_map(str::chars).filter(|c| GUARDS.contains(c)).collect();
        let guard = GUARDS
            .into_iter()
            .find(|c| !used.contains(c))
            .ok_or_else(|| EngineError::invalid("messages", "the text uses every private-use character"))?;
        let messages: Vec<TemplateMessage> =
            messages.iter().map(|message| self.template_message(message, guard)).collect();
        let rendered = self
            .template
            .render(&messages, &more)
            .map_err(|message| EngineError::invalid("messages", message))?;
        Ok(self.tokenizer.split(&rendered, guard))
    }

    fn template_message(&self, message: &Message, guard: char) -> TemplateMessage {
        let role = match message.role {
            MessageRole::System => "system",
            MessageRole::User => "user",
            MessageRole::Assistant => "assistant",
            MessageRole::Tool => "tool",
        };
        let content = match message.content.as_slice() {
            [ContentPart::Text(text)] => TemplateContent::Text(self.tokenizer.defuse(text, guard)),
            parts => TemplateContent::Parts(
                parts
                    .iter()
                    .map(|part| match part {
                        ContentPart::Text(text) => {
                            TemplatePart::Text { text: self.tokenizer.defuse(text, guard) }
                        }
                        ContentPart::Image(_) => TemplatePart::Image,
                        ContentPart::Video(_) => TemplatePart::Video,
                    })
                    .collect(),
            ),
        };
        TemplateMessage { role, content, extra: template_fields(message) }
    }

    /// Replaces each placeholder by the tokens of its picture or clip and encodes the text between. Returns the ids and the
    /// number of pictures and clips placed.
    fn expand(
        &self,
        pieces: Vec<PromptPiece>,
        media: &[(PromptMedia, Grid)],
    ) -> Result<(Vec<u32>, usize), EngineError> {
        let Config { image_token_id, video_token_id, vision_start_token_id, vision_end_token_id, .. } =
            self.config;
        let mut out = IdBuilder { builder: self, ids: Vec::new(), text: String::new() };
        let mut used = 0;
        let mut drop_end = false;
        for piece in pieces {
            let id = match piece {
                PromptPiece::Text(text) => {
                    out.text.push_str(&text);
                    continue;
                }
                PromptPiece::Special(id) => id,
            };
            if id == vision_end_token_id && std::mem::take(&mut drop_end) {
                continue;
            }
            drop_end = false;
            if id != image_token_id && id != video_token_id {
                out.special(id)?;
                continue;
            }
            let Some((item, grid)) = media.get(used) else {
                return Err(EngineError::invalid(
                    "messages",
                    "the model's chat template shows more pictures and videos than there are",
                ));
            };
            used += 1;
            match item {
                PromptMedia::Image(_) if id == image_token_id => out.pads(id, self.tokens(*grid))?,
                PromptMedia::Video(clip) if id == video_token_id => {
                    if self.wrapper == PromptWrapper::V4_57 && out.drop_last(vision_start_token_id) {
                        drop_end = true;
                    }
                    let per_group = self.tokens(Grid { t: 1, ..*grid });
                    for time in self.processor.group_times(&clip.times) {
                        out.text.push_str(&format!("<{time:.1} seconds>"));
                        out.special(vision_start_token_id)?;
                        out.pads(video_token_id, per_group)?;
                        out.special(vision_end_token_id)?;
                    }
                }
                _ => {
                    return Err(EngineError::invalid(
                        "messages",
                        "the model's chat template changes the order of pictures and videos",
                    ));
                }
            }
        }
        out.flush()?;
        Ok((out.ids, used))
    }

    /// Returns the number of visual tokens of a grid.
    fn tokens(&self, grid: Grid) -> usize {
        grid.patches() / self.config.vision.merge_unit()
    }

    /// Returns a setting under which a prompt of `tokens` would fit.
    fn hint(&self, tokens: usize, media: &[(PromptMedia, Grid)]) -> String {
        let largest = media
            .iter()
            .filter_map(|(item, grid)| match item {
                PromptMedia::Video(clip) => Some((clip.frames.len(), *grid)),
                PromptMedia::Image(_) => None,
            })
            .max_by_key(|(_, grid)| grid.patches());
        if let Some((frames, grid)) = largest {
            // Each group costs its visual tokens, their two markers, and about nine tokens of timestamp.
            let per_group = self.tokens(Grid { t: 1, ..grid }) + 11;
            let excess = tokens + 1 - self.context + ANSWER_ROOM.min(self.context / 8);
            let groups = grid.t.saturating_sub(excess.div_ceil(per_group));
            if groups > 0 && !self.processor.is_scaled_to_budget(frames, grid) {
                return format!("--num-frames {} would fit", groups * 2);
            }
        }
        let most = self.config.text.max_position_embeddings;
        let need = (tokens + ANSWER_ROOM).next_multiple_of(1024);
        if need <= most {
            return format!("--max-model-len {need} would fit");
        }
        let what = if media.is_empty() { "a shorter text" } else { "fewer videos or a shorter text" };
        format!("{what} would fit")
    }
}

/// Template variables besides the messages.
fn template_variables(request: &Request) -> Map<String, Value> {
    let mut more = match request.options.extra.get("chat_template_kwargs") {
        Some(Value::Object(kwargs)) => kwargs.clone(),
        _ => Map::new(),
    };
    if let Some(tools) = request.options.extra.get("tools") {
        more.insert("tools".into(), tools.clone());
    }
    more
}

/// A message as the template sees it. Tool call arguments are a JSON string in OpenAI's API and JSON in templates.
/// JSON for templates.
fn template_fields(message: &Message) -> Map<String, Value> {
    let mut fields = message.extra.clone();
    let calls = fields.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok()) {
            *arguments = parsed;
        }
    }
    fields
}

fn json_bytes(fields: &Map<String, Value>) -> usize {
    serde_json::to_string(fields).map_or(0, |text| text.len())
}

/// Tokens that the hint leaves for the answer.
const ANSWER_ROOM: usize = 512;

/// Ids under construction. Adjacent text is encoded as one piece, so that merges across the boundary of template and user
/// text equal the reference's.
struct IdBuilder<'a> {
    builder: &'a PromptBuilder,
    ids: Vec<u32>,
    text: String,
}

impl IdBuilder<'_> {
    fn flush(&mut self) -> Result<(), EngineError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let ids = self
            .builder
            .tokenizer
            .encode(&self.text)
            .map_err(|error| EngineError::Failed(format!("tokenizer: {error}")))?;
        let config = &self.builder.config;
        let rows = config.text.vocab_size;
        // Without proper special tokens, the tokenizer could produce placeholders from text.
        if ids
            .iter()
            .any(|id| *id as usize >= rows || *id == config.image_token_id || *id == config.video_token_id)
        {
            return Err(EngineError::invalid(
                "messages",
                "the text holds a token that the model keeps for pictures",
            ));
        }
        self.ids.extend(ids);
        self.text.clear();
        Ok(())
    }

    fn special(&mut self, id: u32) -> Result<(), EngineError> {
        self.pads(id, 1)
    }

    fn pads(&mut self, id: u32, count: usize) -> Result<(), EngineError> {
        self.flush()?;
        self.ids.extend(std::iter::repeat_n(id, count));
        Ok(())
    }

    /// Removes the last token if it is `id` and no text followed it.
    fn drop_last(&mut self, id: u32) -> bool {
        self.text.is_empty() && self.ids.pop_if(|last| *last == id).is_some()
    }
}
