//! Deinterlacing: combines two fields into one frame at the time of the first.
//!
//! Where the fields differ (something moved between them), each pixel of the second field's lines becomes the median of
//! itself and the pixels above and below it. Where they match, lines are kept, so that still content and progressive film in
//! an interlaced stream keep full resolution. The decision is made per block of 16 × 16 luma pixels. It needs no other
//! frame, so the result does not depend on where decoding started.

use ffmpeg_next::frame;

use crate::ffmpeg;

/// Side of a block, in luma pixels.
const BLOCK: usize = 16;
/// Minimum difference of a pixel from both its neighbours, of 255.
const STEP: i32 = 10;
/// Minimum number of such pixels among a block's 128 pixels of the second field.
const ENOUGH: u32 = 6;

/// Returns `picture` at the time of its first field; `None` when it needs no deinterlacing.
pub(crate) fn deinterlaced(picture: &frame::Video) -> Option<frame::Video> {
    let depth = ffmpeg::layout(picture.format()).planar_depth?;
    if !picture.is_interlaced() || picture.height() < 4 {
        return None;
    }
    // The first line of the second field.
    let second = usize::from(picture.is_top_first());
    let mut out = picture.clone();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let blocks = width.div_ceil(BLOCK);
    let mut torn = vec![0u32; blocks * height.div_ceil(BLOCK)];
    let samples = Samples::new(depth);
    let luma = Plane { width, height, stride: picture.stride(0) };
    for y in luma.inner(second) {
        let line = |y: usize| &picture.data(0)[y * luma.stride..][..luma.stride];
        let (above, own, below) = (line(y - 1), line(y), line(y + 1));
        for x in 0..width {
            let (a, c, b) = (samples.get(above, x), samples.get(own, x), samples.get(below, x));
            let (up, down) = (c - a, c - b);
            let out = up.signum() == down.signum() && up.abs().min(down.abs()) > samples.step;
            torn[y / BLOCK * blocks + x / BLOCK] += u32::from(out);
        }
    }
    if torn.iter().all(|count| *count < ENOUGH) {
        return None;
    }
    for index in 0..picture.planes() {
        let (width, height) = (picture.plane_width(index) as usize, picture.plane_height(index) as usize);
        let plane = Plane { width, height, stride: picture.stride(index) };
        let (across, down) = (luma.width.div_ceil(width.max(1)), luma.height.div_ceil(height.max(1)));
        // The copy has its own strides.
        let stride = out.stride(index);
        let data = out.data_mut(index);
        let source = picture.data(index);
        for y in plane.inner(second) {
            let line = |y: usize| &source[y * plane.stride..][..plane.stride];
            let (above, own, below) = (line(y - 1), line(y), line(y + 1));
            let row = &mut data[y * stride..][..stride];
            for x in 0..width {
                if torn[y * down / BLOCK * blocks + x * across / BLOCK] < ENOUGH {
                    continue;
                }
                let (a, c, b) = (samples.get(above, x), samples.get(own, x), samples.get(below, x));
                samples.set(row, x, c.clamp(a.min(b), a.max(b)));
            }
        }
    }
    Some(out)
}

/// The shape of a plane, in samples and bytes.
struct Plane {
    width: usize,
    height: usize,
    stride: usize,
}

impl Plane {
    /// Returns the lines of the field that starts with line `first`, except those at the edges.
    fn inner(&self, first: usize) -> impl Iterator<Item = usize> {
        let begin = if first == 0 { 2 } else { first };
        (begin..self.height.saturating_sub(1)).step_by(2)
    }
}

/// Sample layout in memory: one byte, or two in native order.
#[derive(Clone, Copy)]
struct Samples {
    wide: bool,
    step: i32,
}

impl Samples {
    fn new(depth: u32) -> Self {
        Self { wide: depth > 8, step: STEP << depth.saturating_sub(8).min(8) }
    }

    fn get(self, line: &[u8], x: usize) -> i32 {
        if self.wide { i32::from(u16::from_ne_bytes([line[2 * x], line[2 * x + 1]])) } else { line[x].into() }
    }

    fn set(self, line: &mut [u8], x: usize, value: i32) {
        if self.wide {
            line[2 * x..2 * x + 2].copy_from_slice(&(value as u16).to_ne_bytes());
        } else {
            line[x] = value as u8;
        }
    }
}
