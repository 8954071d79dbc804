//! Converts the body of a request for a response to a conversation. Validates every value; the error names the one that does
//! not fit.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use homereel_engine::{AnswerFormat, MessageRole, ModelInfo};
use serde_json::{Map, Value, json, value::RawValue};

use super::super::body::ChatBody;
use super::super::convert::{
    Named, ReplyOptions, RequestLimits, UnresolvedConversation, bounded, form, generation, options, shorten,
    turns::turns,
};
use super::super::parameters::{Api, Parameters, parse};
use super::super::wire::{ResponseFormat, Whole};
use super::canonical::ItemIds;
use super::conversation::{ConversationReader, Earlier};
use super::record::{Kept, Known};
use super::tools;
use crate::http::error::{Failure, shown};

/// The value of `include` that has an effect.
const LOGPROBS: &str = "message.output_text.logprobs";

/// Limits of `metadata`, as in OpenAI's API, in characters.
const MAX_METADATA: usize = 16;
const MAX_METADATA_NAME: usize = 64;
const MAX_METADATA_VALUE: usize = 512;

/// Values of `text.verbosity`.
const VERBOSITY: [&str; 3] = ["low", "medium", "high"];

/// A validated request, whose library videos are not yet looked up.
#[derive(Debug)]
pub(super) struct ResponseDraft {
    pub(super) want: ReplyOptions,
    pub(super) conversation: UnresolvedConversation,
    /// Parameters that the response repeats.
    pub(super) echo: Map<String, Value>,
    pub(super) store: bool,
    pub(super) kept: Kept,
    /// Ids of the items of the answer.
    pub(super) ids: ItemIds,
}

/// Parses and validates a body. `id` is the bare id of the response, and `scratch` a directory for files of the request.
pub(super) fn read(
    mut body: ChatBody,
    known: Known,
    id: &str,
    limits: &RequestLimits,
    info: &ModelInfo,
    scratch: &Path,
) -> Result<ResponseDraft, Failure> {
    let mut parameters = Parameters::parse(&body.json)?;
    let mut warnings = parameters.review(Api::Responses, info.takes_extras)?;
    let input: &RawValue = parameters.require("input")?;
    let instructions: Option<String> = parameters.take("instructions")?;
    let model = parameters.take("model")?;
    let stream = parameters.take("stream")?.unwrap_or(false);
    let store = parameters.take("store")?.unwrap_or(true);
    review_stream_options(&mut parameters, &mut warnings)?;
    let frames = options::frames(&mut parameters, &mut warnings)?;
    let (text, format) = text(&mut parameters, &mut warnings)?;
    let tools = tools::tools(&mut parameters)?;
    let max_tool_calls = max_tool_calls(&mut parameters)?;
    let metadata = metadata(&mut parameters)?;
    let top_logprobs = options::top_logprobs(&mut parameters)?;
    let logprobs = included(&mut parameters, &mut warnings)?.then_some(top_logprobs);
    if logprobs.is_none() && top_logprobs > 0 {
        warnings.push(format!("top_logprobs has no effect without {LOGPROBS} in include"));
    }
    let max_tokens = options::limit(&mut parameters, "max_output_tokens")?;
    let named = Named {
        format: Some(("text.format", format)),
        tools: tools.options,
        max_tokens,
        logprobs,
        continues: false,
    };
    let mut options = generation(&mut parameters, info, named)?;
    let reasoning = reasoning(&mut parameters, info.takes_extras, &mut warnings)?;
    if let (true, Some(effort)) = (info.takes_extras, &reasoning) {
        options.extra.insert("reasoning_effort".into(), effort.as_str().into());
    }
    let previous = known.previous.as_ref().map(|previous| previous.id.clone());
    let label = |parameters: &mut Parameters<'_>, name: &str| parameters.take::<String>(name);
    let echo = json!({
        "instructions": instructions,
        "max_output_tokens": max_tokens,
        "max_tool_calls": max_tool_calls,
        "metadata": metadata,
        "parallel_tool_calls": tools.parallel,
        "previous_response_id": previous,
        "prompt_cache_key": label(&mut parameters, "prompt_cache_key")?,
        "reasoning": { "effort": reasoning, "summary": null },
        "safety_identifier": label(&mut parameters, "safety_identifier")?,
        "service_tier": "default",
        "store": store,
        "temperature": options.sampling.temperature,
        "text": text,
        "tool_choice": tools.choice,
        "tools": tools.echo,
        "top_logprobs": top_logprobs,
        "top_p": options.sampling.top_p,
        "truncation": "disabled",
        "user": label(&mut parameters, "user")?,
    });
    let Value::Object(echo) = echo else { return Err(Failure::internal("the echo is no object")) };

    let mut conversation = ConversationReader::new(ItemIds::new(id), frames, store);
    if let Some(instructions) = instructions {
        conversation.messages.add_text("instructions", MessageRole::System, Cow::Owned(instructions));
    }
    let earlier = Earlier::of(&known)?;
    if let Some(previous) = &known.previous {
        for file in previous.media(scratch)? {
            conversation.add_file(&file);
            body.media.add_earlier(file);
        }
    }
    conversation.read(&earlier, input, &body.media)?;
    let ConversationReader { messages, ids, items, files, .. } = conversation;
    let (turns, places) = turns("input", messages.finish(), limits, &mut body.media, &mut warnings)?;
    shorten(&mut warnings);
    let want = ReplyOptions {
        model,
        stream,
        include_usage: false,
        logprobs: options.logprobs.is_some(),
        warnings,
        places,
    };
    let kept = Kept { items, media: files.into_values().collect(), _permits: body.permits };
    let conversation = UnresolvedConversation::new(turns, options, 1, *limits);
    Ok(ResponseDraft { want, conversation, echo, store, kept, ids })
}

/// Parses `text`. Returns it as the response repeats it, and the form of the answer.
fn text(
    parameters: &mut Parameters<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Value, AnswerFormat), Failure> {
    let mut fields = parameters.take::<BTreeMap<String, &RawValue>>("text")?.unwrap_or_default();
    fields.retain(|_, value| value.get() != "null");
    let mut echo = json!({ "format": { "type": "text" }, "verbosity": "medium" });
    let mut format = AnswerFormat::Text;
    if let Some(given) = fields.remove("format") {
        format = form::response_format("text.format", &parse::<ResponseFormat<'_>>("text.format", given)?)?;
        let mut given = bounded("text.format", given)?;
        if given["type"] == "json_schema" && !given["name"].is_string() {
            given["name"] = "answer".into();
        }
        echo["format"] = given;
    }
    if let Some(verbosity) = fields.remove("verbosity") {
        let verbosity: String = parse("text.verbosity", verbosity)?;
        match verbosity.as_str() {
            "medium" => {}
            known if VERBOSITY.contains(&known) => {
                warnings.push("text.verbosity has no effect: the model does not know it".into());
            }
            other => {
                let message = format!("text.verbosity is {}; low, medium or high would fit", shown(other));
                return Err(Failure::invalid("text.verbosity", message));
            }
        }
    }
    warnings.extend(fields.keys().map(|name| format!("text.{} has no effect", shown(name))));
    Ok((echo, format))
}

/// Parses `reasoning`. Returns the effort.
fn reasoning(
    parameters: &mut Parameters<'_>,
    works: bool,
    warnings: &mut Vec<String>,
) -> Result<Option<String>, Failure> {
    let mut fields = parameters.take::<BTreeMap<String, &RawValue>>("reasoning")?.unwrap_or_default();
    fields.retain(|_, value| value.get() != "null");
    let effort = fields.remove("effort").map(|effort| parse("reasoning.effort", effort)).transpose()?;
    // With our own engine, a warning names the whole parameter already.
    if works {
        warnings.extend(fields.keys().map(|name| format!("reasoning.{} has no effect", shown(name))));
    }
    Ok(effort)
}

/// Reviews `stream_options`. Usage is always part of the last event.
fn review_stream_options(parameters: &mut Parameters<'_>, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let fields = parameters.take::<BTreeMap<String, &RawValue>>("stream_options")?.unwrap_or_default();
    for (name, value) in fields {
        let is_neutral = match name.as_str() {
            "include_usage" => parse::<Option<bool>>("stream_options.include_usage", value).is_ok(),
            "include_obfuscation" => {
                !parse::<Option<bool>>("stream_options.include_obfuscation", value)?.unwrap_or(false)
            }
            _ => value.get() == "null",
        };
        if !is_neutral {
            warnings.push(format!("stream_options.{} has no effect", shown(&name)));
        }
    }
    Ok(())
}

/// Parses `include`. Returns whether log-probabilities are wanted.
fn included(parameters: &mut Parameters<'_>, warnings: &mut Vec<String>) -> Result<bool, Failure> {
    let mut included = parameters.take::<Vec<String>>("include")?.unwrap_or_default();
    let all = included.len();
    included.retain(|name| name != LOGPROBS);
    warnings.extend(
        included.iter().map(|name| format!("{} in include has no effect: no answer has it", shown(name))),
    );
    Ok(included.len() < all)
}

fn max_tool_calls(parameters: &mut Parameters<'_>) -> Result<Option<i64>, Failure> {
    match parameters.take::<Whole>("max_tool_calls")? {
        Some(Whole(most)) if most < 1 => {
            let message = format!("max_tool_calls is {most}; at least 1 would fit");
            Err(Failure::invalid("max_tool_calls", message))
        }
        most => Ok(most.map(|most| most.0)),
    }
}

fn metadata(parameters: &mut Parameters<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let metadata = parameters.take::<BTreeMap<String, String>>("metadata")?.unwrap_or_default();
    if metadata.len() > MAX_METADATA {
        let message = format!("metadata has {} texts; at most {MAX_METADATA} would fit", metadata.len());
        return Err(Failure::invalid("metadata", message));
    }
    let too_long = metadata.iter().find(|(name, value)| {
        name.chars().count() > MAX_METADATA_NAME || value.chars().count() > MAX_METADATA_VALUE
    });
    if let Some((name, _)) = too_long {
        let message = format!(
            "metadata.{} is too long; names of {MAX_METADATA_NAME} and texts of {MAX_METADATA_VALUE} characters would fit",
            shown(name)
        );
        return Err(Failure::invalid("metadata", message));
    }
    Ok(metadata)
}
