//! The parameters of a request with vLLM's names.

use serde_json::{Map, Value, json};

use crate::{AnswerFormat, GenerationOptions, Request, ToolChoice, ToolOptions};

/// Returns all parameters but model and messages.
pub(super) fn parameters(request: &Request, max_tokens: Option<usize>) -> Map<String, Value> {
    let options = &request.options;
    let sampling = &options.sampling;
    // Every sampling parameter is sent, because vLLM takes missing ones from the checkpoint's generation_config.json.
    let body = json!({
        "stream": true,
        "stream_options": { "include_usage": true },
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "ignore_eos": options.ignore_eos,
    });
    let Value::Object(mut body) = body else { return Map::new() };
    // Parameters that only vLLM knows are passed through, but never override ours.
    for (name, value) in &options.extra {
        body.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if let Some(seed) = sampling.seed {
        // vLLM's seed is a signed 64-bit number.
        body.insert("seed".into(), seed.cast_signed().into());
    }
    if let Some(max_tokens) = max_tokens {
        body.insert("max_tokens".into(), max_tokens.into());
    }
    if let Some(top) = options.logprobs {
        body.extend(fields(json!({ "logprobs": true, "top_logprobs": top, "return_token_ids": true })));
    }
    body.extend(changed(options));
    body.extend(format(&options.response_format));
    body.extend(options.tools.iter().flat_map(tools));
    body
}

/// Returns the parameters that differ from vLLM's defaults.
fn changed(options: &GenerationOptions) -> impl Iterator<Item = (String, Value)> {
    let GenerationOptions { stop, stop_token_ids, bad_words, template_arguments, .. } = options;
    let bias: Map<String, Value> =
        options.logit_bias.iter().map(|(id, bias)| (id.to_string(), json!(bias))).collect();
    let continues = options.continue_final_message;
    [
        ("stop", !stop.is_empty(), json!(stop)),
        ("stop_token_ids", !stop_token_ids.is_empty(), json!(stop_token_ids)),
        ("min_tokens", options.min_tokens > 0, json!(options.min_tokens)),
        ("include_stop_str_in_output", options.include_stop_str_in_output, true.into()),
        ("logit_bias", !bias.is_empty(), bias.into()),
        ("allowed_token_ids", options.allowed_token_ids.is_some(), json!(options.allowed_token_ids)),
        ("bad_words", !bad_words.is_empty(), json!(bad_words)),
        ("continue_final_message", continues, true.into()),
        ("add_generation_prompt", continues, false.into()),
        ("chat_template_kwargs", !template_arguments.is_empty(), template_arguments.clone().into()),
    ]
    .into_iter()
    .filter(|(_, differs, _)| *differs)
    .map(|(name, _, value)| (name.to_owned(), value))
}

fn format(format: &AnswerFormat) -> Map<String, Value> {
    fields(match format {
        AnswerFormat::Text => json!({}),
        AnswerFormat::JsonObject => json!({ "response_format": { "type": "json_object" } }),
        AnswerFormat::JsonSchema(schema) => {
            let schema = json!({ "name": "answer", "schema": schema });
            json!({ "response_format": { "type": "json_schema", "json_schema": schema } })
        }
        AnswerFormat::Regex(regex) => json!({ "structured_outputs": { "regex": regex } }),
        AnswerFormat::Choice(choices) => json!({ "structured_outputs": { "choice": choices } }),
        AnswerFormat::Grammar(grammar) => json!({ "structured_outputs": { "grammar": grammar } }),
    })
}

/// Tools that must not be called are not sent, since vLLM would show them to the model.
fn tools(options: &ToolOptions) -> Map<String, Value> {
    let mut sent = match &options.choice {
        ToolChoice::None => return Map::new(),
        ToolChoice::Auto => json!({}),
        ToolChoice::Required => json!({ "tool_choice": "required" }),
        ToolChoice::Function(name) => {
            json!({ "tool_choice": { "type": "function", "function": { "name": name } } })
        }
    };
    // An empty list would be refused.
    if !options.tools.is_empty() {
        sent["tools"] = options.tools.clone().into();
    }
    if !options.parallel {
        sent["parallel_tool_calls"] = false.into();
    }
    fields(sent)
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
