//! Draws synthetic clips with known content: coloured shapes that move, appear, disappear and change colour, with questions and
//! the correct answers.
//!
//! The demo model was trained on clips of the same distribution, drawn by `scripts/model/demo_model/` in Python. This is an
//! independent implementation for tests and benchmarks, with its own random generator. Training uses seeds below
//! [`FIRST_TEST_SEED`], tests use that one and up. The distribution:
//!
//! * Up to three objects, eight colours, four shapes, radius 12 to 20 % of the shorter side; an object
//!   is still or moves along one axis, over at least 30 % of the frame (or as much as fits).
//! * Events (appears, disappears, turns into a second colour, starts to move, stops) lie on a grid of
//!   0.5 s, at least 1 s from each other and from both ends of the clip; at most three per clip.
//! * Backgrounds are plain, a gradient, or block noise, and differ from every object's colour by at
//!   least 100 in RGB distance. Clips without objects show a background or a drifting texture.
//!
//! Pixels are piped to the `ffmpeg` program; content and questions are written as JSON.

mod encode;
mod paint;
mod phrases;
mod questions;
pub mod recordings;
mod sample;
mod scene;
mod texture;
mod words;

pub use encode::{Codec, encode};
pub use paint::Painter;
pub use phrases::{DESCRIBE, MOMENTS, TAGS};
pub use questions::{ClipQuestion, Skill, questions};
pub use sample::{SceneKind, sample};
pub use scene::{Background, Colour, Direction, Object, Rgb, Scene, Shape};
pub use texture::Texture;
pub use words::{TrueMoment, UNKNOWN, describe, moments, tags};

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;

use sample::{one_of, weighted};

/// Lowest seed that was never used in training.
pub const FIRST_TEST_SEED: u64 = 9_000_000;

/// Frame sizes with their weights: landscape, portrait and square; small ones are cheaper to draw.
const SIZES: [((u32, u32), f64); 16] = [
    ((128, 128), 2.0),
    ((160, 120), 3.0),
    ((192, 144), 3.0),
    ((256, 192), 3.0),
    ((320, 240), 3.0),
    ((320, 180), 3.0),
    ((240, 240), 2.0),
    ((424, 240), 1.5),
    ((120, 160), 1.5),
    ((144, 256), 2.0),
    ((180, 320), 2.0),
    ((240, 320), 1.5),
    ((480, 360), 0.5),
    ((640, 480), 0.5),
    ((640, 360), 0.5),
    ((360, 640), 0.5),
];
/// Frame rates.
const RATES: [f64; 6] = [15.0, 20.0, 24.0, 25.0, 30.0, 30000.0 / 1001.0];

/// Specification of a clip. `None` leaves a property to the seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipSpec {
    /// Seed of all random choices: the same seed gives the same pixels and questions.
    pub seed: u64,
    /// Kind of content.
    pub kind: SceneKind,
    /// Codec and container.
    pub codec: Option<Codec>,
    /// Frame size in pixels, both even.
    pub size: Option<(u32, u32)>,
    /// Frames per second.
    pub fps: Option<f64>,
    /// Length in seconds; 2 to 20 by the seed.
    pub duration_s: Option<f64>,
}

impl ClipSpec {
    /// Returns a specification that leaves everything to the seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, kind: SceneKind::Any, codec: None, size: None, fps: None, duration_s: None }
    }
}

/// A drawn clip: the file, its content, and questions about it.
#[derive(Debug, Clone, Serialize)]
pub struct Clip {
    /// Seed of the clip.
    pub seed: u64,
    /// Codec and container.
    pub codec: Codec,
    /// The video file.
    pub file: PathBuf,
    /// Length in seconds: frames divided by frame rate.
    pub duration_s: f64,
    /// Content.
    pub scene: Scene,
    /// Questions with the correct answers.
    pub questions: Vec<ClipQuestion>,
}

/// Chooses the content of the clip of `spec` and the questions about it, without drawing.
#[must_use]
pub fn compose(spec: ClipSpec) -> (Scene, Codec, Vec<ClipQuestion>) {
    let mut rng = StdRng::seed_from_u64(spec.seed);
    // Every choice is drawn, even where `spec` sets it, so that setting one does not change the others.
    let size = SIZES[weighted(&mut rng, &SIZES.map(|s| s.1))].0;
    let (fps, codec) = (one_of(&mut rng, &RATES), one_of(&mut rng, &Codec::ALL));
    let length = seconds(&mut rng);
    let (width, height) = spec.size.unwrap_or(size);
    let (fps, codec) = (spec.fps.unwrap_or(fps), spec.codec.unwrap_or(codec));
    let scene = sample(&mut rng, spec.kind, width, height, fps, spec.duration_s.unwrap_or(length));
    let questions = questions(&mut rng, &scene);
    (scene, codec, questions)
}

/// Draws the clip of `spec` to `DIR/SEED.mp4` (or `.webm`) and writes its content and questions to `DIR/SEED.json`.
///
/// # Errors
/// When `ffmpeg` is missing or fails, or writing fails.
pub fn draw(spec: ClipSpec, dir: &Path) -> anyhow::Result<Clip> {
    let (scene, codec, questions) = compose(spec);
    let file = dir.join(format!("{}.{}", spec.seed, codec.extension()));
    encode(&scene, codec, &file)?;
    let duration_s = f64::from(scene.total) / scene.fps;
    let clip = Clip { seed: spec.seed, codec, file, duration_s, scene, questions };
    let json = dir.join(format!("{}.json", spec.seed));
    std::fs::write(&json, serde_json::to_vec_pretty(&clip)?)
        .with_context(|| format!("failed to write {}", json.display()))?;
    Ok(clip)
}

/// Chooses 2 to 20 seconds: mostly multiples of 0.5 s, and 80 % of them below 12 s.
fn seconds(rng: &mut StdRng) -> f64 {
    let halves = if rng.random_bool(0.8) { rng.random_range(4..=24) } else { rng.random_range(24..=40) };
    let off = if rng.random_bool(0.2) { rng.random_range(-0.2..0.2) } else { 0.0 };
    (f64::from(halves) / 2.0 + off).max(2.0)
}
