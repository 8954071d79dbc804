//! The output items of an answer, and the events that build them.

use homereel_engine::TokenLogprob;
use serde_json::{Map, Value, json};

use super::super::reply::token_logprob;
use super::canonical::ItemIds;

/// The kind and content of an output item.
#[derive(Debug)]
enum Content {
    Message { text: String, logprobs: Vec<Value> },
    Reasoning { text: String },
    Call { index: u64, call_id: String, name: String, arguments: String },
}

/// An output item.
#[derive(Debug)]
struct Item {
    id: String,
    content: Content,
    /// `in_progress`, `completed` or `incomplete`.
    status: &'static str,
}

/// An event without its number: its type and fields.
pub(super) type Change = (&'static str, Value);

/// The output so far. Each method returns the events that it causes.
#[derive(Debug)]
pub(super) struct Output {
    ids: ItemIds,
    items: Vec<Item>,
}

impl Output {
    /// Starts an empty output, whose items get the next of `ids`.
    pub(super) fn new(ids: ItemIds) -> Self {
        Self { ids, items: Vec::new() }
    }

    /// Returns the items.
    pub(super) fn to_json(&self) -> Value {
        self.items.iter().map(Item::to_json).collect()
    }

    /// Adds a token of text. `logprob` is given if log-probabilities are wanted.
    pub(super) fn token(
        &mut self,
        text: &str,
        id: Option<u32>,
        logprob: Option<&TokenLogprob>,
    ) -> Vec<Change> {
        let added = logprob.map(|logprob| token_logprob(text, id, logprob));
        if text.is_empty() && added.is_none() {
            return Vec::new();
        }
        let mut changes = Vec::new();
        if !matches!(self.open(), Some(Item { content: Content::Message { .. }, .. })) {
            changes = self.close_texts("completed");
            changes.extend(self.begin("msg", Content::Message { text: String::new(), logprobs: Vec::new() }));
        }
        let at = self.items.len() - 1;
        let Some(Item { id, content: Content::Message { text: whole, logprobs }, .. }) =
            self.items.last_mut()
        else {
            return changes;
        };
        whole.push_str(text);
        logprobs.extend(added.clone());
        let added: Vec<Value> = added.into_iter().collect();
        changes.push((
            "response.output_text.delta",
            json!({ "item_id": id, "output_index": at, "content_index": 0, "delta": text, "logprobs": added }),
        ));
        changes
    }

    /// Adds a piece of OpenAI's `delta` other than text.
    pub(super) fn delta(&mut self, mut delta: Map<String, Value>) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(Value::String(text)) = delta.remove("reasoning") {
            changes.extend(self.reasoning(&text));
        }
        if let Some(Value::Array(calls)) = delta.remove("tool_calls") {
            changes.extend(calls.iter().flat_map(|call| self.call(call)));
        }
        changes
    }

    /// Ends the output; `is_cut` means that a limit did. An empty answer is an empty message.
    pub(super) fn finish(&mut self, is_cut: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.items.is_empty() {
            changes.extend(self.begin("msg", Content::Message { text: String::new(), logprobs: Vec::new() }));
        }
        // Calls may grow in turns, so that they end with the answer.
        let last = self.items.len() - 1;
        for at in 0..self.items.len() {
            let status = if is_cut && at == last { "incomplete" } else { "completed" };
            changes.extend(self.close(at, status));
        }
        changes
    }

    fn reasoning(&mut self, text: &str) -> Vec<Change> {
        let mut changes = Vec::new();
        if !matches!(self.open(), Some(Item { content: Content::Reasoning { .. }, .. })) {
            changes = self.close_texts("completed");
            changes.extend(self.begin("rs", Content::Reasoning { text: String::new() }));
        }
        let at = self.items.len() - 1;
        if let Some(Item { id, content: Content::Reasoning { text: whole }, .. }) = self.items.last_mut() {
            whole.push_str(text);
            changes.push((
                "response.reasoning_text.delta",
                json!({ "item_id": id, "output_index": at, "content_index": 0, "delta": text }),
            ));
        }
        changes
    }

    /// Adds a piece of a call.
    fn call(&mut self, piece: &Value) -> Vec<Change> {
        let number = piece.get("index").and_then(Value::as_u64).unwrap_or_default();
        let text = |pointer: &str| piece.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let known = self
            .items
            .iter()
            .position(|item| matches!(item.content, Content::Call { index, .. } if index == number));
        let mut changes = Vec::new();
        let at = known.unwrap_or_else(|| {
            changes = self.close_texts("completed");
            let call_id = match text("/id") {
                "" => format!("call_{}", homereel_library::new_id()),
                id => id.to_owned(),
            };
            let call = Content::Call {
                index: number,
                call_id,
                name: text("/function/name").to_owned(),
                arguments: String::new(),
            };
            changes.extend(self.begin("fc", call));
            self.items.len() - 1
        });
        let delta = text("/function/arguments");
        if let Item { id, content: Content::Call { arguments, .. }, .. } = &mut self.items[at]
            && !delta.is_empty()
        {
            arguments.push_str(delta);
            changes.push((
                "response.function_call_arguments.delta",
                json!({ "item_id": id, "output_index": at, "delta": delta }),
            ));
        }
        changes
    }

    /// Returns the last item, if it has not ended.
    fn open(&self) -> Option<&Item> {
        self.items.last().filter(|item| item.status == "in_progress")
    }

    /// Ends an open message or reasoning, because another item follows.
    fn close_texts(&mut self, status: &'static str) -> Vec<Change> {
        match self.open() {
            Some(Item { content: Content::Message { .. } | Content::Reasoning { .. }, .. }) => {
                self.close(self.items.len() - 1, status)
            }
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, prefix: &str, content: Content) -> Vec<Change> {
        let at = self.items.len();
        let item = Item { id: self.ids.next(prefix), content, status: "in_progress" };
        let mut shown = item.to_json();
        if !matches!(item.content, Content::Call { .. }) {
            shown["content"] = json!([]);
        }
        let mut changes = vec![("response.output_item.added", json!({ "output_index": at, "item": shown }))];
        if let Some(part) = item.part() {
            changes.push((
                "response.content_part.added",
                json!({ "item_id": item.id, "output_index": at, "content_index": 0, "part": part }),
            ));
        }
        self.items.push(item);
        changes
    }

    fn close(&mut self, at: usize, status: &'static str) -> Vec<Change> {
        let item = &mut self.items[at];
        if item.status != "in_progress" {
            return Vec::new();
        }
        item.status = status;
        let id = &item.id;
        let mut changes = vec![match &item.content {
            Content::Message { text, logprobs } => (
                "response.output_text.done",
                json!({ "item_id": id, "output_index": at, "content_index": 0, "text": text, "logprobs": logprobs }),
            ),
            Content::Reasoning { text } => (
                "response.reasoning_text.done",
                json!({ "item_id": id, "output_index": at, "content_index": 0, "text": text }),
            ),
            Content::Call { name, arguments, .. } => (
                "response.function_call_arguments.done",
                json!({ "item_id": id, "output_index": at, "name": name, "arguments": arguments }),
            ),
        }];
        if let Some(part) = item.part() {
            changes.push((
                "response.content_part.done",
                json!({ "item_id": id, "output_index": at, "content_index": 0, "part": part }),
            ));
        }
        changes.push(("response.output_item.done", json!({ "output_index": at, "item": item.to_json() })));
        changes
    }
}

impl Item {
    /// Returns the only part of an item that has parts.
    fn part(&self) -> Option<Value> {
        match &self.content {
            Content::Message { text, logprobs } => {
                Some(json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": logprobs }))
            }
            Content::Reasoning { text } => Some(json!({ "type": "reasoning_text", "text": text })),
            Content::Call { .. } => None,
        }
    }

    fn to_json(&self) -> Value {
        let Self { id, content, status } = self;
        match content {
            Content::Message { .. } => json!({
                "id": id, "type": "message", "status": status, "role": "assistant",
                "content": self.part().map(|part| [part]),
            }),
            Content::Reasoning { .. } => json!({
                "id": id, "type": "reasoning", "status": status, "summary": [],
                "content": self.part().map(|part| [part]),
            }),
            Content::Call { call_id, name, arguments, .. } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name,
                "arguments": arguments,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|(name, _)| name.trim_start_matches("response.")).collect()
    }

    fn call(index: u64, function: Value) -> Map<String, Value> {
        let call = json!({ "index": index, "id": format!("call_{index}"), "function": function });
        Map::from_iter([("tool_calls".to_owned(), json!([call]))])
    }

    #[test]
    fn reasoning_text_and_calls_become_items_in_their_order() {
        let mut output = Output::new(ItemIds::new("r"));
        let thought = Map::from_iter([("reasoning".to_owned(), "hm".into())]);
        let begun = output.delta(thought);
        assert_eq!(names(&begun), ["output_item.added", "content_part.added", "reasoning_text.delta"]);
        assert_eq!(begun[0].1["item"]["content"], json!([]));
        let text = output.token("Red", Some(1), None);
        assert_eq!(
            names(&text),
            [
                "reasoning_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "content_part.added",
                "output_text.delta"
            ]
        );
        assert!(output.token("", Some(1), None).is_empty(), "an incomplete character");
        output.delta(call(0, json!({ "name": "f", "arguments": "" })));
        output.delta(call(1, json!({ "name": "g", "arguments": "{" })));
        // vLLM may add to an earlier call.
        let more = output.delta(call(0, json!({ "arguments": "{}" })));
        assert_eq!(names(&more), ["function_call_arguments.delta"]);
        assert_eq!(more[0].1["output_index"], 2);
        let end = output.finish(true);
        assert_eq!(
            names(&end),
            [
                "function_call_arguments.done",
                "output_item.done",
                "function_call_arguments.done",
                "output_item.done"
            ]
        );
        let items = output.to_json();
        let facts: Vec<_> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["type"].as_str().unwrap(), item["status"].as_str().unwrap()))
            .collect();
        assert_eq!(
            facts,
            [
                ("reasoning", "completed"),
                ("message", "completed"),
                ("function_call", "completed"),
                ("function_call", "incomplete")
            ]
        );
        assert_eq!((&items[2]["arguments"], &items[2]["call_id"]), (&json!("{}"), &json!("call_0")));
        assert_eq!(items[1]["content"][0]["text"], "Red");
        assert_eq!(items[3]["id"], "fc_r0003");
    }

    #[test]
    fn an_empty_answer_is_an_empty_message() {
        let mut output = Output::new(ItemIds::new("r"));
        let changes = output.finish(false);
        assert_eq!(changes.len(), 5);
        assert_eq!(output.to_json()[0]["content"][0]["text"], "");
    }
}
