//! Validation of requests, the same for every engine.

mod form;

use crate::{EngineError, GenerationOptions, Request, SamplingParams};

/// Tokens generated when a request does not limit them: small models ramble.
pub(crate) const DEFAULT_MAX_TOKENS: usize = 2048;
/// Largest `top_logprobs`, as in OpenAI's API.
const MAX_LOGPROBS: usize = 20;
/// Stop strings per request, and bytes of each.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1024;
/// Entries of `logit_bias`.
const MAX_BIASES: usize = 1024;
/// Largest bias, up or down, as in OpenAI's API.
const MAX_BIAS: f32 = 100.0;
/// Bad words per request, and bytes of each.
const MAX_BAD_WORDS: usize = 256;
const MAX_BAD_WORD_BYTES: usize = 1024;

/// Checks everything in a request except its messages.
///
/// # Errors
/// `Invalid` naming the parameter, its value and what would fit.
pub(crate) fn check(request: &Request) -> Result<(), EngineError> {
    let options = &request.options;
    check_sampling(&options.sampling)?;
    check_stops(&options.stop)?;
    if let Some(count) = options.logprobs.filter(|count| *count > MAX_LOGPROBS) {
        let message = format!("top_logprobs is {count}; {MAX_LOGPROBS} would fit");
        return Err(EngineError::invalid("top_logprobs", message));
    }
    if options.max_tokens == Some(0) {
        let message = "max_tokens is 0; at least 1 is needed";
        return Err(EngineError::invalid("max_tokens", message));
    }
    let min_tokens = options.min_tokens;
    if let Some(max_tokens) = options.max_tokens.filter(|max_tokens| min_tokens > *max_tokens) {
        let message =
            format!("min_tokens is {min_tokens} and max_tokens {max_tokens}; up to {max_tokens} would fit");
        return Err(EngineError::invalid("min_tokens", message));
    }
    check_tokens(options)?;
    form::check(request)
}

/// Checks the token ids in a request against the number of tokens that a model knows. Stop tokens may be any: those that
/// the model lacks never come.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_vocabulary(options: &GenerationOptions, tokens: usize) -> Result<(), EngineError> {
    let biased = options.logit_bias.iter().map(|&(id, _)| ("logit_bias", id));
    let allowed = options.allowed_token_ids.iter().flatten().map(|&id| ("allowed_token_ids", id));
    match biased.chain(allowed).find(|(_, id)| *id as usize >= tokens) {
        None => Ok(()),
        Some((name, id)) => {
            let message =
                format!("{name} has the token id {id}; 0 to {} would fit", tokens.saturating_sub(1));
            Err(EngineError::invalid(name, message))
        }
    }
}

/// Returns how many tokens an answer may have where the context leaves `left`.
pub(crate) fn max_tokens(options: &GenerationOptions, left: usize) -> usize {
    options.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS.max(options.min_tokens)).min(left)
}

fn check_sampling(sampling: &SamplingParams) -> Result<(), EngineError> {
    let ranges: [(&'static str, f64, bool, &str); 6] = [
        ("temperature", sampling.temperature, sampling.temperature >= 0.0, "at least 0"),
        ("top_p", sampling.top_p, sampling.top_p > 0.0 && sampling.top_p <= 1.0, "above 0, up to 1"),
        ("min_p", sampling.min_p, (0.0..=1.0).contains(&sampling.min_p), "0 to 1"),
        (
            "repetition_penalty",
            sampling.repetition_penalty,
            sampling.repetition_penalty > 0.0 && sampling.repetition_penalty <= 100.0,
            "above 0, up to 100",
        ),
        (
            "presence_penalty",
            sampling.presence_penalty,
            (-2.0..=2.0).contains(&sampling.presence_penalty),
            "-2 to 2",
        ),
        (
            "frequency_penalty",
            sampling.frequency_penalty,
            (-2.0..=2.0).contains(&sampling.frequency_penalty),
            "-2 to 2",
        ),
    ];
    for (name, value, fits, range) in ranges {
        if !value.is_finite() || !fits {
            return Err(EngineError::invalid(name, format!("{name} is {value}; it must be {range}")));
        }
    }
    Ok(())
}

fn check_stops(stops: &[String]) -> Result<(), EngineError> {
    if stops.len() > MAX_STOPS {
        let message = format!("stop has {} strings; {MAX_STOPS} would fit", stops.len());
        return Err(EngineError::invalid("stop", message));
    }
    for stop in stops {
        if stop.is_empty() || stop.len() > MAX_STOP_BYTES {
            let message = format!("a stop string has {} bytes; 1 to {MAX_STOP_BYTES} would fit", stop.len());
            return Err(EngineError::invalid("stop", message));
        }
    }
    Ok(())
}

fn check_tokens(options: &GenerationOptions) -> Result<(), EngineError> {
    let biases = options.logit_bias.len();
    if biases > MAX_BIASES {
        let message = format!("logit_bias has {biases} entries; {MAX_BIASES} would fit");
        return Err(EngineError::invalid("logit_bias", message));
    }
    for (id, bias) in &options.logit_bias {
        if !(-MAX_BIAS..=MAX_BIAS).contains(bias) {
            let message = format!("logit_bias of token {id} is {bias}; -{MAX_BIAS} to {MAX_BIAS} would fit");
            return Err(EngineError::invalid("logit_bias", message));
        }
    }
    if options.allowed_token_ids.as_ref().is_some_and(Vec::is_empty) {
        let message = "allowed_token_ids is empty; at least 1 id is needed";
        return Err(EngineError::invalid("allowed_token_ids", message));
    }
    let words = &options.bad_words;
    if words.len() > MAX_BAD_WORDS {
        let message = format!("bad_words has {} strings; {MAX_BAD_WORDS} would fit", words.len());
        return Err(EngineError::invalid("bad_words", message));
    }
    if let Some(word) = words.iter().find(|word| word.is_empty() || word.len() > MAX_BAD_WORD_BYTES) {
        let message =
            format!("a string of bad_words has {} bytes; 1 to {MAX_BAD_WORD_BYTES} would fit", word.len());
        return Err(EngineError::invalid("bad_words", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
