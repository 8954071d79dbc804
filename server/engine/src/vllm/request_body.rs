//! Request bodies for vLLM. `pieces` builds the JSON in pieces, so that the base64 of a clip is sent without a copy;
//! `neutralize` breaks up control tokens in the text of users, which vLLM would obey.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::encode::EncodedMedia;
use crate::{AnswerFormat, ContentPart, Message, MessageRole, Request};

/// Builds the body of `POST /v1/chat/completions`. `media` are the encoded pictures and clips in order, `settings`
/// additional fields; `max_tokens` of `None` means what the context leaves.
pub(super) fn pieces(
    model: &str,
    request: &Request,
    media: &[EncodedMedia],
    settings: &[(&'static str, Value)],
    max_tokens: Option<usize>,
) -> Vec<Bytes> {
    // A placeholder for the data, random so that no message can contain it.
    let nonce = format!("{:032x}", rand::random::<u128>());
    let mut body = parameters(request, max_tokens);
    body.insert("model".into(), model.into());
    let mut at = 0;
    let messages: Vec<Value> =
        request.messages.iter().map(|message| message_json(message, media, &nonce, &mut at)).collect();
    body.insert("messages".into(), messages.into());
    for (name, value) in settings {
        body.insert((*name).into(), value.clone());
    }
    let text = Value::Object(body).to_string();
    let mut pieces = Vec::new();
    let mut data = media.iter();
    for (index, piece) in text.split(&nonce).enumerate() {
        if index > 0
            && let Some(media) = data.next()
        {
            pieces.extend(media.data.iter().cloned());
        }
        pieces.push(Bytes::copy_from_slice(piece.as_bytes()));
    }
    pieces
}

fn parameters(request: &Request, max_tokens: Option<usize>) -> Map<String, Value> {
    let sampling = &request.options.sampling;
    // Every parameter is sent, because vLLM takes missing ones from the checkpoint's generation_config.json.
    let body = json!({
        "stream": true,
        "stream_options": { "include_usage": true },
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "ignore_eos": request.options.ignore_eos,
    });
    let Value::Object(mut body) = body else { return Map::new() };
    // Parameters that only vLLM knows are passed through, but never override ours.
    for (name, value) in &request.options.extra {
        body.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let mut set = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    if let Some(seed) = sampling.seed {
        // vLLM's seed is a signed 64-bit number.
        set("seed", seed.cast_signed().into());
    }
    if let Some(max_tokens) = max_tokens {
        set("max_tokens", max_tokens.into());
    }
    if !request.options.stop.is_empty() {
        set("stop", request.options.stop.clone().into());
    }
    if !request.options.stop_token_ids.is_empty() {
        set("stop_token_ids", request.options.stop_token_ids.clone().into());
    }
    match &request.options.response_format {
        AnswerFormat::Text => {}
        AnswerFormat::JsonObject => set("response_format", json!({ "type": "json_object" })),
        AnswerFormat::JsonSchema(schema) => {
            let format =
                json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } });
            set("response_format", format);
        }
    }
    if let Some(top) = request.options.logprobs {
        set("logprobs", true.into());
        set("top_logprobs", top.into());
        set("return_token_ids", true.into());
    }
    body
}

fn message_json(message: &Message, media: &[EncodedMedia], nonce: &str, at: &mut usize) -> Value {
    let mut json = message.extra.clone();
    json.insert("role".into(), role(message.role).into());
    json.insert("content".into(), content(message, media, nonce, at));
    Value::Object(json)
}

fn role(role: MessageRole) -> &'static str {
    match role {
        MessageRole::System => "system",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool",
    }
}

fn content(message: &Message, media: &[EncodedMedia], nonce: &str, at: &mut usize) -> Value {
    match message.content.as_slice() {
        // A message with tool calls only.
        [] => return Value::Null,
        [ContentPart::Text(text)] => return text.clone().into(),
        _ => {}
    }
    let mut url = || {
        let head = media.get(*at).map_or("", |media| media.head);
        *at += 1;
        json!({ "url": format!("{head}{nonce}") })
    };
    let parts: Vec<Value> = message
        .content
        .iter()
        .map(|part| match part {
            ContentPart::Text(text) => json!({ "type": "text", "text": text }),
            ContentPart::Image(_) => json!({ "type": "image_url", "image_url": url() }),
            ContentPart::Video(_) => json!({ "type": "video_url", "video_url": url() }),
        })
        .collect();
    parts.into()
}

/// Inserts an invisible character into each control token that the text of `request` spells, also across parts: vLLM
/// would treat it as a control token. `specials` are the model's tokens; where they are not known, everything that looks
/// like one (`<|…`) is split. Returns whether anything was changed.
pub(super) fn neutralize(request: &mut Request, specials: &[String]) -> bool {
    let mut changed = false;
    let unknown = ["<|".to_owned()];
    let specials = if specials.is_empty() { &unknown[..] } else { specials };
    for message in &mut request.messages {
        changed |= neutralize_texts(message, specials);
        changed |= message
            .extra
            .values_mut()
            .fold(false, |changed, value| neutralize_json(value, specials) | changed);
    }
    // Chat templates show tools and template arguments to the model.
    for name in ["tools", "chat_template_kwargs"] {
        changed |= request.options.extra.get_mut(name).is_some_and(|value| neutralize_json(value, specials));
    }
    changed
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

fn neutralize_json(value: &mut Value, specials: &[String]) -> bool {
    let spells = |text: &str| specials.iter().any(|special| text.contains(special.as_str()));
    match value {
        Value::String(text) if spells(text) => {
            *text = split_tokens(text, specials);
            true
        }
        Value::Array(values) => {
            values.iter_mut().fold(false, |changed, value| neutralize_json(value, specials) | changed)
        }
        Value::Object(fields) => {
            let mut changed = false;
            let names: Vec<String> = fields.keys().filter(|name| spells(name)).cloned().collect();
            for name in names {
                if let Some(value) = fields.remove(&name) {
                    fields.insert(split_tokens(&name, specials), value);
                    changed = true;
                }
            }
            fields.values_mut().fold(changed, |changed, value| neutralize_json(value, specials) | changed)
        }
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
    use super::*;
    use crate::{GenerationOptions, RgbImage, SamplingParams};

    fn request(content: Vec<ContentPart>) -> Request {
        Request {
            messages: vec![
                Message::new(MessageRole::System, vec![ContentPart::Text("Be brief.".into())]),
                Message::new(MessageRole::User, content),
            ],
            options: GenerationOptions {
                sampling: SamplingParams { top_k: 20, seed: Some(u64::MAX), ..SamplingParams::default() },
                stop: vec!["\n".into()],
                stop_token_ids: vec![7],
                ignore_eos: true,
                logprobs: Some(3),
                ..GenerationOptions::default()
            },
        }
    }

    #[test]
    fn pictures_stand_where_they_belong_and_parameters_keep_their_names() {
        let frame = RgbImage::new(1, 1, vec![0; 3].into());
        let request = request(vec![ContentPart::Image(frame), ContentPart::Text("what \"is\" this?".into())]);
        let media = [EncodedMedia { head: "data:image/png;base64,", data: vec!["AB".into(), "CD".into()] }];
        let settings = [("mm_processor_kwargs", json!({ "do_resize": false }))];
        let pieces = pieces("m", &request, &media, &settings, Some(9));
        let body: Value = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(body["messages"][0], json!({ "role": "system", "content": "Be brief." }));
        let content = &body["messages"][1]["content"];
        assert_eq!(content[0]["image_url"]["url"], "data:image/png;base64,ABCD");
        assert_eq!(content[1]["text"], "what \"is\" this?");
        for (name, value) in [
            ("model", json!("m")),
            ("temperature", json!(0.0)),
            ("top_k", json!(20)),
            ("repetition_penalty", json!(1.0)),
            ("seed", json!(-1)),
            ("max_tokens", json!(9)),
            ("stop", json!(["\n"])),
            ("stop_token_ids", json!([7])),
            ("ignore_eos", json!(true)),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("mm_processor_kwargs", json!({ "do_resize": false })),
            ("stream", json!(true)),
        ] {
            assert_eq!(body[name], value, "{name}");
        }
    }

    #[test]
    fn extras_go_as_they_came_but_never_in_the_place_of_our_own() {
        let mut request = request(vec![ContentPart::Text("x".into())]);
        request.options.response_format = AnswerFormat::JsonSchema(json!({ "type": "array" }));
        request.options.extra = Map::from_iter([
            ("logit_bias".to_owned(), json!({ "5": -100 })),
            ("stream".to_owned(), json!(false)),
            ("model".to_owned(), json!("other")),
        ]);
        let call = json!([{ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
        let mut calling = Message::new(MessageRole::Assistant, Vec::new());
        calling.extra.insert("tool_calls".into(), call.clone());
        request.messages.push(calling);
        let body: Value = serde_json::from_slice(&pieces("m", &request, &[], &[], None).concat()).unwrap();
        assert_eq!(
            (&body["logit_bias"], &body["stream"], &body["model"]),
            (&json!({ "5": -100 }), &json!(true), &json!("m"))
        );
        assert_eq!(body["response_format"]["json_schema"]["schema"], json!({ "type": "array" }));
        assert_eq!(body["messages"][2], json!({ "tool_calls": call, "role": "assistant", "content": null }));
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
        tools.options.extra.insert("tools".into(), spelled);
        assert!(neutralize(&mut tools, &specials));
        let told_tools = tools.options.extra["tools"].to_string();
        assert!(
            !told_tools.contains("<|im_end|>") && told_tools.matches('\u{200B}').count() >= 2,
            "{told_tools}"
        );
        assert!(!told(vec![text("a < b | c > d")], &[]).0);
    }
}
