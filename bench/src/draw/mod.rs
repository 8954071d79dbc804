//! Draws synthetic clips whose truth is known: coloured shapes that move, appear, vanish and change
//! colour, with questions and the true answers.
//!
//! The demo model was trained on the same space, drawn by `scripts/demo_model/` in Python; this is the
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
mod questions;
mod sample;
mod scene;
mod texture;
mod words;

pub use encode::{Codec, encode};
pub use paint::Painter;
pub use questions::{DESCRIBE, MOMENTS, Question, Skill, TAGS, questions};
pub use sample::{Kind, sample};
pub use scene::{Background, Colour, Direction, Rgb, Scene, Shape, Thing};
pub use texture::Texture;
pub use words::{Moment, UNKNOWN, describe, moments, tags};

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde::Serialize;

/// First seed that training never used.
pub const FIRST_TEST_SEED: u64 = 9_000_000;

/// Frame sizes of fresh clips: landscape, portrait and square, all even as 4:2:0 wants them.
const SIZES: [(u32, u32); 8] =
    [(320, 240), (240, 320), (426, 240), (240, 426), (256, 256), (384, 288), (640, 360), (360, 640)];
/// Frame rates of fresh clips.
const RATES: [f64; 6] = [8.0, 10.0, 12.0, 15.0, 24.0, 30.0];

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
    /// Seconds; none lets the seed choose 2 to 20 (short ones more often).
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

/// Draws the clip of `order` to `DIR/SEED.mp4` (or `.webm`) and its truth to `DIR/SEED.json`.
///
/// # Errors
/// When `ffmpeg` is missing or fails, or the files can't be written.
pub fn draw(order: Order, dir: &Path) -> anyhow::Result<Clip> {
    let mut rng = StdRng::seed_from_u64(order.seed);
    // Drawn even where the order names them, so that naming one does not change the others.
    let (size, fps, codec) = (pick(&SIZES, &mut rng), pick(&RATES, &mut rng), pick(&Codec::ALL, &mut rng));
    let length = 2.0 * 10f64.powf(rng.random::<f64>());
    let (width, height) = order.size.unwrap_or(size);
    let (fps, codec) = (order.fps.unwrap_or(fps), order.codec.unwrap_or(codec));
    let scene = sample(&mut rng, order.kind, width, height, fps, order.duration_s.unwrap_or(length));
    let questions = questions(&mut rng, &scene);
    let file = dir.join(format!("{}.{}", order.seed, codec.extension()));
    encode(&scene, codec, &file)?;
    let duration_s = f64::from(scene.total) / scene.fps;
    let clip = Clip { seed: order.seed, codec, file, duration_s, scene, questions };
    let truth = dir.join(format!("{}.json", order.seed));
    std::fs::write(&truth, serde_json::to_vec_pretty(&clip)?)
        .with_context(|| format!("failed to write {}", truth.display()))?;
    Ok(clip)
}

fn pick<T: Copy>(from: &[T], rng: &mut StdRng) -> T {
    *from.choose(rng).unwrap_or(&from[0])
}
