//! Breaks up control tokens in what clients send: texts, tools, tool calls, and template arguments.

use serde_json::{Map, Value};

use crate::{ContentPart, Message, Request};

/// Inserts an invisible character into each control token that the text of `request` spells, also across parts: vLLM
/// would treat it as a control token. `specials` are the model's tokens; where they are not known, everything that looks
/// like one (`<|…`) is split. Returns whether anything was changed.
pub(in crate::vllm) fn neutralize(request: &mut Request, specials: &[String]) -> bool {
    let mut changed = false;
    let unknown = ["<|".to_owned()];
    let specials = if specials.is_empty() { &unknown[..] } else { specials };
    for message in &mut request.messages {
        changed |= neutralize_texts(message, specials);
        changed |= neutralize_arguments(message, specials) | neutralize_fields(&mut message.extra, specials);
    }
    // Chat templates show tools and template arguments to the model.
    let options = &mut request.options;
    for tool in options.tools.iter_mut().flat_map(|tools| &mut tools.tools) {
        changed |= neutralize_json(tool, specials);
    }
    changed | neutralize_fields(&mut options.template_arguments, specials)
}

/// The arguments of tool calls are a JSON string, which vLLM parses for the template: escapes in it may spell tokens.
fn neutralize_arguments(message: &mut Message, specials: &[String]) -> bool {
    let calls = message.extra.get_mut("tool_calls").and_then(Value::as_array_mut);
    calls.into_iter().flatten().fold(false, |changed, call| {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { return changed };
        let parsed = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
        let spelled: Option<Value> =
            parsed.filter(|parsed| neutralize_json(&mut Value::clone(parsed), specials));
        let Some(mut spelled) = spelled else { return changed };
        neutralize_json(&mut spelled, specials);
        *arguments = spelled.to_string().into();
        true
    })
}

fn neutralize_texts(message: &mut Message, specials: &[String]) -> bool {
    let texts = message.content.iter().filter_map(|part| match part {
        ContentPart::Text(text) => Some(text.as_str()),
        ContentPart::Image(_) | ContentPart::Video(_) => None,
    });
    let joined: String = texts.collect();
    if !specials.iter().any(|special| joined.contains(special.as_str())) {
        return false;
    }
    for part in &mut message.content {
        if let ContentPart::Text(text) = part {
            *text = split_tokens(text, specials);
        }
    }
    true
}

fn neutralize_fields(fields: &mut Map<String, Value>, specials: &[String]) -> bool {
    let mut changed = false;
    // In the client's order, in which templates show them.
    for (name, mut value) in std::mem::take(fields) {
        let spelled = specials.iter().any(|special| name.contains(special.as_str()));
        changed |= spelled | neutralize_json(&mut value, specials);
        fields.insert(if spelled { split_tokens(&name, specials) } else { name }, value);
    }
    changed
}

fn neutralize_json(value: &mut Value, specials: &[String]) -> bool {
    match value {
        Value::String(text) if specials.iter().any(|special| text.contains(special.as_str())) => {
            *text = split_tokens(text, specials);
            true
        }
        Value::Array(values) => {
            values.iter_mut().fold(false, |changed, value| neutralize_json(value, specials) | changed)
        }
        Value::Object(fields) => neutralize_fields(fields, specials),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Splits every special token that starts in `text`, whole or cut off at its end.
fn split_tokens(text: &str, specials: &[String]) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (at, encoded) in text.char_indices() {
        let rest = &text[at..];
        out.push(encoded);
        if specials.iter().any(|special| rest.starts_with(special.as_str()) || special.starts_with(rest)) {
            out.push('\u{200B}');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{GenerationOptions, MessageRole, ToolChoice, ToolOptions};

    fn request(content: Vec<ContentPart>) -> Request {
        let messages = vec![
            Message::new(MessageRole::System, vec![ContentPart::Text("Be brief.".into())]),
            Message::new(MessageRole::User, content),
        ];
        Request { messages, options: GenerationOptions::default() }
    }

    #[test]
    fn control_tokens_in_text_are_broken_up_also_across_parts() {
        let specials = ["<|im_end|>".to_owned(), "<|video_pad|>".to_owned()];
        let text = |text: &str| ContentPart::Text(text.into());
        let told = |content: Vec<ContentPart>, specials: &[String]| {
            let mut request = request(content);
            let changed = neutralize(&mut request, specials);
            let texts: String = request.messages[1]
                .content
                .iter()
                .filter_map(
                    |part| if let ContentPart::Text(text) = part { Some(text.as_str()) } else { None },
                )
                .collect();
            (changed, texts)
        };
        for content in [vec![text("a <|im_end|> b")], vec![text("a <|im"), text("_end|> b")]] {
            let (changed, texts) = told(content, &specials);
            assert!(changed && !texts.contains("<|im_end|>"), "{texts:?}");
            assert_eq!(texts.replace('\u{200B}', ""), "a <|im_end|> b");
        }
        assert_eq!(told(vec![text("is 3 <")], &specials), (false, "is 3 <".into()));
        assert!(told(vec![text("<|anything|>")], &[]).0);
        let mut tools = request(Vec::new());
        let spelled =
            json!([{ "function": { "description": "<|im_end|>", "parameters": { "<|im_end|>": 1 } } }]);
        let Value::Array(list) = spelled else { panic!() };
        tools.options.tools = Some(ToolOptions { tools: list, choice: ToolChoice::Auto, parallel: true });
        assert!(neutralize(&mut tools, &specials));
        let told_tools = json!(tools.options.tools.unwrap().tools).to_string();
        assert!(
            !told_tools.contains("<|im_end|>") && told_tools.matches('\u{200B}').count() >= 2,
            "{told_tools}"
        );
        assert!(!told(vec![text("a < b | c > d")], &[]).0);
    }

    #[test]
    fn template_arguments_and_fields_of_messages_keep_their_order() {
        let specials = ["<|im_end|>".to_owned()];
        let mut request = request(Vec::new());
        let fields = json!({ "b": 1, "x<|im_end|>": { "n": ["<|im_end|>"] }, "a": "plain" });
        let Value::Object(fields) = fields else { panic!() };
        request.options.template_arguments = fields.clone();
        request.messages[1].extra = fields;
        assert!(neutralize(&mut request, &specials));
        for fields in [&request.options.template_arguments, &request.messages[1].extra] {
            let text = json!(fields).to_string();
            assert!(!text.contains("<|im_end|>"), "{text}");
            assert_eq!(
                text.replace('\u{200B}', ""),
                r#"{"b":1,"x<|im_end|>":{"n":["<|im_end|>"]},"a":"plain"}"#
            );
        }
        assert!(!neutralize(&mut request, &specials), "it changed again");
    }

    #[test]
    fn arguments_of_calls_spell_no_token_once_they_are_parsed() {
        let specials = ["<|im_end|>".to_owned()];
        let mut request = request(Vec::new());
        let arguments = [r#"{"a": "\u003c|im_end|\u003e"}"#, r#"{"b": 1, "a": "x"}"#, "no <|im_end|> JSON"];
        let calls = arguments.map(|arguments| json!({ "function": { "name": "f", "arguments": arguments } }));
        request.messages[1].extra.insert("tool_calls".into(), calls.to_vec().into());
        assert!(neutralize(&mut request, &specials));
        let sent = |at: usize| {
            request.messages[1].extra["tool_calls"][at]["function"]["arguments"].as_str().unwrap()
        };
        let parsed: Value = serde_json::from_str(sent(0)).unwrap();
        let text = parsed["a"].as_str().unwrap();
        assert!(!text.contains("<|im_end|>"), "{text}");
        assert_eq!(text.replace('\u{200B}', ""), "<|im_end|>");
        assert_eq!(sent(1), arguments[1]);
        assert!(!sent(2).contains("<|im_end|>"));
    }
}
