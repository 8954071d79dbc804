//! The items of a conversation in the Responses API, and the messages that they are for a chat template.

use std::{borrow::Cow, collections::HashSet};

use homereel_engine::MessageRole;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

use super::super::convert::{
    place::Place,
    turns::{DraftMessage, role},
};
use super::super::wire::{Content, WirePart};
use crate::http::error::{Failure, shown};
use crate::media::ClipRequest;

/// An item as clients send it, and as [`super::record`] keeps it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "an item: an object")]
pub(super) struct WireItem<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) arguments: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) output: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) summary: Option<Content<'a>>,
    pub(super) encrypted_content: Option<IgnoredAny>,
}

/// The kinds of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Call,
    CallOutput,
    Reasoning,
    Reference,
}

impl WireItem<'_> {
    /// Returns what the item is. A message may leave its type out, and so may a reference, which only has an id.
    ///
    /// # Errors
    /// For types of built-in tools and unknown ones.
    pub(super) fn kind(&self, place: &str) -> Result<Kind, Failure> {
        const KNOWN: &str =
            "message, function_call, function_call_output, reasoning or item_reference would fit";
        let param = || format!("{place}.type");
        match self.kind.as_deref() {
            Some("message") => Ok(Kind::Message),
            Some("function_call") => Ok(Kind::Call),
            Some("function_call_output") => Ok(Kind::CallOutput),
            Some("reasoning") => Ok(Kind::Reasoning),
            Some("item_reference") => Ok(Kind::Reference),
            None if self.role.is_some() => Ok(Kind::Message),
            None if self.id.is_some() && self.content.is_none() && self.output.is_none() => {
                Ok(Kind::Reference)
            }
            None => Err(Failure::invalid(param(), format!("{} is missing; {KNOWN}", param()))),
            Some(other) => {
                let message = format!("items of type {} are not supported; {KNOWN}", shown(other));
                Err(Failure::invalid(param(), message))
            }
        }
    }
}

/// Builds the messages of a conversation from its items, in order.
#[derive(Debug, Default)]
pub(super) struct MessageBuilder<'a> {
    messages: Vec<DraftMessage<'a>>,
    /// Ids of the calls so far.
    calls: HashSet<String>,
    /// Reasoning that belongs to the assistant's next message.
    reasoning: Option<String>,
    /// Whether a call belongs to the last message.
    in_answer: bool,
}

impl<'a> MessageBuilder<'a> {
    /// Adds a message of one text.
    pub(super) fn add_text(&mut self, place: &str, role: MessageRole, text: Cow<'a, str>) {
        let place = Place::Request(place.to_owned(), "content");
        self.push(place, role, Some(Content::Text(text)), Map::new(), ClipRequest::default());
    }

    /// Adds an item, which is number `at` of the request, or of an earlier response.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub(super) fn add(
        &mut self,
        at: Option<usize>,
        item: WireItem<'a>,
        frames: ClipRequest,
    ) -> Result<(), Failure> {
        let place = |field| match at {
            Some(at) => Place::Request(format!("input[{at}]"), field),
            None => Place::Earlier,
        };
        let name = place("").item().to_owned();
        let needed = |field: &str, value: Option<Cow<'a, str>>| {
            value.map(Cow::into_owned).ok_or_else(|| {
                let param = format!("{name}.{field}");
                Failure::invalid(param.clone(), format!("{param} is missing; a string would fit"))
            })
        };
        match item.kind(&name)? {
            Kind::Message => {
                let role_name = needed("role", item.role)?;
                if role_name == "tool" {
                    let message =
                        "role tool is for chat completions; send an item of type function_call_output";
                    return Err(Failure::invalid(format!("{name}.role"), message));
                }
                let role = role(&name, &role_name)?;
                let extra = if role == MessageRole::Assistant { self.take_reasoning() } else { Map::new() };
                self.push(place("content"), role, item.content, extra, frames);
                self.in_answer = role == MessageRole::Assistant;
            }
            Kind::Call => {
                let call_id = needed("call_id", item.call_id)?;
                let function = json!({ "name": needed("name", item.name)?, "arguments": needed("arguments", item.arguments)? });
                let call = json!({ "id": call_id, "type": "function", "function": function });
                self.calls.insert(call_id);
                if !self.in_answer {
                    let extra = self.take_reasoning();
                    self.push(place("content"), MessageRole::Assistant, None, extra, frames);
                    self.in_answer = true;
                }
                let message = self.messages.last_mut();
                let calls =
                    message.map(|message| message.extra.entry("tool_calls").or_insert_with(|| json!([])));
                if let Some(Value::Array(calls)) = calls {
                    calls.push(call);
                }
            }
            Kind::CallOutput => {
                let call_id = needed("call_id", item.call_id)?;
                if !self.calls.contains(&call_id) {
                    let message = format!(
                        "no function_call before this item has the call_id {}; send the call too, or previous_response_id",
                        shown(&call_id)
                    );
                    return Err(Failure::invalid(format!("{name}.call_id"), message));
                }
                let extra = Map::from_iter([("tool_call_id".to_owned(), call_id.into())]);
                self.push(place("output"), MessageRole::Tool, item.output, extra, frames);
            }
            Kind::Reasoning => {
                let texts = [item.content, item.summary].into_iter().flatten().map(text_of);
                if let Some(text) = texts.into_iter().find(|text| !text.is_empty()) {
                    self.reasoning.get_or_insert_default().push_str(&text);
                }
                self.in_answer = false;
            }
            Kind::Reference => {
                let message = format!("{name} is a reference within a reference");
                return Err(Failure::invalid(name, message));
            }
        }
        Ok(())
    }

    /// Returns the messages.
    pub(super) fn finish(self) -> Vec<DraftMessage<'a>> {
        self.messages
    }

    fn push(
        &mut self,
        place: Place,
        role: MessageRole,
        content: Option<Content<'a>>,
        extra: Map<String, Value>,
        frames: ClipRequest,
    ) {
        self.in_answer = false;
        self.messages.push(DraftMessage { place, role, content, extra, frames });
    }

    fn take_reasoning(&mut self) -> Map<String, Value> {
        let reasoning = self.reasoning.take();
        // vLLM has two names for it.
        let fields = |text: String| {
            [("reasoning".to_owned(), text.clone().into()), ("reasoning_content".to_owned(), text.into())]
        };
        reasoning.map(fields).into_iter().flatten().collect()
    }
}

fn text_of(content: Content<'_>) -> String {
    match content {
        Content::Text(text) => text.into_owned(),
        Content::Parts(parts) => parts.into_iter().filter_map(|WirePart(part)| part.text).collect(),
    }
}
