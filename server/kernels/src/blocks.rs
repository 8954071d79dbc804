//! Quantized matrices in GGML's blocks, multiplied on the processor's matrix unit.

use half::f16;

use crate::matrix_unit::{self, MatrixUnit};
use crate::{bf16, rounded, vectorized};

/// How the rows of a matrix are quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFormat {
    /// Blocks of 32 values: a scale (f16) and 32 signed bytes.
    Q8_0,
    /// Blocks of 256 values in eight groups: a scale and a scale of minima (f16 each), 6 bits of scale and of minimum per group
    /// in 12 bytes, and 4 bits per value.
    Q4K,
}

/// A quantized matrix.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    /// The blocks, row by row.
    pub bytes: &'a [u8],
    /// What they contain.
    pub format: BlockFormat,
    /// Number of rows.
    pub outputs: usize,
}

/// Returns `x W^T` for rows of `inputs` values in `x` and a quantized `weight`, whose rows may be longer by values that are not
/// used. `None` means that there is no matrix unit, or that it is not faster for so few rows.
#[must_use]
pub fn product_quantized(x: &[f32], inputs: usize, weight: Blocks<'_>) -> Option<Vec<f32>> {
    let unit = MatrixUnit::for_rows(x.len() / inputs)?;
    let row_bytes = weight.bytes.len() / weight.outputs.max(1);
    let row = |output: usize, values: &mut [bf16]| {
        let bytes = &weight.bytes[output * row_bytes..][..row_bytes];
        vectorized(
            #[inline(always)]
            || match weight.format {
                BlockFormat::Q8_0 => q8_0(bytes, values),
                BlockFormat::Q4K => q4k(bytes, values),
            },
        );
    };
    Some(matrix_unit::product(unit, x, inputs, weight.outputs, row))
}

#[inline(always)]
fn q8_0(row: &[u8], values: &mut [bf16]) {
    for (block, values) in row.as_chunks::<34>().0.iter().zip(values.chunks_mut(32)) {
        let [low, high, quants @ ..] = block;
        let scale = f16::from_le_bytes([*low, *high]).to_f32();
        for (value, quant) in values.iter_mut().zip(quants) {
            *value = rounded(scale * f32::from(quant.cast_signed()));
        }
    }
}

#[inline(always)]
fn q4k(row: &[u8], values: &mut [bf16]) {
    for (block, values) in row.as_chunks::<144>().0.iter().zip(values.chunks_mut(256)) {
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        let (scale, min) = (half(0), half(2));
        let (packed, quants) = block[4..].split_at(12);
        // 32 bytes have a group in their lower halves and the next one in their upper halves.
        for (group, values) in values.chunks_mut(32).enumerate() {
            let (group_scale, group_min) = scale_and_min(packed, group);
            let (scale, min) = (scale * f32::from(group_scale), min * f32::from(group_min));
            let shift = 4 * (group % 2);
            for (value, quant) in values.iter_mut().zip(&quants[group / 2 * 32..]) {
                *value = rounded(scale * f32::from(quant >> shift & 15) - min);
            }
        }
    }
}

/// Returns the 6 bits of scale and of minimum of a group: those of the first four groups lie in the lower bits of the first
/// eight bytes, whose upper bits continue the last four of the others.
#[inline(always)]
fn scale_and_min(packed: &[u8], group: usize) -> (u8, u8) {
    match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (
            packed[group + 4] & 15 | packed[group - 4] >> 6 << 4,
            packed[group + 4] >> 4 | packed[group] >> 6 << 4,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_8_bits_are_a_scale_and_signed_bytes() {
        let mut block = [0u8; 34];
        block[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        (block[2], block[33]) = (4, (-128i8).cast_unsigned());
        let mut values = [bf16::ONE; 40];
        q8_0(&[block, block].concat(), &mut values);
        assert_eq!([values[0], values[1], values[31], values[32]].map(f32::from), [2.0, 0.0, -64.0, 2.0]);
    }

    #[test]
    fn blocks_of_4_bits_have_a_scale_and_a_minimum_per_group() {
        let mut block = [0u8; 144];
        block[..2].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
        block[2..4].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        // Group 1: scale 3, minimum 2. Group 6: scale 4 + 16, minimum 1 + 32.
        (block[4 + 1], block[4 + 5]) = (3, 2);
        (block[4 + 2], block[4 + 6], block[4 + 10]) = (1 << 6, 2 << 6, 4 | 1 << 4);
        // The first value of group 1 is 7, the last of group 6 is 9.
        (block[16], block[16 + 3 * 32 + 31]) = (7 << 4, 9);
        let mut values = [bf16::ZERO; 256];
        q4k(&block, &mut values);
        let want = [0.0, 41.0, -1.0, 360.0 - 16.5].map(bf16::from_f32);
        assert_eq!([0, 32, 33, 6 * 32 + 31].map(|index| values[index]), want);
    }
}
