//! Products and attention of few rows on a CPU, which is what decoding consists of. A matrix is read once for all
//! rows, where a general product packs it first.

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::attention::Past;
use crate::math::{exp, largest, replace, sum_of};
use crate::{MIN_WORK, bf16, vectorized};

/// With more rows, a general product is faster.
pub(crate) const MAX_ROWS: usize = 16;

/// Outputs whose weights are widened at a time: few enough for the second cache.
const WIDENED: usize = 64;

/// Returns `x W^T`, row by row, for `x` of at most [`MAX_ROWS`] rows of `inputs` and a `weight` with such rows.
pub(crate) fn product(x: &[f32], weight: &[f32], inputs: usize) -> Vec<f32> {
    by_outputs(x, weight, inputs, |weight, columns| {
        Arch::new().dispatch(Product { weight, x, inputs, columns });
    })
}

/// Returns the same for a `weight` in bf16.
pub(crate) fn product_bf16(x: &[f32], weight: &[bf16], inputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs;
    if rows == 1 {
        // Each weight is used once, so it is widened in a register.
        return by_outputs(x, weight, inputs, |weight, columns| {
            vectorized(
                #[inline(always)]
                || {
                    for (sum, weight) in columns.iter_mut().zip(weight.chunks_exact(inputs)) {
                        *sum = dot(weight, x);
                    }
                },
            );
        });
    }
    by_outputs(x, weight, inputs, |weight, columns| {
        let mut wide = vec![0f32; weight.len().min(WIDENED * inputs)];
        for (weight, columns) in weight.chunks(WIDENED * inputs).zip(columns.chunks_mut(WIDENED * rows)) {
            let wide = &mut wide[..weight.len()];
            widen(weight, wide);
            Arch::new().dispatch(Product { weight: wide, x, inputs, columns });
        }
    })
}

/// Values that are multiplied at a time: four sums of 16 hide the latency of an addition.
const AT_ONCE: usize = 64;

#[inline(always)]
fn dot(weight: &[bf16], x: &[f32]) -> f32 {
    let mut sums = [0f32; AT_ONCE];
    let ((weights, weight_tail), (xs, x_tail)) = (weight.as_chunks::<AT_ONCE>(), x.as_chunks::<AT_ONCE>());
    for (weight, x) in weights.iter().zip(xs) {
        for at in 0..AT_ONCE {
            let wide = f32::from_bits(u32::from(weight[at].to_bits()) << 16);
            sums[at] = wide.mul_add(x[at], sums[at]);
        }
    }
    let tail = weight_tail.iter().zip(x_tail).map(|(weight, x)| weight.to_f32() * x).sum::<f32>();
    sums.iter().sum::<f32>() + tail
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

/// Splits the outputs among threads: `part` gets rows of the weight and sets their products with each row of `x`.
fn by_outputs<W: Sync>(
    x: &[f32],
    weight: &[W],
    inputs: usize,
    part: impl Fn(&[W], &mut [f32]) + Sync,
) -> Vec<f32> {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    // Output by output, so that threads write to different parts.
    let mut columns = vec![0f32; outputs * rows];
    let at_once = outputs_at_once(outputs, rows * inputs);
    let part = |index: usize, columns: &mut [f32]| {
        part(&weight[index * at_once * inputs..][..columns.len() / rows * inputs], columns);
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

/// Returns how many outputs one thread computes.
fn outputs_at_once(outputs: usize, work_per_output: usize) -> usize {
    let threads = rayon::current_num_threads().max(1);
    outputs.div_ceil(threads).max(MIN_WORK / work_per_output.max(1)).next_multiple_of(8)
}

fn transposed(columns: &[f32], rows: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| columns.iter().skip(row).step_by(rows).copied()).collect()
}

/// `columns[output * rows + row] = weight[output] · x[row]`.
struct Product<'a> {
    weight: &'a [f32],
    x: &'a [f32],
    inputs: usize,
    columns: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weight, x, inputs, columns } = self;
        let rows = x.len() / inputs;
        let mut row = 0;
        // Eight sums at a time hide the latency of an addition. Tiles of outputs stay in the cache for all rows only if the
        // loop over outputs is the outer one.
        for (weight, columns) in weight.chunks(8 * inputs).zip(columns.chunks_mut(8 * rows)) {
            while row < rows {
                let count = (rows - row).min(4);
                let x = &x[row * inputs..][..count * inputs];
                let mut put =
                    |output: usize, at: usize, value: f32| columns[output * rows + row + at] = value;
                match count {
                    1 => tiles::<S, 1, 8>(simd, weight, x, inputs, &mut put),
                    2 => tiles::<S, 2, 4>(simd, weight, x, inputs, &mut put),
                    3 => tiles::<S, 3, 2>(simd, weight, x, inputs, &mut put),
                    _ => tiles::<S, 4, 2>(simd, weight, x, inputs, &mut put),
                }
                row += count;
            }
            row = 0;
        }
    }
}

/// Computes the products of all rows of `weight` with the `M` rows of `x`, `R` rows of `weight` at a time.
#[inline(always)]
fn tiles<S: Simd, const M: usize, const R: usize>(
    simd: S,
    weight: &[f32],
    x: &[f32],
    inputs: usize,
    put: &mut impl FnMut(usize, usize, f32),
) {
    let outputs = weight.len() / inputs;
    let whole = outputs / R * R;
    for first in (0..whole).step_by(R) {
        let tile = tile::<S, M, R>(simd, &weight[first * inputs..][..R * inputs], x, inputs);
        for (output, sums) in tile.iter().enumerate() {
            for (row, &sum) in sums.iter().enumerate() {
                put(first + output, row, sum);
            }
        }
    }
    for output in whole..outputs {
        let [sums] = tile::<S, M, 1>(simd, &weight[output * inputs..][..inputs], x, inputs);
        for (row, &sum) in sums.iter().enumerate() {
            put(output, row, sum);
        }
    }
}

#[inline(always)]
fn tile<S: Simd, const M: usize, const R: usize>(
    simd: S,
    weight: &[f32],
    x: &[f32],
    inputs: usize,
) -> [[f32; M]; R] {
    let vectors = inputs / S::F32_LANES;
    let split = |values| {
        let (head, tail): (&[S::f32s], &[f32]) = S::as_simd_f32s(values);
        (&head[..vectors], tail)
    };
    let weights: [_; R] = from_fn(|r| split(&weight[r * inputs..(r + 1) * inputs]));
    let xs: [_; M] = from_fn(|m| split(&x[m * inputs..(m + 1) * inputs]));
    let mut sums = [[simd.splat_f32s(0.0); M]; R];
    for at in 0..vectors {
        let x: [S::f32s; M] = from_fn(|m| xs[m].0[at]);
        for r in 0..R {
            let weight = weights[r].0[at];
            for m in 0..M {
                sums[r][m] = simd.mul_add_e_f32s(weight, x[m], sums[r][m]);
            }
        }
    }
    from_fn(|r| {
        from_fn(|m| {
            let tail = weights[r].1.iter().zip(xs[m].1).map(|(w, x)| w * x).sum::<f32>();
            simd.reduce_sum_f32s(sums[r][m]) + tail
        })
    })
}

/// Attention of one query per sequence: `q` and `out` are [sequences, heads * head_dim], `out` zero.
pub(crate) fn attention(q: &[f32], pasts: &[Past<'_>], kv_heads: usize, head_dim: usize, out: &mut [f32]) {
    let scale = (head_dim as f32).powf(-0.5);
    // Heads that share a key head lie side by side.
    let width = out.len() / (pasts.len() * kv_heads);
    let one = |index: usize, out: &mut [f32]| {
        let queries: Vec<f32> = q[index * width..][..width].iter().map(|value| value * scale).collect();
        let past = &pasts[index / kv_heads];
        let (keys, values) = past.head(index % kv_heads, kv_heads, head_dim, past.tokens);
        Arch::new().dispatch(Attention { queries: &queries, keys, values, head_dim, out });
    };
    let tokens: usize = pasts.iter().map(|past| past.tokens).sum();
    if 2 * tokens * kv_heads * width < 2 * MIN_WORK {
        out.chunks_mut(width).enumerate().for_each(|(index, out)| one(index, out));
    } else {
        out.par_chunks_mut(width).enumerate().for_each(|(index, out)| one(index, out));
    }
}

/// Attention of the queries that share one key head.
struct Attention<'a> {
    /// [group, head_dim], scaled.
    queries: &'a [f32],
    /// [tokens, head_dim]
    keys: &'a [f32],
    /// [tokens, head_dim]
    values: &'a [f32],
    head_dim: usize,
    /// [group, head_dim], zero.
    out: &'a mut [f32],
}

impl WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, keys, values, head_dim, out } = self;
        let tokens = keys.len() / head_dim;
        let mut weights = vec![0f32; tokens];
        for (query, out) in queries.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
            tiles::<S, 1, 8>(simd, keys, query, head_dim, &mut |token, _, score| weights[token] = score);
            let most = largest(&weights);
            replace(
                &mut weights,
                #[inline(always)]
                |weight| exp(weight - most),
            );
            let sum = sum_of(
                &weights,
                #[inline(always)]
                |weight| weight,
            );
            for (&weight, value) in weights.iter().zip(values.chunks_exact(head_dim)) {
                let factor = simd.splat_f32s(weight);
                let (out, out_tail) = S::as_mut_simd_f32s(out);
                let (value, value_tail) = S::as_simd_f32s(value);
                for (out, value) in out.iter_mut().zip(value) {
                    *out = simd.mul_add_e_f32s(factor, *value, *out);
                }
                for (out, value) in out_tail.iter_mut().zip(value_tail) {
                    *out += weight * value;
                }
            }
            out.iter_mut().for_each(|value| *value /= sum);
        }
    }
}
