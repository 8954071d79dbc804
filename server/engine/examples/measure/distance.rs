//! Compares the logits of bf16 and of each quantization with those of f32, at the shape of a config.json.

use std::ops::ControlFlow;

use candle_core::{DType, Device};
use homereel_engine::EngineError;
use homereel_engine::qwen3vl::{Checkpoint, Model, Prompt, Quantization, Visual};
use serde::Serialize;

/// Text prompts, and pictures with a question behind them.
const PROMPTS: usize = 16;
/// Tokens of text in a prompt.
const TOKENS: usize = 48;
/// Rows and columns of a picture, in patches.
const PATCHES: usize = 12;

/// The distance of one form of the weights from f32, over all prompts.
#[derive(Debug, Serialize)]
pub(crate) struct Distance {
    form: &'static str,
    /// Root of the mean square of the differences, as a part of the spread (standard deviation) of the logits.
    relative_error: f64,
    /// Kullback-Leibler divergence of the next token's probabilities, mean, in nats.
    divergence: f64,
    /// Part of the prompts whose most probable token is the same.
    same_token: f64,
    /// Part of the ten most probable tokens that are the same.
    same_ten: f64,
}

/// Measures all forms on the CPU.
pub(crate) fn measure(checkpoint: &Checkpoint) -> Result<Vec<Distance>, EngineError> {
    let logits = |dtype, quantization| -> Result<Vec<Vec<f32>>, EngineError> {
        let model = Model::load_quantized(checkpoint, &Device::Cpu, dtype, quantization)?;
        (0..PROMPTS).map(|number| logits_of(&model, number)).collect()
    };
    let exact = logits(DType::F32, None)?;
    [
        ("bf16", DType::BF16, None),
        ("q8_0", DType::F32, Some(Quantization::Q8_0)),
        ("q4k", DType::F32, Some(Quantization::Q4K)),
    ]
    .into_iter()
    .map(|(form, dtype, quantization)| Ok(distance(form, &exact, &logits(dtype, quantization)?)))
    .collect()
}

/// Logits behind prompt `number`; every second one begins with a picture.
fn logits_of(model: &Model, number: usize) -> Result<Vec<f32>, EngineError> {
    let config = model.config();
    let few = (config.text.vocab_size / 2).min(20_000);
    let mut ids: Vec<u32> = (0..TOKENS).map(|i| ((number * 7919 + i * (31 + number)) % few) as u32).collect();
    let mut go_on = |_, _| ControlFlow::Continue(());
    let mut features = None;
    let mut grids = Vec::new();
    if number % 2 == 1 {
        let grid = [1, PATCHES, PATCHES];
        let values = PATCHES * PATCHES * config.vision.patch_len();
        let value = |i: usize| ((i + number) * 7919 % 2003) as f32 / 1001.0 - 1.0;
        let visual = Visual { pixels: (0..values).map(value).collect(), grid };
        features = Some(model.encode(&visual, &mut go_on)?);
        let tokens = (PATCHES / config.vision.spatial_merge_size).pow(2);
        let picture = [config.vision_start_token_id]
            .into_iter()
            .chain(std::iter::repeat_n(config.image_token_id, tokens))
            .chain([config.vision_end_token_id]);
        ids = picture.chain(ids).collect();
        grids.push(grid);
    }
    let prompt = Prompt::new(config, ids, &grids, &[])?;
    let logits = model.prefill(&prompt, features.as_ref(), &mut model.new_kv(), &mut go_on)?;
    Ok(logits.to_dtype(DType::F32)?.to_vec1()?)
}

fn distance(form: &'static str, exact: &[Vec<f32>], other: &[Vec<f32>]) -> Distance {
    let mean = |of: &dyn Fn(&[f32], &[f32]) -> f64| {
        exact.iter().zip(other).map(|(exact, other)| of(exact, other)).sum::<f64>() / exact.len() as f64
    };
    Distance {
        form,
        relative_error: mean(&|exact, other| {
            let squares =
                |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
            let middle = exact.iter().map(|&value| f64::from(value)).sum::<f64>() / exact.len() as f64;
            let differences = squares(&mut exact.iter().zip(other).map(|(a, b)| f64::from(a - b)));
            (differences / squares(&mut exact.iter().map(|&value| f64::from(value) - middle))).sqrt()
        }),
        divergence: mean(&|exact, other| {
            let (p, q) = (log_probabilities(exact), log_probabilities(other));
            p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
        }),
        same_token: mean(&|exact, other| f64::from(u8::from(best(exact, 1) == best(other, 1)))),
        same_ten: mean(&|exact, other| {
            let others = best(other, 10);
            best(exact, 10).iter().filter(|token| others.contains(token)).count() as f64 / 10.0
        }),
    }
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - most - sum.ln()).collect()
}

/// The `count` most probable tokens, best first.
fn best(logits: &[f32], count: usize) -> Vec<usize> {
    let mut tokens: Vec<usize> = (0..logits.len()).collect();
    tokens.sort_unstable_by(|one, other| logits[*other].total_cmp(&logits[*one]));
    tokens.truncate(count);
    tokens
}
