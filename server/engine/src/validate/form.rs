//! Checks what a request asks for beside sampling: the form of the answer, tools, and whether it continues a message.

use std::collections::HashSet;

use serde_json::Value;

use crate::{AnswerFormat, ContentPart, EngineError, MessageRole, Request, ToolChoice, ToolOptions};

/// Bytes of a regular expression, a grammar, or all choices.
const MAX_BYTES: usize = 64 << 10;
/// Number of choices.
const MAX_CHOICES: usize = 1024;
/// Tools per request.
const MAX_TOOLS: usize = 128;
/// Characters of a function's name, as in OpenAI's API.
const MAX_NAME: usize = 64;

pub(super) fn check(request: &Request) -> Result<(), EngineError> {
    let options = &request.options;
    check_format(&options.response_format)?;
    if let Some(tools) = &options.tools {
        check_tools(tools)?;
        let must_call = matches!(tools.choice, ToolChoice::Required | ToolChoice::Function(_));
        if must_call && options.response_format != AnswerFormat::Text {
            let message = "an answer that must call a tool has the form of a call; tool_choice auto or none would fit \
                           beside response_format and structured_outputs";
            return Err(EngineError::invalid("tool_choice", message));
        }
        if must_call && options.continue_final_message {
            let message = "an answer that must call a tool cannot continue a message; tool_choice auto or none would fit \
                           beside continue_final_message";
            return Err(EngineError::invalid("tool_choice", message));
        }
    }
    if options.continue_final_message { check_continued(request) } else { Ok(()) }
}

fn check_format(format: &AnswerFormat) -> Result<(), EngineError> {
    let within = |name: &str, bytes: usize| {
        if (1..=MAX_BYTES).contains(&bytes) {
            return Ok(());
        }
        let message = format!("structured_outputs.{name} has {bytes} bytes; 1 to {MAX_BYTES} would fit");
        Err(EngineError::invalid("structured_outputs", message))
    };
    match format {
        AnswerFormat::Text | AnswerFormat::JsonObject | AnswerFormat::JsonSchema(_) => Ok(()),
        AnswerFormat::Regex(regex) => within("regex", regex.len()),
        AnswerFormat::Grammar(grammar) => within("grammar", grammar.len()),
        AnswerFormat::Choice(choices) => {
            if !(1..=MAX_CHOICES).contains(&choices.len()) || choices.iter().any(String::is_empty) {
                let empty = choices.iter().filter(|choice| choice.is_empty()).count();
                let message = format!(
                    "structured_outputs.choice has {} choices, {empty} of them empty; 1 to {MAX_CHOICES} that are not \
                     empty would fit",
                    choices.len()
                );
                return Err(EngineError::invalid("structured_outputs", message));
            }
            within("choice", choices.iter().map(String::len).sum())
        }
    }
}

fn check_tools(options: &ToolOptions) -> Result<(), EngineError> {
    let invalid = |message: String| Err(EngineError::invalid("tools", message));
    let count = options.tools.len();
    if count > MAX_TOOLS {
        return invalid(format!("tools has {count} entries; {MAX_TOOLS} would fit"));
    }
    let mut names = HashSet::new();
    for (at, tool) in options.tools.iter().enumerate() {
        let Some(name) = tool.pointer("/function/name").and_then(Value::as_str) else {
            return invalid(format!(
                "tools[{at}].function.name is missing; the name of a function would fit"
            ));
        };
        if !is_name(name) {
            let name: String = name.chars().take(100).collect();
            return invalid(format!(
                "tools[{at}].function.name is {name:?}; 1 to {MAX_NAME} of a-z, A-Z, 0-9, _ and - would fit"
            ));
        }
        if !names.insert(name) {
            return invalid(format!("tools has the function {name} twice; each name once would fit"));
        }
        if let Some(parameters) = tool.pointer("/function/parameters")
            && !(parameters.is_object() || parameters.is_null())
        {
            return invalid(format!("tools[{at}].function.parameters is no object; a JSON schema would fit"));
        }
    }
    match &options.choice {
        ToolChoice::Required if names.is_empty() => {
            let message = "tool_choice is required but there are no tools; auto or none would fit";
            Err(EngineError::invalid("tool_choice", message))
        }
        ToolChoice::Function(name) if !names.contains(name.as_str()) => {
            let name: String = name.chars().take(100).collect();
            let message = format!("tool_choice names the function {name:?}, which is not in tools");
            Err(EngineError::invalid("tool_choice", message))
        }
        ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Function(_) => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

fn check_continued(request: &Request) -> Result<(), EngineError> {
    let invalid = |message: &str| Err(EngineError::invalid("continue_final_message", message));
    let Some(last) = request.messages.last().filter(|last| last.role == MessageRole::Assistant) else {
        return invalid(
            "continue_final_message is true but the last message is not the assistant's; one of the assistant would fit",
        );
    };
    let text = last.content.iter().rev().find_map(|part| match part {
        ContentPart::Text(text) => Some(text.trim()),
        ContentPart::Image(_) | ContentPart::Video(_) => None,
    });
    if text.is_none_or(str::is_empty) {
        return invalid(
            "continue_final_message is true but the last message has no text to continue; any text would fit",
        );
    }
    Ok(())
}
