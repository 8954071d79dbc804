//! Converts a parsed request to a conversation. Validates every value; the error names the one that does not
//! fit.

mod options;

use homereel_engine::{GenerationOptions, MessageRole, ModelInfo};
use homereel_library::{Library, LibraryError};
use serde_json::{Map, Value};

use super::super::error::{Failure, shown};
use super::body::{ChatBody, MediaByMarker};
use super::media_url::{self, VideoReference};
use super::wire::{ChatRequest, Content, RawExtras, WireMessage, WirePart, is_empty};
use crate::{
    answer::{Conversation, Piece, Turn},
    media::{ClipRequest, Source},
};

/// Maximum number of messages of a conversation.
const MAX_MESSAGES: usize = 1024;

/// Maximum text of a conversation in bytes; longer than any model's context.
const MAX_TEXT: usize = 2 << 20;

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLimits {
    pub(super) videos: usize,
    pub(super) images: usize,
}

/// Requested form of the reply.
#[derive(Debug, Clone)]
pub(super) struct ReplyOptions {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) logprobs: bool,
}

/// A validated request, whose library videos are not yet looked up.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) want: ReplyOptions,
    pub(super) conversation: UnresolvedConversation,
}

/// A conversation, whose library videos are not yet looked up.
#[derive(Debug)]
pub(super) struct UnresolvedConversation {
    turns: Vec<DraftTurn>,
    options: GenerationOptions,
}

#[derive(Debug)]
struct DraftTurn {
    role: MessageRole,
    pieces: Vec<DraftPiece>,
    extra: Map<String, Value>,
}

#[derive(Debug)]
enum DraftPiece {
    Text(String),
    Image(Source),
    Video(VideoReference, ClipRequest),
}

/// Parses and validates a body.
pub(super) fn read(mut body: ChatBody, limits: &RequestLimits, info: &ModelInfo) -> Result<Draft, Failure> {
    let request = parse(&body.json)?;
    let want = want(&request, info)?;
    let mut options = options::options(&request, info.sampling.clone())?;
    options.response_format = options::response_format(&request)?;
    let frames = options::frames(&request)?;
    count(&request.messages, limits)?;
    if info.takes_extras {
        options.extra = parse_extras("", &request.extras())?;
    }
    let mut turns = Vec::with_capacity(request.messages.len());
    for (at, message) in request.messages.into_iter().enumerate() {
        turns.push(turn(at, message, frames, &mut body.media, info.takes_extras)?);
    }
    Ok(Draft { want, conversation: UnresolvedConversation { turns, options } })
}

/// Parses parameters that pass through to vLLM. `place` names the message, if they are one's.
fn parse_extras(place: &str, extras: &RawExtras<'_>) -> Result<Map<String, Value>, Failure> {
    let bytes: usize = extras.iter().map(|(_, value)| value.get().len()).sum();
    if bytes > MAX_TEXT {
        let first = extras.first().map_or("tools", |(name, _)| name);
        let message = format!(
            "{place}{first} and the parameters beside it have {bytes} bytes; at most {MAX_TEXT} would fit"
        );
        return Err(Failure::invalid(format!("{place}{first}"), message));
    }
    let mut parsed = Map::new();
    for (name, value) in extras {
        let param = format!("{place}{name}");
        let value: Value = serde_json::from_str(value.get())
            .map_err(|error| Failure::invalid(param.clone(), format!("{param}: {error}")))?;
        if matches!(*name, "tools" | "tool_calls") && !value.is_array() {
            return Err(Failure::invalid(param.clone(), format!("{param} is not an array")));
        }
        parsed.insert((*name).to_owned(), value);
    }
    Ok(parsed)
}

fn parse(body: &[u8]) -> Result<ChatRequest<'_>, Failure> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = serde_path_to_error::deserialize(&mut json);
    let request: ChatRequest<'_> = request.map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if path == "." {
            let code = if inner.is_data() { "invalid_value" } else { "invalid_json" };
            let missing = inner.to_string();
            let param = missing.split('`').nth(1).filter(|_| inner.is_data()).map(str::to_owned);
            return Failure {
                code,
                param,
                ..Failure::invalid("", format!("the body is invalid: {}", cut(&missing)))
            };
        }
        Failure::invalid(path.clone(), format!("{path}: {}", cut(&inner.to_string())))
    })?;
    json.end().map_err(|error| Failure {
        code: "invalid_json",
        param: None,
        ..Failure::invalid("", format!("the body is invalid: {error}"))
    })?;
    Ok(request)
}

/// Shortens serde's message, which quotes the invalid value and may contain a whole clip.
fn cut(message: &str) -> String {
    if message.len() <= 300 {
        return message.to_owned();
    }
    let head: String = message.chars().take(150).collect();
    let tail: Vec<char> = message.chars().rev().take(100).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

fn want(request: &ChatRequest<'_>, info: &ModelInfo) -> Result<ReplyOptions, Failure> {
    if let Some(n) = request.n.filter(|&n| n != 1) {
        return Err(Failure::invalid("n", format!("n is {n}; only 1 is supported")));
    }
    if !info.takes_extras && request.tools.is_some_and(|tools| !is_empty(tools)) {
        let message = "tools are only supported with --engine vllm; remove them";
        return Err(Failure::invalid("tools", message));
    }
    Ok(ReplyOptions {
        model: request.model.clone(),
        stream: request.stream.unwrap_or(false),
        include_usage: request
            .stream_options
            .as_ref()
            .and_then(|options| options.include_usage)
            .unwrap_or(false),
        logprobs: request.logprobs.unwrap_or(false),
    })
}

fn count(messages: &[WireMessage<'_>], limits: &RequestLimits) -> Result<(), Failure> {
    if messages.is_empty() {
        return Err(Failure::invalid("messages", "messages is empty; at least 1 would fit"));
    }
    if messages.len() > MAX_MESSAGES {
        let message = format!("there are {} messages; at most {MAX_MESSAGES} would fit", messages.len());
        return Err(Failure::invalid("messages", message));
    }
    let parts = || {
        messages.iter().flat_map(|message| match &message.content {
            Some(Content::Parts(parts)) => parts.as_slice(),
            _ => &[],
        })
    };
    let text: usize = messages
        .iter()
        .map(|message| match &message.content {
            Some(Content::Text(text)) => text.len(),
            _ => 0,
        })
        .chain(parts().filter_map(|part| part.text.as_ref()).map(|text| text.len()))
        .sum();
    if text > MAX_TEXT {
        let message = format!("the messages have {text} bytes of text; at most {MAX_TEXT} would fit");
        return Err(Failure::invalid("messages", message));
    }
    let counted = [
        ("video", parts().filter(|part| part.kind == "video_url").count(), limits.videos),
        ("image", parts().filter(|part| part.kind == "image_url").count(), limits.images),
    ];
    for (what, found, limit) in counted {
        if found > limit {
            let message = format!("the request has {found} {what}s; at most {limit} would fit");
            return Err(Failure::invalid("messages", message));
        }
    }
    Ok(())
}

fn turn(
    at: usize,
    message: WireMessage<'_>,
    frames: ClipRequest,
    media: &mut MediaByMarker,
    takes_extras: bool,
) -> Result<DraftTurn, Failure> {
    let extra =
        if takes_extras { parse_extras(&format!("messages[{at}]."), &message.extras())? } else { Map::new() };
    let role = match message.role.as_str() {
        "system" | "developer" => MessageRole::System,
        "user" => MessageRole::User,
        "assistant" => MessageRole::Assistant,
        "tool" => MessageRole::Tool,
        other => {
            return Err(Failure::invalid(
                format!("messages[{at}].role"),
                format!("role {} is unknown; system, user, assistant or tool would fit", shown(other)),
            ));
        }
    };
    let pieces = match message.content {
        // An assistant message that only calls tools.
        None if extra.contains_key("tool_calls") => Vec::new(),
        None => {
            let param = format!("messages[{at}].content");
            return Err(Failure::invalid(
                param,
                format!("messages[{at}] has no content; a string would fit"),
            ));
        }
        Some(Content::Text(text)) => vec![DraftPiece::Text(text.into_owned())],
        Some(Content::Parts(parts)) => {
            let pieces = parts.into_iter().enumerate().map(|(part_at, part)| {
                piece(part, role, frames, media).map_err(|failure| Failure {
                    param: Some(match failure.param {
                        Some(param) => format!("messages[{at}].content[{part_at}].{param}"),
                        None => format!("messages[{at}].content[{part_at}]"),
                    }),
                    ..failure
                })
            });
            pieces.collect::<Result<_, _>>()?
        }
    };
    Ok(DraftTurn { role, pieces, extra })
}

fn piece(
    part: WirePart<'_>,
    role: MessageRole,
    frames: ClipRequest,
    media: &mut MediaByMarker,
) -> Result<DraftPiece, Failure> {
    let lacking = |param: &str| Failure::invalid(param, format!("a part of type {param} needs {param}"));
    match part.kind.as_str() {
        "text" => Ok(DraftPiece::Text(part.text.ok_or_else(|| lacking("text"))?.into_owned())),
        "image_url" | "video_url" if role != MessageRole::User => {
            Err(Failure::invalid("type", format!("{} is only supported in user messages", part.kind)))
        }
        "image_url" => {
            let url = part.image_url.ok_or_else(|| lacking("image_url"))?.url;
            Ok(DraftPiece::Image(media_url::image(&url, media)?))
        }
        "video_url" => {
            let url = part.video_url.ok_or_else(|| lacking("video_url"))?.url;
            Ok(DraftPiece::Video(media_url::video(&url, media)?, frames))
        }
        other => Err(Failure::invalid(
            "type",
            format!(
                "parts of type {} are not supported; text, image_url or video_url would fit",
                shown(other)
            ),
        )),
    }
}

impl UnresolvedConversation {
    /// Looks up the library's videos.
    pub(super) async fn resolve(self, library: &Library) -> Result<Conversation, Failure> {
        let mut turns = Vec::with_capacity(self.turns.len());
        for DraftTurn { role, pieces, extra } in self.turns {
            let mut content = Vec::with_capacity(pieces.len());
            for piece in pieces {
                content.push(match piece {
                    DraftPiece::Text(text) => Piece::Text(text),
                    DraftPiece::Image(source) => Piece::Image(source),
                    DraftPiece::Video(VideoReference::Scratch(source), frames) => {
                        Piece::Video(source, frames)
                    }
                    DraftPiece::Video(VideoReference::Library(id), frames) => {
                        Piece::Video(stored(library, &id).await?, frames)
                    }
                });
            }
            turns.push(Turn { role, content, extra });
        }
        Ok(Conversation { turns, options: self.options })
    }
}

async fn stored(library: &Library, id: &str) -> Result<Source, Failure> {
    match library.video(id).await {
        Ok(video) => Ok(Source::file(library.original_path(&video.sha256), Some(video.sha256))),
        Err(error @ LibraryError::NotFound { .. }) => {
            Err(Failure { param: Some("video_url".into()), ..Failure::not_found(error.to_string()) })
        }
        Err(error) => Err(error.into()),
    }
}
