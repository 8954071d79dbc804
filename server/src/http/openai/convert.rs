//! Converts a body to a conversation, and has what the two APIs share in that. Validates every value; the error names the one
//! that does not fit.

pub(super) mod form;
pub(super) mod options;
pub(super) mod part;
pub(super) mod place;
pub(super) mod turns;

use std::collections::HashSet;

use homereel_engine::{AnswerFormat, GenerationOptions, ModelInfo, ToolOptions};
use serde_json::{Map, Value, value::RawValue};

use super::super::error::Failure;
use super::body::ChatBody;
use super::parameters::{Api, Parameters, parse};
use super::wire::{ResponseFormat, StreamOptions, Whole};
use place::TurnPlace;
pub(super) use turns::{PartFailure, UnresolvedConversation};

/// Maximum text of a conversation in bytes; longer than any model's context.
pub(super) const MAX_TEXT: usize = 2 << 20;

/// Maximum number of answers to one request.
const MAX_ANSWERS: i64 = 16;

/// Maximum number of warnings; a body may have 250,000 unknown parameters.
const MAX_WARNINGS: usize = 32;

/// Parameters that only vLLM knows. An allowlist, because vLLM has others that make it fetch from other machines, run the
/// caller's template, or answer without end.
const ONLY_VLLM: [&str; 8] = [
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "repetition_detection",
    "reasoning_effort",
    "include_reasoning",
    "thinking_token_budget",
    "priority",
    "cache_salt",
];

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLimits {
    pub(super) videos: usize,
    pub(super) images: usize,
}

/// Requested form of the reply.
#[derive(Debug, Clone)]
pub(super) struct ReplyOptions {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) logprobs: bool,
    /// What of the request has no effect.
    pub(super) warnings: Vec<String>,
    /// Where each message of the conversation comes from.
    pub(super) places: Vec<TurnPlace>,
}

/// A validated request, whose references are not yet resolved.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) want: ReplyOptions,
    pub(super) conversation: UnresolvedConversation,
}

/// What the APIs name differently.
#[derive(Debug)]
pub(super) struct Named {
    /// OpenAI's constraint on the answer's form, with the name of its parameter.
    pub(super) format: Option<(&'static str, AnswerFormat)>,
    pub(super) tools: Option<ToolOptions>,
    pub(super) max_tokens: Option<usize>,
    pub(super) logprobs: Option<usize>,
    pub(super) continues: bool,
}

/// Parses how to generate the answer.
pub(super) fn generation(
    parameters: &mut Parameters<'_>,
    info: &ModelInfo,
    named: Named,
) -> Result<GenerationOptions, Failure> {
    let options = GenerationOptions {
        response_format: form::answer_format(parameters, named.format)?,
        tools: named.tools,
        max_tokens: named.max_tokens,
        logprobs: named.logprobs,
        continue_final_message: named.continues,
        template_arguments: parameters.take("chat_template_kwargs")?.unwrap_or_default(),
        extra: if info.takes_extras { extras(parameters)? } else { Map::new() },
        ..options::options(parameters, info.sampling.clone())?
    };
    if json_len(&options.template_arguments) > MAX_TEXT {
        let message = format!("chat_template_kwargs has more than {MAX_TEXT} bytes");
        return Err(Failure::invalid("chat_template_kwargs", message));
    }
    Ok(options)
}

/// Parses and validates the body of a chat request, or of another one of `api` that has the parameters of chat.
pub(super) fn read(
    mut body: ChatBody,
    limits: &RequestLimits,
    info: &ModelInfo,
    api: Api,
) -> Result<Draft, Failure> {
    let mut parameters = Parameters::parse(&body.json)?;
    let mut warnings = parameters.review(api, info.takes_extras)?;
    let messages = parameters.require("messages")?;
    let n = parameters.take::<Whole>("n")?.map_or(1, |n| n.0);
    if !(1..=MAX_ANSWERS).contains(&n) {
        return Err(Failure::invalid("n", format!("n is {n}; 1 to {MAX_ANSWERS} would fit")));
    }
    let stream_options: Option<StreamOptions> = parameters.take("stream_options")?;
    let model = parameters.take("model")?;
    let stream = parameters.take("stream")?.unwrap_or(false);
    let frames = options::frames(&mut parameters, &mut warnings)?;
    let format = parameters.take::<ResponseFormat<'_>>("response_format")?;
    let format = format.map(|format| form::response_format("response_format", &format)).transpose()?;
    let max_tokens = options::limit(&mut parameters, "max_tokens")?;
    let named = Named {
        format: format.map(|format| ("response_format", format)),
        tools: form::tools(&mut parameters)?,
        max_tokens: options::limit(&mut parameters, "max_completion_tokens")?.or(max_tokens),
        logprobs: options::logprobs(&mut parameters)?,
        continues: options::continues(&mut parameters)?,
    };
    let options = generation(&mut parameters, info, named)?;
    let logprobs = options.logprobs.is_some();
    let messages = turns::messages(messages, frames)?;
    let (turns, places) = turns::turns("messages", messages, limits, &mut body.media, &mut warnings)?;
    shorten(&mut warnings);
    let want = ReplyOptions {
        model,
        stream,
        include_usage: stream_options.and_then(|options| options.include_usage).unwrap_or(false),
        logprobs,
        warnings,
        places,
    };
    let n = usize::try_from(n).unwrap_or(1);
    Ok(Draft { want, conversation: UnresolvedConversation::new(turns, options, n, *limits) })
}

/// Keeps each warning once, and the first ones of very many.
pub(super) fn shorten(warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    warnings.retain(|warning| seen.insert(warning.clone()));
    if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(format!("there are {more} more warnings"));
    }
}

/// Takes the parameters that pass through to vLLM.
fn extras(parameters: &mut Parameters<'_>) -> Result<Map<String, Value>, Failure> {
    let mut extras = Map::new();
    for name in ONLY_VLLM {
        if let Some(value) = parameters.take::<&RawValue>(name)? {
            extras.insert(name.to_owned(), bounded(name, value)?);
        }
    }
    Ok(extras)
}

/// Parses a value of at most [`MAX_TEXT`] bytes.
pub(super) fn bounded(name: &str, value: &RawValue) -> Result<Value, Failure> {
    let bytes = value.get().len();
    if bytes > MAX_TEXT {
        let message = format!("{name} has {bytes} bytes; at most {MAX_TEXT} would fit");
        return Err(Failure::invalid(name, message));
    }
    parse(name, value)
}

fn json_len(fields: &Map<String, Value>) -> usize {
    if fields.is_empty() { 0 } else { serde_json::to_string(fields).map_or(usize::MAX, |text| text.len()) }
}
