//! `/docs`: the document as a page.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::response::Response;
use homereel_web::{
    pages::DocsPage,
    views::{DocsFamily, DocsField, DocsOperation},
};
use serde_json::{Map, Value};

use super::{DOCUMENT, operation::ROLE};
use crate::http::html::{self, PageContext};

/// `GET /docs`
pub(in crate::http) async fn page(cx: PageContext) -> Response {
    static CONTENT: LazyLock<(Vec<DocsFamily>, BTreeMap<String, String>)> = LazyLock::new(|| {
        let document = serde_json::to_value(&*DOCUMENT).unwrap_or_default();
        (families(&document), errors(&document))
    });
    let page = DocsPage {
        shell: html::shell(&cx, "API", "", false),
        version: env!("CARGO_PKG_VERSION"),
        families: &CONTENT.0,
        errors: &CONTENT.1,
    };
    html::or_error(&cx, html::render(&page))
}

/// Returns the operations of the document by their tag.
fn families(document: &Value) -> Vec<DocsFamily> {
    let tags = document["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |tag: &Value| DocsFamily {
        title: words(&tag["name"]),
        about: words(&tag["description"]),
        operations: operations(document)
            .filter(|(_, operation)| operation["tags"][0] == tag["name"])
            .map(|((path, method), value)| operation(document, path, method, value))
            .collect(),
    };
    tags.iter().map(of).collect()
}

fn operations(document: &Value) -> impl Iterator<Item = ((&str, &str), &Value)> {
    fields(&document["paths"]).flat_map(|(path, item)| {
        fields(item).map(move |(method, operation)| ((path.as_str(), method.as_str()), operation))
    })
}

fn operation(document: &Value, path: &str, method: &str, value: &Value) -> DocsOperation {
    let parameters = value["parameters"].as_array().into_iter().flatten();
    let mut takes: Vec<DocsField> = parameters
        .map(|parameter| DocsField {
            name: words(&parameter["name"]),
            kind: format!("{}, {}", words(&parameter["in"]), kind(&parameter["schema"])),
            required: parameter["required"] == true,
            about: words(&parameter["description"]),
        })
        .collect();
    for (content_type, content) in fields(&value["requestBody"]["content"]) {
        takes.extend(body(document, content_type, &content["schema"]));
    }
    let (failures, answers): (Vec<_>, Vec<_>) =
        fields(&value["responses"]).partition(|(_, answer)| is_error(answer));
    let returns = answers.into_iter().map(|(status, answer)| DocsField {
        name: status.clone(),
        kind: fields(&answer["content"])
            .map(|(content_type, content)| format!("{content_type} ({})", kind(&content["schema"])))
            .collect::<Vec<_>>()
            .join(", "),
        required: false,
        about: words(&answer["description"]),
    });
    DocsOperation {
        id: words(&value["operationId"]),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        role: words(&value[ROLE]),
        summary: words(&value["summary"]),
        about: words(&value["description"]),
        takes,
        returns: returns.collect(),
        failures: failures.iter().map(|(status, _)| status.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// Returns whether an answer is one of the shared errors.
fn is_error(answer: &Value) -> bool {
    answer.get("$ref").is_some()
}

/// Returns what each status of an error means, once.
fn errors(document: &Value) -> BTreeMap<String, String> {
    let answers = operations(document).flat_map(|(_, operation)| fields(&operation["responses"]));
    let errors = answers.filter(|(_, answer)| is_error(answer));
    errors.map(|(status, answer)| (status.clone(), words(&answer["description"]))).collect()
}

/// Returns the fields of a body, or the body itself if it has none.
fn body(document: &Value, content_type: &str, schema: &Value) -> Vec<DocsField> {
    let schema = match schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        Some(path) => document.pointer(path).unwrap_or(schema),
        None => schema,
    };
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    let found: Vec<DocsField> = fields(&schema["properties"])
        .map(|(name, property)| DocsField {
            name: name.clone(),
            kind: format!("body, {}", kind(property)),
            required: required(name),
            about: words(&property["description"]),
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    vec![DocsField {
        name: "body".into(),
        kind: content_type.to_owned(),
        required: true,
        about: String::new(),
    }]
}

/// Describes a schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return name.to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(words).collect::<Vec<_>>().join(" | ");
    }
    for together in ["anyOf", "oneOf", "allOf"] {
        if let Some(shapes) = schema[together].as_array() {
            let kinds: Vec<String> =
                shapes.iter().filter(|shape| shape["type"] != "null").map(kind).collect();
            return kinds.join(if together == "allOf" { " & " } else { " | " });
        }
    }
    match (schema["type"].as_str(), &schema["items"]) {
        (Some("array"), items) => format!("array of {}", kind(items)),
        (Some(kind), _) => kind.to_owned(),
        (None, _) => "any".into(),
    }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
