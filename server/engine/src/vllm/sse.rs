//! Parses vLLM's server-sent events: splits bytes into lines and parses them as chunks of an answer, all of bounded
//! length.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

/// Bytes of one event: text chunks have hundreds, the first one with all ids of a long prompt several million.
const MAX_EVENT: usize = 8 << 20;

/// One event of the stream.
#[derive(Debug)]
pub(super) enum SseData {
    /// A chunk of the answer.
    Chunk(Chunk),
    /// `[DONE]`.
    Done,
}

/// The fields of `chat.completion.chunk` that we use.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) choices: Vec<ChunkChoice>,
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    #[serde(default)]
    pub(super) error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChunkChoice {
    #[serde(default)]
    pub(super) delta: Delta,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) logprobs: Option<Logprobs>,
    #[serde(default)]
    pub(super) token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    /// Pieces of tool calls, which are passed through.
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<serde_json::Value>>,
    /// Reasoning before the answer.
    #[serde(default)]
    pub(super) reasoning: Option<String>,
    /// Its older name; some versions send both.
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Logprobs {
    #[serde(default)]
    pub(super) content: Option<Vec<Logprob>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Logprob {
    pub(super) token: String,
    pub(super) logprob: f32,
    #[serde(default)]
    pub(super) top_logprobs: Vec<Logprob>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct WireUsage {
    pub(super) prompt_tokens: usize,
    #[serde(default)]
    pub(super) completion_tokens: usize,
    #[serde(default)]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct PromptDetails {
    #[serde(default)]
    pub(super) cached_tokens: Option<usize>,
}

/// The stream of events.
pub(super) struct SseEvents {
    lines: FramedRead<Box<dyn AsyncRead + Send + Unpin>, LinesCodec>,
}

impl SseEvents {
    pub(super) fn new<E>(body: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let reader = StreamReader::new(body.map_err(io::Error::other));
        let lines = FramedRead::new(Box::new(reader) as Box<_>, LinesCodec::new_with_max_length(MAX_EVENT));
        Self { lines }
    }

    /// Waits for the next event; `None` means the end of the stream. Errors describe what is malformed.
    pub(super) async fn next(&mut self) -> Result<Option<SseData>, String> {
        let mut data = String::new();
        loop {
            let line = match self.lines.next().await {
                None if data.is_empty() => return Ok(None),
                // Events end with an empty line; one without it is truncated.
                None => return Err("the stream ends in the middle of an event".into()),
                Some(line) => line.map_err(|error| error.to_string())?,
            };
            if line.is_empty() {
                if data.is_empty() {
                    continue;
                }
                return parse(&data).map(Some);
            }
            if let Some(more) = line.strip_prefix("data:") {
                if data.len() + more.len() > MAX_EVENT {
                    return Err(format!("an event has more than {MAX_EVENT} bytes"));
                }
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(more.strip_prefix(' ').unwrap_or(more));
            } else if !is_field(&line) {
                return Err(format!("{:?} is no line of an event stream", shown(&line)));
            }
        }
    }
}

/// Comments, and fields that chat streams do not use.
fn is_field(line: &str) -> bool {
    [":", "event:", "id:", "retry:"].iter().any(|field| line.starts_with(field))
}

fn parse(data: &str) -> Result<SseData, String> {
    if data == "[DONE]" {
        return Ok(SseData::Done);
    }
    serde_json::from_str(data).map(SseData::Chunk).map_err(|error| format!("{:?}: {error}", shown(data)))
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&'static str]) -> SseEvents {
        let pieces: Vec<io::Result<Bytes>> =
            pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        SseEvents::new(futures_util::stream::iter(pieces))
    }

    #[tokio::test]
    async fn events_may_be_cut_anywhere() {
        let mut events = events(&[
            ": hello\r\n\r\nda",
            "ta: {\"choices\":[{\"delta\":{\"content\":\"a\u{e9}\"}}]}\n",
            "\nevent: x\ndata: [DO",
            "NE]\n\n",
        ]);
        let Ok(Some(SseData::Chunk(chunk))) = events.next().await else { panic!() };
        assert_eq!(chunk.choices[0].delta.content.as_deref(), Some("aé"));
        assert!(matches!(events.next().await, Ok(Some(SseData::Done))));
        assert!(matches!(events.next().await, Ok(None)));
    }

    #[tokio::test]
    async fn what_is_no_stream_is_an_error() {
        for (text, says) in [
            ("<html>", "no line of an event stream"),
            ("data: {\"choices\":\n\n", "EOF"),
            ("data: 7\n\n", "invalid type"),
            ("data: {}\n", "middle"),
        ] {
            let error = events(&[text]).next().await.unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn no_event_is_longer_than_its_bound() {
        let long: &'static str = Box::leak("x".repeat(MAX_EVENT).into_boxed_str());
        let error = events(&["data: ", long, long]).next().await.unwrap_err();
        assert!(error.contains("max line length"), "{error}");
    }
}
