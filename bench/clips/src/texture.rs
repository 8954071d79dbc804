//! Textures without objects, for clips that the demo model must not claim to recognize.

use std::f64::consts::{PI, TAU};

use rand::{Rng as _, rngs::StdRng};
use serde::Serialize;

use super::paint::noise;
use super::sample::one_of;

/// Kind of texture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Look {
    Clouds,
    Stripes,
    Split,
    Checker,
}

/// An image larger than the frame, seen through a drifting window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Texture {
    look: Look,
    seed: u32,
    /// Radians.
    angle: f64,
    /// Of the frame's height.
    period: f64,
    /// Largest difference per channel, of clouds.
    amplitude: f64,
    colours: [[f64; 3]; 2],
    /// Pixels per second.
    drift: (f64, f64),
}

impl Texture {
    pub(super) fn sample(rng: &mut StdRng) -> Self {
        Self {
            look: one_of(rng, &[Look::Clouds, Look::Stripes, Look::Split, Look::Checker]),
            seed: rng.random_range(0..1 << 30),
            angle: rng.random_range(0.0..PI),
            period: rng.random_range(0.08..0.6),
            amplitude: rng.random_range(40.0..90.0),
            colours: std::array::from_fn(|_| std::array::from_fn(|_| rng.random_range(0.0..255.0))),
            drift: (rng.random_range(-20.0..20.0), rng.random_range(-20.0..20.0)),
        }
    }

    /// Returns the colour (0 to 255 per channel) at pixel (`x`, `y`) of a `w` x `h` frame at time `t`.
    pub(super) fn at(&self, x: u32, y: u32, w: u32, h: u32, t: f64) -> [f64; 3] {
        let (w, h) = (f64::from(w), f64::from(h));
        let window = |size: f64, drift: f64| (size / 2.0 + drift * t).clamp(0.0, size - 1.0).floor();
        let (x, y) = (f64::from(x) + window(w, self.drift.0), f64::from(y) + window(h, self.drift.1));
        if self.look == Look::Clouds {
            return self.clouds(x, y, h);
        }
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        let period = self.period * h;
        let k = match self.look {
            Look::Stripes => ((u / period * TAU).sin() * 3.0 + 0.5).clamp(0.0, 1.0),
            Look::Checker => ((u / period).floor() + (v / period).floor()).rem_euclid(2.0),
            Look::Split | Look::Clouds => ((u - (w * cos + h * sin)) * 0.5).clamp(0.0, 1.0),
        };
        let [a, b] = self.colours;
        std::array::from_fn(|c| a[c] + k * (b[c] - a[c]))
    }

    /// Value noise in four octaves.
    fn clouds(&self, x: f64, y: f64, h: f64) -> [f64; 3] {
        let mut out = [128.0; 3];
        let mut amplitude = self.amplitude;
        for (octave, part) in [1.0, 3.0, 8.0, 20.0].into_iter().enumerate() {
            let cell = (h / part).floor().max(2.0);
            let (gx, gy) = (x / cell, y / cell);
            let (fx, fy) = (gx.fract(), gy.fract());
            let (ix, iy, seed) = (gx as u32, gy as u32, self.seed.wrapping_add(octave as u32));
            for (c, value) in out.iter_mut().enumerate() {
                let at = |dx, dy| f64::from(noise(ix + dx, iy + dy, c, seed));
                let (top, bottom) =
                    (at(0, 0) * (1.0 - fx) + at(1, 0) * fx, at(0, 1) * (1.0 - fx) + at(1, 1) * fx);
                *value += amplitude * (top * (1.0 - fy) + bottom * fy);
            }
            amplitude *= 0.6;
        }
        out.map(|v| v.clamp(0.0, 255.0))
    }
}
