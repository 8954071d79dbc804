//! Builds a prompt: renders the chat template ([`conversation`]) and expands pictures and clips to placeholder tokens with
//! timestamps between ([`expand`]).
//!
//! Equal to `Qwen3VLProcessor` of transformers 5.x, or of 4.57 with [`PromptWrapper`].

mod conversation;
mod expand;

use super::config::Config;
use super::input::Prompt;
use super::processor::{Grid, Processor};
use super::template::ChatTemplate;
use super::tokenizer::Tokenizer;
use crate::{ContentPart, EngineError, Message, PromptTokens, Request, RgbImage, VideoInput};

/// Pictures per request.
const MAX_IMAGES: usize = 64;
/// Videos per request.
const MAX_VIDEOS: usize = 16;

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

/// Pictures and clips in order of appearance, with their grids.
type MediaWithGrids = Vec<(PromptMedia, Grid)>;

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
        let (ids, media) = self.expanded(request)?;
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

    /// Returns the tokens of a request's prompt, however long. The content of its frames does not matter.
    ///
    /// # Errors
    /// `Invalid` for content that the model cannot be shown.
    pub fn tokens_of(&self, request: &Request) -> Result<PromptTokens, EngineError> {
        let (ids, media) = self.expanded(request)?;
        Ok(PromptTokens { ids, visual: media.iter().map(|(_, grid)| self.tokens(*grid)).collect() })
    }

    /// Returns the token ids of a text, in which special tokens have no effect.
    ///
    /// # Errors
    /// `Invalid` for a text that cannot be tokenized.
    pub fn text_tokens(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.tokenizer.encode(text).map_err(|error| EngineError::invalid("prompt", error))
    }

    /// Returns the token ids of a request, and its media in order of appearance.
    fn expanded(&self, request: &Request) -> Result<(Vec<u32>, MediaWithGrids), EngineError> {
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
        Ok((ids, media))
    }

    fn media(&self, messages: &[Message]) -> Result<MediaWithGrids, EngineError> {
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

/// Tokens that the hint leaves for the answer.
const ANSWER_ROOM: usize = 512;
