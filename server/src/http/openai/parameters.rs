//! The parameters of chat completions and responses: their values in a body, and what becomes of each with our own engine and
//! with vLLM.
//!
//! No parameter is ignored in silence: it works, or it is refused, or a warning of the response names it. The table in
//! docs/reference/parameters.md is [`table`]; a test compares them.

pub(in crate::http) mod schema;
mod table;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::error::{Failure, shown};
pub(in crate::http) use table::Api;
use table::Support;

/// The values of a body that are not taken yet, by name.
#[derive(Debug)]
pub(super) struct Parameters<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Parameters<'a> {
    /// Parses a body. Of two values with one name the last one counts.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        let invalid = |message: String| Failure {
            code: "invalid_json",
            param: None,
            ..Failure::invalid("", format!("the body is invalid: {message}"))
        };
        // Raw values are only found in text, which they borrow.
        let text = std::str::from_utf8(body).map_err(|error| invalid(error.to_string()))?;
        let mut values: BTreeMap<String, &'a RawValue> = serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            // A body that is another JSON value.
            if error.is_data() {
                invalid(format!("{}; a JSON object would fit", cut(&message)))
            } else {
                invalid(cut(&message))
            }
        })?;
        values.retain(|_, value| value.get() != "null");
        Ok(Self(values))
    }

    /// Takes a value; `None` means that there is none, or `null`.
    ///
    /// # Errors
    /// Names the part of the value that is invalid.
    pub(super) fn take<T: Deserialize<'a>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        self.0.remove(name).map(|value| parse(name, value)).transpose()
    }

    /// Returns whether there is a value that is not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes a value that must be there.
    ///
    /// # Errors
    /// As [`Self::take`], and when it is missing.
    pub(super) fn require<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, Failure> {
        let missing = || Failure::invalid(name, format!("the body is invalid: missing field `{name}`"));
        self.take(name)?.ok_or_else(missing)
    }

    /// Returns a warning for each parameter that has no effect, with vLLM behind the server or without.
    ///
    /// # Errors
    /// Names the first parameter that is refused.
    pub(super) fn review(&self, api: Api, vllm: bool) -> Result<Vec<String>, Failure> {
        let mut warnings = Vec::new();
        for (name, value) in &self.0 {
            let Some(parameter) = api.parameters().find(|parameter| parameter.name == name) else {
                warnings.push(format!("the parameter {} is unknown and has no effect", shown(name)));
                continue;
            };
            if parameter.neutral.contains(&value.get()) {
                continue;
            }
            match if vllm { parameter.vllm } else { parameter.own } {
                Support::Works => {}
                Support::NoEffect => {
                    warnings.push(format!("{name} has no effect{}", because(parameter.note)));
                }
                Support::Refused => {
                    return Err(Failure::invalid(
                        name.as_str(),
                        format!("{name} is not supported{}", because(parameter.note)),
                    ));
                }
            }
        }
        Ok(warnings)
    }
}

fn because(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(": {note}") }
}

/// Parses a value of the parameter `name`.
pub(super) fn parse<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_str(value.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let param = match path.as_str() {
            "." => name.to_owned(),
            path if path.starts_with('[') => format!("{name}{path}"),
            path => format!("{name}.{path}"),
        };
        let message = format!("{param}: {}", cut(&place_free(&error.into_inner().to_string())));
        Failure::invalid(param, message)
    })
}

/// Removes the line and column, which count from the beginning of the value.
fn place_free(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message).to_owned()
}

/// Shortens serde's message, which quotes the invalid value and may contain a whole clip.
fn cut(message: &str) -> String {
    if message.len() <= 300 {
        return message.to_owned();
    }
    let head: String = message.chars().take(150).collect();
    let tail: Vec<char> = message.chars().rev().take(100).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(api: Api, body: &str, vllm: bool) -> Result<Vec<String>, String> {
        Parameters::parse(body.as_bytes()).unwrap().review(api, vllm).map_err(|failure| failure.message)
    }

    #[test]
    fn every_parameter_works_or_is_refused_or_is_named() {
        for (api, parameter) in [Api::Chat, Api::Responses, Api::Estimate, Api::Tokenize, Api::Embeddings]
            .into_iter()
            .flat_map(|api| api.parameters().map(move |one| (api, one)))
        {
            assert_eq!(api.parameters().filter(|other| other.name == parameter.name).count(), 1);
            // A value that is neutral for none.
            let body = format!(r#"{{"{}": "some value"}}"#, parameter.name);
            for (vllm, support) in [(false, parameter.own), (true, parameter.vllm)] {
                match (support, review(api, &body, vllm)) {
                    (Support::Works, Ok(warnings)) => assert!(warnings.is_empty(), "{warnings:?}"),
                    (Support::NoEffect, Ok(warnings)) => assert!(warnings[0].starts_with(parameter.name)),
                    (Support::Refused, Err(message)) => assert!(message.starts_with(parameter.name)),
                    (support, result) => panic!("{}: {support:?} but {result:?}", parameter.name),
                }
            }
            for neutral in parameter.neutral.iter().chain(&["null"]) {
                let body = format!(r#"{{"{}": {neutral}}}"#, parameter.name);
                let reviews = (review(api, &body, false), review(api, &body, true));
                assert_eq!(reviews, (Ok(vec![]), Ok(vec![])), "{body}");
            }
        }
        assert_eq!(
            review(Api::Chat, r#"{"temperatur": 1}"#, true).unwrap(),
            ["the parameter temperatur is unknown and has no effect"]
        );
    }

    #[test]
    fn the_documented_tables_are_these() {
        let documented = include_str!("../../../../docs/reference/parameters.md");
        for (heading, parameters) in table::TABLES {
            let section = documented.split_once(&format!("\n## {heading}\n")).expect(heading).1;
            let section = section.split_once("\n#").map_or(section, |(section, _)| section);
            let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
            let expected = parameters.iter().map(|parameter| {
                let (own, vllm) = (parameter.own.as_str(), parameter.vllm.as_str());
                format!("| `{}` | {own} | {vllm} | {} |", parameter.name, parameter.note)
            });
            assert_eq!(rows, expected.collect::<Vec<_>>(), "{heading} of docs/reference/parameters.md");
        }
    }

    #[test]
    fn errors_name_the_part_of_a_value() {
        let mut parameters = Parameters::parse(br#"{"stop": ["a", 1], "n": "x", "top_k": null}"#).unwrap();
        let failure = parameters.take::<Vec<String>>("stop").unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("stop[1]"));
        assert!(failure.message.ends_with("expected a string"), "{}", failure.message);
        assert_eq!(parameters.take::<i64>("n").unwrap_err().param.as_deref(), Some("n"));
        assert_eq!(parameters.take::<i64>("top_k").unwrap(), None);
        assert_eq!(parameters.require::<i64>("model").unwrap_err().param.as_deref(), Some("model"));
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["", "[]", "1", "{", "{}x", "\u{feff}{}", "{\"a\":1,}"] {
            let failure = Parameters::parse(body.as_bytes()).unwrap_err();
            assert_eq!((failure.code, failure.param), ("invalid_json", None), "{body}");
        }
        assert!(Parameters::parse(&[b'{', 0xff, b'}']).is_err());
        // As JavaScript and Python read it.
        let mut twice = Parameters::parse(br#"{"n": 1, "n": 2}"#).unwrap();
        assert_eq!(twice.take::<i64>("n").unwrap(), Some(2));
    }
}
