//! The JSON that clients of `/v1/chat/completions` send. Strings borrow from the body, so that a clip in a
//! `data:` URL is not copied before it is decoded. Unknown fields are ignored, as OpenAI does.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::{Map, Value};

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
    #[serde(default)]
    pub(super) tools: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) response_format: Option<ResponseFormat>,
    #[serde(default)]
    pub(super) media_io_kwargs: Option<MediaIoKwargs>,
    #[serde(default)]
    pub(super) mm_processor_kwargs: Option<VideoKwargs>,
    #[serde(default)]
    pub(super) tool_choice: Option<Value>,
    #[serde(default)]
    pub(super) parallel_tool_calls: Option<Value>,
    #[serde(default)]
    pub(super) structured_outputs: Option<Value>,
    #[serde(default)]
    pub(super) logit_bias: Option<Value>,
    #[serde(default)]
    pub(super) bad_words: Option<Value>,
    #[serde(default)]
    pub(super) allowed_token_ids: Option<Value>,
    #[serde(default)]
    pub(super) min_tokens: Option<Value>,
    #[serde(default)]
    pub(super) include_stop_str_in_output: Option<Value>,
    #[serde(default)]
    pub(super) skip_special_tokens: Option<Value>,
    #[serde(default)]
    pub(super) spaces_between_special_tokens: Option<Value>,
    #[serde(default)]
    pub(super) repetition_detection: Option<Value>,
    #[serde(default)]
    pub(super) reasoning_effort: Option<Value>,
    #[serde(default)]
    pub(super) include_reasoning: Option<Value>,
    #[serde(default)]
    pub(super) thinking_token_budget: Option<Value>,
    #[serde(default)]
    pub(super) chat_template_kwargs: Option<Value>,
    #[serde(default)]
    pub(super) priority: Option<Value>,
    #[serde(default)]
    pub(super) cache_salt: Option<Value>,
}

impl ChatRequest<'_> {
    /// Collects parameters that pass through to vLLM. An allowlist, because vLLM has parameters that make it
    /// fetch from other machines (`kv_transfer_params`), run the caller's template, or answer without end.
    pub(super) fn take_extras(&mut self) -> Map<String, Value> {
        let tools = self.tools.take().filter(|tools| !tools.is_empty()).map(Value::Array);
        let extras = [
            ("tools", tools),
            ("tool_choice", self.tool_choice.take()),
            ("parallel_tool_calls", self.parallel_tool_calls.take()),
            ("structured_outputs", self.structured_outputs.take()),
            ("logit_bias", self.logit_bias.take()),
            ("bad_words", self.bad_words.take()),
            ("allowed_token_ids", self.allowed_token_ids.take()),
            ("min_tokens", self.min_tokens.take()),
            ("include_stop_str_in_output", self.include_stop_str_in_output.take()),
            ("skip_special_tokens", self.skip_special_tokens.take()),
            ("spaces_between_special_tokens", self.spaces_between_special_tokens.take()),
            ("repetition_detection", self.repetition_detection.take()),
            ("reasoning_effort", self.reasoning_effort.take()),
            ("include_reasoning", self.include_reasoning.take()),
            ("thinking_token_budget", self.thinking_token_budget.take()),
            ("chat_template_kwargs", self.chat_template_kwargs.take()),
            ("priority", self.priority.take()),
            ("cache_salt", self.cache_salt.take()),
        ];
        let given = extras.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        given.collect()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormat {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JsonSchema {
    #[serde(default)]
    pub(super) schema: Option<Value>,
}

/// vLLM's per-modality settings.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MediaIoKwargs {
    #[serde(default)]
    pub(super) video: Option<VideoKwargs>,
}

/// How to sample videos. `start` and `end` (seconds) are Homereel's own.
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
}

#[derive(Debug, Deserialize)]
pub(super) struct WireMessage<'a> {
    pub(super) role: String,
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) tool_call_id: Option<String>,
    #[serde(default, alias = "reasoning_content")]
    pub(super) reasoning: Option<String>,
}

impl WireMessage<'_> {
    /// Collects parameters that pass through to vLLM.
    pub(super) fn take_extras(&mut self) -> Map<String, Value> {
        let calls = self.tool_calls.take().filter(|calls| !calls.is_empty()).map(Value::Array);
        let extras = [
            ("tool_calls", calls),
            ("tool_call_id", self.tool_call_id.take().map(Value::String)),
            ("reasoning", self.reasoning.take().map(Value::String)),
        ];
        let given = extras.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        given.collect()
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
