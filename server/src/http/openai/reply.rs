//! Builds chat completions: one object, or chunks as server-sent events. Does not depend on the request's types.

use axum::response::sse::Event;
use homereel_engine::{TokenLogprob, Usage};
use serde_json::{Map, Value, json};

use super::super::error::{Failure, OpenAiError};
use super::convert::{PartFailure, ReplyOptions};
use super::sse::{Renderer, progress};
use crate::{
    answer::{AnswerStream, AskEvent, Finished, StagesMs},
    ask_error::AskError,
    media::MediaReport,
};

/// Fields that every chunk repeats.
#[derive(Debug)]
pub(super) struct ReplyHead {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

/// One answer of a reply that is not streamed.
#[derive(Debug, Default)]
struct Choice {
    text: String,
    logprobs: Vec<Value>,
    /// What the answer has besides text.
    besides: Map<String, Value>,
    finish_reason: Value,
}

impl Choice {
    fn into_json(mut self, index: usize, want: &ReplyOptions) -> Value {
        let mut message = json!({ "role": "assistant", "content": self.text, "refusal": null });
        if let Some(Value::Array(calls)) = self.besides.get_mut("tool_calls") {
            // A field of streams; clients send the message back as it is.
            for call in calls.iter_mut().filter_map(Value::as_object_mut) {
                call.shift_remove("index");
            }
            if self.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        for (name, value) in self.besides {
            message[name] = value;
        }
        let logprobs = if want.logprobs { json!({ "content": self.logprobs }) } else { Value::Null };
        json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": self.finish_reason })
    }
}

/// Waits for the end of all answers and returns them as one object.
pub(super) async fn whole(
    head: ReplyHead,
    mut answering: AnswerStream,
    want: &ReplyOptions,
) -> Result<Value, Failure> {
    let mut choices: Vec<Choice> = Vec::new();
    let mut totals = Totals::default();
    while let Some(event) = answering.next_of_any().await {
        let (index, event) = event.map_err(|error| located(error, want))?;
        if choices.len() <= index {
            choices.resize_with(index + 1, Choice::default);
        }
        let choice = &mut choices[index];
        match event {
            AskEvent::Queued { .. } | AskEvent::Progress { .. } => {}
            AskEvent::Media(report) => totals.media.push(report),
            AskEvent::Token { text: piece, id, logprob } => {
                choice.logprobs.extend(logprob.as_ref().map(|logprob| token_logprob(&piece, id, logprob)));
                choice.text.push_str(&piece);
            }
            AskEvent::Delta(piece) => join(&mut choice.besides, piece),
            AskEvent::Done(finished) => {
                choice.finish_reason = json!(finished.finish_reason);
                totals.add(finished);
            }
        }
    }
    let extras = totals.extras(want);
    let choices = choices.into_iter().enumerate().map(|(index, choice)| choice.into_json(index, want));
    Ok(json!({
        "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
        "choices": choices.collect::<Vec<_>>(),
        "usage": usage(&totals.usage),
        "homereel": extras,
    }))
}

/// What is reported of all answers together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) media: Vec<MediaReport>,
    pub(super) usage: Usage,
    /// Of all answers, each once.
    pub(super) warnings: Vec<String>,
    /// Of the answer that ended last.
    stages_ms: Option<StagesMs>,
}

impl Totals {
    pub(super) fn add(&mut self, finished: Finished) {
        // The answers share the prompt.
        self.usage.prompt_tokens = finished.usage.prompt_tokens;
        self.usage.cached_tokens = match self.stages_ms {
            Some(_) => self.usage.cached_tokens.min(finished.usage.cached_tokens),
            None => finished.usage.cached_tokens,
        };
        self.usage.completion_tokens += finished.usage.completion_tokens;
        for warning in finished.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        self.stages_ms = Some(finished.stages_ms);
    }

    /// Returns the fields outside of OpenAI's format.
    pub(super) fn extras(&self, want: &ReplyOptions) -> Value {
        let warnings: Vec<&String> = want.warnings.iter().chain(&self.warnings).collect();
        json!({ "stages_ms": self.stages_ms, "media": self.media, "warnings": warnings })
    }
}

/// Names the part of the request that an error is about.
pub(super) fn located(error: AskError, want: &ReplyOptions) -> Failure {
    let (error, place) = error.split();
    let failure = Failure::from(error);
    let Some((turn, piece)) = place else { return failure };
    placed(PartFailure { turn, piece, failure }, want)
}

/// Names the part that an error is about, unless it is about all of them or the server.
pub(super) fn placed(PartFailure { turn, piece, failure }: PartFailure, want: &ReplyOptions) -> Failure {
    if !failure.status.is_client_error() || failure.param.as_deref() == Some("messages") {
        return failure;
    }
    match want.places.get(turn) {
        Some(place) => Failure { param: Some(place.part(piece)), ..failure },
        None => failure,
    }
}

/// Renders chat completions as chunks, which `[DONE]` follows.
pub(super) struct ChunkRenderer {
    head: ReplyHead,
    want: ReplyOptions,
    totals: Totals,
    /// Per answer, whether its first chunk was sent.
    started: Vec<bool>,
}

impl ChunkRenderer {
    pub(super) fn new(head: ReplyHead, want: ReplyOptions) -> Self {
        Self { head, want, totals: Totals::default(), started: Vec::new() }
    }
}

impl Renderer for ChunkRenderer {
    fn render(&mut self, index: usize, event: AskEvent) -> Vec<Event> {
        match event {
            AskEvent::Queued { .. } | AskEvent::Progress { .. } => progress(&event).into_iter().collect(),
            AskEvent::Media(report) => {
                self.totals.media.push(report);
                Vec::new()
            }
            AskEvent::Token { text, id, logprob } => {
                let mut events = self.role(index);
                let logprobs = match logprob.filter(|_| self.want.logprobs) {
                    Some(logprob) => json!({ "content": [token_logprob(&text, id, &logprob)] }),
                    None if text.is_empty() => return events,
                    None => Value::Null,
                };
                events.push(self.chunk(index, json!({ "content": text }), logprobs));
                events
            }
            AskEvent::Delta(besides) => {
                let mut events = self.role(index);
                events.push(self.chunk(index, Value::Object(besides), Value::Null));
                events
            }
            AskEvent::Done(finished) => {
                let mut events = self.role(index);
                let mut last = self.body(json!([{
                    "index": index, "delta": {}, "logprobs": null, "finish_reason": finished.finish_reason,
                }]));
                self.totals.add(finished);
                last["homereel"] = self.totals.extras(&self.want);
                events.push(Event::default().data(last.to_string()));
                events
            }
        }
    }

    fn fail(&mut self, error: AskError) -> Vec<Event> {
        // In OpenAI's format, without [DONE].
        vec![Event::default().data(OpenAiError(located(error, &self.want)).body().to_string())]
    }

    async fn end(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.want.include_usage {
            let mut counts = self.body(json!([]));
            counts["usage"] = usage(&self.totals.usage);
            events.push(Event::default().data(counts.to_string()));
        }
        events.push(Event::default().data("[DONE]"));
        events
    }
}

impl ChunkRenderer {
    /// The first chunk of an answer has the role.
    fn role(&mut self, index: usize) -> Vec<Event> {
        if self.started.len() <= index {
            self.started.resize(index + 1, false);
        }
        if std::mem::replace(&mut self.started[index], true) {
            return Vec::new();
        }
        vec![self.chunk(index, json!({ "role": "assistant", "content": "" }), Value::Null)]
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Value) -> Event {
        let choice = json!([{ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null }]);
        Event::default().data(self.body(choice).to_string())
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

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
    })
}

/// Returns the log-probabilities of a token in OpenAI's form.
pub(super) fn token_logprob(text: &str, id: Option<u32>, logprob: &TokenLogprob) -> Value {
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
