//! Work on rows: norms, activations, and what follows a product.

use crate::math::{add, exp, gelu, gelu_tanh, largest, replace, silu, sum_of};
use crate::{by_rows, vectorized};

/// Costs per value, in multiplications: of an addition or a norm, and of an activation.
const CHEAP: usize = 4;
const COSTLY: usize = 16;

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU by the error function.
    Gelu,
    /// The approximation of GELU with tanh.
    GeluTanh,
}

/// Returns the logarithm of the sum of the exponentials of `values`, of which negative infinities count as nothing; negative
/// infinity for none.
#[must_use]
pub fn log_sum_exp(values: &[f32]) -> f32 {
    let (mut most, mut sum) = (f32::NEG_INFINITY, 0.0);
    vectorized(
        #[inline(always)]
        || {
            most = largest(values);
            // Against the difference of two infinities, which is no number.
            let most = if most == f32::NEG_INFINITY { 0.0 } else { most };
            sum = sum_of(
                values,
                #[inline(always)]
                |value| if value < most - 87.0 { 0.0 } else { exp(value - most) },
            );
        },
    );
    most + sum.ln()
}

/// Root mean square normalization of rows of `weight.len()` values.
#[must_use]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    normalize(
        x,
        weight.len(),
        #[inline(always)]
        |row, out| rms_row(row, weight, eps, out),
    )
}

/// Writes a normalized row to `out`.
#[inline(always)]
pub(crate) fn rms_row(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = sum_of(
        row,
        #[inline(always)]
        |value| value * value,
    ) / row.len() as f32;
    let scale = (mean + eps).sqrt().recip();
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * scale * weight;
    }
}

/// Layer normalization of rows of `weight.len()` values.
#[must_use]
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    normalize(
        x,
        weight.len(),
        #[inline(always)]
        |row, out| layer_row(row, (weight, bias), eps, out),
    )
}

#[inline(always)]
fn layer_row(row: &[f32], (weight, bias): (&[f32], &[f32]), eps: f32, out: &mut [f32]) {
    let mean = sum_of(
        row,
        #[inline(always)]
        |value| value,
    ) / row.len() as f32;
    let variance = sum_of(
        row,
        #[inline(always)]
        |value| (value - mean) * (value - mean),
    ) / row.len() as f32;
    let scale = (variance + eps).sqrt().recip();
    for (((out, value), weight), bias) in out.iter_mut().zip(row).zip(weight).zip(bias) {
        *out = ((value - mean) * scale).mul_add(*weight, *bias);
    }
}

/// Maps each row of `x` to a row of the same width.
fn normalize(x: &[f32], width: usize, one_row: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    by_rows(&mut out, width, CHEAP * width, |first, out| {
        let x = &x[first * width..][..out.len()];
        vectorized(
            #[inline(always)]
            || {
                for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                    one_row(row, out);
                }
            },
        );
    });
    out
}

/// Splits rows of `2 * n` values into gate and up, and returns rows of `n` values: `activation(gate) * up`.
#[must_use]
#[expect(clippy::redundant_closure, reason = "a function in its place is called, not inlined")]
pub fn gated(x: &[f32], n: usize, activation: Activation) -> Vec<f32> {
    let mut out = vec![0f32; x.len() / 2];
    by_rows(&mut out, n, COSTLY * n, |first, out| {
        let x = &x[2 * first * n..];
        vectorized(
            #[inline(always)]
            || match activation {
                Activation::Silu => gate_rows(
                    x,
                    n,
                    out,
                    #[inline(always)]
                    |gate| silu(gate),
                ),
                Activation::Gelu => gate_rows(
                    x,
                    n,
                    out,
                    #[inline(always)]
                    |gate| gelu(gate),
                ),
                Activation::GeluTanh => gate_rows(
                    x,
                    n,
                    out,
                    #[inline(always)]
                    |gate| gelu_tanh(gate),
                ),
            },
        );
    });
    out
}

#[inline(always)]
fn gate_rows(x: &[f32], n: usize, out: &mut [f32], activation: impl Fn(f32) -> f32) {
    for (row, out) in x.chunks_exact(2 * n).zip(out.chunks_exact_mut(n)) {
        let (gate, up) = row.split_at(n);
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = activation(*gate) * up;
        }
    }
}

/// What follows a product, in place: `residual + activation(y + bias)`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// Added to every row.
    pub bias: Option<&'a [f32]>,
    /// Applied to the sum.
    pub activation: Option<Activation>,
    /// As large as the product.
    pub residual: Option<&'a [f32]>,
}

impl Epilogue<'_> {
    /// Changes `y`, rows of `width`.
    pub fn apply(&self, y: &mut [f32], width: usize) {
        let cost = width * if self.activation.is_some() { COSTLY } else { CHEAP };
        by_rows(y, width, cost, |first, rows| {
            let residual = self.residual.map(|all| &all[first * width..][..rows.len()]);
            vectorized(
                #[inline(always)]
                || finish(rows, width, Epilogue { residual, ..*self }),
            );
        });
    }
}

#[inline(always)]
#[expect(clippy::redundant_closure, reason = "a function in its place is called, not inlined")]
fn finish(values: &mut [f32], width: usize, Epilogue { bias, activation, residual }: Epilogue<'_>) {
    for (index, row) in values.chunks_exact_mut(width).enumerate() {
        if let Some(bias) = bias {
            add(row, bias);
        }
        match activation {
            Some(Activation::Silu) => replace(
                row,
                #[inline(always)]
                |value| silu(value),
            ),
            Some(Activation::Gelu) => replace(
                row,
                #[inline(always)]
                |value| gelu(value),
            ),
            Some(Activation::GeluTanh) => replace(
                row,
                #[inline(always)]
                |value| gelu_tanh(value),
            ),
            None => {}
        }
        if let Some(residual) = residual {
            add(row, &residual[index * width..][..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37 + seed).sin() * 3.0).collect()
    }

    fn assert_close(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 2e-6 * want.abs().max(1.0), "{got}, not {want}");
        }
    }

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            // math.rs tests it.
            Activation::Gelu => f64::from(gelu(x as f32)),
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            }
        }
    }

    #[test]
    fn norms_equal_their_definition() {
        for (rows, width) in [(1, 7), (3, 64), (700, 200)] {
            let (x, weight, bias) = (numbers(rows * width, 0.1), numbers(width, 1.0), numbers(width, 2.0));
            let (mut rms, mut layer) = (Vec::new(), Vec::new());
            for row in x.chunks(width) {
                let n = width as f64;
                let wide = || row.iter().map(|&value| f64::from(value));
                let mean = wide().sum::<f64>() / n;
                let square = wide().map(|value| value * value).sum::<f64>() / n;
                let variance = wide().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
                for ((value, weight), bias) in wide().zip(&weight).zip(&bias) {
                    let (weight, bias) = (f64::from(*weight), f64::from(*bias));
                    rms.push(value / (square + 1e-6).sqrt() * weight);
                    layer.push((value - mean) / (variance + 1e-6).sqrt() * weight + bias);
                }
            }
            assert_close(&rms_norm(&x, &weight, 1e-6), &rms);
            assert_close(&layer_norm(&x, &weight, &bias, 1e-6), &layer);
        }
    }

    #[test]
    fn the_logarithm_of_a_sum_equals_its_definition() {
        let mut values = numbers(1000, 0.7);
        let sum = |values: &[f32]| values.iter().map(|&value| f64::from(value).exp()).sum::<f64>().ln();
        assert!((f64::from(log_sum_exp(&values)) - sum(&values)).abs() < 1e-5);
        values.iter_mut().step_by(2).for_each(|value| *value = f32::NEG_INFINITY);
        assert!((f64::from(log_sum_exp(&values)) - sum(&values)).abs() < 1e-5);
        values.iter_mut().for_each(|value| *value += 1000.0);
        assert!(log_sum_exp(&values).is_finite());
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY; 3]), f32::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[]), f32::NEG_INFINITY);
    }

    #[test]
    fn gates_and_epilogues_equal_their_definition() {
        for rows in [1, 700] {
            let (x, bias, residual) = (numbers(rows * 66, 0.2), numbers(66, 0.4), numbers(rows * 66, 0.9));
            for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
                let rows = x.chunks(66).flat_map(|row| (0..33).map(|at| (row[at], row[33 + at])));
                let want = rows.map(|(gate, up)| exact(activation, f64::from(gate)) * f64::from(up));
                assert_close(&gated(&x, 33, activation), &want.collect::<Vec<_>>());
                let sums = x.iter().zip(bias.iter().cycle()).zip(&residual);
                let want = sums.map(|((value, bias), residual)| {
                    exact(activation, f64::from(value + bias)) + f64::from(*residual)
                });
                let mut y = x.clone();
                Epilogue { bias: Some(&bias), activation: Some(activation), residual: Some(&residual) }
                    .apply(&mut y, 66);
                assert_close(&y, &want.collect::<Vec<_>>());
            }
            let mut y = x.clone();
            Epilogue { bias: None, activation: None, residual: None }.apply(&mut y, 66);
            assert_eq!(y, x);
        }
    }
}
