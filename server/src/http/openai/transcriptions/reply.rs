//! Renders a transcription in each of OpenAI's formats.

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use homereel_engine::speech::{Segment, language_name};
use serde_json::{Value, json};

use super::form::Format;
use crate::captions::{self, Cue};

/// What was heard in a file.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) segments: Vec<Segment>,
    /// Seconds of sound.
    pub(super) duration_s: f64,
    /// Code of the language.
    pub(super) language: Option<String>,
}

/// Renders a response.
pub(super) fn reply(format: Format, heard: &Heard) -> Response {
    let cues = || heard.segments.iter().map(cue);
    let file = |kind: &'static str, body: String| ([(header::CONTENT_TYPE, kind)], body).into_response();
    match format {
        Format::Json => Json(json!({ "text": text(heard), "usage": usage(heard) })).into_response(),
        Format::VerboseJson => Json(verbose(heard)).into_response(),
        Format::Text => file("text/plain; charset=utf-8", text(heard) + "\n"),
        Format::Srt => file("application/x-subrip; charset=utf-8", captions::srt(cues())),
        Format::Vtt => file("text/vtt; charset=utf-8", captions::vtt(cues())),
    }
}

fn cue(segment: &Segment) -> Cue<'_> {
    Cue { start: segment.start_s, end: segment.end_s, text: &segment.text }
}

fn text(heard: &Heard) -> String {
    heard.segments.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(" ")
}

fn usage(heard: &Heard) -> Value {
    json!({ "type": "duration", "seconds": heard.duration_s.ceil() as u64 })
}

/// What the engine does not report has neutral values, because clients expect numbers: no tokens, a compression ratio of 1, and no
/// probability of silence. Segments that Whisper's own rules reject by these values are not there.
fn verbose(heard: &Heard) -> Value {
    let segment = |(id, segment): (usize, &Segment)| {
        json!({
            "id": id, "seek": 0, "start": segment.start_s, "end": segment.end_s, "text": segment.text, "tokens": [],
            "temperature": 0.0, "avg_logprob": f64::from(segment.confidence).max(1e-9).ln(), "compression_ratio": 1.0,
            "no_speech_prob": 0.0,
        })
    };
    let language = heard.language.as_deref().map(|code| language_name(code).unwrap_or(code));
    json!({
        "task": "transcribe", "language": language.unwrap_or("unknown"), "duration": heard.duration_s, "text": text(heard),
        "segments": heard.segments.iter().enumerate().map(segment).collect::<Vec<_>>(), "usage": usage(heard),
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    fn heard() -> Heard {
        let segment = |start_s: f64, text: &str| Segment {
            start_s,
            end_s: start_s + 1.5,
            text: text.into(),
            language: Some("en".into()),
            confidence: 0.5,
        };
        Heard {
            segments: vec![segment(0.25, "Look at the frog!"), segment(3.0, "a <b> --> c")],
            duration_s: 4.2,
            language: Some("en".into()),
        }
    }

    async fn body(format: Format) -> String {
        let bytes = to_bytes(reply(format, &heard()).into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_format_has_the_text() {
        let json: Value = serde_json::from_str(&body(Format::Json).await).unwrap();
        assert_eq!(json["text"], "Look at the frog! a <b> --> c");
        assert_eq!(json["usage"], json!({ "type": "duration", "seconds": 5 }));
        assert_eq!(body(Format::Text).await, "Look at the frog! a <b> --> c\n");
        assert!(body(Format::Srt).await.starts_with("1\n00:00:00,250 --> 00:00:01,750\nLook at the frog!\n"));
        let vtt = body(Format::Vtt).await;
        assert!(vtt.starts_with("WEBVTT\n\n00:00:00.250 --> ") && vtt.matches(" --> ").count() == 2, "{vtt}");
    }

    #[tokio::test]
    async fn verbose_json_has_segments_and_the_name_of_the_language() {
        let json: Value = serde_json::from_str(&body(Format::VerboseJson).await).unwrap();
        assert_eq!((&json["language"], &json["duration"]), (&json!("english"), &json!(4.2)));
        let segment = &json["segments"][1];
        assert_eq!(
            (&segment["id"], &segment["start"], &segment["end"]),
            (&json!(1), &json!(3.0), &json!(4.5))
        );
        let logprob = segment["avg_logprob"].as_f64().unwrap();
        assert!((logprob - 0.5f64.ln()).abs() < 1e-6, "{logprob}");
        assert_eq!(verbose(&Heard::default())["language"], "unknown");
    }
}
