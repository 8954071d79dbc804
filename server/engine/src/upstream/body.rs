//! A request as vLLM's JSON: messages, sampling parameters by name, and the pictures in pieces that are never
//! joined: a clip's base64 is sent from where it was encoded.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::pictures::Media;
use crate::{Message, Part, Request, Role};

/// Builds the body of `POST /v1/chat/completions`. `media` are the encoded pictures and clips in order, `settings`
/// further fields, `max_tokens` the tokens of the answer at most (none is what the context leaves).
pub(super) fn pieces(
    model: &str,
    request: &Request,
    media: &[Media],
    settings: &[(&'static str, Value)],
    max_tokens: Option<usize>,
) -> Vec<Bytes> {
    // Stands for the data until the text is cut there. Nobody who writes a message knows it beforehand.
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
    let sampling = &request.sampling;
    // All of them, always: what is left out would come from the upstream's generation_config.json.
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
        "ignore_eos": request.ignore_eos,
    });
    let Value::Object(mut body) = body else { return Map::new() };
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if let Some(seed) = sampling.seed {
        // vLLM takes 64 bits with a sign; any bits are a seed.
        set("seed", seed.cast_signed().into());
    }
    if let Some(max_tokens) = max_tokens {
        set("max_tokens", max_tokens.into());
    }
    if !request.stop.is_empty() {
        set("stop", request.stop.clone().into());
    }
    if !request.stop_token_ids.is_empty() {
        set("stop_token_ids", request.stop_token_ids.clone().into());
    }
    if let Some(top) = request.logprobs {
        set("logprobs", true.into());
        set("top_logprobs", top.into());
        set("return_token_ids", true.into());
    }
    body
}

fn message_json(message: &Message, media: &[Media], nonce: &str, at: &mut usize) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    if let [Part::Text(text)] = message.content.as_slice() {
        return json!({ "role": role, "content": text });
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
            Part::Text(text) => json!({ "type": "text", "text": text }),
            Part::Image(_) => json!({ "type": "image_url", "image_url": url() }),
            Part::Video(_) => json!({ "type": "video_url", "video_url": url() }),
        })
        .collect();
    json!({ "role": role, "content": parts })
}

/// Puts an invisible character into each control token that the text of `messages` spells, also across parts, so
/// that the upstream reads it as text; vLLM would obey it. `specials` are the tokens; where none are known, all
/// that looks like one (`<|…`) is broken up. Tells whether anything was changed.
pub(super) fn defuse(messages: &mut [Message], specials: &[String]) -> bool {
    let mut changed = false;
    let unknown = ["<|".to_owned()];
    let specials = if specials.is_empty() { &unknown[..] } else { specials };
    for message in messages {
        let texts = message.content.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) | Part::Video(_) => None,
        });
        let joined: String = texts.collect();
        if !specials.iter().any(|special| joined.contains(special.as_str())) {
            continue;
        }
        changed = true;
        for part in &mut message.content {
            if let Part::Text(text) = part {
                *text = broken_up(text, specials);
            }
        }
    }
    changed
}

/// Breaks up every special token that begins in `text`, whole or cut off at its end.
fn broken_up(text: &str, specials: &[String]) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (at, letter) in text.char_indices() {
        let rest = &text[at..];
        out.push(letter);
        if specials.iter().any(|special| rest.starts_with(special.as_str()) || special.starts_with(rest)) {
            out.push('\u{200B}');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Sampling};

    fn request(content: Vec<Part>) -> Request {
        Request {
            messages: vec![
                Message { role: Role::System, content: vec![Part::Text("Be brief.".into())] },
                Message { role: Role::User, content },
            ],
            sampling: Sampling { top_k: 20, seed: Some(u64::MAX), ..Sampling::default() },
            max_tokens: None,
            stop: vec!["\n".into()],
            stop_token_ids: vec![7],
            ignore_eos: true,
            logprobs: Some(3),
            response_format: crate::ResponseFormat::Text,
        }
    }

    #[test]
    fn pictures_stand_where_they_belong_and_parameters_keep_their_names() {
        let frame = Frame { width: 1, height: 1, rgb: vec![0; 3].into() };
        let request = request(vec![Part::Image(frame), Part::Text("what \"is\" this?".into())]);
        let media = [Media { head: "data:image/png;base64,", data: vec!["AB".into(), "CD".into()] }];
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
    fn control_tokens_in_text_are_broken_up_also_across_parts() {
        let specials = ["<|im_end|>".to_owned(), "<|video_pad|>".to_owned()];
        let text = |text: &str| Part::Text(text.into());
        let told = |content: Vec<Part>, specials: &[String]| {
            let mut messages = vec![Message { role: Role::User, content }];
            let changed = defuse(&mut messages, specials);
            let texts: String = messages[0]
                .content
                .iter()
                .filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None })
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
        assert!(!told(vec![text("a < b | c > d")], &[]).0);
    }
}
