//! Converts messages and their parts, and resolves what they refer to.

use homereel_engine::{GenerationOptions, MessageRole};
use serde_json::{Map, Value, value::RawValue};

use super::super::body::MediaByMarker;
use super::super::media_url::{self, Found, Wanted};
use super::super::references::{Reference, Resolved, Resolver};
use super::super::wire::{Content, Media, PartFields, VideoKwargs, WireMessage, WirePart};
use super::options::apply;
use super::{MAX_TEXT, RequestLimits, bounded};
use crate::http::error::{Failure, shown};
use crate::{
    answer::{Conversation, Piece, Turn},
    media::{ClipRequest, Source},
};

/// Maximum number of messages of a conversation.
const MAX_MESSAGES: usize = 1024;

/// Frames per second of a list of frames that names none, as in Qwen's own code.
const LIST_FPS: f64 = 2.0;

/// A conversation, whose references are not yet resolved.
#[derive(Debug)]
pub(in crate::http::openai) struct UnresolvedConversation {
    turns: Vec<DraftTurn>,
    options: GenerationOptions,
    /// Number of answers.
    n: usize,
    limits: RequestLimits,
}

/// What is wrong with a part of a message.
#[derive(Debug)]
pub(in crate::http::openai) struct PartFailure {
    /// Number of the turn.
    pub(in crate::http::openai) turn: usize,
    /// Number of the part in the turn.
    pub(in crate::http::openai) piece: usize,
    pub(in crate::http::openai) failure: Failure,
}

#[derive(Debug)]
pub(super) struct DraftTurn {
    role: MessageRole,
    pieces: Vec<DraftPiece>,
    extra: Map<String, Value>,
}

#[derive(Debug)]
enum DraftPiece {
    Text(String),
    Image(Source),
    Video(Source, ClipRequest),
    Elsewhere(Reference, Wanted, ClipRequest),
    Frames(Vec<Source>, f64, ClipRequest),
}

/// What the parts of a request share.
struct Parts<'m> {
    frames: ClipRequest,
    media: &'m mut MediaByMarker,
    warnings: &'m mut Vec<String>,
}

/// Converts messages. Returns also the name of the field with the media of each part.
pub(super) fn turns(
    messages: Vec<WireMessage<'_>>,
    frames: ClipRequest,
    limits: &RequestLimits,
    media: &mut MediaByMarker,
    warnings: &mut Vec<String>,
) -> Result<(Vec<DraftTurn>, Vec<Vec<&'static str>>), Failure> {
    if messages.is_empty() {
        return Err(Failure::invalid("messages", "messages is empty; at least 1 would fit"));
    }
    if messages.len() > MAX_MESSAGES {
        let message = format!("there are {} messages; at most {MAX_MESSAGES} would fit", messages.len());
        return Err(Failure::invalid("messages", message));
    }
    let mut parts = Parts { frames, media, warnings };
    let (mut turns, mut places) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for (at, message) in messages.into_iter().enumerate() {
        let (turn, place) = turn(at, message, &mut parts)?;
        turns.push(turn);
        places.push(place);
    }
    count(&turns, limits)?;
    Ok((turns, places))
}

/// Checks the numbers of videos and images, as far as they are known: what is elsewhere may turn out as either, so it is
/// counted once more when it is resolved.
fn count(turns: &[DraftTurn], limits: &RequestLimits) -> Result<(), Failure> {
    let (mut text, mut videos, mut images, mut either) = (0, 0, 0, 0);
    for piece in turns.iter().flat_map(|turn| &turn.pieces) {
        match piece {
            DraftPiece::Text(piece) => text += piece.len(),
            DraftPiece::Image(_) => images += 1,
            DraftPiece::Elsewhere(Reference::Library(_), ..) | DraftPiece::Elsewhere(_, Wanted::Video, _) => {
                videos += 1;
            }
            DraftPiece::Elsewhere(..) => either += 1,
            DraftPiece::Video(..) | DraftPiece::Frames(..) => videos += 1,
        }
    }
    if text > MAX_TEXT {
        let message = format!("the messages have {text} bytes of text; at most {MAX_TEXT} would fit");
        return Err(Failure::invalid("messages", message));
    }
    check_counts(videos, images, either, limits)
}

fn check_counts(videos: usize, images: usize, either: usize, limits: &RequestLimits) -> Result<(), Failure> {
    let all = (videos + images + either, limits.videos + limits.images);
    for (what, found, limit) in [
        ("videos", videos, limits.videos),
        ("images", images, limits.images),
        ("videos and images", all.0, all.1),
    ] {
        if found > limit {
            let message = format!("the request has {found} {what}; at most {limit} would fit");
            return Err(Failure::invalid("messages", message));
        }
    }
    Ok(())
}

fn turn(
    at: usize,
    message: WireMessage<'_>,
    parts: &mut Parts<'_>,
) -> Result<(DraftTurn, Vec<&'static str>), Failure> {
    let place = format!("messages[{at}]");
    let role = match message.role.as_str() {
        "system" | "developer" => MessageRole::System,
        "user" => MessageRole::User,
        "assistant" => MessageRole::Assistant,
        "tool" => MessageRole::Tool,
        other => {
            return Err(Failure::invalid(
                format!("{place}.role"),
                format!("role {} is unknown; system, user, assistant or tool would fit", shown(other)),
            ));
        }
    };
    let extra = extra(&place, &message)?;
    let (pieces, places) = match message.content {
        None => match message.refusal {
            Some(refusal) => (vec![DraftPiece::Text(refusal.into_owned())], vec![""]),
            // An assistant message that only calls tools, or that ended before its first token.
            None if role == MessageRole::Assistant => (Vec::new(), Vec::new()),
            None => {
                let message = format!("{place} has no content; a string would fit");
                return Err(Failure::invalid(format!("{place}.content"), message));
            }
        },
        Some(Content::Text(text)) => (vec![DraftPiece::Text(text.into_owned())], vec![""]),
        Some(Content::Parts(given)) => {
            let pieces = given.into_iter().enumerate().map(|(part_at, WirePart(fields))| {
                piece(fields, role, parts).map_err(|failure| {
                    let place = format!("{place}.content[{part_at}]");
                    let param = match failure.param {
                        Some(param) if !param.is_empty() => format!("{place}.{param}"),
                        _ => place,
                    };
                    Failure { param: Some(param), ..failure }
                })
            });
            pieces.collect::<Result<Vec<_>, _>>()?.into_iter().unzip()
        }
    };
    Ok((DraftTurn { role, pieces, extra }, places))
}

/// Returns the fields of a message besides role and content, for the chat template.
fn extra(place: &str, message: &WireMessage<'_>) -> Result<Map<String, Value>, Failure> {
    let mut extra = Map::new();
    if let Some(calls) = message.tool_calls {
        match bounded(&format!("{place}.tool_calls"), calls)? {
            Value::Array(calls) if calls.is_empty() => {}
            calls @ Value::Array(_) => {
                extra.insert("tool_calls".into(), calls);
            }
            _ => {
                let param = format!("{place}.tool_calls");
                return Err(Failure::invalid(param.clone(), format!("{param} is not an array")));
            }
        }
    }
    for (name, value) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
        if let Some(value) = value {
            extra.insert(name.into(), value.as_ref().into());
        }
    }
    // vLLM has two names for it. What is no text cannot be shown to the model.
    let text =
        |value: Option<&RawValue>| value.and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    if let Some(reasoning) = text(message.reasoning).or_else(|| text(message.reasoning_content)) {
        extra.insert("reasoning".into(), reasoning.clone().into());
        extra.insert("reasoning_content".into(), reasoning.into());
    }
    Ok(extra)
}

/// Converts a part. Returns also the name of the field with its media.
fn piece(
    part: PartFields<'_>,
    role: MessageRole,
    parts: &mut Parts<'_>,
) -> Result<(DraftPiece, &'static str), Failure> {
    let lacking = |param: &str| Failure::invalid(param, format!("a part of type {param} needs {param}"));
    let kind = part.kind.clone().unwrap_or_else(|| guessed(&part).into());
    let kind = kind.as_ref();
    if let "text" | "input_text" | "output_text" = kind {
        let text = part.text.ok_or_else(|| lacking("text"))?;
        return Ok((DraftPiece::Text(text.into_owned()), "text"));
    }
    if kind == "refusal" {
        let text = part.refusal.ok_or_else(|| lacking("refusal"))?;
        return Ok((DraftPiece::Text(text.into_owned()), "refusal"));
    }
    let wanted = match kind {
        "image_url" | "input_image" | "image" => Wanted::Picture,
        "video_url" | "input_video" | "video" => Wanted::Video,
        "file" | "input_file" => Wanted::Any,
        "input_audio" | "audio_url" | "audio" => {
            return Err(Failure::invalid(
                "type",
                "sound is not supported; text, a picture or a video would fit",
            ));
        }
        other => {
            return Err(Failure::invalid(
                "type",
                format!(
                    "parts of type {} are not supported; text, image_url, video_url or file would fit",
                    shown(other)
                ),
            ));
        }
    };
    if !matches!(role, MessageRole::User | MessageRole::Tool) {
        let message = format!("{kind} is only supported in messages of users and tools");
        return Err(Failure::invalid("type", message));
    }
    let settings = VideoKwargs {
        fps: part.fps,
        num_frames: part.num_frames,
        start: part.start,
        end: part.end,
        cap_pixels_per_frame: part.cap_pixels_per_frame,
    };
    for (name, given) in [
        ("min_pixels", part.min_pixels.is_some()),
        ("max_pixels", part.max_pixels.is_some()),
        ("total_pixels", part.total_pixels.is_some()),
        ("resized_height", part.resized_height.is_some()),
        ("resized_width", part.resized_width.is_some()),
    ] {
        if given {
            parts
                .warnings
                .push(format!("{name} has no effect: cap_pixels_per_frame limits the size of frames"));
        }
    }
    let (media, param) =
        media(part).ok_or_else(|| Failure::invalid("", format!("a part of type {kind} needs a URL")))?;
    let mut request = parts.frames;
    apply(&mut request, param, settings)?;
    let found = match media {
        Media::One(url) => media_url::resolve(param, &url, wanted, parts.media)?,
        Media::Detailed(url, detail) => {
            parts
                .warnings
                .push(format!("detail {} has no effect: the model's own rule sets the size", shown(&detail)));
            media_url::resolve(param, &url, wanted, parts.media)?
        }
        Media::Frames(frames) => Found::Frames(media_url::frames(param, &frames, parts.media)?),
    };
    let piece = match found {
        Found::Picture(source) => DraftPiece::Image(source),
        Found::Video(source) => DraftPiece::Video(source, request),
        Found::Elsewhere(reference) => DraftPiece::Elsewhere(reference, wanted, request),
        Found::Frames(sources) => {
            let sampling = request.sampling;
            if sampling.num_frames.is_some() || sampling.start.is_some() || sampling.end.is_some() {
                let warning = "num_frames, start and end have no effect on a list of frames: the model sees all of them";
                parts.warnings.push(warning.to_owned());
            }
            DraftPiece::Frames(sources, sampling.fps.unwrap_or(LIST_FPS), request)
        }
    };
    Ok((piece, param))
}

/// Returns the type of a part that has none, by its fields.
fn guessed(part: &PartFields<'_>) -> &'static str {
    if part.text.is_some() {
        "text"
    } else if part.image_url.is_some() || part.image.is_some() || part.input_image.is_some() {
        "image_url"
    } else if part.video_url.is_some() || part.video.is_some() || part.input_video.is_some() {
        "video_url"
    } else {
        "file"
    }
}

/// Returns where a part's media are, and the name of the field.
fn media<'a>(part: PartFields<'a>) -> Option<(Media<'a>, &'static str)> {
    let one = |url: Option<std::borrow::Cow<'a, str>>| url.map(Media::One);
    [
        (part.video_url, "video_url"),
        (part.image_url, "image_url"),
        (part.video, "video"),
        (part.image, "image"),
        (part.input_video, "input_video"),
        (part.input_image, "input_image"),
        (part.file, "file"),
        (one(part.url), "url"),
        (one(part.base64), "base64"),
        (one(part.data), "data"),
        (one(part.file_data), "file_data"),
        (one(part.file_url), "file_url"),
        (one(part.file_id), "file_id"),
    ]
    .into_iter()
    .find_map(|(media, name)| Some((media?, name)))
}

impl UnresolvedConversation {
    pub(super) fn new(
        turns: Vec<DraftTurn>,
        options: GenerationOptions,
        n: usize,
        limits: RequestLimits,
    ) -> Self {
        Self { turns, options, n, limits }
    }

    /// Resolves what the parts refer to, one after the other: looks up videos and files, and fetches URLs.
    pub(in crate::http::openai) async fn resolve(
        self,
        resolver: &mut Resolver<'_>,
    ) -> Result<Conversation, PartFailure> {
        let mut turns = Vec::with_capacity(self.turns.len());
        let (mut videos, mut images) = (0, 0);
        for (turn, DraftTurn { role, pieces, extra }) in self.turns.into_iter().enumerate() {
            let mut content = Vec::with_capacity(pieces.len());
            for (piece, draft) in pieces.into_iter().enumerate() {
                let here = |failure| PartFailure { turn, piece, failure };
                let resolved = match draft {
                    DraftPiece::Text(text) => Piece::Text(text),
                    DraftPiece::Image(source) => Piece::Image(source),
                    DraftPiece::Video(source, frames) => Piece::Video(source, frames),
                    DraftPiece::Frames(sources, fps, frames) => Piece::Frames(sources, fps, frames),
                    DraftPiece::Elsewhere(reference, wanted, frames) => {
                        match resolver.resolve(reference, wanted).await.map_err(here)? {
                            Resolved::Picture(source) => Piece::Image(source),
                            Resolved::Video(source) => Piece::Video(source, frames),
                        }
                    }
                };
                match &resolved {
                    Piece::Image(_) => images += 1,
                    Piece::Video(..) | Piece::Frames(..) => videos += 1,
                    Piece::Text(_) | Piece::Clip(_) => {}
                }
                check_counts(videos, images, 0, &self.limits).map_err(here)?;
                content.push(resolved);
            }
            turns.push(Turn { role, content, extra });
        }
        Ok(Conversation { turns, options: self.options, n: self.n })
    }
}
