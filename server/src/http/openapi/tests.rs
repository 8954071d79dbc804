//! Compares the document with the route table.

use serde_json::{Value, json};

use super::super::routes::tests::EXPECTED;
use super::operation::{ROLE, path};
use super::*;

fn as_json() -> Value {
    serde_json::to_value(document()).unwrap()
}

/// Every operation as path, method and value.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(|(method, one)| (path.clone(), method.to_uppercase(), one))
        })
        .collect()
}

#[test]
fn every_route_is_documented_with_its_role_and_nothing_else_is() {
    let document = as_json();
    let mut documented: Vec<(String, String, String)> = operations(&document)
        .into_iter()
        .map(|(path, method, one)| (path, method, one[ROLE].as_str().unwrap().to_owned()))
        .collect();
    documented.sort();
    let mut expected: Vec<(String, String, String)> = EXPECTED
        .iter()
        .filter(|(url, ..)| url.starts_with("/api/") || url.starts_with("/v1/"))
        .map(|(url, method, role)| (path(url), (*method).to_owned(), (*role).to_owned()))
        .collect();
    expected.sort();
    assert_eq!(documented, expected);
}

#[test]
fn every_operation_says_how_to_authenticate_and_how_it_fails() {
    let document = as_json();
    let mut ids = std::collections::BTreeSet::new();
    for (path, method, one) in operations(&document) {
        assert_eq!(one["security"], json!([{"bearer": []}, {"x-api-key": []}, {"session": []}]), "{path}");
        let error = if path.starts_with("/v1/") { OPENAI_ERROR } else { PROBLEM };
        for status in ["401", "403", "500"] {
            let reference = format!("#/components/responses/{error}");
            assert_eq!(one["responses"][status]["$ref"], reference, "{method} {path}");
        }
        assert!(ids.insert(one["operationId"].to_string()), "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = as_json();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}
