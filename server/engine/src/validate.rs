//! Validation of requests, the same for every engine.

use crate::{EngineError, Request, SamplingParams};

/// Tokens generated when a request does not limit them: small models ramble.
pub(crate) const DEFAULT_MAX_TOKENS: usize = 2048;
/// Largest `top_logprobs`, as in OpenAI's API.
const MAX_LOGPROBS: usize = 20;
/// Stop strings per request, and bytes of each.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1024;

/// Checks everything in a request except its messages.
///
/// # Errors
/// `Invalid` naming the parameter, its value and what would fit.
pub(crate) fn check(request: &Request) -> Result<(), EngineError> {
    check_sampling(&request.options.sampling)?;
    check_stops(&request.options.stop)?;
    if let Some(count) = request.options.logprobs.filter(|count| *count > MAX_LOGPROBS) {
        let message = format!("top_logprobs is {count}; {MAX_LOGPROBS} would fit");
        return Err(EngineError::invalid("top_logprobs", message));
    }
    if request.options.max_tokens == Some(0) {
        let message = "max_tokens is 0; at least 1 is needed";
        return Err(EngineError::invalid("max_tokens", message));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked_and_named() {
        check_sampling(&SamplingParams::default()).unwrap();
        for (change, name) in [
            ((|s| s.temperature = -1.0) as fn(&mut SamplingParams), "temperature"),
            (|s| s.top_p = 0.0, "top_p"),
            (|s| s.min_p = 1.5, "min_p"),
            (|s| s.repetition_penalty = 0.0, "repetition_penalty"),
            (|s| s.presence_penalty = f64::NAN, "presence_penalty"),
            (|s| s.frequency_penalty = 3.0, "frequency_penalty"),
        ] {
            let message = {
                let mut sampling = SamplingParams::default();
                change(&mut sampling);
                check_sampling(&sampling).unwrap_err().to_string()
            };
            assert!(message.starts_with(name), "{message}");
        }
    }
}
