//! Products and attention of few rows on a CPU in f32, which is what decoding consists of. A matrix is read once for all
//! rows, where a general product packs it first.

use std::array::from_fn;

use candle_core::{CpuStorage, DType, Storage, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Result;

/// A product of more rows is left to candle, which is then faster.
const MAX_ROWS: usize = 16;

/// Multiplications that one thread does at least; waking another one takes longer than fewer.
const MIN_WORK: usize = 1 << 17;

/// Returns whether [`product`] is for `x` [rows, inputs].
pub(super) fn suits(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && x.dims2().is_ok_and(|(rows, _)| rows <= MAX_ROWS)
}

/// Returns `x W^T` [rows, outputs] for `x` [rows, inputs] and a contiguous `weight` [outputs, inputs].
pub(super) fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let outputs = weight.dim(0)?;
    let x = x.contiguous()?;
    let y = with_values(&x, |x| {
        with_values(weight, |weight| {
            // Output by output, so that threads write to different parts.
            let mut columns = vec![0f32; outputs * rows];
            let at_once = outputs_at_once(outputs, rows * inputs);
            columns.par_chunks_mut(at_once * rows).enumerate().for_each(|(index, columns)| {
                let weight = &weight[index * at_once * inputs..][..columns.len() / rows * inputs];
                Arch::new().dispatch(Product { weight, x, inputs, columns });
            });
            transposed(&columns, rows)
        })
    })??;
    Tensor::from_vec(y, (rows, outputs), x.device())
}

/// Returns how many outputs one thread computes.
fn outputs_at_once(outputs: usize, work_per_output: usize) -> usize {
    let threads = rayon::current_num_threads().max(1);
    outputs.div_ceil(threads).max(MIN_WORK / work_per_output.max(1)).next_multiple_of(8)
}

fn transposed(columns: &[f32], rows: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| columns.iter().skip(row).step_by(rows).copied()).collect()
}

/// Calls `f` with the values of a contiguous f32 tensor on the CPU.
fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(f(&values[start..end])),
        _ => Err(candle_core::Error::Msg("not a contiguous f32 tensor on the CPU".into())),
    }
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

/// The keys and values of one sequence in one layer: contiguous [kv_heads, capacity, head_dim], of which the first `tokens`
/// are valid.
pub(super) struct Past {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
    pub(super) tokens: usize,
}

/// Attention of one query per sequence: `q` is contiguous [heads, sequences, head_dim]; returns [sequences, heads * head_dim].
pub(super) fn attention(q: &Tensor, pasts: &[Past], kv_heads: usize) -> Result<Tensor> {
    let (heads, sequences, head_dim) = q.dims3()?;
    let group = heads / kv_heads;
    let scale = (head_dim as f32).powf(-0.5);
    let mut attended = vec![0f32; sequences * heads * head_dim];
    let work: usize = pasts.iter().map(|past| 2 * past.tokens * heads * head_dim).sum();
    let one = |index: usize, out: &mut [f32], q: &[f32]| -> Result<()> {
        let (past, kv_head) = (&pasts[index / kv_heads], index % kv_heads);
        let queries: Vec<f32> = (0..group)
            .flat_map(|at| {
                let start = ((kv_head * group + at) * sequences + index / kv_heads) * head_dim;
                q[start..start + head_dim].iter().map(|value| value * scale)
            })
            .collect();
        let capacity = past.keys.dim(1)?;
        let own = |all: &[f32]| {
            (kv_head * capacity * head_dim, all.len().min((kv_head * capacity + past.tokens) * head_dim))
        };
        with_values(&past.keys, |keys| {
            with_values(&past.values, |values| {
                let (start, end) = own(keys);
                let (keys, values) = (&keys[start..end], &values[start..end]);
                Arch::new().dispatch(Attention { queries: &queries, keys, values, head_dim, out });
            })
        })?
    };
    with_values(q, |q| {
        let chunks = group * head_dim;
        if work < 2 * MIN_WORK {
            return attended.chunks_mut(chunks).enumerate().try_for_each(|(index, out)| one(index, out, q));
        }
        attended.par_chunks_mut(chunks).enumerate().try_for_each(|(index, out)| one(index, out, q))
    })??;
    Tensor::from_vec(attended, (sequences, heads * head_dim), q.device())
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
            let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0f32;
            for weight in &mut weights {
                *weight = (*weight - most).exp();
                sum += *weight;
            }
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn numbers(shape: &[usize], seed: f32) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37 + seed).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn assert_close(got: &Tensor, want: &Tensor) {
        assert_eq!(got.dims(), want.dims());
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (got, want) in values(got).iter().zip(values(want)) {
            assert!((got - want).abs() < 1e-4, "{got}, not {want}");
        }
    }

    #[test]
    fn products_equal_those_of_candle_for_every_number_of_rows_and_odd_sizes() {
        for (outputs, inputs) in [(1, 1), (7, 5), (33, 40), (768, 192), (2051, 130)] {
            let weight = numbers(&[outputs, inputs], 0.0);
            for rows in 1..=MAX_ROWS {
                let x = numbers(&[rows, inputs], 1.0);
                assert!(suits(&x));
                let want = x.matmul(&weight.t().unwrap()).unwrap();
                assert_close(&product(&x, &weight).unwrap(), &want);
            }
        }
        // A view.
        let (x, weight) = (numbers(&[6, 40], 1.0), numbers(&[33, 40], 0.0));
        let x = x.narrow(0, 2, 3).unwrap();
        assert_close(&product(&x, &weight).unwrap(), &x.matmul(&weight.t().unwrap()).unwrap());
    }

    #[test]
    fn attention_equals_that_of_candle_for_sequences_of_different_lengths() {
        for (heads, kv_heads, head_dim) in [(6, 3, 32), (4, 4, 20), (8, 2, 7)] {
            let lengths = [1, 9, 300];
            let q = numbers(&[heads, lengths.len(), head_dim], 0.5);
            let pasts: Vec<Past> = lengths
                .iter()
                .map(|&tokens| Past {
                    keys: numbers(&[kv_heads, 512, head_dim], tokens as f32),
                    values: numbers(&[kv_heads, 512, head_dim], 0.3 * tokens as f32),
                    tokens,
                })
                .collect();
            let got = attention(&q, &pasts, kv_heads).unwrap();
            for (row, past) in pasts.iter().enumerate() {
                let own = q.narrow(1, row, 1).unwrap().contiguous().unwrap();
                let own = own.reshape((kv_heads, heads / kv_heads, head_dim)).unwrap();
                let part = |all: &Tensor| all.narrow(1, 0, past.tokens).unwrap().contiguous().unwrap();
                let scores = own.matmul(&part(&past.keys).t().unwrap()).unwrap();
                let scores = (scores * (head_dim as f64).powf(-0.5)).unwrap();
                let weights = candle_nn::ops::softmax_last_dim(&scores).unwrap();
                let want =
                    weights.matmul(&part(&past.values)).unwrap().reshape((1, heads * head_dim)).unwrap();
                assert_close(&got.narrow(0, row, 1).unwrap(), &want);
            }
        }
    }
}
