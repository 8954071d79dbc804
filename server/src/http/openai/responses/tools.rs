//! Parses `tools` and `tool_choice` of the Responses API, where a function is flat, to chat's form, which engines and chat
//! templates know.

use std::collections::HashSet;

use homereel_engine::{ToolChoice, ToolOptions};
use serde_json::{Map, Value, json, value::RawValue};

use super::super::convert::{bounded, form};
use super::super::parameters::Parameters;
use crate::http::error::{Failure, shown};

/// Tools, and how the response repeats them.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) options: Option<ToolOptions>,
    /// All tools, flat.
    pub(super) echo: Vec<Value>,
    /// `tool_choice`.
    pub(super) choice: Value,
    pub(super) parallel: bool,
}

/// Fields of a function.
const FIELDS: [&str; 4] = ["name", "description", "parameters", "strict"];

/// Parses `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn tools(parameters: &mut Parameters<'_>) -> Result<Tools, Failure> {
    let given = form::tool_list(parameters)?;
    let parallel = parameters.take("parallel_tool_calls")?.unwrap_or(true);
    let choice = parameters.take::<&RawValue>("tool_choice")?;
    let choice = choice.map(|choice| bounded("tool_choice", choice)).transpose()?;
    let choice = choice.unwrap_or_else(|| "auto".into());
    let functions = given.iter().enumerate().map(|(at, tool)| function(at, tool));
    let functions = functions.collect::<Result<Vec<_>, _>>()?;
    let echo = functions.iter().map(flat).collect();
    let (chosen, functions, choice) = match choice.get("type").and_then(Value::as_str) {
        Some("allowed_tools") => {
            let (chosen, functions) = allowed(&choice, functions)?;
            (chosen, functions, choice)
        }
        Some(other) if other != "function" => {
            let message = format!(
                "tool_choice of type {} is not supported; auto, none, required, function or allowed_tools would fit",
                shown(other)
            );
            return Err(Failure::invalid("tool_choice", message));
        }
        _ => {
            let chosen = form::tool_choice(&choice)?;
            let echo = match &chosen {
                ToolChoice::Function(name) => json!({ "type": "function", "name": name }),
                ToolChoice::Required => "required".into(),
                _ => choice,
            };
            (chosen, functions, echo)
        }
    };
    let tools = functions.into_iter().map(|function| json!({ "type": "function", "function": function }));
    Ok(Tools { options: form::chosen(tools.collect(), chosen, parallel)?, echo, choice, parallel })
}

/// Returns the fields of a function. Chat's form is accepted as well.
fn function(at: usize, tool: &Value) -> Result<Map<String, Value>, Failure> {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind != "function" {
        let message = format!("tools of type {} are not supported; function would fit", shown(kind));
        return Err(Failure::invalid(format!("tools[{at}].type"), message));
    }
    let given = tool.get("function").filter(|function| function.is_object()).unwrap_or(tool);
    let fields = FIELDS.into_iter().filter_map(|name| {
        let value = given.get(name).filter(|value| !value.is_null())?;
        Some((name.to_owned(), value.clone()))
    });
    let fields: Map<String, Value> = fields.collect();
    if !fields.get("name").is_some_and(Value::is_string) {
        let param = format!("tools[{at}].name");
        return Err(Failure::invalid(param.clone(), format!("{param} is missing; a string would fit")));
    }
    Ok(fields)
}

/// Returns a function as the response repeats it.
fn flat(function: &Map<String, Value>) -> Value {
    let mut tool = json!({ "type": "function" });
    for name in FIELDS {
        tool[name] = function.get(name).cloned().unwrap_or_default();
    }
    tool
}

/// Returns the choice, and the functions that it allows.
fn allowed(
    choice: &Value,
    functions: Vec<Map<String, Value>>,
) -> Result<(ToolChoice, Vec<Map<String, Value>>), Failure> {
    let chosen = match choice.get("mode").and_then(Value::as_str) {
        Some("auto") => ToolChoice::Auto,
        Some("required") => ToolChoice::Required,
        _ => {
            let message = "tool_choice.mode is unknown; auto or required would fit";
            return Err(Failure::invalid("tool_choice.mode", message));
        }
    };
    let named = choice.get("tools").and_then(Value::as_array).filter(|tools| !tools.is_empty());
    let named = named.ok_or_else(|| {
        Failure::invalid("tool_choice.tools", "tool_choice.tools is empty; at least 1 function would fit")
    })?;
    let known: HashSet<&str> = functions.iter().filter_map(name_of).collect();
    let mut allowed = HashSet::new();
    for (at, tool) in named.iter().enumerate() {
        let name = tool.get("name").or_else(|| tool.pointer("/function/name")).and_then(Value::as_str);
        let name = name.unwrap_or_default();
        if !known.contains(name) {
            let param = format!("tool_choice.tools[{at}].name");
            let message = format!("{param} is {:?}; the name of one of tools would fit", shown(name));
            return Err(Failure::invalid(param, message));
        }
        allowed.insert(name);
    }
    let functions =
        functions.iter().filter(|function| name_of(function).is_some_and(|name| allowed.contains(name)));
    Ok((chosen, functions.cloned().collect()))
}

fn name_of(function: &Map<String, Value>) -> Option<&str> {
    function.get("name").and_then(Value::as_str)
}
