//! Products with a matrix in f32 or bf16.

use gemmkit::{MatMut, MatRef, Parallelism, gemm};
pub use half::bf16;
use rayon::prelude::*;

use crate::MIN_WORK;
use crate::few_rows;
use crate::matrix_unit::{self, MatrixUnit};

/// Weights that are widened at a time: 4 MiB, which the products find in a cache.
const WIDENED: usize = 1 << 20;

/// Returns `x W^T` for rows of `inputs` values in `x` and in `weight`: for each row of `x` one value per row of `weight`.
#[must_use]
pub fn product(x: &[f32], weight: &[f32], inputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs;
    if few_rows::few(rows, inputs) {
        return few_rows::product(x, weight, inputs);
    }
    let outputs = weight.len() / inputs;
    let mut y = vec![0f32; rows * outputs];
    multiply(x, weight, inputs, &mut y, outputs);
    y
}

/// Returns the same for a `weight` in bf16. On a matrix unit, `x` is rounded to bf16; elsewhere the products are those of f32.
#[must_use]
pub fn product_bf16(x: &[f32], weight: &[bf16], inputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs;
    if let Some(unit) = MatrixUnit::for_rows(rows) {
        let row = |output: usize, values: &mut [bf16]| {
            values.copy_from_slice(&weight[output * inputs..][..inputs]);
        };
        return matrix_unit::product(unit, x, inputs, weight.len() / inputs, row);
    }
    if few_rows::few(rows, inputs) {
        return few_rows::product_bf16(x, weight, inputs);
    }
    let outputs = weight.len() / inputs;
    let mut y = vec![0f32; rows * outputs];
    let at_once = (WIDENED / inputs).max(1);
    let mut wide = vec![0f32; at_once.min(outputs) * inputs];
    for (part, weight) in weight.chunks(at_once * inputs).enumerate() {
        let wide = &mut wide[..weight.len()];
        let parts = wide.par_chunks_mut(MIN_WORK).zip(weight.par_chunks(MIN_WORK));
        parts.for_each(|(wide, narrow)| few_rows::widen(narrow, wide));
        multiply(x, wide, inputs, &mut y[part * at_once..], outputs);
    }
    y
}

/// Sets the columns of `y` at the beginning of its rows of `width` to `x W^T`.
fn multiply(x: &[f32], weight: &[f32], inputs: usize, y: &mut [f32], width: usize) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    let x = MatRef::from_row_major(x, rows, inputs);
    let weight = MatRef::from_col_major(weight, inputs, outputs);
    let y = MatMut::new(y, rows, outputs, width.cast_signed(), 1);
    gemm(1.0, x, weight, 0.0, y, Parallelism::Rayon(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37 + seed).sin()).collect()
    }

    fn near(got: f32, want: f64) -> bool {
        (f64::from(got) - want).abs() < 1e-4 * want.abs().max(1.0)
    }

    #[test]
    fn products_equal_their_definition_for_every_number_of_rows_and_odd_sizes() {
        // The last ones: rows in several parts, and more rows than are read at once.
        for (outputs, inputs) in [(1, 1), (7, 5), (33, 40), (768, 192), (2051, 130), (9, 2050), (5, 4099)] {
            let weight = numbers(outputs * inputs, 0.0);
            let narrow: Vec<bf16> = weight.iter().map(|&value| bf16::from_f32(value)).collect();
            for rows in (1..=17).chain([70, 128, 129]) {
                let x = numbers(rows * inputs, 1.0);
                let got = product(&x, &weight, inputs);
                let rounded = product_bf16(&x, &narrow, inputs);
                let both_narrow = MatrixUnit::for_rows(rows).is_some();
                assert_eq!((got.len(), rounded.len()), (rows * outputs, rows * outputs));
                for (at, (got, rounded)) in got.iter().zip(rounded).enumerate() {
                    let (row, output) = (at / outputs, at % outputs);
                    let pairs = x[row * inputs..][..inputs].iter().zip(&weight[output * inputs..][..inputs]);
                    let want: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    assert!(near(*got, want), "{got}, not {want}");
                    let pairs = x[row * inputs..][..inputs].iter().zip(&narrow[output * inputs..][..inputs]);
                    let factor = |a: f32| if both_narrow { bf16::from_f32(a).to_f32() } else { a };
                    let want: f64 = pairs.map(|(a, b)| f64::from(factor(*a)) * f64::from(b.to_f32())).sum();
                    assert!(near(rounded, want), "{rounded}, not {want}");
                }
            }
        }
    }
}
