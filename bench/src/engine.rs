//! Measures an engine in this process, by the same definitions as the load generator.

use homereel_engine::measure::load::{self, LoadShape};
use homereel_engine::{Done, Engine, EngineError};
use serde::Serialize;

use homereel_web::bench_result::Summary;

use crate::serve::dataset;
use crate::statistics::summarize;

/// The measurements of one load: medians over its requests.
#[derive(Debug, Clone, Serialize)]
pub struct EngineRun {
    /// Concurrent requests.
    pub concurrency: usize,
    /// Number of requests.
    pub requests: usize,
    /// Frame size after the model's own resize.
    pub model_size: Option<(u32, u32)>,
    /// Tokens per prompt, including visual tokens.
    pub prompt_tokens: usize,
    /// Milliseconds in the vision tower.
    pub vision_ms: f64,
    /// Frames per second through the vision tower.
    pub frames_per_s: f64,
    /// Milliseconds of prefill in the text model.
    pub prefill_ms: f64,
    /// Prompt tokens per second of prefill.
    pub prefill_tokens_per_s: f64,
    /// Milliseconds to the first token.
    pub ttft_ms: f64,
    /// Milliseconds per token after the first.
    pub tpot_ms: f64,
    /// Tokens per second of all requests together, from the first submission to the last end.
    pub output_throughput: f64,
    /// Interquartile range of the noisiest stage, divided by its median.
    pub spread: f64,
}

/// Sends `requests` requests, `concurrency` at a time, each with different noise by seeds from `seed` on.
///
/// # Errors
/// When a request fails.
pub async fn measure(
    engine: &dyn Engine,
    shape: &LoadShape,
    concurrency: usize,
    requests: usize,
    seed: u64,
) -> Result<EngineRun, EngineError> {
    let question = |seed| dataset::random(shape.words, 1, seed).remove(0).text;
    let load::LoadRun { done, seconds } =
        load::run(engine, shape, concurrency, requests, seed, &question).await?;
    let of = |measure: &dyn Fn(&Done) -> f64| {
        summarize(&done.iter().map(measure).collect::<Vec<f64>>(), &[25.0, 75.0]).unwrap_or_default()
    };
    let (vision, prefill) = (of(&|one| one.stages.vision_ms), of(&|one| one.stages.prefill_ms));
    let (ttft, tpot) = (of(&|one| one.stages.ttft_ms), of(&tpot_ms));
    let fresh = of(&|one| (one.usage.prompt_tokens - one.usage.cached_tokens) as f64);
    let tokens = done.iter().map(|one| one.usage.completion_tokens).sum::<usize>();
    let rate = |count: f64, ms: f64| if ms > 0.0 { 1e3 * count / ms } else { 0.0 };
    let spread = |summary: &Summary| match summary.percentiles.as_slice() {
        [(_, low), (_, high)] if summary.median > 0.0 => (high - low) / summary.median,
        _ => 0.0,
    };
    Ok(EngineRun {
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
