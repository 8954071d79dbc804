//! Sends requests with random frames to an engine in this process, several at once. No cache has seen their content.

use std::time::Instant;

use futures_util::future::try_join_all;
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{
    ContentPart, Done, Engine, EngineError, GenerationEvent, GenerationOptions, Health, Message, MessageRole,
    Request, RgbImage, VideoBudget, VideoInput,
};

/// Frames per second that the clips claim: the models' own sampling rate, so that no frame is dropped.
const FPS: f64 = 2.0;

/// The content of each request.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LoadShape {
    /// Frames of the clip; 0 means a request of text only.
    pub num_frames: usize,
    /// Width and height of the video in pixels, before the model's own resize rule.
    pub frame_size: (u32, u32),
    /// Words of the question.
    pub words: usize,
    /// Tokens of the answer.
    pub output_len: usize,
}

impl LoadShape {
    /// Returns the width and height at which the model sees each frame; `None` means text only.
    ///
    /// # Errors
    /// Where the model refuses the size.
    pub fn model_size(&self, engine: &dyn Engine) -> Result<Option<(u32, u32)>, EngineError> {
        let (width, height) = self.frame_size;
        match self.num_frames {
            0 => Ok(None),
            frames => engine.video_size(frames, width, height, VideoBudget::Full).map(Some),
        }
    }
}

/// The answers of one run.
#[derive(Debug, Clone)]
pub struct LoadRun {
    /// One entry per request, in the order of submission.
    pub done: Vec<Done>,
    /// Seconds during which requests were in flight.
    pub seconds: f64,
}

/// Waits until `engine` is ready.
///
/// # Errors
/// When the model cannot be loaded.
pub async fn ready(engine: &dyn Engine) -> Result<(), EngineError> {
    let mut watch = engine.watch_health();
    loop {
        match watch.borrow_and_update().clone() {
            Health::Ready => return Ok(()),
            Health::Failed(reason) => {
                return Err(EngineError::Failed(format!("the model could not be loaded: {reason}")));
            }
            Health::Loading => {}
        }
        if watch.changed().await.is_err() {
            return Err(EngineError::Failed("the engine stopped while it was loading".into()));
        }
    }
}

/// Sends `requests` requests, `concurrency` at a time, with frames drawn from `seed` on. `question` returns the text
/// of the request with a given seed.
///
/// # Errors
/// When a request is refused or fails.
pub async fn run(
    engine: &dyn Engine,
    shape: &LoadShape,
    concurrency: usize,
    requests: usize,
    seed: u64,
    question: &dyn Fn(u64) -> String,
) -> Result<LoadRun, EngineError> {
    let mut run = LoadRun { done: Vec::with_capacity(requests), seconds: 0.0 };
    while run.done.len() < requests {
        let batch = concurrency.clamp(1, requests - run.done.len());
        let first = seed.wrapping_add(run.done.len() as u64);
        let prepared = (0..batch as u64)
            .map(|n| first.wrapping_add(n))
            .map(|seed| request(engine, shape, seed, question(seed)))
            .collect::<Result<Vec<_>, _>>()?;
        let began = Instant::now();
        run.done.extend(try_join_all(prepared.into_iter().map(|request| answer(engine, request))).await?);
        run.seconds += began.elapsed().as_secs_f64();
    }
    Ok(run)
}

fn request(engine: &dyn Engine, shape: &LoadShape, seed: u64, text: String) -> Result<Request, EngineError> {
    let mut content = Vec::new();
    if let Some((width, height)) = shape.model_size(engine)? {
        content.push(ContentPart::Video(noise(shape.num_frames, width, height, seed)));
    }
    content.push(ContentPart::Text(text));
    Ok(Request {
        messages: vec![Message::new(MessageRole::User, content)],
        options: GenerationOptions {
            max_tokens: Some(shape.output_len),
            ignore_eos: true,
            ..GenerationOptions::default()
        },
    })
}

/// Returns a clip of random pixels at [`FPS`].
pub(super) fn noise(frames: usize, width: u32, height: u32, seed: u64) -> VideoInput {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut frame = || {
        let mut rgb = vec![0; 3 * width as usize * height as usize];
        rng.fill_bytes(&mut rgb);
        RgbImage::new(width, height, rgb.into())
    };
    VideoInput {
        frames: (0..frames).map(|_| frame()).collect(),
        times: (0..frames).map(|n| n as f64 / FPS).collect(),
        indices: (0..frames as u64).collect(),
        native_fps: FPS,
        total_frames: frames as u64,
        duration_s: frames as f64 / FPS,
        key: None,
    }
}

async fn answer(engine: &dyn Engine, request: Request) -> Result<Done, EngineError> {
    let mut events = engine.submit(request)?;
    while let Some(event) = events.next().await {
        if let GenerationEvent::Done(done) = event? {
            return Ok(done);
        }
    }
    Err(EngineError::Incomplete)
}
