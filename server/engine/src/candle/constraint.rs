//! Constrained decoding for JSON answers: llguidance computes which tokens may come next.
//!
//! Grammars are compiled when a request is submitted; the engine's thread only computes masks.

use std::sync::{Arc, OnceLock};

use llguidance::{
    Matcher, ParserFactory,
    api::TopLevelGrammar,
    token_bytes_from_tokenizer_json,
    toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::{Value, json};

use crate::{AnswerFormat, EngineError};

/// Bytes of one JSON schema.
const MAX_SCHEMA: usize = 64 << 10;

/// Largest `multipleOf`, without its powers of ten: a grammar has a state for each remainder.
const MAX_MULTIPLE: f64 = 1000.0;

/// Properties of one object: the time to compile a grammar grows with their square.
const MAX_PROPERTIES: usize = 400;

/// States of one grammar's lexer; each takes 1 to 2 KiB.
const MAX_LEXER_STATES: usize = 20_000;

/// Whitespace between JSON tokens: some models indent, but a model that only writes spaces must reach an end.
const WHITESPACE: &str = r"[\x20\x0A\x09]{0,16}";

/// Lexeme slices whose masks are computed once per vocabulary.
const SLICES: [&str; 3] =
    [r#"[^"\\\x00-\x1F\x7F]{1,10}"#, r#"[^"\\\x00-\x1F\x7F]{1,30}"#, r#"[^"\\\x00-\x1F\x7F]+"#];

/// Compiles grammars for one vocabulary.
pub(super) struct Grammars {
    /// The bytes of each token; special tokens are marked so that no text spells them.
    words: Vec<Vec<u8>>,
    eos: u32,
    /// Created at the first request for JSON, since most servers never receive one.
    factory: OnceLock<Result<ParserFactory, String>>,
}

/// The state of one constrained answer.
#[derive(Clone)]
pub(super) struct Constraint(Matcher);

impl Grammars {
    /// Reads the vocabulary of `tokenizer.json`; `eos` is the token that ends an answer.
    ///
    /// # Errors
    /// Describes what is wrong with the file.
    pub(super) fn new(tokenizer_json: &[u8], eos: u32) -> Result<Self, String> {
        let json: Value =
            serde_json::from_slice(tokenizer_json).map_err(|error| format!("tokenizer.json: {error}"))?;
        let words = token_bytes_from_tokenizer_json(&json)
            .map_err(|error| format!("tokenizer.json: no bytes of tokens: {error}"))?;
        Ok(Self { words, eos, factory: OnceLock::new() })
    }

    /// Compiles the grammar for `format`; `None` means that any text is allowed.
    ///
    /// # Errors
    /// `Invalid` for a schema that is malformed, unsupported or too large.
    pub(super) fn constrain(&self, format: &AnswerFormat) -> Result<Option<Constraint>, EngineError> {
        let mut schema = match format {
            AnswerFormat::Text => return Ok(None),
            AnswerFormat::JsonObject => json!({ "type": "object" }),
            AnswerFormat::JsonSchema(schema) => schema.clone(),
        };
        let invalid = |message: String| EngineError::invalid("response_format", message);
        let size = schema.to_string().len();
        if size > MAX_SCHEMA {
            return Err(invalid(format!("the JSON schema has {size} bytes; {MAX_SCHEMA} would fit")));
        }
        if let Some(multiple) = large_multiple(&schema) {
            return Err(invalid(format!(
                "the JSON schema has multipleOf {multiple}; at most {MAX_MULTIPLE} times a power of ten would fit"
            )));
        }
        let properties = most_fields(&schema);
        if properties > MAX_PROPERTIES {
            return Err(invalid(format!(
                "an object of the JSON schema has {properties} properties; {MAX_PROPERTIES} would fit"
            )));
        }
        if let Some(object) = schema.as_object_mut() {
            // Schemas must not set options of the library.
            object.insert("x-guidance".into(), json!({ "whitespace_pattern": WHITESPACE }));
        } else if !schema.is_boolean() {
            return Err(invalid("a JSON schema is an object".into()));
        }
        let factory = self.factory.get_or_init(|| self.factory());
        let factory = factory.as_ref().map_err(|error| EngineError::Failed(error.clone()))?;
        let parser = factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let mut constraint = Constraint(Matcher::new(parser));
        // Some schemas are only found to be too complex when their first tokens are computed.
        constraint.mask()?;
        Ok(Some(constraint))
    }

    fn factory(&self) -> Result<ParserFactory, String> {
        let vocabulary = u32::try_from(self.words.len()).map_err(|error| error.to_string())?;
        let trie = TokTrie::from(&TokRxInfo::new(vocabulary, self.eos), &self.words);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = SLICES.map(str::to_owned);
        let factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| format!("no grammars for this vocabulary: {error}"))?;
        let limits = factory.quiet().limits_mut();
        limits.verbose_errors = false;
        limits.max_lexer_states = MAX_LEXER_STATES;
        Ok(factory)
    }
}

impl Constraint {
    /// Returns the tokens that may come next: only the end token once the answer is complete.
    ///
    /// # Errors
    /// `Invalid` where the grammar exceeds its work limit.
    pub(super) fn mask(&mut self) -> Result<Mask, EngineError> {
        self.0.compute_mask_or_eos().map(Mask).map_err(|error| {
            let error = first_line(&error.to_string());
            EngineError::invalid("response_format", format!("the JSON schema cannot be followed: {error}"))
        })
    }

    /// Advances the state by `token`; returns true when nothing can follow.
    ///
    /// # Errors
    /// `Failed` for a token that the mask excluded.
    pub(super) fn accept(&mut self, token: u32) -> Result<bool, EngineError> {
        if !self.0.is_stopped() {
            self.0.consume_token(token).map_err(failed)?;
        }
        Ok(self.0.is_stopped())
    }
}

/// The set of tokens that may come next.
pub(super) struct Mask(SimpleVob);

impl Mask {
    /// Sets the logits of all other tokens to negative infinity, including ids beyond the vocabulary.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (id, logit) in (0_u32..).zip(logits) {
            if id as usize >= self.0.len() || !self.0.is_allowed(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
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

/// Returns the digits of a number as an integer, without its powers of ten: 5 for 0.005 and for 500.
fn significand(number: f64) -> f64 {
    let digits: String = format!("{:e}", number.abs())
        .chars()
        .take_while(|&c| c != 'e')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(f64::INFINITY)
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("the form of the answer: {}", first_line(&error.to_string())))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;

    fn grammars() -> Grammars {
        let eos = demo::tokenizer().id("<|im_end|>").unwrap();
        Grammars::new(demo::file("tokenizer.json").unwrap_or_default(), eos).unwrap()
    }

    /// Walks `text` through a constraint and tells how many of its tokens were allowed, and whether it may end then.
    fn walk(format: &AnswerFormat, text: &str) -> (usize, usize, bool) {
        let grammars = grammars();
        let mut constraint = grammars.constrain(format).unwrap().unwrap();
        let ids = demo::tokenizer().encode(text).unwrap();
        let mut taken = 0;
        for &id in &ids {
            let mut logits = vec![0.0; grammars.words.len()];
            constraint.mask().unwrap().apply(&mut logits);
            if logits[id as usize] != 0.0 {
                break;
            }
            taken += 1;
            if constraint.accept(id).unwrap() {
                break;
            }
        }
        let mut logits = vec![0.0; grammars.words.len()];
        constraint.mask().unwrap().apply(&mut logits);
        (taken, ids.len(), logits[grammars.eos as usize] == 0.0)
    }

    fn moments() -> AnswerFormat {
        AnswerFormat::JsonSchema(json!({
            "type": "object", "required": ["moments"], "additionalProperties": false,
            "properties": { "moments": { "type": "array", "items": { "$ref": "#/$defs/moment" } } },
            "$defs": { "moment": { "type": "object", "additionalProperties": false,
                "required": ["start", "end", "text"], "properties": {
                    "start": { "type": "number" }, "end": { "type": "number" }, "text": { "type": "string" } } } }
        }))
    }

    #[test]
    fn costly_schemas_are_refused_as_invalid() {
        let grammars = grammars();
        let many: serde_json::Map<String, Value> =
            (0..1500).map(|at| (format!("p{at}"), json!({ "type": "string" }))).collect();
        let allowed = |schema: &Value| grammars.constrain(&AnswerFormat::JsonSchema(schema.clone()));
        for schema in [
            json!({ "type": "integer", "multipleOf": 1_999_993 }),
            json!({ "type": "object", "properties": { "a": { "type": "integer", "multipleOf": 9_999_991 } } }),
            json!({ "type": "number", "multipleOf": 0.123_457 }),
            json!({ "$ref": "#" }),
            json!({ "type": "object", "properties": many }),
        ] {
            let error = allowed(&schema).map(|_| ()).unwrap_err();
            assert!(matches!(error, EngineError::Invalid { .. }), "{error}");
        }
        for schema in [
            json!({ "type": "integer", "multipleOf": 7, "minimum": 1000, "maximum": 1_000_000 }),
            json!({ "type": "number", "multipleOf": 0.25 }),
        ] {
            assert!(allowed(&schema).is_ok(), "{schema}");
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
    fn what_the_schema_admits_passes_and_may_end_only_when_it_is_whole() {
        let text = r#"{"moments": [{"start": 0.5, "end": 2, "text": "a red square"}]}"#;
        let (taken, all, ends) = walk(&moments(), text);
        assert_eq!((taken, ends), (all, true));
        let (taken, all, ends) = walk(&moments(), &text[..30]);
        assert_eq!((taken, ends), (all, false));
    }

    #[test]
    fn what_it_does_not_admit_is_masked_where_it_leaves_the_form() {
        for text in [
            "Sure! {\"moments\": []}",
            r#"{"moments": "none"}"#,
            r#"{"moments": [{"start": 0.5, "text": "a"}]}"#,
            r#"{"tags": []}"#,
            "[1]",
        ] {
            let (taken, all, _) = walk(&moments(), text);
            assert!(taken < all, "{text} passed");
        }
        let (taken, all, ends) = walk(&AnswerFormat::JsonObject, r#"{"a": [1, {"b": null}]}"#);
        assert_eq!((taken, ends), (all, true));
        let (taken, ..) = walk(&AnswerFormat::JsonObject, "[]");
        assert_eq!(taken, 0);
    }

    #[test]
    fn spaces_come_to_an_end() {
        let (taken, all, _) = walk(&AnswerFormat::JsonObject, &format!("{{{}", " \n".repeat(60)));
        assert!(taken < all);
    }

    #[test]
    fn bad_schemas_are_refused_by_name() {
        let grammars = grammars();
        for schema in [
            json!({ "type": "strin" }),
            json!({ "type": "string", "pattern": "(" }),
            json!([]),
            json!({ "$ref": "http://example.com/schema" }),
            json!({ "enum": vec!["x".repeat(100); 1000] }),
            json!({ "type": "string", "minLength": 5, "maxLength": 1 }),
        ] {
            let refused = grammars.constrain(&AnswerFormat::JsonSchema(schema.clone()));
            match refused {
                Err(error) => assert!(error.to_string().contains("schema"), "{error}"),
                Ok(_) => panic!("{schema} was taken"),
            }
        }
        assert!(grammars.constrain(&AnswerFormat::Text).unwrap().is_none());
    }
}
