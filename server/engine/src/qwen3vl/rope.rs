//! Token positions (time, height, width) and the rotary tables derived from them, for the decoder (interleaved MRoPE) and
//! the vision tower (rows and columns).

use candle_core::{DType, Device, Tensor};

use super::Result;

/// Positions of a prompt's tokens on three axes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    axes: [Vec<i64>; 3],
    next: i64,
}

impl Positions {
    /// Appends `tokens` text tokens: each one step further on all axes.
    pub fn push_text(&mut self, tokens: usize) {
        let range = self.next..self.next + tokens as i64;
        for axis in &mut self.axes {
            axis.extend(range.clone());
        }
        self.next = range.end;
    }

    /// Appends one picture or temporal group of `rows` x `columns` tokens. All have the same time, and the next token's position
    /// is past the longer side.
    pub fn push_visual(&mut self, rows: usize, columns: usize) {
        let start = self.next;
        for row in 0..rows as i64 {
            for column in 0..columns as i64 {
                self.axes[0].push(start);
                self.axes[1].push(start + row);
                self.axes[2].push(start + column);
            }
        }
        self.next += rows.max(columns) as i64;
    }

    /// Returns the positions in time, height and width, one per token.
    #[must_use]
    pub fn axes(&self) -> &[Vec<i64>; 3] {
        &self.axes
    }

    /// Returns the offset from a later token's index to its position (equal on all axes).
    #[must_use]
    pub fn delta(&self) -> i64 {
        self.next - self.axes[0].len() as i64
    }
}

/// Rotary frequencies of the decoder.
#[derive(Debug, Clone)]
pub(super) struct TextRotary {
    inv_freq: Vec<f32>,
    /// The axis of each frequency.
    axis: Vec<usize>,
}

impl TextRotary {
    pub(super) fn new(head_dim: usize, theta: f64, section: [usize; 3]) -> Self {
        let axis = |index: usize| match index % 3 {
            1 if index < 3 * section[1] => 1,
            2 if index < 3 * section[2] => 2,
            _ => 0,
        };
        Self { inv_freq: inv_freq(head_dim, theta), axis: (0..head_dim / 2).map(axis).collect() }
    }

    /// Returns cosines and sines [tokens, head_dim / 2] for tokens at `positions` (time, height, width).
    pub(super) fn tables(
        &self,
        positions: [&[i64]; 3],
        device: &Device,
        dtype: DType,
    ) -> Result<(Tensor, Tensor)> {
        let angles = (0..positions[0].len()).flat_map(|token| {
            let angle = move |(freq, axis): (&f32, &usize)| positions[*axis][token] as f32 * freq;
            self.inv_freq.iter().zip(&self.axis).map(angle)
        });
        tables(angles.collect(), self.inv_freq.len(), device, dtype)
    }
}

/// Returns cosines and sines [rows * columns, head_dim / 2] in f32 for one frame's patches in [`frame_order`]: the first half
/// for the row, the second for the column.
pub(super) fn vision_tables(
    order: &[(usize, usize)],
    head_dim: usize,
    theta: f64,
    device: &Device,
) -> Result<(Tensor, Tensor)> {
    let inv_freq = inv_freq(head_dim / 2, theta);
    let angles = order.iter().flat_map(|&(row, column)| {
        let turn = |place: usize| inv_freq.iter().map(move |freq| place as f32 * freq);
        turn(row).chain(turn(column))
    });
    tables(angles.collect(), head_dim / 2, device, DType::F32)
}

/// Returns (row, column) of a frame's patches in the processor's order: blocks of `merge` x `merge` patches row by row, and
/// row by row inside a block.
pub(super) fn frame_order(rows: usize, columns: usize, merge: usize) -> Vec<(usize, usize)> {
    let mut order = Vec::with_capacity(rows * columns);
    for block_row in (0..rows).step_by(merge) {
        for block_column in (0..columns).step_by(merge) {
            for row in 0..merge {
                order.extend((0..merge).map(|column| (block_row + row, block_column + column)));
            }
        }
    }
    order
}

/// `1 / theta^(2i / dim)` for i in 0..dim/2, rounded to f32 where the reference rounds.
fn inv_freq(dim: usize, theta: f64) -> Vec<f32> {
    let power = |i: usize| (theta as f32).powf((2 * i) as f32 / dim as f32);
    (0..dim / 2).map(|i| 1.0 / power(i)).collect()
}

fn tables(angles: Vec<f32>, width: usize, device: &Device, dtype: DType) -> Result<(Tensor, Tensor)> {
    let shape = (angles.len() / width, width);
    let sin = angles.iter().map(|angle| angle.sin()).collect::<Vec<_>>();
    let cos = angles.into_iter().map(f32::cos).collect::<Vec<_>>();
    let load = |values| Tensor::from_vec(values, shape, device)?.to_dtype(dtype);
    Ok((load(cos)?, load(sin)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_sections_are_those_of_the_published_models() {
        let rotary = TextRotary::new(128, 5e6, [24, 20, 20]);
        let indices = |axis| (0..64).filter(|&i| rotary.axis[i] == axis).collect::<Vec<_>>();
        assert_eq!(indices(1), (1..60).step_by(3).collect::<Vec<_>>());
        assert_eq!(indices(2), (2..60).step_by(3).collect::<Vec<_>>());
        assert_eq!(indices(0).len(), 24);
    }

    #[test]
    fn text_goes_on_past_the_longer_side_of_a_picture() {
        let mut positions = Positions::default();
        positions.push_text(2);
        positions.push_visual(2, 3);
        positions.push_text(1);
        let [time, height, width] = positions.axes();
        assert_eq!(time, &[0, 1, 2, 2, 2, 2, 2, 2, 5]);
        assert_eq!(height, &[0, 1, 2, 2, 2, 3, 3, 3, 5]);
        assert_eq!(width, &[0, 1, 2, 3, 4, 2, 3, 4, 5]);
        assert_eq!(positions.delta(), 6 - 9);
    }

    #[test]
    fn patches_come_block_by_block() {
        let order = frame_order(2, 4, 2);
        assert_eq!(order[..5], [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]);
        assert_eq!(order.len(), 8);
    }
}
