//! Draws synthetic clips whose truth is known: coloured shapes that move, appear, vanish and change
//! colour, with questions and the true answers.
//!
//! The demo model was trained on the same space, drawn by `scripts/model/demo_model/` in Python; this is the
//! independent drawer that the tests ask about, with a generator and seeds of its own. Training uses
//! seeds below [`FIRST_TEST_SEED`]; tests use that one and up. The space, to the pixel:
//!
//! * Up to three objects, eight colours, four shapes, radius 12 to 20 % of the shorter side; an object
//!   rests or moves along one axis, over at least 30 % of the frame along it (or as much as fits).
//! * Events (appears, disappears, turns into a second colour, starts to move, stops) lie on a grid of
//!   0.5 s, at least 1 s from each other and from both ends of the clip; at most three a clip.
//! * Backgrounds are plain, a gradient, or block noise, and differ from every object's colour by at
//!   least 100 in RGB distance. Clips without objects show a background or a drifting texture.
//!
//! This module knows no engine and no server: pixels go to the `ffmpeg` program, truth to JSON.

mod encode;
mod paint;
mod phrases;
mod questions;
mod sample;
mod scene;
mod texture;
mod words;

pub use encode::{Codec, encode};
pub use paint::Painter;
pub use phrases::{DESCRIBE, MOMENTS, TAGS};
pub use questions::{Question, Skill, questions};
pub use sample::{Kind, sample};
pub use scene::{Background, Colour, Direction, Rgb, Scene, Shape, Thing};
pub use texture::Texture;
pub use words::{Moment, UNKNOWN, describe, moments, tags};

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;

use sample::{one_of, weighted};

/// First seed that training never used.
pub const FIRST_TEST_SEED: u64 = 9_000_000;

/// Frame sizes of fresh clips: landscape, portrait and square, with their weights (small ones are cheaper).
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
/// Frame rates of fresh clips.
const RATES: [f64; 6] = [15.0, 20.0, 24.0, 25.0, 30.0, 30000.0 / 1001.0];

/// What to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order {
    /// Everything random comes from here: the same seed gives the same pixels and questions.
    pub seed: u64,
    /// What is in the clip.
    pub kind: Kind,
    /// How it is coded; none lets the seed choose.
    pub codec: Option<Codec>,
    /// Frame size in pixels, both even; none lets the seed choose.
    pub size: Option<(u32, u32)>,
    /// Frames per second; none lets the seed choose.
    pub fps: Option<f64>,
    /// Seconds; none lets the seed choose 2 to 20.
    pub duration_s: Option<f64>,
}

impl Order {
    /// Everything by the seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, kind: Kind::Any, codec: None, size: None, fps: None, duration_s: None }
    }
}

/// A clip that was drawn: the file, what is in it, and what can be asked about it.
#[derive(Debug, Clone, Serialize)]
pub struct Clip {
    /// Seed that it was drawn from.
    pub seed: u64,
    /// How it is coded.
    pub codec: Codec,
    /// The video file.
    pub file: PathBuf,
    /// Length in seconds: frames / rate.
    pub duration_s: f64,
    /// What is in it.
    pub scene: Scene,
    /// What can be asked, with the true answers.
    pub questions: Vec<Question>,
}

/// Chooses what the clip of `order` shows and what can be asked about it, without drawing a pixel.
#[must_use]
pub fn compose(order: Order) -> (Scene, Codec, Vec<Question>) {
    let mut rng = StdRng::seed_from_u64(order.seed);
    // Drawn even where the order names them, so that naming one does not change the others.
    let size = SIZES[weighted(&mut rng, &SIZES.map(|s| s.1))].0;
    let (fps, codec) = (one_of(&mut rng, &RATES), one_of(&mut rng, &Codec::ALL));
    let length = seconds(&mut rng);
    let (width, height) = order.size.unwrap_or(size);
    let (fps, codec) = (order.fps.unwrap_or(fps), order.codec.unwrap_or(codec));
    let scene = sample(&mut rng, order.kind, width, height, fps, order.duration_s.unwrap_or(length));
    let questions = questions(&mut rng, &scene);
    (scene, codec, questions)
}

/// Draws the clip of `order` to `DIR/SEED.mp4` (or `.webm`) and its truth to `DIR/SEED.json`.
///
/// # Errors
/// When `ffmpeg` is missing or fails, or the files can't be written.
pub fn draw(order: Order, dir: &Path) -> anyhow::Result<Clip> {
    let (scene, codec, questions) = compose(order);
    let file = dir.join(format!("{}.{}", order.seed, codec.extension()));
    encode(&scene, codec, &file)?;
    let duration_s = f64::from(scene.total) / scene.fps;
    let clip = Clip { seed: order.seed, codec, file, duration_s, scene, questions };
    let truth = dir.join(format!("{}.json", order.seed));
    std::fs::write(&truth, serde_json::to_vec_pretty(&clip)?)
        .with_context(|| format!("failed to write {}", truth.display()))?;
    Ok(clip)
}

/// Two to twenty seconds, mostly whole or half ones, four in five below twelve.
fn seconds(rng: &mut StdRng) -> f64 {
    let halves = if rng.random_bool(0.8) { rng.random_range(4..=24) } else { rng.random_range(24..=40) };
    let off = if rng.random_bool(0.2) { rng.random_range(-0.2..0.2) } else { 0.0 };
    (f64::from(halves) / 2.0 + off).max(2.0)
}
