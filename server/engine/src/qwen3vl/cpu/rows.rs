//! Work on the rows of a tensor: norms, activations, and what follows a product.

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use pulp::Arch;

use super::math::{gelu_tanh, silu, sum_of};
use super::{Result, by_rows, floats};
use crate::qwen3vl::Activation;

/// Costs per value, in multiplications: of an addition or a norm, and of an activation.
const CHEAP: usize = 4;
const COSTLY: usize = 16;

/// Root mean square normalization of the rows of `x`.
pub(in super::super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let weight = floats(weight)?;
    normalize(
        x,
        #[inline(always)]
        |row, out| rms_row(row, &weight, eps, out),
    )
}

/// Writes a normalized row to `out`.
#[inline(always)]
pub(super) fn rms_row(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = sum_of(row, |value| value * value) / row.len() as f32;
    let scale = (mean + eps).sqrt().recip();
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * scale * weight;
    }
}

/// Layer normalization of the rows of `x`.
pub(in super::super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let (weight, bias) = (floats(weight)?, floats(bias)?);
    normalize(
        x,
        #[inline(always)]
        |row, out| {
            let mean = sum_of(row, |value| value) / row.len() as f32;
            let variance = sum_of(row, |value| (value - mean) * (value - mean)) / row.len() as f32;
            let scale = (variance + eps).sqrt().recip();
            for (((out, value), weight), bias) in out.iter_mut().zip(row).zip(&*weight).zip(&*bias) {
                *out = ((value - mean) * scale).mul_add(*weight, *bias);
            }
        },
    )
}

/// Maps each row of `x` to a row of the same width.
fn normalize(x: &Tensor, one_row: impl Fn(&[f32], &mut [f32]) + Sync) -> Result<Tensor> {
    let x = x.contiguous()?;
    let width = x.dims()[x.rank() - 1];
    let mut out = vec![0f32; x.elem_count()];
    let values = floats(&x)?;
    by_rows(&mut out, width, CHEAP * width, |first, out| {
        let values = &values[first * width..][..out.len()];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (row, out) in values.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                    one_row(row, out);
                }
            },
        );
    });
    Tensor::from_vec(out, x.shape(), x.device())
}

/// Splits the rows of `x` [rows, 2n] into gate and up and returns `activation(gate) * up` [rows, n]. `None` means that the
/// activation has no kernel.
pub(in super::super) fn gated(x: &Tensor, activation: Activation) -> Option<Result<Tensor>> {
    match activation {
        Activation::Silu => Some(gated_by(x, silu)),
        Activation::GeluTanh => Some(gated_by(x, gelu_tanh)),
        Activation::Gelu => None,
    }
}

fn gated_by(x: &Tensor, activation: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (rows, width) = x.dims2()?;
    let n = width / 2;
    let mut out = vec![0f32; rows * n];
    let values = floats(&x)?;
    by_rows(&mut out, n, COSTLY * n, |first, out| {
        let values = &values[first * width..];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (row, out) in values.chunks_exact(width).zip(out.chunks_exact_mut(n)) {
                    let (gate, up) = row.split_at(n);
                    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                        *out = activation(*gate) * up;
                    }
                }
            },
        );
    });
    Tensor::from_vec(out, (rows, n), x.device())
}

/// What follows a product, in place: `residual + activation(y + bias)`.
pub(in super::super) struct Epilogue<'a> {
    /// Added to every row.
    pub(in super::super) bias: Option<&'a Tensor>,
    /// Of the sum; only one that [`Self::suits`].
    pub(in super::super) activation: Option<Activation>,
    /// As large as the product.
    pub(in super::super) residual: Option<&'a Tensor>,
}

impl Epilogue<'_> {
    /// Returns whether there is a kernel for the activation.
    pub(in super::super) fn suits(activation: Option<Activation>) -> bool {
        !matches!(activation, Some(Activation::Gelu))
    }

    /// Changes the rows of `y`, which nothing else holds.
    pub(in super::super) fn apply(&self, y: Tensor) -> Result<Tensor> {
        y.inplace_op1(self)?;
        Ok(y)
    }

    fn rows(&self, values: &mut [f32], width: usize) -> Result<()> {
        let bias = self.bias.map(floats).transpose()?;
        let residual = self.residual.map(Tensor::contiguous).transpose()?;
        let residual = residual.as_ref().map(floats).transpose()?;
        let (bias, residual) = (bias.as_deref(), residual.as_deref());
        let cost = width * if self.activation.is_some() { COSTLY } else { CHEAP };
        by_rows(values, width, cost, |first, rows| {
            let residual = residual.map(|all| &all[first * width..][..rows.len()]);
            Arch::new().dispatch(
                #[inline(always)]
                || finish(rows, width, bias, self.activation, residual),
            );
        });
        Ok(())
    }
}

#[inline(always)]
fn finish(
    values: &mut [f32],
    width: usize,
    bias: Option<&[f32]>,
    activation: Option<Activation>,
    residual: Option<&[f32]>,
) {
    for (index, row) in values.chunks_exact_mut(width).enumerate() {
        if let Some(bias) = bias {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
        match activation {
            Some(Activation::Silu) => row.iter_mut().for_each(|value| *value = silu(*value)),
            Some(Activation::GeluTanh) => row.iter_mut().for_each(|value| *value = gelu_tanh(*value)),
            Some(Activation::Gelu) | None => {}
        }
        if let Some(residual) = residual {
            let residual = &residual[index * width..][..width];
            row.iter_mut().zip(residual).for_each(|(value, residual)| *value += residual);
        }
    }
}

impl InplaceOp1 for Epilogue<'_> {
    fn name(&self) -> &'static str {
        "epilogue"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets(), layout.dims()) {
            (CpuStorage::F32(values), Some((start, end)), [_, width]) => {
                self.rows(&mut values[start..end], *width)
            }
            _ => Err(candle_core::Error::Msg("not contiguous rows of f32".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn numbers(shape: &[usize], seed: f32) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37 + seed).sin() * 3.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn assert_close(got: &Tensor, want: &Tensor) {
        assert_eq!(got.dims(), want.dims());
        for (got, want) in floats(got).unwrap().iter().zip(&*floats(want).unwrap()) {
            assert!((got - want).abs() < 2e-6 * want.abs().max(1.0), "{got}, not {want}");
        }
    }

    #[test]
    fn norms_equal_those_of_candle() {
        for (rows, width) in [(1, 7), (3, 64), (700, 200)] {
            let (x, weight, bias) =
                (numbers(&[rows, width], 0.1), numbers(&[width], 1.0), numbers(&[width], 2.0));
            assert_close(
                &rms_norm(&x, &weight, 1e-6).unwrap(),
                &candle_nn::ops::rms_norm(&x, &weight, 1e-6).unwrap(),
            );
            let want = candle_nn::ops::layer_norm(&x, &weight, &bias, 1e-6).unwrap();
            assert_close(&layer_norm(&x, &weight, &bias, 1e-6).unwrap(), &want);
        }
    }

    #[test]
    fn gates_and_epilogues_equal_chains_of_candles_operations() {
        for rows in [1, 300] {
            let (x, bias) = (numbers(&[rows, 66], 0.2), numbers(&[66], 0.4));
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let (gate, up) = (x.narrow(1, 0, 33).unwrap(), x.narrow(1, 33, 33).unwrap());
                let want = (activation.forward(&gate.contiguous().unwrap()).unwrap() * up).unwrap();
                assert_close(&gated(&x, activation).unwrap().unwrap(), &want);
                let residual = numbers(&[rows, 66], 0.9);
                let epilogue =
                    Epilogue { bias: Some(&bias), activation: Some(activation), residual: Some(&residual) };
                let want = activation.forward(&x.broadcast_add(&bias).unwrap()).unwrap();
                let got = epilogue.apply(x.copy().unwrap()).unwrap();
                assert_close(&got, &(want + residual).unwrap());
            }
            let nothing = Epilogue { bias: None, activation: None, residual: None };
            assert_close(&nothing.apply(x.copy().unwrap()).unwrap(), &x);
        }
    }
}
