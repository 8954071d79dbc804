//! The JSON of messages and their parts, in every form in which clients send it. Strings borrow from the body. Tool calls
//! stay text, because a tree of small values takes many times the memory.

mod lenient;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::value::RawValue;

pub(super) use lenient::{Media, StringOrStrings, Whole};

#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: Option<bool>,
}

/// How to constrain the answer's form. `schema` beside `type` is llama.cpp's form.
#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow, default)]
    pub(super) json_schema: Option<JsonSchema<'a>>,
    #[serde(borrow, default)]
    pub(super) schema: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JsonSchema<'a> {
    #[serde(borrow, default)]
    pub(super) schema: Option<&'a RawValue>,
}

/// vLLM's constraints on the answer's form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StructuredOutputs<'a> {
    #[serde(borrow, default)]
    pub(super) json: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) json_object: Option<bool>,
    #[serde(default)]
    pub(super) regex: Option<String>,
    #[serde(default)]
    pub(super) choice: Option<Vec<String>>,
    #[serde(default)]
    pub(super) grammar: Option<String>,
    #[serde(borrow, default)]
    pub(super) structural_tag: Option<&'a RawValue>,
}

/// How to sample videos, and whether to limit each frame to 768 visual tokens. `start` and `end` (seconds) are Homereel's own.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) struct VideoKwargs {
    #[serde(default)]
    pub(super) fps: Option<f64>,
    #[serde(default)]
    pub(super) num_frames: Option<Whole>,
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
    pub(super) tool_call_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Cow<'a, str>>,
    /// Why the model refused; OpenAI's messages have it instead of content.
    #[serde(borrow, default)]
    pub(super) refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reasoning_content: Option<&'a RawValue>,
}

/// A string or a list of parts.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<WirePart<'a>>),
}

/// A part, in the forms of OpenAI (chat and responses), vLLM, Qwen, llama.cpp and LangChain.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartFields<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) refusal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) image_url: Option<Media<'a>>,
    #[serde(borrow)]
    pub(super) video_url: Option<Media<'a>>,
    #[serde(borrow)]
    pub(super) image: Option<Media<'a>>,
    #[serde(borrow)]
    pub(super) video: Option<Media<'a>>,
    #[serde(borrow)]
    pub(super) input_image: Option<Media<'a>>,
    #[serde(borrow)]
    pub(super) input_video: Option<Media<'a>>,
    #[serde(borrow)]
    pub(super) file: Option<Media<'a>>,
    /// Media beside the type, as in LangChain's blocks and in the Responses API.
    #[serde(borrow)]
    pub(super) url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) file_data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) file_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) file_id: Option<Cow<'a, str>>,
    /// Beside the type, as in the Responses API.
    #[serde(borrow)]
    pub(super) detail: Option<Cow<'a, str>>,
    /// Of this part; otherwise those of the request are used.
    pub(super) fps: Option<f64>,
    #[serde(alias = "nframes")]
    pub(super) num_frames: Option<Whole>,
    #[serde(alias = "video_start")]
    pub(super) start: Option<f64>,
    #[serde(alias = "video_end")]
    pub(super) end: Option<f64>,
    pub(super) cap_pixels_per_frame: Option<bool>,
    /// Qwen's limits of size, which have no effect.
    pub(super) min_pixels: Option<IgnoredAny>,
    pub(super) max_pixels: Option<IgnoredAny>,
    pub(super) total_pixels: Option<IgnoredAny>,
    pub(super) resized_height: Option<IgnoredAny>,
    pub(super) resized_width: Option<IgnoredAny>,
}

/// A part; a string is a text.
#[derive(Debug)]
pub(super) struct WirePart<'a>(pub(super) PartFields<'a>);

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

impl<'de: 'a, 'a> Deserialize<'de> for WirePart<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartVisitor;
        impl<'de> Visitor<'de> for PartVisitor {
            type Value = WirePart<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part: an object, or a string as text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(text_part(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text_part(Cow::Owned(text.to_owned())))
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                PartFields::deserialize(MapAccessDeserializer::new(fields)).map(WirePart)
            }
        }
        deserializer.deserialize_any(PartVisitor)
    }
}

fn text_part(text: Cow<'_, str>) -> WirePart<'_> {
    WirePart(PartFields { kind: Some(Cow::Borrowed("text")), text: Some(text), ..PartFields::default() })
}
