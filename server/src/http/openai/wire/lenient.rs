//! Values that clients write in several ways.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

/// A whole number, which some clients write as 64.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::openai) struct Whole(pub(in crate::http::openai) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_i64<E>(self, value: i64) -> Result<Whole, E> {
                Ok(Whole(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
                i64::try_from(value)
                    .map(Whole)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Whole, E> {
                // Beyond this, floats are no exact integers.
                const EXACT: f64 = 9_007_199_254_740_992.0;
                if value.fract() != 0.0 || value.abs() > EXACT {
                    return Err(E::invalid_type(Unexpected::Float(value), &self));
                }
                #[expect(clippy::cast_possible_truncation, reason = "whole, and within the range of i64")]
                Ok(Whole(value as i64))
            }
        }
        deserializer.deserialize_any(WholeVisitor)
    }
}

/// One string or several.
#[derive(Debug)]
pub(in crate::http::openai) struct StringOrStrings(pub(in crate::http::openai) Vec<String>);

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

/// Where the bytes of a picture or video are: a URL, an object with one, or a list of frames.
#[derive(Debug)]
pub(in crate::http::openai) enum Media<'a> {
    One(Cow<'a, str>),
    /// A URL whose object asks for a `detail`.
    Detailed(Cow<'a, str>, Cow<'a, str>),
    Frames(Vec<Media<'a>>),
}

/// An object with a URL under one of its names. Base64 stands in the same place: what is embedded is a marker by now.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MediaObject<'a> {
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    file_data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    file_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    file_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    image_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Media<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MediaVisitor;
        impl<'de> Visitor<'de> for MediaVisitor {
            type Value = Media<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, an object with a url, or an array of frames")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Media::One(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Media::One(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, frames: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(frames)).map(Media::Frames)
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                let object = MediaObject::deserialize(MapAccessDeserializer::new(fields))?;
                let MediaObject { url, data, base64, file_data, file_url, file_id, image_url, detail } =
                    object;
                let one = url.or(data).or(base64).or(file_data).or(file_url).or(image_url).or(file_id);
                let one = one.ok_or_else(|| A::Error::missing_field("url"))?;
                Ok(match detail {
                    Some(detail) if detail != "auto" => Media::Detailed(one, detail),
                    _ => Media::One(one),
                })
            }
        }
        deserializer.deserialize_any(MediaVisitor)
    }
}
