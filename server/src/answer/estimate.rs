//! What a request would cost: tokens, time and memory, and the setting with which it would fit given limits.

use std::sync::Arc;

use homereel_engine::{ContentPart, Message, PromptTokens, Request, VideoBudget, VideoInput};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{AnswerService, Conversation, Piece, reading_rate::pixels};
use crate::{
    ask_error::AskError,
    media::{MediaReport, Outline},
};

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
        self.frames + self.kv_cache.unwrap_or(0)
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
        let mut estimate = self.cost(conversation, limits, None, cancel).await?;
        if !estimate.fits {
            estimate.suggestion = self.suggestion(conversation, &estimate, limits, cancel).await?;
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
        cancel: &CancellationToken,
    ) -> Result<Option<PromptTokens>, AskError> {
        let _permit = self.take_permit()?;
        let outlined = self.outlined(conversation, None, cancel).await?;
        self.tokens(outlined.messages, conversation).await
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

    /// Finds the largest number of frames that fits: first with the request's budget of pixels, then with the capped one.
    async fn suggestion(
        &self,
        conversation: &Conversation,
        estimate: &Estimate,
        limits: EstimateLimits,
        cancel: &CancellationToken,
    ) -> Result<Option<Suggestion>, AskError> {
        let most = estimate.videos.iter().map(|video| video.frames).max().unwrap_or(0);
        for cap_pixels_per_frame in [false, true] {
            let (mut fits, mut too_many) = (0, most + 1);
            while too_many - fits > 1 {
                let num_frames = usize::midpoint(fits, too_many);
                let setting = Suggestion { num_frames, cap_pixels_per_frame };
                let cost = self.cost(conversation, limits, Some(setting), cancel).await?;
                if cost.fits {
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
        setting: Option<Suggestion>,
        cancel: &CancellationToken,
    ) -> Result<Estimate, AskError> {
        let info = self.engine.info()?;
        let outlined = self.outlined(conversation, setting, cancel).await?;
        let frame_bytes: usize =
            outlined.messages.iter().flat_map(|message| &message.content).map(bytes).sum();
        let pixels = pixels(&outlined.messages);
        let tokens = self.tokens(outlined.messages, conversation).await?;
        let prompt_tokens = tokens.as_ref().map(|tokens| tokens.ids.len());
        let answer = conversation.options.max_tokens.unwrap_or(ANSWER_TOKENS);
        let kv_tokens =
            prompt_tokens.map(|prompt| (prompt + answer * conversation.n).min(info.max_model_len));
        let memory = Memory {
            frames: frame_bytes,
            kv_cache: info.kv_bytes_per_token.zip(kv_tokens).map(|(bytes, tokens)| bytes * tokens),
        };
        let read = match prompt_tokens {
            Some(tokens) => self.rate.expected_of_prompt_s(pixels, tokens),
            None => self.expected_reading_s(pixels),
        };
        let decode = outlined.decode_s;
        let seconds =
            Seconds { decode, read, first_token: decode.zip(read).map(|(decode, read)| decode + read) };
        let fits = prompt_tokens.is_none_or(|prompt| {
            prompt < info.max_model_len && limits.prompt_tokens.is_none_or(|most| prompt <= most)
        }) && limits.memory_bytes.is_none_or(|most| memory.total() <= most)
            && limits.seconds.zip(seconds.first_token).is_none_or(|(most, seconds)| seconds <= most);
        let visual = tokens.map(|tokens| tokens.visual);
        let videos = outlined.videos.into_iter().map(|(at, report)| VideoEstimate {
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

    /// Returns the messages of a conversation with outlines of its media.
    async fn outlined(
        &self,
        conversation: &Conversation,
        setting: Option<Suggestion>,
        cancel: &CancellationToken,
    ) -> Result<Outlined, AskError> {
        let mut outlined = Outlined { messages: Vec::new(), videos: Vec::new(), decode_s: Some(0.0) };
        let mut media = 0;
        for (turn_at, turn) in conversation.turns.iter().enumerate() {
            let mut content = Vec::with_capacity(turn.content.len());
            for (at, piece) in turn.content.iter().enumerate() {
                if let Piece::Text(text) = piece {
                    content.push(ContentPart::Text(text.clone()));
                    continue;
                }
                let outline = self.outline(piece, setting, cancel).await;
                let outline = outline.map_err(|source| AskError::Part {
                    turn: turn_at,
                    piece: at,
                    source: Box::new(source),
                })?;
                outlined.decode_s = outlined.decode_s.zip(outline.decode_s).map(|(all, one)| all + one);
                outlined.videos.extend(outline.report.map(|report| (media, report)));
                content.push(outline.part);
                media += 1;
            }
            outlined.messages.push(Message { role: turn.role, content, extra: turn.extra.clone() });
        }
        Ok(outlined)
    }

    async fn outline(
        &self,
        piece: &Piece,
        setting: Option<Suggestion>,
        cancel: &CancellationToken,
    ) -> Result<Outline, AskError> {
        let engine = &*self.engine;
        match piece {
            Piece::Text(text) => {
                Ok(Outline { part: ContentPart::Text(text.clone()), report: None, decode_s: Some(0.0) })
            }
            Piece::Image(source) => self.media.picture_outline(&self.engine, source, cancel).await,
            Piece::Clip(clip) => Ok(known(clip.clip.clone(), clip.report.clone())),
            Piece::Video(source, request) => {
                let mut request = *request;
                if let Some(setting) = setting {
                    request.sampling.fps = None;
                    request.sampling.num_frames = Some(setting.num_frames);
                    if setting.cap_pixels_per_frame {
                        request.budget = VideoBudget::Capped;
                    }
                }
                self.media.outline(engine, source, request, cancel).await
            }
            // The client chose these frames, so no setting changes them.
            Piece::Frames(frames, fps, request) => {
                let clip = self
                    .media
                    .frame_list(engine, frames, *fps, request.budget, cancel, &|_, _, _| {})
                    .await?;
                Ok(known(clip.clip.clone(), clip.report.clone()))
            }
        }
    }
}

struct Outlined {
    messages: Vec<Message>,
    /// With the index among all media.
    videos: Vec<(usize, MediaReport)>,
    decode_s: Option<f64>,
}

fn known(clip: VideoInput, report: MediaReport) -> Outline {
    Outline { part: ContentPart::Video(clip), report: Some(report), decode_s: Some(0.0) }
}

/// Returns the bytes of a part's pixels.
fn bytes(part: &ContentPart) -> usize {
    match part {
        ContentPart::Text(_) => 0,
        ContentPart::Image(image) => image.rgb.len(),
        ContentPart::Video(clip) => clip.frames.iter().map(|frame| frame.rgb.len()).sum(),
    }
}
