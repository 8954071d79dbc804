//! Parses the form of an answer: JSON, other constraints, and tools.

use homereel_engine::{AnswerFormat, ToolChoice, ToolOptions};
use serde_json::{Value, value::RawValue};

use super::super::parameters::Parameters;
use super::super::wire::{ResponseFormat, StructuredOutputs};
use super::bounded;
use crate::http::error::{Failure, shown};

/// Maximum size of a JSON schema in bytes.
const MAX_SCHEMA: usize = 256 << 10;

/// Parses `structured_outputs` and its older names. `given` is the form that OpenAI's parameter of this name constrains.
pub(super) fn answer_format(
    parameters: &mut Parameters<'_>,
    given: Option<(&'static str, AnswerFormat)>,
) -> Result<AnswerFormat, Failure> {
    let mut formats: Vec<_> = given.into_iter().collect();
    if let Some(outputs) = parameters.take::<StructuredOutputs<'_>>("structured_outputs")? {
        formats.extend(structured_outputs(outputs)?.map(|format| ("structured_outputs", format)));
    }
    if let Some(json) = parameters.take::<&RawValue>("guided_json")? {
        formats.push(("guided_json", schema("guided_json", json)?));
    }
    if let Some(regex) = parameters.take("guided_regex")? {
        formats.push(("guided_regex", AnswerFormat::Regex(regex)));
    }
    if let Some(choice) = parameters.take("guided_choice")? {
        formats.push(("guided_choice", AnswerFormat::Choice(choice)));
    }
    if let Some(grammar) = parameters.take("guided_grammar")? {
        formats.push(("guided_grammar", AnswerFormat::Grammar(grammar)));
    }
    formats.retain(|(_, format)| *format != AnswerFormat::Text);
    match formats.as_slice() {
        [] => Ok(AnswerFormat::Text),
        [(_, format)] => Ok(format.clone()),
        [(first, _), (second, _), ..] => Err(Failure::invalid(
            *second,
            format!("{first} and {second} exclude each other; send one of them"),
        )),
    }
}

/// Converts OpenAI's constraint in the parameter `param`.
pub(in crate::http::openai) fn response_format(
    param: &'static str,
    format: &ResponseFormat<'_>,
) -> Result<AnswerFormat, Failure> {
    let beside = format.schema;
    match format.kind.as_str() {
        "text" => Ok(AnswerFormat::Text),
        // With a schema: llama.cpp's form.
        "json_object" => match beside {
            Some(given) => schema(param, given),
            None => Ok(AnswerFormat::JsonObject),
        },
        "json_schema" => match format.json_schema.as_ref().and_then(|json| json.schema).or(beside) {
            Some(given) => schema(param, given),
            None => Err(Failure::invalid(param, format!("{param} json_schema needs a schema, an object"))),
        },
        other => Err(Failure::invalid(
            param,
            format!("{param} {} is unknown; text, json_object or json_schema would fit", shown(other)),
        )),
    }
}

/// Parses a schema: an object, or a string with one.
fn schema(param: &str, given: &RawValue) -> Result<AnswerFormat, Failure> {
    let bytes = given.get().len();
    if bytes > MAX_SCHEMA {
        let message = format!("the schema has {bytes} bytes; at most {MAX_SCHEMA} would fit");
        return Err(Failure::invalid(param, message));
    }
    let invalid =
        |error: serde_json::Error| Failure::invalid(param, format!("the schema is invalid: {error}"));
    let mut parsed: Value = serde_json::from_str(given.get()).map_err(invalid)?;
    if let Value::String(text) = &parsed {
        parsed = serde_json::from_str(text).map_err(invalid)?;
    }
    if !parsed.is_object() {
        return Err(Failure::invalid(param, format!("{param}: the schema is not an object")));
    }
    Ok(AnswerFormat::JsonSchema(parsed))
}

fn structured_outputs(outputs: StructuredOutputs<'_>) -> Result<Option<AnswerFormat>, Failure> {
    const NAME: &str = "structured_outputs";
    if outputs.structural_tag.is_some() {
        let message = "structured_outputs.structural_tag is not supported; json, json_object, regex, choice or grammar would fit";
        return Err(Failure::invalid(NAME, message));
    }
    let json = outputs.json.map(|json| schema(NAME, json)).transpose()?;
    let object = outputs.json_object.filter(|object| *object).map(|_| AnswerFormat::JsonObject);
    let mut given = [
        json,
        object,
        outputs.regex.map(AnswerFormat::Regex),
        outputs.choice.map(AnswerFormat::Choice),
        outputs.grammar.map(AnswerFormat::Grammar),
    ]
    .into_iter()
    .flatten();
    match (given.next(), given.next()) {
        (format, None) => Ok(format),
        _ => Err(Failure::invalid(NAME, "structured_outputs has several constraints; send one of them")),
    }
}

/// Parses `tools`, an array of JSON.
pub(in crate::http::openai) fn tool_list(parameters: &mut Parameters<'_>) -> Result<Vec<Value>, Failure> {
    let given = parameters.take::<&RawValue>("tools")?;
    match given.map(|tools| bounded("tools", tools)).transpose()? {
        None => Ok(Vec::new()),
        Some(Value::Array(tools)) => Ok(tools),
        Some(_) => Err(Failure::invalid("tools", "tools is not an array")),
    }
}

/// Parses `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn tools(parameters: &mut Parameters<'_>) -> Result<Option<ToolOptions>, Failure> {
    let tools = tool_list(parameters)?;
    let choice = parameters.take::<&RawValue>("tool_choice")?;
    let choice = choice.map(|choice| bounded("tool_choice", choice).and_then(|choice| tool_choice(&choice)));
    let choice = choice.transpose()?;
    let parallel = parameters.take("parallel_tool_calls")?.unwrap_or(true);
    for (at, tool) in tools.iter().enumerate() {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind != "function" {
            let message = format!("tools of type {} are not supported; function would fit", shown(kind));
            return Err(Failure::invalid(format!("tools[{at}].type"), message));
        }
        if !tool.pointer("/function/name").is_some_and(Value::is_string) {
            let param = format!("tools[{at}].function.name");
            return Err(Failure::invalid(param.clone(), format!("{param} is missing")));
        }
    }
    chosen(tools, choice.unwrap_or_default(), parallel)
}

/// Returns the options of tools in chat's form.
pub(in crate::http::openai) fn chosen(
    tools: Vec<Value>,
    choice: ToolChoice,
    parallel: bool,
) -> Result<Option<ToolOptions>, Failure> {
    match (tools.is_empty(), choice) {
        (true, ToolChoice::Auto | ToolChoice::None) => Ok(None),
        (true, _) => Err(Failure::invalid("tool_choice", "tool_choice needs tools")),
        (false, choice) => Ok(Some(ToolOptions { tools, choice, parallel })),
    }
}

/// Converts `tool_choice`.
pub(in crate::http::openai) fn tool_choice(choice: &Value) -> Result<ToolChoice, Failure> {
    let name = || choice.pointer("/function/name").or_else(|| choice.get("name")).and_then(Value::as_str);
    match (choice.as_str(), choice.get("type").and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        // `any` is what some clients call it.
        (Some("required" | "any"), _) => Ok(ToolChoice::Required),
        (None, Some("function")) => match name() {
            Some(name) => Ok(ToolChoice::Function(name.to_owned())),
            None => Err(Failure::invalid("tool_choice", "tool_choice names no function")),
        },
        _ => Err(Failure::invalid(
            "tool_choice",
            "tool_choice is unknown; auto, none, required or {\"type\": \"function\", \"function\": {\"name\": …}} would fit",
        )),
    }
}
