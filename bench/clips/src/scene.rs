//! The content of a clip: objects with shapes, colours, paths and times, and the background.

use serde::Serialize;

use super::Texture;

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Tolerance of times: events are on a grid of 0.5 s, frames are usually not.
const TICK: f64 = 1e-6;

/// The eight colours that the demo model knows, in the order in which answers sort them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    Green,
    Blue,
    Yellow,
    Orange,
    Purple,
    White,
    Black,
}

impl Colour {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Orange,
        Self::Purple,
        Self::White,
        Self::Black,
    ];

    /// The word that answers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Purple => "purple",
            Self::White => "white",
            Self::Black => "black",
        }
    }

    /// The shade that objects jitter around.
    #[must_use]
    pub fn rgb(self) -> Rgb {
        match self {
            Self::Red => [220, 30, 30],
            Self::Green => [30, 170, 50],
            Self::Blue => [40, 70, 220],
            Self::Yellow => [240, 220, 40],
            Self::Orange => [245, 140, 20],
            Self::Purple => [140, 40, 170],
            Self::White => [245, 245, 245],
            Self::Black => [15, 15, 15],
        }
    }
}

/// The four shapes that the demo model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Circle, Self::Square, Self::Triangle, Self::Star];

    /// The word that answers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
        }
    }
}

/// Where a thing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Direction {
    Left,
    Right,
    Up,
    Down,
}

impl Direction {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Up, Self::Down];

    /// The word that answers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Whether x changes (else y).
    #[must_use]
    pub fn horizontal(self) -> bool {
        matches!(self, Self::Left | Self::Right)
    }

    /// Whether the coordinate falls with time; y grows downwards.
    #[must_use]
    pub fn backwards(self) -> bool {
        matches!(self, Self::Left | Self::Up)
    }
}

/// One object; times in seconds, lengths in pixels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Object {
    /// Its shape.
    pub shape: Shape,
    /// Its first colour.
    pub colour: Colour,
    /// The shade that is drawn.
    pub rgb: Rgb,
    /// Radius.
    pub r: f64,
    /// Centre before the move.
    pub from: (f64, f64),
    /// Centre after the move.
    pub to: (f64, f64),
    /// Direction of the move. `None` means that it is still.
    pub direction: Option<Direction>,
    /// Start and end of the move.
    pub move_s: (f64, f64),
    /// When it appears; 0 is the start of the clip.
    pub appear: f64,
    /// When it disappears.
    pub disappear: Option<f64>,
    /// When it changes colour, and the new colour and shade.
    pub turn: Option<(f64, Colour, Rgb)>,
    /// The start of the move is an event: the object was visible and still before.
    pub starts: bool,
    /// The end of the move is an event: the object is visible and still afterwards.
    pub stops: bool,
}

impl Object {
    /// Returns whether it is visible at time `t`.
    #[must_use]
    pub fn seen(&self, t: f64) -> bool {
        t >= self.appear - TICK && self.disappear.is_none_or(|end| t < end - TICK)
    }

    /// Returns its colour and shade at time `t`.
    #[must_use]
    pub fn colour_at(&self, t: f64) -> (Colour, Rgb) {
        match self.turn {
            Some((turn, colour, rgb)) if t >= turn - TICK => (colour, rgb),
            _ => (self.colour, self.rgb),
        }
    }

    /// Returns its centre at time `t`.
    #[must_use]
    pub fn centre(&self, t: f64) -> (f64, f64) {
        let (a, b) = self.move_s;
        let k = if b <= a { 0.0 } else { ((t - a) / (b - a)).clamp(0.0, 1.0) };
        (self.from.0 + k * (self.to.0 - self.from.0), self.from.1 + k * (self.to.1 - self.from.1))
    }

    /// Returns the direction in which it moves at time `t`.
    #[must_use]
    pub fn moving(&self, t: f64) -> Option<Direction> {
        self.direction.filter(|_| self.move_s.0 - TICK <= t && t < self.move_s.1 - TICK)
    }
}

/// The background behind the objects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Background {
    /// One colour.
    Plain {
        /// The colour.
        rgb: Rgb,
    },
    /// From one colour to another across the frame.
    Gradient {
        /// At one end.
        rgb: Rgb,
        /// At the other.
        rgb2: Rgb,
        /// Radians; 0 is left to right.
        angle: f64,
    },
    /// A colour with noise in square blocks.
    Noisy {
        /// The colour.
        rgb: Rgb,
        /// Largest difference per channel.
        amplitude: f64,
        /// Pixels per side of a block.
        block: u32,
        /// Seed of the noise.
        seed: u32,
        /// Whether each frame has noise of its own.
        moving: bool,
    },
}

/// The content of a clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scene {
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Frames per second; frame i shows time i / fps.
    pub fps: f64,
    /// Number of frames.
    pub total: u32,
    /// Length in seconds, rounded to 0.5 s: the end of the last moment.
    pub end: f64,
    /// The background behind the objects.
    pub background: Background,
    /// The objects; empty in a clip that the demo model cannot describe.
    pub things: Vec<Object>,
    /// Drawn instead of the background in a clip without objects.
    pub texture: Option<Texture>,
}
