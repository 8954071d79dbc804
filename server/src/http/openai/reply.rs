//! Builds responses: one object, or chunks as server-sent events. Does not depend on the request's types.

use std::{convert::Infallible, time::Duration};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use homereel_engine::{TokenLogprob, Usage};
use serde_json::{Map, Value, json};

use super::super::error::OpenAiError;
use super::convert::ReplyOptions;
use crate::{
    answer::{AnswerStream, AskEvent, Finished},
    ask_error::AskError,
    media::MediaReport,
};

/// Interval of keep-alives on a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Fields that every chunk repeats.
#[derive(Debug)]
pub(super) struct ReplyHead {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

/// Waits for the end of the answer and returns it as one object.
pub(super) async fn whole(
    head: ReplyHead,
    mut answering: AnswerStream,
    want: &ReplyOptions,
) -> Result<Value, AskError> {
    let mut text = String::new();
    let mut media = Vec::new();
    let mut logprobs = Vec::new();
    let mut besides = Map::new();
    while let Some(event) = answering.next().await {
        match event? {
            AskEvent::Queued { .. } | AskEvent::Progress { .. } => {}
            AskEvent::Media(report) => media.push(report),
            AskEvent::Token { text: piece, id, logprob } => {
                logprobs.extend(logprob.as_ref().map(|logprob| token_logprob(&piece, id, logprob)));
                text.push_str(&piece);
            }
            AskEvent::Delta(piece) => join(&mut besides, piece),
            AskEvent::Done(finished) => {
                let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
                if besides.contains_key("tool_calls") && text.is_empty() {
                    message["content"] = Value::Null;
                }
                for (name, value) in besides {
                    message[name] = value;
                }
                let logprobs = if want.logprobs { json!({ "content": logprobs }) } else { Value::Null };
                return Ok(json!({
                    "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
                    "choices": [{
                        "index": 0,
                        "message": message,
                        "logprobs": logprobs,
                        "finish_reason": finished.finish_reason,
                    }],
                    "usage": usage(&finished.usage),
                    "homereel": extras(&finished, &media),
                }));
            }
        }
    }
    Err(homereel_engine::EngineError::Incomplete.into())
}

/// Streams the answer: progress as comments, which clients ignore, then chunks, then `[DONE]`.
pub(super) fn stream(
    head: ReplyHead,
    first: Vec<AskEvent>,
    answering: AnswerStream,
    want: ReplyOptions,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut state = ReplyStream {
        head,
        answering,
        want,
        media: Vec::new(),
        queue: Vec::new(),
        started: false,
        over: false,
    };
    state.queue = first.into_iter().flat_map(|event| state.render(event)).collect();
    state.queue.reverse();
    let events = futures_util::stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok(event), state))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct ReplyStream {
    head: ReplyHead,
    answering: AnswerStream,
    want: ReplyOptions,
    media: Vec<MediaReport>,
    /// Events to send before the next one is requested, in reverse order.
    queue: Vec<Event>,
    started: bool,
    over: bool,
}

impl ReplyStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let events = match self.answering.next().await? {
                Ok(event) => self.render(event),
                Err(error) => {
                    self.over = true;
                    // The status was sent long ago, so the error is an event in OpenAI's format, without
                    // [DONE].
                    vec![Event::default().data(OpenAiError(error.into()).body().to_string())]
                }
            };
            self.queue = events;
            self.queue.reverse();
        }
    }

    fn render(&mut self, event: AskEvent) -> Vec<Event> {
        match event {
            AskEvent::Queued { position } => vec![comment(format!("queued {position}"))],
            AskEvent::Progress { stage, done, total } => {
                vec![comment(format!("{} {done}/{total}", stage.as_str()))]
            }
            AskEvent::Media(report) => {
                self.media.push(report);
                Vec::new()
            }
            AskEvent::Token { text, id, logprob } => {
                let mut events = self.role();
                let logprobs = match logprob.filter(|_| self.want.logprobs) {
                    Some(logprob) => json!({ "content": [token_logprob(&text, id, &logprob)] }),
                    None if text.is_empty() => return events,
                    None => Value::Null,
                };
                events.push(self.chunk(json!([{
                    "index": 0, "delta": { "content": text }, "logprobs": logprobs, "finish_reason": null,
                }])));
                events
            }
            AskEvent::Delta(besides) => {
                let mut events = self.role();
                events.push(self.chunk(json!([{
                    "index": 0, "delta": besides, "logprobs": null, "finish_reason": null,
                }])));
                events
            }
            AskEvent::Done(finished) => {
                self.over = true;
                let mut events = self.role();
                let mut last = self.body(json!([{
                    "index": 0, "delta": {}, "logprobs": null, "finish_reason": finished.finish_reason,
                }]));
                last["homereel"] = extras(&finished, &self.media);
                events.push(Event::default().data(last.to_string()));
                if self.want.include_usage {
                    let mut counts = self.body(json!([]));
                    counts["usage"] = usage(&finished.usage);
                    events.push(Event::default().data(counts.to_string()));
                }
                events.push(Event::default().data("[DONE]"));
                events
            }
        }
    }

    /// The first chunk has the role.
    fn role(&mut self) -> Vec<Event> {
        if std::mem::replace(&mut self.started, true) {
            return Vec::new();
        }
        vec![self.chunk(json!([{
            "index": 0, "delta": { "role": "assistant", "content": "" }, "logprobs": null, "finish_reason": null,
        }]))]
    }

    fn chunk(&self, choices: Value) -> Event {
        Event::default().data(self.body(choices).to_string())
    }

    fn body(&self, choices: Value) -> Value {
        let ReplyHead { id, created, model } = &self.head;
        let mut body = json!({
            "id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices,
        });
        if self.want.include_usage {
            body["usage"] = Value::Null;
        }
        body
    }
}

/// Merges a fragment of OpenAI's `delta` into the earlier ones: strings are appended, entries with an `index`
/// are merged by it.
fn join(whole: &mut Map<String, Value>, piece: Map<String, Value>) {
    for (name, piece) in piece {
        match whole.get_mut(&name) {
            None => {
                let piece = match piece {
                    Value::Array(pieces) => joined_list(Vec::new(), pieces),
                    other => other,
                };
                whole.insert(name, piece);
            }
            Some(Value::String(text)) if piece.is_string() && !matches!(name.as_str(), "id" | "type") => {
                text.push_str(piece.as_str().unwrap_or_default());
            }
            Some(Value::Object(fields)) if piece.is_object() => {
                if let Value::Object(piece) = piece {
                    join(fields, piece);
                }
            }
            Some(list @ Value::Array(_)) if piece.is_array() => {
                if let (Value::Array(before), Value::Array(pieces)) = (list.take(), piece) {
                    *list = joined_list(before, pieces);
                }
            }
            Some(other) => *other = piece,
        }
    }
}

fn joined_list(mut list: Vec<Value>, pieces: Vec<Value>) -> Value {
    for piece in pieces {
        let index = piece.get("index").and_then(Value::as_u64);
        let own = |known: &&mut Value| index.is_some() && known.get("index").and_then(Value::as_u64) == index;
        match (list.iter_mut().find(own), piece) {
            (Some(Value::Object(known)), Value::Object(piece)) => join(known, piece),
            (_, piece) => list.push(piece),
        }
    }
    list.into()
}

/// A comment: `EventSource` and OpenAI clients ignore it.
fn comment(text: String) -> Event {
    Event::default().comment(text)
}

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
    })
}

/// Fields outside of OpenAI's format.
fn extras(finished: &Finished, media: &[MediaReport]) -> Value {
    json!({ "stages_ms": finished.stages_ms, "media": media, "warnings": finished.warnings })
}

fn token_logprob(text: &str, id: Option<u32>, logprob: &TokenLogprob) -> Value {
    // While a character is incomplete the token has no text; the alternatives may have it.
    let token =
        logprob.top.iter().find(|(_, top, _)| id.is_some() && *top == id).map_or(text, |(token, _, _)| token);
    let one =
        |token: &str, value: f32| json!({ "token": token, "logprob": value, "bytes": token.as_bytes() });
    let mut entry = one(token, logprob.logprob);
    entry["top_logprobs"] = logprob.top.iter().map(|(token, _, value)| one(token, *value)).collect();
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_calls_are_joined_by_their_index() {
        let pieces = [
            json!({ "reasoning": "a" }),
            json!({ "tool_calls": [{ "index": 0, "id": "x", "type": "function", "function": { "name": "f", "arguments": "{\"a\"" } }] }),
            json!({ "reasoning": "b", "tool_calls": [{ "index": 1, "id": "y", "function": { "name": "g" } }] }),
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": ": 1}" } }] }),
        ];
        let mut whole = Map::new();
        for piece in pieces {
            join(&mut whole, piece.as_object().unwrap().clone());
        }
        assert_eq!(whole["reasoning"], "ab");
        assert_eq!(whole["tool_calls"].as_array().unwrap().len(), 2);
        let function = &whole["tool_calls"][0]["function"];
        assert_eq!((&function["name"], &function["arguments"]), (&json!("f"), &json!("{\"a\": 1}")));
        assert_eq!(whole["tool_calls"][1]["id"], "y");
    }
}
