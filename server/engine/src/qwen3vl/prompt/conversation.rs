//! Renders a conversation with the chat template. Special tokens that a client spells, in texts, tools, tool calls or template
//! arguments, have no effect: each is broken up by a guard character, which is removed again once the template's own special
//! tokens are found.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::PromptBuilder;
use crate::qwen3vl::template::{TemplateContent, TemplateMessage, TemplatePart};
use crate::qwen3vl::tokenizer::{PromptPiece, Tokenizer};
use crate::{ContentPart, EngineError, GenerationOptions, Message, MessageRole, Request, ToolChoice};

/// Bytes of text per token of context up to which text is tokenized to count its tokens exactly.
const MAX_BYTES_PER_TOKEN: usize = 32;

/// Characters that may mark text; none has a meaning of its own.
const MARKS: std::ops::RangeInclusive<char> = '\u{E000}'..='\u{F8FF}';

impl PromptBuilder {
    /// Renders the template and splits the result at the template's special tokens.
    pub(super) fn pieces(&self, request: &Request) -> Result<Vec<PromptPiece>, EngineError> {
        let Request { messages, options } = request;
        if messages.is_empty() {
            return Err(EngineError::invalid("messages", "messages is empty; at least 1 is needed"));
        }
        let variables = template_variables(options);
        let fields: Vec<_> = messages.iter().map(template_fields).collect();
        let bytes = texts(messages).map(str::len).sum::<usize>()
            + fields.iter().chain([&variables]).map(json_bytes).sum::<usize>();
        if bytes / MAX_BYTES_PER_TOKEN >= self.context {
            // Too long to count: no vocabulary averages this many bytes per token.
            let hint = "a shorter text would fit".to_owned();
            let prompt_tokens = bytes / MAX_BYTES_PER_TOKEN;
            return Err(EngineError::ContextLength { prompt_tokens, context: self.context, hint });
        }
        let mut used = HashSet::new();
        texts(messages).for_each(|text| note_marks(text, &mut used));
        fields.iter().chain([&variables]).for_each(|fields| note_marks_of_fields(fields, &mut used));
        let mut free = MARKS.filter(|c| !used.contains(c));
        let (Some(guard), Some(end)) = (free.next(), free.next()) else {
            return Err(EngineError::invalid("messages", "the text uses every private-use character"));
        };
        let variables = defuse_fields(variables, &self.tokenizer, guard);
        let mut shown: Vec<TemplateMessage> = messages
            .iter()
            .zip(fields)
            .map(|(message, fields)| self.template_message(message, fields, guard))
            .collect();
        let continues = options.continue_final_message;
        if continues {
            mark_end(&mut shown, end)?;
        }
        let mut rendered = self
            .template
            .render(&shown, &variables, !continues)
            .map_err(|message| EngineError::invalid("messages", message))?;
        if continues {
            rendered = cut_at_end(&rendered, end)?;
        }
        Ok(self.tokenizer.split(&rendered, guard))
    }

    fn template_message(
        &self,
        message: &Message,
        fields: Map<String, Value>,
        guard: char,
    ) -> TemplateMessage {
        let content = match message.content.as_slice() {
            [ContentPart::Text(text)] => TemplateContent::Text(self.tokenizer.defuse(text, guard)),
            parts => TemplateContent::Parts(
                parts
                    .iter()
                    .map(|part| match part {
                        ContentPart::Text(text) => {
                            TemplatePart::Text { text: self.tokenizer.defuse(text, guard) }
                        }
                        ContentPart::Image(_) => TemplatePart::Image,
                        ContentPart::Video(_) => TemplatePart::Video,
                    })
                    .collect(),
            ),
        };
        let extra = defuse_fields(fields, &self.tokenizer, guard);
        TemplateMessage { role: role(message.role), content, extra }
    }
}

fn role(role: MessageRole) -> &'static str {
    match role {
        MessageRole::System => "system",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool",
    }
}

fn texts(messages: &[Message]) -> impl Iterator<Item = &str> {
    messages.iter().flat_map(|message| &message.content).filter_map(|part| match part {
        ContentPart::Text(text) => Some(text.as_str()),
        ContentPart::Image(_) | ContentPart::Video(_) => None,
    })
}

/// Template variables besides the messages. Tools that must not be called are not shown, so that the model does not try.
fn template_variables(options: &GenerationOptions) -> Map<String, Value> {
    let mut variables = options.template_arguments.clone();
    if let Some(tools) = options.tools.as_ref().filter(|tools| tools.choice != ToolChoice::None) {
        variables.insert("tools".into(), tools.tools.clone().into());
    }
    variables
}

/// Fields of a message besides role and content. The arguments of tool calls are a JSON string in OpenAI's API and JSON in
/// templates.
fn template_fields(message: &Message) -> Map<String, Value> {
    let mut fields = message.extra.clone();
    fields.retain(|name, _| name != "role" && name != "content");
    let calls = fields.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok()) {
            *arguments = parsed;
        }
    }
    fields
}

fn json_bytes(fields: &Map<String, Value>) -> usize {
    serde_json::to_string(fields).map_or(0, |text| text.len())
}

fn note_marks(text: &str, used: &mut HashSet<char>) {
    used.extend(text.chars().filter(|c| MARKS.contains(c)));
}

fn note_marks_of_fields(fields: &Map<String, Value>, used: &mut HashSet<char>) {
    for (name, value) in fields {
        note_marks(name, used);
        note_marks_of_value(value, used);
    }
}

fn note_marks_of_value(value: &Value, used: &mut HashSet<char>) {
    match value {
        Value::String(text) => note_marks(text, used),
        Value::Array(values) => values.iter().for_each(|value| note_marks_of_value(value, used)),
        Value::Object(fields) => note_marks_of_fields(fields, used),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Applies [`Tokenizer::defuse`] to every name and text.
fn defuse_fields(fields: Map<String, Value>, tokenizer: &Tokenizer, guard: char) -> Map<String, Value> {
    let defuse = |(name, value): (String, Value)| {
        (tokenizer.defuse(&name, guard), defuse_value(value, tokenizer, guard))
    };
    fields.into_iter().map(defuse).collect()
}

fn defuse_value(value: Value, tokenizer: &Tokenizer, guard: char) -> Value {
    match value {
        Value::String(text) => tokenizer.defuse(&text, guard).into(),
        Value::Array(values) => {
            values.into_iter().map(|value| defuse_value(value, tokenizer, guard)).collect()
        }
        Value::Object(fields) => defuse_fields(fields, tokenizer, guard).into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Appends `mark` and a space to the last text of the last message. The space shows whether the template trims.
fn mark_end(messages: &mut [TemplateMessage], mark: char) -> Result<(), EngineError> {
    let text = messages.last_mut().and_then(|message| match &mut message.content {
        TemplateContent::Text(text) => Some(text),
        TemplateContent::Parts(parts) => parts.iter_mut().rev().find_map(|part| match part {
            TemplatePart::Text { text } => Some(text),
            TemplatePart::Image | TemplatePart::Video => None,
        }),
    });
    let text = text.ok_or_else(|| {
        EngineError::invalid(
            "continue_final_message",
            "continue_final_message needs a last message with text; it has none",
        )
    })?;
    text.extend([mark, ' ']);
    Ok(())
}

/// Cuts what the template appends to the marked text, as transformers' `continue_final_message` does: where the template trims
/// a message, the prompt ends without its whitespace as well.
fn cut_at_end(rendered: &str, mark: char) -> Result<String, EngineError> {
    let Some((before, after)) = rendered.rsplit_once(mark) else {
        return Err(EngineError::invalid(
            "continue_final_message",
            "the model's chat template does not show the last message, so it cannot be continued",
        ));
    };
    Ok(if after.starts_with(' ') { before } else { before.trim_end() }.to_owned())
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
