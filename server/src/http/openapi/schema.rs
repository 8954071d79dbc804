//! JSON schemas that are written by hand, where a handler returns JSON without a type or an object is OpenAI's. All objects
//! are open: more fields may be added to them.

use utoipa::openapi::{
    ArrayBuilder, Ref, RefOr, Schema,
    schema::{AdditionalProperties, AnyOfBuilder, ObjectBuilder, SchemaType, Type},
};

/// A schema, or a reference to a shared one.
pub(in crate::http) type Shape = RefOr<Schema>;

fn of(kind: Type) -> Shape {
    ObjectBuilder::new().schema_type(kind).into()
}

pub(in crate::http) fn text() -> Shape {
    of(Type::String)
}

pub(in crate::http) fn integer() -> Shape {
    of(Type::Integer)
}

pub(in crate::http) fn number() -> Shape {
    of(Type::Number)
}

pub(in crate::http) fn boolean() -> Shape {
    of(Type::Boolean)
}

/// Any JSON value.
pub(in crate::http) fn any() -> Shape {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).into()
}

/// Bytes that are no JSON.
pub(in crate::http) fn bytes() -> Shape {
    ObjectBuilder::new().schema_type(Type::String).content_media_type("application/octet-stream").into()
}

/// A stream of server-sent events, which a schema cannot describe.
pub(in crate::http) fn events() -> Shape {
    described(any(), "Server-sent events.")
}

pub(in crate::http) fn integer_in(least: i64, most: i64) -> Shape {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(Some(most)).into()
}

pub(in crate::http) fn number_in(least: f64, most: f64) -> Shape {
    ObjectBuilder::new().schema_type(Type::Number).minimum(Some(least)).maximum(Some(most)).into()
}

/// A string that matches a regular expression.
pub(in crate::http) fn pattern(pattern: &str) -> Shape {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).into()
}

/// One of these strings.
pub(in crate::http) fn choice(values: &[&str]) -> Shape {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values.iter().copied())).into()
}

pub(in crate::http) fn list(items: Shape) -> Shape {
    ArrayBuilder::new().items(items).into()
}

/// A list of `least` to `most` items.
pub(in crate::http) fn list_of(items: Shape, least: usize, most: usize) -> Shape {
    ArrayBuilder::new().items(items).min_items(Some(least)).max_items(Some(most)).into()
}

/// An object whose values have one schema.
pub(in crate::http) fn map(values: Shape) -> Shape {
    let values = match values {
        RefOr::T(schema) => AdditionalProperties::RefOr(RefOr::T(schema)),
        reference => AdditionalProperties::RefOr(reference),
    };
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(values)).into()
}

/// A value that has at least one of these schemas.
pub(in crate::http) fn any_of(shapes: impl IntoIterator<Item = Shape>) -> Shape {
    let any_of = shapes.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item);
    RefOr::T(Schema::AnyOf(any_of.build()))
}

pub(in crate::http) fn nullable(shape: Shape) -> Shape {
    any_of([shape, of(Type::Null)])
}

/// An object with fields that it always has, and fields that it may have.
pub(in crate::http) fn object<const R: usize, const O: usize>(
    required: [(&str, Shape); R],
    optional: [(&str, Shape); O],
) -> Shape {
    let mut object = ObjectBuilder::new().schema_type(Type::Object);
    for (name, shape) in required {
        object = object.property(name, shape).required(name);
    }
    for (name, shape) in optional {
        object = object.property(name, shape);
    }
    object.into()
}

/// Reference to a shared schema.
pub(in crate::http) fn shared(name: &str) -> Shape {
    Ref::from_schema_name(name).into()
}

/// Adds a description.
pub(in crate::http) fn described(shape: Shape, about: &str) -> Shape {
    let about = Some(about.to_owned()).filter(|about| !about.is_empty());
    match shape {
        RefOr::Ref(mut reference) => {
            reference.description = about.unwrap_or_default();
            reference.into()
        }
        RefOr::T(mut schema) => {
            match &mut schema {
                Schema::Object(object) => object.description = about,
                Schema::Array(array) => array.description = about,
                Schema::AnyOf(any_of) => any_of.description = about,
                Schema::OneOf(one_of) => one_of.description = about,
                Schema::AllOf(all_of) => all_of.description = about,
                _ => {}
            }
            RefOr::T(schema)
        }
    }
}
