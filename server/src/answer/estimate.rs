//! What a request would cost: tokens, time and memory, and the setting with which it would fit given limits.

use std::sync::Arc;

use homereel_engine::{ContentPart, Engine, EngineError, Message, PromptTokens, Request};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{AnswerService, Conversation, QuestionPermit, outlines::Outlines, reading_rate::pixels};
use crate::ask_error::AskError;

/// Tokens of an answer that names no limit, for the memory.
const ANSWER_TOKENS: usize = 512;

/// What a request would cost.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Tokens of the prompt; `None` where only the backend can count them.
    pub prompt_tokens: Option<usize>,
    /// Tokens that prompt and answer may have together.
    pub max_model_len: usize,
    /// The videos, in order.
    pub videos: Vec<VideoEstimate>,
    /// Visual tokens of all videos and pictures; `None` as above.
    pub visual_tokens: Option<usize>,
    /// Time until the first token on an idle server, by the last requests of this process.
    pub seconds: Seconds,
    /// Memory while the request runs.
    pub memory_bytes: Memory,
    /// Whether prompt and answer fit the model's context and the request's limits.
    pub fits: bool,
    /// Settings with which the request would fit; `None` where it fits, or where none is known.
    pub suggestion: Option<Suggestion>,
}

/// What one video would be for the model.
#[derive(Debug, Clone, Serialize)]
pub struct VideoEstimate {
    /// Number of frames.
    pub frames: usize,
    /// Width of the frames in pixels.
    pub width: u32,
    /// Height of the frames in pixels.
    pub height: u32,
    /// Duration of the video in seconds.
    pub duration_s: f64,
    /// Visual tokens; `None` where only the backend can count them.
    pub visual_tokens: Option<usize>,
}

/// Expected durations in seconds; `None` where nothing of the kind was measured yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seconds {
    /// Decoding, unless the frames are cached.
    pub decode: Option<f64>,
    /// Vision tower and prefill.
    pub read: Option<f64>,
    /// Both.
    pub first_token: Option<f64>,
}

/// Memory of a request in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The decoded frames.
    pub frames: usize,
    /// KV cache of prompt and answer; `None` where a backend decides.
    pub kv_cache: Option<usize>,
}

impl Memory {
    fn total(self) -> usize {
        self.frames.saturating_add(self.kv_cache.unwrap_or(0))
    }
}

/// Settings with which a request would fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Number of frames of each video.
    pub num_frames: usize,
    /// Whether to limit each frame to 768 visual tokens.
    pub cap_pixels_per_frame: bool,
}

/// What a request may cost. `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EstimateLimits {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<usize>,
    /// Seconds until the first token.
    pub seconds: Option<f64>,
    /// Memory in bytes.
    pub memory_bytes: Option<usize>,
}

/// The tokens of a text or prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTokens {
    /// Token ids in order.
    pub ids: Vec<u32>,
    /// The text of each, where it was asked for.
    pub texts: Option<Vec<String>>,
}

impl AnswerService {
    /// Estimates what a conversation would cost; probes its videos, but decodes none. `cancel` stops the work.
    ///
    /// # Errors
    /// As [`AnswerService::ask`], and of the media.
    pub async fn estimate(
        &self,
        conversation: &Conversation,
        limits: EstimateLimits,
        cancel: &CancellationToken,
    ) -> Result<Estimate, AskError> {
        let _permit = self.take_permit()?;
        let outlines = self.outlines(conversation, cancel).await?;
        let mut estimate = self.cost(conversation, limits, &outlines).await?;
        if !estimate.fits {
            estimate.suggestion = self.suggestion(conversation, limits, outlines, cancel).await?;
        }
        Ok(estimate)
    }

    /// Returns the tokens of a conversation's prompt; probes its videos, but decodes none. `None` where only the backend knows
    /// the tokenizer.
    ///
    /// # Errors
    /// As [`AnswerService::estimate`].
    pub async fn prompt_tokens(
        &self,
        conversation: &Conversation,
        with_texts: bool,
        cancel: &CancellationToken,
    ) -> Result<Option<TextTokens>, AskError> {
        let permit = self.take_permit()?;
        let outlines = self.outlines(conversation, cancel).await?;
        let (messages, options) = (outlines.messages(conversation), conversation.options.clone());
        let request = Request { messages, options };
        self.tokenized(permit, with_texts, move |engine| {
            Ok(engine.prompt_tokens(&request)?.map(|tokens| tokens.ids))
        })
        .await
    }

    /// Returns the tokens of a text. `None` where only the backend knows the tokenizer.
    ///
    /// # Errors
    /// `Overloaded`, `NotReady`, and `Invalid` for a text that cannot be tokenized.
    pub async fn text_tokens(&self, text: String, with_texts: bool) -> Result<Option<TextTokens>, AskError> {
        let permit = self.take_permit()?;
        self.tokenized(permit, with_texts, move |engine| engine.text_tokens(&text)).await
    }

    /// Runs `ids` on a blocking thread, because a long text takes a while. It cannot be interrupted, so it keeps the permit even
    /// if the client leaves.
    async fn tokenized(
        &self,
        permit: QuestionPermit,
        with_texts: bool,
        ids: impl FnOnce(&dyn Engine) -> Result<Option<Vec<u32>>, EngineError> + Send + 'static,
    ) -> Result<Option<TextTokens>, AskError> {
        let engine = Arc::clone(&self.engine);
        let work = move || {
            let _permit = permit;
            let Some(ids) = ids(&*engine)? else { return Ok(None) };
            let texts = with_texts.then(|| token_texts(&*engine, &ids)).transpose()?;
            Ok(Some(TextTokens { ids, texts }))
        };
        tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
    }

    async fn tokens(
        &self,
        messages: Vec<Message>,
        conversation: &Conversation,
    ) -> Result<Option<PromptTokens>, AskError> {
        let request = Request { messages, options: conversation.options.clone() };
        let engine = Arc::clone(&self.engine);
        // Tokenizing a long text takes too long for an async thread.
        let tokens = tokio::task::spawn_blocking(move || engine.prompt_tokens(&request)).await;
        Ok(tokens.map_err(std::io::Error::other)??)
    }

    /// Finds the largest number of frames of each video that fits: first with the request's budget of pixels, then with the
    /// capped one.
    async fn suggestion(
        &self,
        conversation: &Conversation,
        limits: EstimateLimits,
        mut outlines: Outlines,
        cancel: &CancellationToken,
    ) -> Result<Option<Suggestion>, AskError> {
        let most = outlines.most_frames(conversation);
        for cap_pixels_per_frame in [false, true] {
            let (mut fits, mut too_many) = (0, most + 1);
            while too_many - fits > 1 {
                let num_frames = usize::midpoint(fits, too_many);
                let setting = Suggestion { num_frames, cap_pixels_per_frame };
                self.outline_again(conversation, setting, &mut outlines, cancel).await?;
                if self.cost(conversation, limits, &outlines).await?.fits {
                    fits = num_frames;
                } else {
                    too_many = num_frames;
                }
            }
            if fits > 0 {
                return Ok(Some(Suggestion { num_frames: fits, cap_pixels_per_frame }));
            }
        }
        Ok(None)
    }

    async fn cost(
        &self,
        conversation: &Conversation,
        limits: EstimateLimits,
        outlines: &Outlines,
    ) -> Result<Estimate, AskError> {
        let info = self.engine.info()?;
        let messages = outlines.messages(conversation);
        let (pixels, frame_bytes) = (pixels(&messages), frame_bytes(&messages));
        let tokens = self.tokens(messages, conversation).await?;
        let prompt_tokens = tokens.as_ref().map(|tokens| tokens.ids.len());
        let answer = conversation.options.max_tokens.unwrap_or(ANSWER_TOKENS);
        // Several answers share the prompt.
        let answers = answer.min(info.max_model_len).saturating_mul(conversation.n);
        let kv_tokens = prompt_tokens.map(|prompt| prompt.saturating_add(answers));
        let memory = Memory {
            frames: frame_bytes,
            kv_cache: info
                .kv_bytes_per_token
                .zip(kv_tokens)
                .map(|(bytes, tokens)| bytes.saturating_mul(tokens)),
        };
        let read = match prompt_tokens {
            Some(tokens) => self.rate.expected_of_prompt_s(pixels, tokens),
            None => self.expected_reading_s(pixels),
        };
        let decode = outlines.decode_s();
        let seconds =
            Seconds { decode, read, first_token: decode.zip(read).map(|(decode, read)| decode + read) };
        let fits = prompt_tokens.is_none_or(|prompt| {
            prompt < info.max_model_len && limits.prompt_tokens.is_none_or(|most| prompt <= most)
        }) && limits.memory_bytes.is_none_or(|most| memory.total() <= most)
            && limits.seconds.zip(seconds.first_token).is_none_or(|(most, seconds)| seconds <= most);
        let visual = tokens.map(|tokens| tokens.visual);
        let videos = outlines.videos().map(|(at, report)| VideoEstimate {
            frames: report.frames,
            width: report.width,
            height: report.height,
            duration_s: report.duration_s,
            visual_tokens: visual.as_ref().and_then(|visual| visual.get(at).copied()),
        });
        Ok(Estimate {
            prompt_tokens,
            max_model_len: info.max_model_len,
            videos: videos.collect(),
            visual_tokens: visual.as_ref().map(|visual| visual.iter().sum()),
            seconds,
            memory_bytes: memory,
            fits,
            suggestion: None,
        })
    }
}

fn frame_bytes(messages: &[Message]) -> usize {
    let of_part = |part: &ContentPart| match part {
        ContentPart::Text(_) => 0,
        ContentPart::Image(image) => image.rgb.len(),
        ContentPart::Video(clip) => clip.frames.iter().map(|frame| frame.rgb.len()).sum(),
    };
    messages.iter().flat_map(|message| &message.content).map(of_part).sum()
}

fn token_texts(engine: &dyn Engine, ids: &[u32]) -> Result<Vec<String>, EngineError> {
    ids.iter().map(|id| Ok(engine.token_text(*id)?.unwrap_or_default())).collect()
}
