//! Validates the parameters of a request: how to sample tokens and frames, when to stop, and the form of the answer.

use homereel_engine::{AnswerFormat, GenerationOptions, SamplingParams, VideoBudget};
use homereel_video::FrameSampling;
use serde_json::Map;

use super::super::wire::ChatRequest;
use crate::http::error::{Failure, shown};
use crate::media::ClipRequest;

/// Maximum number of stop strings.
const MAX_STOPS: usize = 16;

/// Maximum length of a stop string in bytes.
const MAX_STOP_BYTES: usize = 1024;

/// Maximum number of alternatives per token.
const MAX_LOGPROBS: i64 = 20;

/// Maximum size of a JSON schema in bytes.
const MAX_SCHEMA: usize = 256 << 10;

/// Parses the response format.
pub(super) fn response_format(request: &ChatRequest<'_>) -> Result<AnswerFormat, Failure> {
    let invalid = |message: String| Err(Failure::invalid("response_format", message));
    let Some(format) = &request.response_format else { return Ok(AnswerFormat::Text) };
    match format.kind.as_str() {
        "text" => Ok(AnswerFormat::Text),
        "json_object" => Ok(AnswerFormat::JsonObject),
        "json_schema" => match format.json_schema.as_ref().and_then(|schema| schema.schema) {
            Some(schema) if schema.get().len() > MAX_SCHEMA => invalid(format!(
                "the schema has {} bytes; at most {MAX_SCHEMA} would fit",
                schema.get().len()
            )),
            Some(schema) if schema.get().starts_with('{') => serde_json::from_str(schema.get())
                .map(AnswerFormat::JsonSchema)
                .or_else(|error| invalid(format!("the schema is invalid: {error}"))),
            _ => invalid("response_format json_schema needs json_schema.schema, an object".into()),
        },
        other => {
            let kind = shown(other);
            invalid(format!("response_format {kind} is unknown; text, json_object or json_schema would fit"))
        }
    }
}

/// Parses how to generate the answer.
pub(super) fn options(
    request: &ChatRequest<'_>,
    defaults: SamplingParams,
) -> Result<GenerationOptions, Failure> {
    let sampling = sampling(request, defaults)?;
    let max_tokens = match request.max_completion_tokens.map(|n| ("max_completion_tokens", n)) {
        None => request.max_tokens.map(|n| ("max_tokens", n)),
        given => given,
    };
    let max_tokens = max_tokens.map(|(name, n)| {
        usize::try_from(n)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| Failure::invalid(name, format!("{name} is {n}; at least 1 would fit")))
    });
    let stop = request.stop.as_ref().map(|stop| stop.0.clone()).unwrap_or_default();
    if stop.len() > MAX_STOPS || stop.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        let message = format!("stop takes at most {MAX_STOPS} strings of 1 to {MAX_STOP_BYTES} bytes");
        return Err(Failure::invalid("stop", message));
    }
    let logprobs = match (request.logprobs.unwrap_or(false), request.top_logprobs) {
        (_, Some(top)) if !(0..=MAX_LOGPROBS).contains(&top) => {
            let message = format!("top_logprobs is {top}; 0 to {MAX_LOGPROBS} would fit");
            return Err(Failure::invalid("top_logprobs", message));
        }
        (false, Some(_)) => {
            return Err(Failure::invalid("top_logprobs", "top_logprobs needs \"logprobs\": true"));
        }
        (true, top) => Some(usize::try_from(top.unwrap_or(0)).unwrap_or(0)),
        (false, None) => None,
    };
    Ok(GenerationOptions {
        sampling,
        max_tokens: max_tokens.transpose()?,
        stop,
        stop_token_ids: request.stop_token_ids.clone().unwrap_or_default(),
        ignore_eos: request.ignore_eos.unwrap_or(false),
        logprobs,
        response_format: AnswerFormat::Text,
        background: false,
        extra: Map::new(),
    })
}

fn sampling(request: &ChatRequest<'_>, defaults: SamplingParams) -> Result<SamplingParams, Failure> {
    let number = |name: &'static str, given: Option<f64>, default: f64, low: f64, high: f64| match given {
        None => Ok(default),
        Some(value) if (low..=high).contains(&value) => Ok(value),
        Some(value) => Err(Failure::invalid(name, format!("{name} is {value}; {low} to {high} would fit"))),
    };
    let top_k = match request.top_k {
        None => defaults.top_k,
        // vLLM has two values for "off".
        Some(-1 | 0) => 0,
        Some(k) => usize::try_from(k)
            .map_err(|_| Failure::invalid("top_k", format!("top_k is {k}; -1, 0 (off) or more would fit")))?,
    };
    Ok(SamplingParams {
        temperature: number("temperature", request.temperature, defaults.temperature, 0.0, 2.0)?,
        top_p: number("top_p", request.top_p, defaults.top_p, f64::MIN_POSITIVE, 1.0).map_err(|failure| {
            Failure { message: "top_p: more than 0 and at most 1 would fit".into(), ..failure }
        })?,
        top_k,
        min_p: number("min_p", request.min_p, defaults.min_p, 0.0, 1.0)?,
        repetition_penalty: number(
            "repetition_penalty",
            request.repetition_penalty,
            defaults.repetition_penalty,
            0.01,
            100.0,
        )?,
        presence_penalty: number(
            "presence_penalty",
            request.presence_penalty,
            defaults.presence_penalty,
            -2.0,
            2.0,
        )?,
        frequency_penalty: number(
            "frequency_penalty",
            request.frequency_penalty,
            defaults.frequency_penalty,
            -2.0,
            2.0,
        )?,
        // Every 64-bit integer is a valid seed.
        seed: request.seed.map(i64::cast_unsigned).or(defaults.seed),
    })
}

/// Parses the sampling and size of videos. `media_io_kwargs.video` takes precedence over `mm_processor_kwargs`.
pub(super) fn frames(request: &ChatRequest<'_>) -> Result<ClipRequest, Failure> {
    let io = request.media_io_kwargs.as_ref().and_then(|kwargs| kwargs.video).unwrap_or_default();
    let mm = request.mm_processor_kwargs.unwrap_or_default();
    let (param, chosen) = if io.fps.is_some() || io.num_frames.is_some() {
        ("media_io_kwargs", io)
    } else {
        ("mm_processor_kwargs", mm)
    };
    // In vLLM, -1 means no limit: all frames, or as many as fps requests.
    let num_frames = chosen.num_frames.filter(|&n| n != -1);
    let num_frames = num_frames.map(|n| {
        usize::try_from(n)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| Failure::invalid(param, format!("num_frames is {n}; at least 1 would fit")))
    });
    if let Some(fps) = chosen.fps.filter(|fps| !(fps.is_finite() && *fps > 0.0)) {
        return Err(Failure::invalid(param, format!("fps is {fps}; more than 0 would fit")));
    }
    let num_frames = num_frames.transpose()?;
    if num_frames.is_some() && chosen.fps.is_some() {
        return Err(Failure::invalid(param, "fps and num_frames exclude each other; send one of them"));
    }
    // As in transformers: only an explicit `true` caps.
    let budget = match io.cap_pixels_per_frame.or(mm.cap_pixels_per_frame) {
        Some(true) => VideoBudget::Capped,
        Some(false) | None => VideoBudget::Full,
    };
    let (start, end) = (io.start.or(mm.start), io.end.or(mm.end));
    let sampling = FrameSampling { fps: chosen.fps, num_frames, start, end };
    Ok(ClipRequest { sampling, budget, background: false })
}
