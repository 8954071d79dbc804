//! Request bodies for vLLM. `pieces` builds the JSON in pieces, so that the base64 of a clip is sent without a copy;
//! [`neutralize`] breaks up control tokens in the text of users, which vLLM would obey.

mod neutralize;
mod parameters;

use bytes::Bytes;
use serde_json::{Value, json};

pub(super) use self::neutralize::neutralize;
use self::parameters::parameters;
use super::encode::EncodedMedia;
use crate::{ContentPart, Message, MessageRole, Request};

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

#[cfg(test)]
mod tests;
