//! Expands the pieces of a rendered prompt to token ids: pictures and clips become placeholder tokens, clips with timestamps
//! between.

use super::{PromptBuilder, PromptMedia, PromptWrapper};
use crate::EngineError;
use crate::qwen3vl::config::Config;
use crate::qwen3vl::processor::Grid;
use crate::qwen3vl::tokenizer::PromptPiece;

impl PromptBuilder {
    /// Replaces each placeholder by the tokens of its picture or clip and encodes the text between. Returns the ids and the
    /// number of pictures and clips placed.
    pub(super) fn expand(
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
}

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
