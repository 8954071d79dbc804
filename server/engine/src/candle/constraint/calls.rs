//! The grammar of an answer that must call a tool (`tool_choice` `required`, or a function).

use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

use super::{Form, schema};
use crate::candle::tools::{CLOSE, OPEN};
use crate::{EngineError, ToolChoice, ToolOptions};

/// Calls in one answer.
const MAX_CALLS: usize = 8;

/// Bytes of all schemas together.
const MAX_SCHEMAS: usize = 2 * schema::MAX_SCHEMA;

/// Returns the grammar; `None` means that the model need not call a tool. `is_special` tells which tags are special tokens,
/// which text cannot spell.
///
/// # Errors
/// `Invalid` for parameters that cannot be followed.
pub(super) fn grammar(
    tools: &ToolOptions,
    is_special: impl Fn(&str) -> bool,
) -> Result<Option<TopLevelGrammar>, EngineError> {
    let (wanted, calls) = match &tools.choice {
        ToolChoice::Auto | ToolChoice::None => return Ok(None),
        ToolChoice::Required => (None, if tools.parallel { MAX_CALLS } else { 1 }),
        // As in vLLM, one call.
        ToolChoice::Function(name) => (Some(name.as_str()), 1),
    };
    let functions = tools.tools.iter().filter_map(|tool| tool.get("function"));
    let functions = functions.filter_map(|function| Some((function["name"].as_str()?, function)));
    let (mut bodies, mut rules, mut bytes) = (Vec::new(), String::new(), 0);
    for (name, function) in functions.filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name)) {
        let parameters =
            schema::prepare(parameters(function), &format!("the JSON schema of the tool {name}"));
        let parameters = parameters.map_err(|message| Form::Calls.invalid(message))?.to_string();
        bytes += parameters.len();
        let index = bodies.len();
        let head = format!("{{\"name\": {}, \"arguments\": ", json!(name));
        bodies.push(format!("{} arguments_{index} \"}}\"", json!(head)));
        rules += &format!("arguments_{index}: %json {parameters}\n");
    }
    if bytes > MAX_SCHEMAS {
        let message = format!("the JSON schemas of the tools have {bytes} bytes; {MAX_SCHEMAS} would fit");
        return Err(Form::Calls.invalid(message));
    }
    let tag = |tag: &str| if is_special(tag) { tag.to_owned() } else { json!(tag).to_string() };
    let (open, close) = (tag(OPEN), tag(CLOSE));
    let more = if calls > 1 { format!(" (\"\\n\" call){{0,{}}}", calls - 1) } else { String::new() };
    Ok(Some(TopLevelGrammar::from_lark(format!(
        "start: call{more}\ncall: {open} \"\\n\" body \"\\n\" {close}\nbody: {}\n{rules}",
        bodies.join(" | ")
    ))))
}

/// Returns the schema of a function's arguments, which are an object.
fn parameters(function: &Value) -> Value {
    match &function["parameters"] {
        Value::Null => json!({ "type": "object" }),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.entry("type").or_insert_with(|| "object".into());
            fields.into()
        }
        other => other.clone(),
    }
}
