//! Checks that a JSON schema can be followed in bounded time, and says what cannot.

use serde_json::{Value, json};

/// Bytes of one JSON schema.
pub(super) const MAX_SCHEMA: usize = 64 << 10;

/// Largest `multipleOf`, without its powers of ten: a grammar has a state for each remainder.
const MAX_MULTIPLE: f64 = 1000.0;

/// Properties of one object: the time to compile a grammar grows with their square.
const MAX_PROPERTIES: usize = 400;

/// Whitespace between JSON tokens: some models indent, but a model that only writes spaces must reach an end.
const WHITESPACE: &str = r"[\x20\x0A\x09]{0,16}";

/// What starts a look-around in a regular expression, which cannot be followed token by token.
const LOOK_AROUNDS: [&str; 4] = ["(?=", "(?!", "(?<=", "(?<!"];

/// Checks `schema`, which errors call `name`, and sets the library's options.
///
/// # Errors
/// What is wrong with it, and what would fit.
pub(super) fn prepare(mut schema: Value, name: &str) -> Result<Value, String> {
    let size = schema.to_string().len();
    if size > MAX_SCHEMA {
        return Err(format!("{name} has {size} bytes; {MAX_SCHEMA} would fit"));
    }
    if let Some(multiple) = large_multiple(&schema) {
        return Err(format!(
            "{name} has multipleOf {multiple}; at most {MAX_MULTIPLE} times a power of ten would fit"
        ));
    }
    let properties = most_fields(&schema);
    if properties > MAX_PROPERTIES {
        return Err(format!("an object of {name} has {properties} properties; {MAX_PROPERTIES} would fit"));
    }
    if let Some(pattern) = pattern_with_look_around(&schema) {
        let pattern: String = pattern.chars().take(200).collect();
        return Err(format!(
            "{name} has the pattern {pattern:?}; patterns with look-arounds such as (?=…) and (?!…) are not supported"
        ));
    }
    if !combines(&schema) {
        close(&mut schema);
    }
    if let Some(object) = schema.as_object_mut() {
        // Schemas must not set options of the library.
        object.insert("x-guidance".into(), json!({ "whitespace_pattern": WHITESPACE }));
    } else if !schema.is_boolean() {
        return Err(format!("{name} is no object; a JSON schema is an object"));
    }
    Ok(schema)
}

/// Keywords by which several schemas say something of one object.
const COMBINING: [&str; 3] = ["allOf", "if", "dependentSchemas"];

/// Keywords that do so beside `properties`.
const COMBINING_BESIDE: [&str; 3] = ["anyOf", "oneOf", "$ref"];

/// Keywords that say which other properties there may be.
const OPEN: [&str; 3] = ["additionalProperties", "patternProperties", "unevaluatedProperties"];

/// Keywords with values, not schemas.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];

/// Returns whether several schemas may say something of one object.
fn combines(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(combines),
        Value::Object(fields) => {
            let has = |keywords: &[&str]| keywords.iter().any(|keyword| fields.contains_key(*keyword));
            has(&COMBINING)
                || fields.contains_key("properties") && has(&COMBINING_BESIDE)
                || fields.values().any(combines)
        }
        _ => false,
    }
}

/// Forbids additional properties where `schema` lists properties and says nothing of others, as vLLM does: a model that may
/// invent further ones finds no end.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(fields) => {
            for (_, value) in fields.iter_mut().filter(|(name, _)| !VALUES.contains(&name.as_str())) {
                close(value);
            }
            let lists = fields.get("properties").is_some_and(Value::is_object);
            if lists && !OPEN.iter().any(|keyword| fields.contains_key(*keyword)) {
                fields.insert("additionalProperties".into(), false.into());
            }
        }
        _ => {}
    }
}

/// Returns a `multipleOf` in `schema` that is too large.
fn large_multiple(schema: &Value) -> Option<f64> {
    match schema {
        Value::Array(items) => items.iter().find_map(large_multiple),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match value.as_f64() {
            Some(multiple) if name == "multipleOf" && significand(multiple) > MAX_MULTIPLE => Some(multiple),
            _ => large_multiple(value),
        }),
        _ => None,
    }
}

/// Returns the number of fields of the largest object in `schema`.
fn most_fields(schema: &Value) -> usize {
    match schema {
        Value::Array(items) => items.iter().map(most_fields).max().unwrap_or(0),
        Value::Object(fields) => fields.values().map(most_fields).max().unwrap_or(0).max(fields.len()),
        _ => 0,
    }
}

/// Returns a `pattern`, or a name in `patternProperties`, with a look-around.
fn pattern_with_look_around(schema: &Value) -> Option<&str> {
    let looks_around = |pattern: &&str| LOOK_AROUNDS.iter().any(|start| pattern.contains(start));
    match schema {
        Value::Array(items) => items.iter().find_map(pattern_with_look_around),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let own = match (name.as_str(), value) {
                ("pattern", Value::String(pattern)) => Some(pattern.as_str()).filter(looks_around),
                ("patternProperties", Value::Object(properties)) => {
                    properties.keys().map(String::as_str).find(looks_around)
                }
                _ => None,
            };
            own.or_else(|| pattern_with_look_around(value))
        }),
        _ => None,
    }
}

/// Returns the digits of a number as an integer, without its powers of ten: 5 for 0.005 and for 500.
fn significand(number: f64) -> f64 {
    let digits: String = format!("{:e}", number.abs())
        .chars()
        .take_while(|&c| c != 'e')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_list_their_properties_are_closed_unless_schemas_combine() {
        let closed = |mut schema: Value| {
            if !combines(&schema) {
                close(&mut schema);
            }
            schema.to_string().matches("\"additionalProperties\":false").count()
        };
        let listed = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        assert_eq!(closed(listed.clone()), 1);
        assert_eq!(
            closed(json!({ "properties": { "b": listed, "c": { "type": "array", "items": listed } } })),
            3
        );
        assert_eq!(closed(json!({ "anyOf": [listed, { "type": "null" }], "$defs": { "x": listed } })), 2);
        for open in [
            json!({ "type": "object" }),
            json!({ "properties": {}, "additionalProperties": true }),
            json!({ "properties": {}, "additionalProperties": { "type": "string" } }),
            json!({ "allOf": [listed, listed] }),
            json!({ "properties": { "b": {} }, "anyOf": [listed] }),
            json!({ "const": listed }),
            json!({ "enum": [listed] }),
        ] {
            assert_eq!(closed(open.clone()), 0, "{open}");
        }
    }

    #[test]
    fn the_significand_has_no_powers_of_ten() {
        for (number, digits) in
            [(0.005, 5.0), (500.0, 5.0), (0.1, 1.0), (12.5, 125.0), (1_999_993.0, 1_999_993.0)]
        {
            assert_eq!(significand(number), digits, "{number}");
        }
    }

    #[test]
    fn a_pattern_with_a_look_around_is_named() {
        // As pydantic describes a Decimal.
        let pattern = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$";
        for schema in [
            json!({ "type": "object", "properties": { "price": { "anyOf": [
                { "type": "number" }, { "type": "string", "pattern": pattern } ] } } }),
            json!({ "type": "object", "patternProperties": { pattern: { "type": "string" } } }),
        ] {
            let error = prepare(schema, "the JSON schema").unwrap_err();
            assert!(error.starts_with(&format!("the JSON schema has the pattern {pattern:?}")), "{error}");
        }
        let plain = json!({ "properties": { "pattern": { "type": "string", "pattern": "^(?:a|b)$" } } });
        prepare(plain, "the JSON schema").unwrap();
        let example = json!({ "type": "string", "const": "(?=" });
        prepare(example, "the JSON schema").unwrap();
    }
}
