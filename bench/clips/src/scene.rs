//! What is in a clip before a pixel of it exists: things, colours, tracks and times.

use serde::Serialize;

use super::Texture;

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Tolerance on times: events lie on a grid of 0.5 s, frames rarely do.
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
pub struct Thing {
    /// Its shape.
    pub shape: Shape,
    /// Its first colour.
    pub colour: Colour,
    /// The shade of it that is drawn.
    pub rgb: Rgb,
    /// Radius.
    pub r: f64,
    /// Centre before the move.
    pub from: (f64, f64),
    /// Centre after the move.
    pub to: (f64, f64),
    /// Where it moves; none if it stays still.
    pub direction: Option<Direction>,
    /// When the move begins and ends.
    pub move_s: (f64, f64),
    /// When it appears; 0 if it is there from the start.
    pub appear: f64,
    /// When it disappears.
    pub disappear: Option<f64>,
    /// When it turns into which colour and shade.
    pub turn: Option<(f64, Colour, Rgb)>,
    /// The move begins by an event, after the thing was seen at rest.
    pub starts: bool,
    /// The move ends by an event, while the thing is still seen.
    pub stops: bool,
}

impl Thing {
    /// Tells whether it is in the picture at time `t`.
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

    /// Tells where it moves at time `t`.
    #[must_use]
    pub fn moving(&self, t: f64) -> Option<Direction> {
        self.direction.filter(|_| self.move_s.0 - TICK <= t && t < self.move_s.1 - TICK)
    }
}

/// What is behind the things.
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
        /// Of the noise.
        seed: u32,
        /// Whether each frame has noise of its own.
        moving: bool,
    },
}

/// A clip before it is drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scene {
    /// Pixels per row, even.
    pub width: u32,
    /// Rows, even.
    pub height: u32,
    /// Frames per second; frame i shows time i / fps.
    pub fps: f64,
    /// Frames.
    pub total: u32,
    /// Length rounded to half a second: where moments end.
    pub end: f64,
    /// What is behind the things.
    pub background: Background,
    /// The objects; none in a clip that the demo model knows nothing of.
    pub things: Vec<Thing>,
    /// Drawn instead of the background in a clip without objects.
    pub texture: Option<Texture>,
}
