//! Products with a matrix in f32 or bf16.

pub use gemmkit::bf16;
use gemmkit::{GemmScalar, MatMut, MatRef, Parallelism, gemm};
use rayon::prelude::*;

use crate::MIN_WORK;
use crate::few_rows::{self, MAX_ROWS};

/// Returns `x W^T` for rows of `inputs` values in `x` and in `weight`: for each row of `x` one value per row of `weight`.
#[must_use]
pub fn product(x: &[f32], weight: &[f32], inputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs;
    if rows <= MAX_ROWS {
        return few_rows::product(x, weight, inputs);
    }
    let mut y = vec![0f32; rows * (weight.len() / inputs)];
    multiply(1.0, x, weight, 0.0, &mut y, inputs);
    y
}

/// Returns the same for a `weight` in bf16, to which `x` and the products are rounded as well.
#[must_use]
pub fn product_bf16(x: &[f32], weight: &[bf16], inputs: usize) -> Vec<f32> {
    let x: Vec<bf16> = x.par_iter().with_min_len(MIN_WORK).map(|&value| bf16::from_f32(value)).collect();
    let mut y = vec![bf16::ZERO; x.len() / inputs * (weight.len() / inputs)];
    multiply(bf16::ONE, &x, weight, bf16::ZERO, &mut y, inputs);
    y.par_iter().with_min_len(MIN_WORK).map(|value| value.to_f32()).collect()
}

fn multiply<T: GemmScalar>(one: T, x: &[T], weight: &[T], zero: T, y: &mut [T], inputs: usize) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    let x = MatRef::from_row_major(x, rows, inputs);
    let weight = MatRef::from_col_major(weight, inputs, outputs);
    gemm(one, x, weight, zero, MatMut::from_row_major(y, rows, outputs), Parallelism::Rayon(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37 + seed).sin()).collect()
    }

    #[test]
    fn products_equal_their_definition_for_every_number_of_rows_and_odd_sizes() {
        for (outputs, inputs) in [(1, 1), (7, 5), (33, 40), (768, 192), (2051, 130)] {
            let weight = numbers(outputs * inputs, 0.0);
            let narrow: Vec<bf16> = weight.iter().map(|&value| bf16::from_f32(value)).collect();
            for rows in (1..=MAX_ROWS + 1).chain([70]) {
                let x = numbers(rows * inputs, 1.0);
                let got = product(&x, &weight, inputs);
                let rounded = product_bf16(&x, &narrow, inputs);
                assert_eq!((got.len(), rounded.len()), (rows * outputs, rows * outputs));
                for (at, (got, rounded)) in got.iter().zip(rounded).enumerate() {
                    let (row, output) = (at / outputs, at % outputs);
                    let pairs = x[row * inputs..][..inputs].iter().zip(&weight[output * inputs..][..inputs]);
                    let want: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    assert!((f64::from(*got) - want).abs() < 1e-4, "{got}, not {want}");
                    let error = (f64::from(rounded) - want).abs();
                    assert!(
                        error < 0.02 * want.abs() + 0.004 * (inputs as f64).sqrt(),
                        "{rounded}, not {want}"
                    );
                }
            }
        }
    }
}
