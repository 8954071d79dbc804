//! Requests for the tests: those of the golden cases, and small ones of their own.

use homereel_engine::{ContentPart, GenerationOptions, Message, MessageRole, Request, RgbImage, VideoInput};
use serde_json::Value;

use crate::golden::{Case, Drawn};

/// The request of a golden case, its frames drawn anew.
pub(crate) fn request_of(case: &Case) -> Request {
    let mut drawn = case.visuals().into_iter();
    let messages = case.record["messages"].as_array().unwrap();
    let messages = messages.iter().map(|message| {
        let content = match &message["content"] {
            Value::String(text) => vec![ContentPart::Text(text.clone())],
            parts => parts.as_array().unwrap().iter().map(|part| part_of(part, &mut drawn)).collect(),
        };
        let role = match message["role"].as_str().unwrap() {
            "system" => MessageRole::System,
            "assistant" => MessageRole::Assistant,
            _ => MessageRole::User,
        };
        Message::new(role, content)
    });
    request(messages.collect())
}

fn part_of(part: &Value, drawn: &mut impl Iterator<Item = Drawn>) -> ContentPart {
    if part["type"] == "text" {
        return ContentPart::Text(part["text"].as_str().unwrap().to_owned());
    }
    let drawn = drawn.next().unwrap();
    let (width, height) = (drawn.width as u32, drawn.height as u32);
    let mut frames: Vec<RgbImage> =
        drawn.frames.into_iter().map(|rgb| RgbImage::new(width, height, rgb.into())).collect();
    if !drawn.is_video {
        return ContentPart::Image(frames.remove(0));
    }
    let fps = part["native_fps"].as_f64().unwrap();
    let indices: Vec<u64> =
        part["indices"].as_array().unwrap().iter().map(|index| index.as_u64().unwrap()).collect();
    let times: Vec<f64> = indices.iter().map(|&index| index as f64 / fps).collect();
    let total_frames = indices.last().unwrap() + 1;
    let duration_s = total_frames as f64 / fps;
    ContentPart::Video(VideoInput {
        frames,
        times,
        indices,
        native_fps: fps,
        total_frames,
        duration_s,
        key: None,
    })
}

pub(crate) fn request(messages: Vec<Message>) -> Request {
    Request {
        messages,
        options: GenerationOptions { max_tokens: Some(64), ignore_eos: true, ..GenerationOptions::default() },
    }
}

pub(crate) fn with(mut request: Request, change: impl FnOnce(&mut GenerationOptions)) -> Request {
    change(&mut request.options);
    request
}

pub(crate) fn ask(parts: Vec<ContentPart>) -> Request {
    request(vec![Message::new(MessageRole::User, parts)])
}

pub(crate) fn text(text: &str) -> ContentPart {
    ContentPart::Text(text.to_owned())
}

/// A clip of plain frames with a square that moves, at a size that the demo model takes as it is.
pub(crate) fn clip(frames: usize, key: Option<&str>) -> VideoInput {
    let draw = |t: usize| {
        let pixel = move |i: usize| {
            let (x, y) = (i % 96, i / 96);
            let inside = (10 + 4 * t..40 + 4 * t).contains(&x) && (20..50).contains(&y);
            if inside { [220, 30, 30] } else { [20, 20, 120] }
        };
        let rgb: Vec<u8> = (0..96 * 64).flat_map(pixel).collect();
        RgbImage::new(96, 64, rgb.into())
    };
    VideoInput {
        frames: (0..frames).map(draw).collect(),
        times: (0..frames).map(|t| t as f64 / 2.0).collect(),
        indices: (0..frames as u64).collect(),
        native_fps: 2.0,
        total_frames: frames as u64,
        duration_s: frames as f64 / 2.0,
        key: key.map(str::to_owned),
    }
}
