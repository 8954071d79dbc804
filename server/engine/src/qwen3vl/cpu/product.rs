//! Products with a matrix in f32 or bf16.

use candle_core::{DType, Tensor};
use gemmkit::{GemmScalar, MatMut, MatRef, Parallelism, bf16, gemm};

use super::few_rows::{self, MAX_ROWS};
use super::{Result, floats, values_of};

/// Returns `x W^T` [rows, outputs] for f32 `x` [rows, inputs] and a contiguous `weight` [outputs, inputs] in f32 or bf16.
pub(in super::super) fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let outputs = weight.dim(0)?;
    let x = x.contiguous()?;
    let x_values = floats(&x)?;
    let y = match weight.dtype() {
        DType::F32 if rows <= MAX_ROWS => few_rows::product(&x_values, &floats(weight)?, inputs),
        DType::F32 => {
            let mut y = vec![0f32; rows * outputs];
            multiply(1.0, &x_values, &floats(weight)?, 0.0, &mut y, inputs);
            y
        }
        _ => in_bf16(&x_values, &values_of(weight)?, inputs),
    };
    Tensor::from_vec(y, (rows, outputs), x.device())
}

/// Rounds `x`, multiplies, and returns the products, which are rounded as well.
fn in_bf16(x: &[f32], weight: &[bf16], inputs: usize) -> Vec<f32> {
    let x: Vec<bf16> = x.iter().map(|&value| bf16::from_f32(value)).collect();
    let mut y = vec![bf16::ZERO; x.len() / inputs * (weight.len() / inputs)];
    multiply(bf16::ONE, &x, weight, bf16::ZERO, &mut y, inputs);
    y.iter().map(|value| value.to_f32()).collect()
}

/// Writes `x W^T` to `y`, all with rows one after the other.
fn multiply<T: GemmScalar>(one: T, x: &[T], weight: &[T], zero: T, y: &mut [T], inputs: usize) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    let x = MatRef::from_row_major(x, rows, inputs);
    let weight = MatRef::from_col_major(weight, inputs, outputs);
    gemm(one, x, weight, zero, MatMut::from_row_major(y, rows, outputs), Parallelism::Rayon(0));
}
