//! Sums up what an engine in this process needs, by the same definitions as the load generator.

use homereel_engine::measure::load::{self, Shape};
use homereel_engine::{Done, Engine, EngineError};
use serde::Serialize;

use crate::statistics::Figures;
use crate::serve::dataset;

/// One load, measured: medians over its requests.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Requests at once.
    pub concurrency: usize,
    /// Requests in all.
    pub requests: usize,
    /// Size at which the model saw each frame.
    pub model_size: Option<(u32, u32)>,
    /// Tokens of a prompt, visual ones included.
    pub prompt_tokens: usize,
    /// Milliseconds in the vision tower.
    pub vision_ms: f64,
    /// Frames a second through the vision tower.
    pub frames_per_s: f64,
    /// Milliseconds of the prompt in the text model.
    pub prefill_ms: f64,
    /// Prompt tokens a second in the text model.
    pub prefill_tokens_per_s: f64,
    /// Milliseconds to the first token.
    pub ttft_ms: f64,
    /// Milliseconds for each token after the first.
    pub tpot_ms: f64,
    /// Tokens a second of all requests together, from the first submitted to the last ended.
    pub output_throughput: f64,
    /// Interquartile range of the noisiest stage, as a share of its median.
    pub spread: f64,
}

/// Sends `requests` requests, `concurrency` at once, each with noise of its own drawn from `seed` on.
///
/// # Errors
/// When a request is refused or fails.
pub async fn measure(
    engine: &dyn Engine,
    shape: &Shape,
    concurrency: usize,
    requests: usize,
    seed: u64,
) -> Result<Measured, EngineError> {
    let question = |seed| dataset::random(shape.words, 1, seed).remove(0).text;
    let load::Run { done, seconds } =
        load::run(engine, shape, concurrency, requests, seed, &question).await?;
    let of = |measure: &dyn Fn(&Done) -> f64| {
        Figures::of(&done.iter().map(measure).collect::<Vec<f64>>(), &[25.0, 75.0])
    };
    let (vision, prefill) = (of(&|one| one.stages.vision_ms), of(&|one| one.stages.prefill_ms));
    let (ttft, tpot) = (of(&|one| one.stages.ttft_ms), of(&tpot_ms));
    let fresh = of(&|one| (one.usage.prompt_tokens - one.usage.cached_tokens) as f64);
    let tokens = done.iter().map(|one| one.usage.completion_tokens).sum::<usize>();
    let rate = |count: f64, ms: f64| if ms > 0.0 { 1e3 * count / ms } else { 0.0 };
    let spread = |figures: &Figures| match figures.percentiles.as_slice() {
        [(_, low), (_, high)] if figures.median > 0.0 => (high - low) / figures.median,
        _ => 0.0,
    };
    Ok(Measured {
        concurrency,
        requests,
        model_size: shape.model_size(engine)?,
        prompt_tokens: done.first().map_or(0, |one| one.usage.prompt_tokens),
        vision_ms: vision.median,
        frames_per_s: rate(shape.num_frames as f64, vision.median),
        prefill_ms: prefill.median,
        prefill_tokens_per_s: rate(fresh.median, prefill.median),
        ttft_ms: ttft.median,
        tpot_ms: tpot.median,
        output_throughput: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
        spread: [&vision, &prefill, &tpot].into_iter().map(spread).fold(0.0, f64::max),
    })
}

fn tpot_ms(one: &Done) -> f64 {
    one.stages.generate_ms / one.usage.completion_tokens.saturating_sub(1).max(1) as f64
}
