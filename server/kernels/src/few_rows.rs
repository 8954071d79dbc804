//! Products and attention of few rows on a CPU, which is what decoding and short prompts consist of. A matrix is read once
//! for up to [`ROWS_AT_ONCE`] rows, where a general product packs it first.

mod attention;
mod packed;
mod tile;
mod weight;

use pulp::{Arch, bytemuck::try_cast_slice};
use rayon::prelude::*;

use crate::{MIN_WORK, bf16, vectorized};
pub(crate) use attention::attention;
use packed::Packed;
use tile::Product;
use weight::Weight;

/// Rows for which a matrix is read once: with more, they leave the second cache.
const ROWS_AT_ONCE: usize = 64;

/// Returns whether `rows` of `inputs` are few. With more, a general product is faster; the narrower, the sooner, because the
/// sums of a vector's lanes are added up once per product.
pub(crate) fn few(rows: usize, inputs: usize) -> bool {
    rows <= (inputs / 16).clamp(16, 2 * ROWS_AT_ONCE)
}

/// Returns `x W^T`, row by row, for few rows of `inputs` in `x` and a `weight` with such rows.
pub(crate) fn product(x: &[f32], weight: &[f32], inputs: usize) -> Vec<f32> {
    by_rows(x, weight, inputs)
}

/// Returns the same for a `weight` in bf16.
pub(crate) fn product_bf16(x: &[f32], weight: &[bf16], inputs: usize) -> Vec<f32> {
    match try_cast_slice::<bf16, u32>(weight) {
        Ok(pairs) if inputs.is_multiple_of(2) => by_rows(x, pairs, inputs),
        _ => {
            let mut wide = vec![0f32; weight.len()];
            widen(weight, &mut wide);
            product(x, &wide, inputs)
        }
    }
}

/// Writes `narrow` as f32 to `wide`. By its bits, because the conversion of the type treats special values one by one.
pub(crate) fn widen(narrow: &[bf16], wide: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (wide, narrow) in wide.iter_mut().zip(narrow) {
                *wide = f32::from_bits(u32::from(narrow.to_bits()) << 16);
            }
        },
    );
}

fn by_rows<W: Weight>(x: &[f32], weight: &[W], inputs: usize) -> Vec<f32> {
    if x.len() <= ROWS_AT_ONCE * inputs {
        return by_outputs(x, weight, inputs);
    }
    x.chunks(ROWS_AT_ONCE * inputs).flat_map(|x| by_outputs(x, weight, inputs)).collect()
}

/// Splits the outputs among threads.
fn by_outputs<W: Weight>(x: &[f32], weight: &[W], inputs: usize) -> Vec<f32> {
    let (rows, width) = (x.len() / inputs, inputs / W::COUNT);
    let outputs = weight.len() / width;
    let x = &Packed::new::<W>(x, inputs);
    // Output by output, so that threads write to different parts.
    let mut columns = vec![0f32; outputs * rows];
    let at_once = outputs_at_once(outputs, rows * inputs);
    let part = |index: usize, columns: &mut [f32]| {
        let weight = &weight[index * at_once * width..][..columns.len() / rows * width];
        Arch::new().dispatch(Product { weight, x, width, rows, columns });
    };
    match at_once < outputs {
        true => {
            let parts = columns.par_chunks_mut(at_once * rows);
            parts.enumerate().for_each(|(index, columns)| part(index, columns));
        }
        false => part(0, &mut columns),
    }
    if rows == 1 { columns } else { transposed(&columns, rows) }
}

/// Returns how many outputs one thread computes: whole tiles of every size.
fn outputs_at_once(outputs: usize, work_per_output: usize) -> usize {
    let threads = rayon::current_num_threads().max(1);
    outputs.div_ceil(threads).max(MIN_WORK / work_per_output.max(1)).next_multiple_of(24)
}

fn transposed(columns: &[f32], rows: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| columns.iter().skip(row).step_by(rows).copied()).collect()
}
