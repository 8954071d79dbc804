//! A row of `texts`: a text that a model wrote about a video, with the model and its settings.

use serde::{Deserialize, Serialize};

/// The kind of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// The description.
    Description,
    /// The moments.
    Moments,
    /// The tags.
    Tags,
}

impl TextKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Moments => "moments",
            Self::Tags => "tags",
        }
    }
}

/// A moment: a time span of a video and what happens in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Moment {
    /// Start in seconds.
    pub start: f64,
    /// End in seconds, not before `start`.
    pub end: f64,
    /// What happens.
    pub text: String,
}

/// A text and its origin.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Text<T> {
    /// The text. `None` when the model's answer was not usable (see `warning`).
    #[cfg_attr(feature = "openapi", schema(schema_with = or_null::<T>))]
    pub content: Option<T>,
    /// A warning for readers.
    pub warning: Option<String>,
    /// Id of the model that wrote it.
    pub model: String,
    /// Prompt and sampling parameters.
    pub settings: serde_json::Value,
    /// When it was written, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When a person last changed it.
    pub edited_ms: Option<i64>,
}

/// Returns the schema of `Option<T>`, which utoipa takes for that of a `T` where `T` is a parameter.
#[cfg(feature = "openapi")]
fn or_null<T: utoipa::ToSchema>() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};

    let null = ObjectBuilder::new().schema_type(Type::Null);
    Schema::AnyOf(AnyOfBuilder::new().item(T::schema()).item(null).build()).into()
}

/// The texts of one video. `None` means that a text does not exist yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Texts {
    /// The description.
    pub description: Option<Text<String>>,
    /// The moments, in order of their start.
    pub moments: Option<Text<Vec<Moment>>>,
    /// The tags.
    pub tags: Option<Text<Vec<String>>>,
}
