//! The JSON that clients of `/v1/chat/completions` send. Strings borrow from the body. What only vLLM uses stays text,
//! because a tree of small values takes many times the memory. Unknown fields are ignored, as OpenAI does.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::value::RawValue;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
pub(super) struct ChatRequest<'a> {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(borrow)]
    pub(super) messages: Vec<WireMessage<'a>>,
    #[serde(default)]
    pub(super) stream: Option<bool>,
    #[serde(default)]
    pub(super) stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(super) max_tokens: Option<i64>,
    #[serde(default)]
    pub(super) max_completion_tokens: Option<i64>,
    #[serde(default)]
    pub(super) temperature: Option<f64>,
    #[serde(default)]
    pub(super) top_p: Option<f64>,
    #[serde(default)]
    pub(super) top_k: Option<i64>,
    #[serde(default)]
    pub(super) min_p: Option<f64>,
    #[serde(default)]
    pub(super) repetition_penalty: Option<f64>,
    #[serde(default)]
    pub(super) presence_penalty: Option<f64>,
    #[serde(default)]
    pub(super) frequency_penalty: Option<f64>,
    #[serde(default)]
    pub(super) seed: Option<i64>,
    #[serde(default)]
    pub(super) stop: Option<StringOrStrings>,
    #[serde(default)]
    pub(super) stop_token_ids: Option<Vec<u32>>,
    #[serde(default)]
    pub(super) ignore_eos: Option<bool>,
    #[serde(default)]
    pub(super) n: Option<i64>,
    #[serde(default)]
    pub(super) logprobs: Option<bool>,
    #[serde(default)]
    pub(super) top_logprobs: Option<i64>,
    #[serde(borrow, default)]
    pub(super) tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) response_format: Option<ResponseFormat<'a>>,
    #[serde(default)]
    pub(super) media_io_kwargs: Option<MediaIoKwargs>,
    #[serde(default)]
    pub(super) mm_processor_kwargs: Option<VideoKwargs>,
    #[serde(borrow, default)]
    pub(super) tool_choice: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) parallel_tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) structured_outputs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) logit_bias: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) bad_words: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) allowed_token_ids: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) min_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) include_stop_str_in_output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) skip_special_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) spaces_between_special_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) repetition_detection: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) include_reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) thinking_token_budget: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) chat_template_kwargs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) priority: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) cache_salt: Option<&'a RawValue>,
}

/// Parameters that pass through to vLLM, by name, as they were sent.
pub(super) type RawExtras<'a> = Vec<(&'static str, &'a RawValue)>;

impl<'a> ChatRequest<'a> {
    /// Returns parameters that pass through to vLLM. An allowlist, because vLLM has parameters that make it
    /// fetch from other machines (`kv_transfer_params`), run the caller's template, or answer without end.
    pub(super) fn extras(&self) -> RawExtras<'a> {
        given([
            ("tools", self.tools.filter(|tools| !is_empty(tools))),
            ("tool_choice", self.tool_choice),
            ("parallel_tool_calls", self.parallel_tool_calls),
            ("structured_outputs", self.structured_outputs),
            ("logit_bias", self.logit_bias),
            ("bad_words", self.bad_words),
            ("allowed_token_ids", self.allowed_token_ids),
            ("min_tokens", self.min_tokens),
            ("include_stop_str_in_output", self.include_stop_str_in_output),
            ("skip_special_tokens", self.skip_special_tokens),
            ("spaces_between_special_tokens", self.spaces_between_special_tokens),
            ("repetition_detection", self.repetition_detection),
            ("reasoning_effort", self.reasoning_effort),
            ("include_reasoning", self.include_reasoning),
            ("thinking_token_budget", self.thinking_token_budget),
            ("chat_template_kwargs", self.chat_template_kwargs),
            ("priority", self.priority),
            ("cache_salt", self.cache_salt),
        ])
    }
}

fn given<'a>(extras: impl IntoIterator<Item = (&'static str, Option<&'a RawValue>)>) -> RawExtras<'a> {
    extras.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Returns whether a value is an empty array.
pub(super) fn is_empty(value: &RawValue) -> bool {
    let inside = value.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|inside| inside.trim().is_empty())
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow, default)]
    pub(super) json_schema: Option<JsonSchema<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JsonSchema<'a> {
    #[serde(borrow, default)]
    pub(super) schema: Option<&'a RawValue>,
}

/// vLLM's per-modality settings.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MediaIoKwargs {
    #[serde(default)]
    pub(super) video: Option<VideoKwargs>,
}

/// How to sample videos, and whether to limit each frame to 768 visual tokens. `start` and `end` (seconds) are Homereel's own.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) struct VideoKwargs {
    #[serde(default)]
    pub(super) fps: Option<f64>,
    #[serde(default)]
    pub(super) num_frames: Option<i64>,
    #[serde(default)]
    pub(super) start: Option<f64>,
    #[serde(default)]
    pub(super) end: Option<f64>,
    #[serde(default)]
    pub(super) cap_pixels_per_frame: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireMessage<'a> {
    pub(super) role: String,
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_call_id: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "reasoning_content")]
    pub(super) reasoning: Option<&'a RawValue>,
}

impl<'a> WireMessage<'a> {
    /// Returns parameters that pass through to vLLM.
    pub(super) fn extras(&self) -> RawExtras<'a> {
        given([
            ("tool_calls", self.tool_calls.filter(|calls| !is_empty(calls))),
            ("tool_call_id", self.tool_call_id),
            ("reasoning", self.reasoning),
        ])
    }
}

/// A string or a list of parts.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Debug, Deserialize)]
pub(super) struct WirePart<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow, default)]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) image_url: Option<MediaUrl<'a>>,
    #[serde(borrow, default)]
    pub(super) video_url: Option<MediaUrl<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MediaUrl<'a> {
    #[serde(borrow)]
    pub(super) url: Cow<'a, str>,
}

/// One string or several.
#[derive(Debug)]
pub(super) struct StringOrStrings(pub(super) Vec<String>);

// Not `untagged`: an untagged enum copies its input and loses the path of an error.
impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of parts")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

impl<'de> Deserialize<'de> for StringOrStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringsVisitor;
        impl<'de> Visitor<'de> for StringsVisitor {
            type Value = StringOrStrings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(StringOrStrings(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, texts: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(texts)).map(StringOrStrings)
            }
        }
        deserializer.deserialize_any(StringsVisitor)
    }
}
