//! Converts messages, and resolves what their parts refer to.

use homereel_engine::{GenerationOptions, MessageRole};
use serde_json::{Map, Value, value::RawValue};

use super::super::body::{MAX_FRAMES, MediaByMarker};
use super::super::media_url::Wanted;
use super::super::references::{Reference, Resolved, Resolver};
use super::super::wire::{Content, WireMessage, WirePart};
use super::part::{DraftPiece, Parts, piece};
use super::place::{Place, TurnPlace};
use super::{MAX_TEXT, RequestLimits, bounded};
use crate::http::error::{Failure, shown};
use crate::{
    answer::{Conversation, Piece, Turn},
    media::ClipRequest,
};

/// Maximum number of messages of a conversation.
const MAX_MESSAGES: usize = 1024;

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
pub(in crate::http::openai) struct DraftTurn {
    role: MessageRole,
    pieces: Vec<DraftPiece>,
    extra: Map<String, Value>,
}

/// A message, whatever API sent it.
#[derive(Debug)]
pub(in crate::http::openai) struct DraftMessage<'a> {
    pub(in crate::http::openai) place: Place,
    pub(in crate::http::openai) role: MessageRole,
    pub(in crate::http::openai) content: Option<Content<'a>>,
    /// Further fields for the chat template.
    pub(in crate::http::openai) extra: Map<String, Value>,
    /// How to sample its videos.
    pub(in crate::http::openai) frames: ClipRequest,
}

/// Converts the messages of a chat request.
pub(super) fn messages<'a>(
    messages: Vec<WireMessage<'a>>,
    frames: ClipRequest,
) -> Result<Vec<DraftMessage<'a>>, Failure> {
    if messages.len() > MAX_MESSAGES {
        return Err(too_many("messages", messages.len()));
    }
    let draft = |(at, message): (usize, WireMessage<'a>)| {
        let place = format!("messages[{at}]");
        let role = role(&place, &message.role)?;
        let extra = extra(&place, &message)?;
        let content = message.content.or(message.refusal.map(Content::Text));
        let place = Place::Request(place, "content");
        Ok(DraftMessage { place, role, content, extra, frames })
    };
    messages.into_iter().enumerate().map(draft).collect()
}

/// Returns the role of this name.
pub(in crate::http::openai) fn role(place: &str, name: &str) -> Result<MessageRole, Failure> {
    match name {
        "system" | "developer" => Ok(MessageRole::System),
        "user" => Ok(MessageRole::User),
        "assistant" => Ok(MessageRole::Assistant),
        "tool" => Ok(MessageRole::Tool),
        other => Err(Failure::invalid(
            format!("{place}.role"),
            format!("role {} is unknown; system, user, assistant or tool would fit", shown(other)),
        )),
    }
}

fn too_many(param: &str, found: usize) -> Failure {
    let message = format!("there are {found} messages; at most {MAX_MESSAGES} would fit");
    Failure::invalid(param, message)
}

/// Converts the messages that the parameter `param` has. Returns also where each of their parts comes from.
pub(in crate::http::openai) fn turns(
    param: &'static str,
    messages: Vec<DraftMessage<'_>>,
    limits: &RequestLimits,
    media: &mut MediaByMarker,
    warnings: &mut Vec<String>,
) -> Result<(Vec<DraftTurn>, Vec<TurnPlace>), Failure> {
    if messages.is_empty() {
        return Err(Failure::invalid(param, format!("{param} is empty; at least 1 would fit")));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(too_many(param, messages.len()));
    }
    let (mut turns, mut places) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for message in messages {
        let mut parts = Parts { frames: message.frames, media: &mut *media, warnings: &mut *warnings };
        let (turn, place) = turn(message, &mut parts)?;
        turns.push(turn);
        places.push(place);
    }
    count(param, &turns, limits)?;
    Ok((turns, places))
}

/// Checks the numbers of videos and images, as far as they are known: what is elsewhere may turn out as either, so it is
/// counted once more when it is resolved.
fn count(param: &str, turns: &[DraftTurn], limits: &RequestLimits) -> Result<(), Failure> {
    let (mut text, mut videos, mut images, mut either, mut frames) = (0, 0, 0, 0, 0);
    for piece in turns.iter().flat_map(|turn| &turn.pieces) {
        match piece {
            DraftPiece::Text(piece) => text += piece.len(),
            DraftPiece::Image(_) => images += 1,
            DraftPiece::Elsewhere(Reference::Library(_), ..) | DraftPiece::Elsewhere(_, Wanted::Video, _) => {
                videos += 1;
            }
            DraftPiece::Elsewhere(..) => either += 1,
            DraftPiece::Video(..) => videos += 1,
            DraftPiece::Frames(sources, ..) => {
                videos += 1;
                frames += sources.len();
            }
        }
    }
    if text > MAX_TEXT {
        let message = format!("the messages have {text} bytes of text; at most {MAX_TEXT} would fit");
        return Err(Failure::invalid(param, message));
    }
    // What a body may embed; a reference to an earlier frame takes no space in it.
    let most_frames = 2 * (limits.videos + limits.images + MAX_FRAMES);
    if frames > most_frames {
        let message = format!("the request has {frames} frames; at most {most_frames} would fit");
        return Err(Failure::invalid(param, message));
    }
    check_counts(videos, images, either, limits)
        .map_err(|failure| Failure { param: Some(param.to_owned()), ..failure })
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

fn turn(message: DraftMessage<'_>, parts: &mut Parts<'_>) -> Result<(DraftTurn, TurnPlace), Failure> {
    let DraftMessage { place, role, content, extra, frames: _ } = message;
    let (pieces, fields) = match content {
        // An assistant message that only calls tools, or that ended before its first token.
        None if role == MessageRole::Assistant => (Vec::new(), Vec::new()),
        None => {
            let message = format!("{} has no content; a string would fit", place.item());
            return Err(Failure::invalid(place.parts(), message));
        }
        Some(Content::Text(text)) => (vec![DraftPiece::Text(text.into_owned())], vec![""]),
        Some(Content::Parts(given)) => {
            let pieces = given.into_iter().enumerate().map(|(at, WirePart(fields))| {
                piece(fields, role, parts).map_err(|failure| {
                    let param = place.part(at, failure.param.as_deref().unwrap_or_default());
                    Failure { param: Some(param), ..failure }
                })
            });
            pieces.collect::<Result<Vec<_>, _>>()?.into_iter().unzip()
        }
    };
    Ok((DraftTurn { role, pieces, extra }, TurnPlace { place, fields }))
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

impl UnresolvedConversation {
    pub(in crate::http::openai) fn new(
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
