//! Rasterizes scenes: RGB8, row-major, frame by frame.

use super::{Background, Object, Scene, Shape};

/// Rasterizes the frames of one scene.
#[derive(Debug)]
pub struct Painter<'a> {
    scene: &'a Scene,
    base: Vec<f32>,
    canvas: Vec<f32>,
}

impl<'a> Painter<'a> {
    /// Prepares the background of `scene`.
    #[must_use]
    pub fn new(scene: &'a Scene) -> Self {
        let base = background(scene, 0);
        Self { scene, canvas: base.clone(), base }
    }

    /// Draws frame `index` into `out` (resized to `3 * width * height` bytes).
    pub fn paint(&mut self, index: u32, out: &mut Vec<u8>) {
        let scene = self.scene;
        let t = f64::from(index) / scene.fps;
        if let Some(texture) = &scene.texture {
            out.clear();
            for y in 0..scene.height {
                for x in 0..scene.width {
                    out.extend(texture.at(x, y, scene.width, scene.height, t).map(|v| byte(v as f32)));
                }
            }
            return;
        }
        if matches!(scene.background, Background::Noisy { moving: true, .. }) {
            self.base = background(scene, index);
        }
        self.canvas.copy_from_slice(&self.base);
        for o in scene.things.iter().filter(|o| o.seen(t)) {
            self.draw(o, t);
        }
        out.clear();
        out.extend(self.canvas.iter().map(|&v| byte(v + 0.5)));
    }

    fn draw(&mut self, o: &Object, t: f64) {
        let (cx, cy) = o.centre(t);
        let rgb = o.colour_at(t).1.map(f32::from);
        let reach = 1.25 * o.r + 1.0;
        let bounds = |centre: f64, size: u32| {
            let (from, to) = ((centre - reach).max(0.0), (centre + reach + 2.0).clamp(0.0, f64::from(size)));
            from as u32..to as u32
        };
        for y in bounds(cy, self.scene.height) {
            let dy = f64::from(y) + 0.5 - cy;
            for x in bounds(cx, self.scene.width) {
                let dx = f64::from(x) + 0.5 - cx;
                let alpha = (inside(o.shape, o.r, dx, dy) + 0.5).clamp(0.0, 1.0) as f32;
                let at = 3 * (y as usize * self.scene.width as usize + x as usize);
                for (pixel, colour) in self.canvas[at..at + 3].iter_mut().zip(rgb) {
                    *pixel += alpha * (colour - *pixel);
                }
            }
        }
    }
}

/// Signed distance to the edge of a shape of radius `r` around (0, 0), in pixels, positive inside.
fn inside(shape: Shape, r: f64, dx: f64, dy: f64) -> f64 {
    match shape {
        Shape::Circle => r - dx.hypot(dy),
        Shape::Square => 0.88 * r - dx.abs().max(dy.abs()),
        Shape::Triangle => 0.6 * r - dy.max(0.866_025_4 * dx.abs() - 0.5 * dy),
        Shape::Star => {
            // Folded into the wedge between an outer point on the x axis and the adjacent inner point.
            let wedge = 72f64.to_radians();
            let angle = dx.atan2(-dy);
            let folded = ((angle + wedge / 2.0).rem_euclid(wedge) - wedge / 2.0).abs();
            let (outer, inner) = (1.2 * r, 0.45 * 1.2 * r);
            let (px, py) = (dx.hypot(dy) * folded.cos(), dx.hypot(dy) * folded.sin());
            let (bx, by) = (inner * (wedge / 2.0).cos(), inner * (wedge / 2.0).sin());
            let (nx, ny) = (by, outer - bx);
            ((outer - px) * nx - py * ny) / nx.hypot(ny)
        }
    }
}

fn background(scene: &Scene, frame: u32) -> Vec<f32> {
    let (w, h) = (scene.width, scene.height);
    let mut out = Vec::with_capacity(3 * w as usize * h as usize);
    for y in 0..h {
        for x in 0..w {
            let pixel: [f32; 3] = match scene.background {
                Background::Plain { rgb } => rgb.map(f32::from),
                Background::Gradient { rgb, rgb2, angle } => {
                    let along = |v: u32, size: u32| (f64::from(v) + 0.5) / f64::from(size) - 0.5;
                    let k = 0.5 + along(x, w) * angle.cos() + along(y, h) * angle.sin();
                    let k = k.clamp(0.0, 1.0) as f32;
                    std::array::from_fn(|c| f32::from(rgb[c]) + k * (f32::from(rgb2[c]) - f32::from(rgb[c])))
                }
                Background::Noisy { rgb, amplitude, block, seed, .. } => std::array::from_fn(|c| {
                    let n = noise(x / block, y / block, c, seed.wrapping_add(frame));
                    (f32::from(rgb[c]) + amplitude as f32 * n).clamp(0.0, 255.0)
                }),
            };
            out.extend(pixel);
        }
    }
    out
}

/// Returns noise in [-1, 1) for a cell and channel, from an integer hash.
pub(super) fn noise(x: u32, y: u32, channel: usize, seed: u32) -> f32 {
    let c = channel as u32;
    let mut h = x.wrapping_mul(73_856_093)
        ^ y.wrapping_mul(19_349_663)
        ^ c.wrapping_mul(83_492_791)
        ^ seed.wrapping_mul(2_654_435_761);
    for _ in 0..2 {
        h = (h ^ (h >> 16)).wrapping_mul(0x45D_9F3B);
    }
    ((h ^ (h >> 16)) & 0xFFFF) as f32 / 32768.0 - 1.0
}

fn byte(v: f32) -> u8 {
    v.clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_inside_at_the_centre_and_outside_beyond_their_reach() {
        for shape in Shape::ALL {
            assert!(inside(shape, 10.0, 0.0, 0.0) > 3.0, "{shape:?}");
            for (dx, dy) in [(13.0, 0.0), (-13.0, 0.0), (0.0, 13.0), (0.0, -13.0)] {
                assert!(inside(shape, 10.0, dx, dy) < 0.0, "{shape:?} at {dx},{dy}");
            }
        }
    }

    #[test]
    fn triangle_and_star_point_up() {
        assert!(inside(Shape::Triangle, 10.0, 0.0, -9.0) > 0.0);
        assert!(inside(Shape::Triangle, 10.0, 0.0, 9.0) < 0.0);
        assert!(inside(Shape::Star, 10.0, 0.0, -11.0) > 0.0);
        assert!(inside(Shape::Star, 10.0, 0.0, 11.0) < 0.0);
    }
}
