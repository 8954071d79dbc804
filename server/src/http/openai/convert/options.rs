//! Parses how to sample tokens and frames, and when to stop.

use std::collections::BTreeMap;

use homereel_engine::{GenerationOptions, SamplingParams, VideoBudget};
use homereel_video::FrameSampling;
use serde_json::value::RawValue;

use super::super::parameters::{Parameters, parse};
use super::super::wire::{StringOrStrings, VideoKwargs, Whole};
use crate::http::error::{Failure, shown};
use crate::media::ClipRequest;

/// Maximum number of stop strings.
const MAX_STOPS: usize = 16;

/// Maximum length of a stop string in bytes.
const MAX_STOP_BYTES: usize = 1024;

/// Maximum number of alternatives per token.
const MAX_LOGPROBS: i64 = 20;

/// Parses how to generate the answer, except its form and what the APIs name differently.
pub(super) fn options(
    parameters: &mut Parameters<'_>,
    defaults: SamplingParams,
) -> Result<GenerationOptions, Failure> {
    let min_tokens = parameters.take::<Whole>("min_tokens")?.map_or(0, |min| min.0);
    let min_tokens = usize::try_from(min_tokens).map_err(|_| {
        Failure::invalid("min_tokens", format!("min_tokens is {min_tokens}; at least 0 would fit"))
    })?;
    Ok(GenerationOptions {
        sampling: sampling(parameters, defaults)?,
        min_tokens,
        stop: stop(parameters)?,
        stop_token_ids: parameters.take("stop_token_ids")?.unwrap_or_default(),
        include_stop_str_in_output: parameters.take("include_stop_str_in_output")?.unwrap_or(false),
        ignore_eos: parameters.take("ignore_eos")?.unwrap_or(false),
        logit_bias: logit_bias(parameters)?,
        allowed_token_ids: parameters.take("allowed_token_ids")?,
        bad_words: parameters.take("bad_words")?.unwrap_or_default(),
        ..GenerationOptions::default()
    })
}

/// Parses `continue_final_message` and `add_generation_prompt`.
pub(super) fn continues(parameters: &mut Parameters<'_>) -> Result<bool, Failure> {
    let continues = parameters.take("continue_final_message")?.unwrap_or(false);
    if parameters.take("add_generation_prompt")?.unwrap_or(!continues) == continues {
        let message =
            "add_generation_prompt and continue_final_message exclude each other; one of them must be true";
        return Err(Failure::invalid("add_generation_prompt", message));
    }
    Ok(continues)
}

/// Parses a limit of tokens. -1 means none.
pub(in crate::http::openai) fn limit(
    parameters: &mut Parameters<'_>,
    name: &'static str,
) -> Result<Option<usize>, Failure> {
    match parameters.take::<Whole>(name)? {
        None | Some(Whole(-1)) => Ok(None),
        Some(Whole(n)) => match usize::try_from(n) {
            Ok(n) if n > 0 => Ok(Some(n)),
            _ => Err(Failure::invalid(
                name,
                format!("{name} is {n}; at least 1 would fit, or -1 for no limit"),
            )),
        },
    }
}

fn stop(parameters: &mut Parameters<'_>) -> Result<Vec<String>, Failure> {
    let mut stop = parameters.take::<StringOrStrings>("stop")?.map_or(Vec::new(), |stop| stop.0);
    // An empty string would end every answer, which nobody wants.
    stop.retain(|stop| !stop.is_empty());
    if stop.len() > MAX_STOPS || stop.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
        let message = format!("stop takes at most {MAX_STOPS} strings of at most {MAX_STOP_BYTES} bytes");
        return Err(Failure::invalid("stop", message));
    }
    Ok(stop)
}

/// Parses `top_logprobs`.
pub(in crate::http::openai) fn top_logprobs(parameters: &mut Parameters<'_>) -> Result<usize, Failure> {
    let top = parameters.take::<Whole>("top_logprobs")?.map_or(0, |top| top.0);
    match usize::try_from(top) {
        Ok(count) if top <= MAX_LOGPROBS => Ok(count),
        _ => {
            let message = format!("top_logprobs is {top}; 0 to {MAX_LOGPROBS} would fit");
            Err(Failure::invalid("top_logprobs", message))
        }
    }
}

/// Parses `logprobs` and `top_logprobs`.
pub(super) fn logprobs(parameters: &mut Parameters<'_>) -> Result<Option<usize>, Failure> {
    let wanted = parameters.take("logprobs")?.unwrap_or(false);
    match (wanted, top_logprobs(parameters)?) {
        (true, top) => Ok(Some(top)),
        (false, 0) => Ok(None),
        (false, _) => Err(Failure::invalid("top_logprobs", "top_logprobs needs \"logprobs\": true")),
    }
}

fn logit_bias(parameters: &mut Parameters<'_>) -> Result<Vec<(u32, f32)>, Failure> {
    let bias: BTreeMap<String, f32> = parameters.take("logit_bias")?.unwrap_or_default();
    let entry = |(id, bias): (String, f32)| match id.parse() {
        Ok(id) => Ok((id, bias)),
        Err(_) => {
            let message = format!("logit_bias has the key {}; token ids would fit", shown(&id));
            Err(Failure::invalid("logit_bias", message))
        }
    };
    bias.into_iter().map(entry).collect()
}

fn sampling(parameters: &mut Parameters<'_>, defaults: SamplingParams) -> Result<SamplingParams, Failure> {
    let mut number = |name: &'static str, default: f64, low: f64, high: f64| match parameters
        .take::<f64>(name)?
    {
        None => Ok(default),
        Some(value) if (low..=high).contains(&value) => Ok(value),
        Some(value) => Err(Failure::invalid(name, format!("{name} is {value}; {low} to {high} would fit"))),
    };
    let mut sampling = SamplingParams {
        temperature: number("temperature", defaults.temperature, 0.0, 2.0)?,
        top_p: number("top_p", defaults.top_p, 0.0, 1.0)?,
        min_p: number("min_p", defaults.min_p, 0.0, 1.0)?,
        repetition_penalty: number("repetition_penalty", defaults.repetition_penalty, 0.01, 100.0)?,
        presence_penalty: number("presence_penalty", defaults.presence_penalty, -2.0, 2.0)?,
        frequency_penalty: number("frequency_penalty", defaults.frequency_penalty, -2.0, 2.0)?,
        top_k: match parameters.take::<Whole>("top_k")? {
            None => defaults.top_k,
            // vLLM has two values for "off".
            Some(Whole(-1 | 0)) => 0,
            Some(Whole(k)) => usize::try_from(k).map_err(|_| {
                Failure::invalid("top_k", format!("top_k is {k}; -1, 0 (off) or more would fit"))
            })?,
        },
        // Every 64-bit integer is a valid seed.
        seed: parameters.take::<Whole>("seed")?.map(|seed| seed.0.cast_unsigned()).or(defaults.seed),
    };
    if sampling.top_p == 0.0 {
        // Only the most likely token is left.
        (sampling.top_p, sampling.temperature) = (1.0, 0.0);
    }
    Ok(sampling)
}

/// Settings of videos that have an effect.
const VIDEO_KWARGS: [&str; 5] = ["fps", "num_frames", "start", "end", "cap_pixels_per_frame"];

/// Parses the sampling and size of videos. `media_io_kwargs.video` takes precedence over `mm_processor_kwargs`.
pub(in crate::http::openai) fn frames(
    parameters: &mut Parameters<'_>,
    warnings: &mut Vec<String>,
) -> Result<ClipRequest, Failure> {
    let io = parameters.take::<BTreeMap<String, &RawValue>>("media_io_kwargs")?.unwrap_or_default();
    let others = io.keys().filter(|name| *name != "video");
    warnings.extend(others.map(|name| format!("media_io_kwargs.{} has no effect", shown(name))));
    let io = video_kwargs("media_io_kwargs.video", io.get("video").copied(), warnings)?;
    let mm = video_kwargs("mm_processor_kwargs", parameters.take("mm_processor_kwargs")?, warnings)?;
    let (param, chosen) = if io.fps.is_some() || io.num_frames.is_some() {
        ("media_io_kwargs", io)
    } else {
        ("mm_processor_kwargs", mm)
    };
    let mut request = ClipRequest::default();
    apply(
        &mut request,
        param,
        VideoKwargs {
            start: io.start.or(mm.start),
            end: io.end.or(mm.end),
            cap_pixels_per_frame: io.cap_pixels_per_frame.or(mm.cap_pixels_per_frame),
            ..chosen
        },
    )?;
    Ok(request)
}

/// Parses settings of videos. A warning names those without an effect.
fn video_kwargs(
    name: &str,
    given: Option<&RawValue>,
    warnings: &mut Vec<String>,
) -> Result<VideoKwargs, Failure> {
    let Some(given) = given.filter(|given| given.get() != "null") else { return Ok(VideoKwargs::default()) };
    let names: BTreeMap<String, &RawValue> = parse(name, given)?;
    for (key, value) in names {
        // Frames are always sampled.
        let is_neutral = value.get() == "null" || key == "do_sample_frames" && value.get() == "true";
        if !is_neutral && !VIDEO_KWARGS.contains(&key.as_str()) {
            warnings.push(format!("{name}.{} has no effect", shown(&key)));
        }
    }
    parse(name, given)
}

/// Applies settings of the parameter or part `param` to `request`.
pub(super) fn apply(request: &mut ClipRequest, param: &str, given: VideoKwargs) -> Result<(), Failure> {
    if let Some(fps) = given.fps.filter(|fps| !(fps.is_finite() && *fps > 0.0)) {
        return Err(Failure::invalid(param, format!("fps is {fps}; more than 0 would fit")));
    }
    // In vLLM, -1 means no limit: all frames, or as many as fps requests.
    let num_frames = given.num_frames.map(|n| n.0).filter(|&n| n != -1);
    let num_frames = num_frames.map(|n| {
        usize::try_from(n)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| Failure::invalid(param, format!("num_frames is {n}; at least 1 would fit")))
    });
    let num_frames = num_frames.transpose()?;
    if num_frames.is_some() && given.fps.is_some() {
        return Err(Failure::invalid(param, "fps and num_frames exclude each other; send one of them"));
    }
    let FrameSampling { fps, num_frames: count, start, end } = request.sampling;
    let (fps, count) = match (given.fps, num_frames) {
        (None, None) => (fps, count),
        given => given,
    };
    request.sampling =
        FrameSampling { fps, num_frames: count, start: given.start.or(start), end: given.end.or(end) };
    // As in transformers: only an explicit `true` caps.
    match given.cap_pixels_per_frame {
        Some(true) => request.budget = VideoBudget::Capped,
        Some(false) => request.budget = VideoBudget::Full,
        None => {}
    }
    Ok(())
}
