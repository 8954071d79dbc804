//! An engine in this process, measured without HTTP and without a decoder: vision tower, prefill, tokens one by one,
//! and several requests at once. The content is noise that no cache has seen.

use std::time::Instant;

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use homereel_engine::{
    Clip, Done, Engine, Event, Frame, Health, Message, Part, Request, ResponseFormat, Role, Sampling,
};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::figures::Figures;
use crate::serve::dataset;

/// Frames a second at which the noise pretends to have been filmed: the model's own rate needs no thinning then.
const FPS: f64 = 2.0;

/// What each request holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Shape {
    /// Frames of the clip; none is text alone.
    pub num_frames: usize,
    /// Size of the video, before the model's own rule.
    pub frame_size: (u32, u32),
    /// Words of the question.
    pub words: usize,
    /// Tokens of the answer.
    pub output_len: usize,
}

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
    /// The largest share of a median by which quarter and three quarters lie apart: how noisy this was.
    pub spread: f64,
}

/// Waits until `engine` is ready.
///
/// # Errors
/// When it fails or dies.
pub async fn ready(engine: &dyn Engine) -> anyhow::Result<()> {
    let mut watch = engine.watch_health();
    loop {
        match watch.borrow_and_update().clone() {
            Health::Ready => return Ok(()),
            Health::Failed(reason) => bail!("the model could not be loaded: {reason}"),
            Health::Loading => {}
        }
        watch.changed().await.context("the engine died while it loaded")?;
    }
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
) -> anyhow::Result<Measured> {
    let mut done: Vec<Done> = Vec::with_capacity(requests);
    let (mut tokens, mut seconds) = (0, 0.0);
    while done.len() < requests {
        let batch = concurrency.min(requests - done.len());
        let ready = (0..batch)
            .map(|n| request(engine, shape, seed.wrapping_add((done.len() + n) as u64)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let began = Instant::now();
        let answers = try_join_all(ready.into_iter().map(|request| answer(engine, request))).await?;
        seconds += began.elapsed().as_secs_f64();
        tokens += answers.iter().map(|one| one.usage.completion_tokens).sum::<usize>();
        done.extend(answers);
    }
    let of = |measure: &dyn Fn(&Done) -> f64| {
        Figures::of(&done.iter().map(measure).collect::<Vec<f64>>(), &[25.0, 75.0])
    };
    let (vision, prefill) = (of(&|one| one.stages.vision_ms), of(&|one| one.stages.prefill_ms));
    let (ttft, tpot) = (of(&|one| one.stages.ttft_ms), of(&tpot_ms));
    let fresh = of(&|one| (one.usage.prompt_tokens - one.usage.cached_tokens) as f64);
    let rate = |count: f64, ms: f64| if ms > 0.0 { 1e3 * count / ms } else { 0.0 };
    let spread = |figures: &Figures| match figures.percentiles.as_slice() {
        [(_, low), (_, high)] if figures.median > 0.0 => (high - low) / figures.median,
        _ => 0.0,
    };
    Ok(Measured {
        concurrency,
        requests,
        model_size: model_size(engine, shape)?,
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

fn model_size(engine: &dyn Engine, shape: &Shape) -> anyhow::Result<Option<(u32, u32)>> {
    let (width, height) = shape.frame_size;
    match shape.num_frames {
        0 => Ok(None),
        frames => Ok(Some(engine.video_size(frames, width, height)?)),
    }
}

fn request(engine: &dyn Engine, shape: &Shape, seed: u64) -> anyhow::Result<Request> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut content = Vec::new();
    if let Some((width, height)) = model_size(engine, shape)? {
        let frames = (0..shape.num_frames)
            .map(|_| {
                let mut rgb = vec![0; 3 * width as usize * height as usize];
                rng.fill_bytes(&mut rgb);
                Frame::new(width, height, rgb.into())
            })
            .collect();
        content.push(Part::Video(Clip {
            frames,
            times: (0..shape.num_frames).map(|n| n as f64 / FPS).collect(),
            indices: (0..shape.num_frames as u64).collect(),
            native_fps: FPS,
            total_frames: shape.num_frames as u64,
            duration_s: shape.num_frames as f64 / FPS,
            key: None,
        }));
    }
    let text = dataset::random(shape.words, 1, seed).remove(0).text;
    content.push(Part::Text(text));
    Ok(Request {
        messages: vec![Message::new(Role::User, content)],
        sampling: Sampling::default(),
        max_tokens: Some(shape.output_len),
        stop: Vec::new(),
        stop_token_ids: Vec::new(),
        ignore_eos: true,
        logprobs: None,
        response_format: ResponseFormat::Text,
        extra: serde_json::Map::new(),
    })
}

async fn answer(engine: &dyn Engine, request: Request) -> anyhow::Result<Done> {
    let mut events = engine.submit(request)?;
    while let Some(event) = events.next().await {
        if let Event::Done(done) = event? {
            return Ok(done);
        }
    }
    bail!("the engine ended without an answer")
}
