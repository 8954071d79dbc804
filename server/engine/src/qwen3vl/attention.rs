//! Attention in candle's operations, with a bounded score matrix. In f32 on a CPU, [`cpu`](super::cpu) has kernels.

use candle_core::{DType, Device, Tensor};
use candle_nn::ops;

use super::Result;

/// Scores that [`attend`] computes at once, in values: 64 MiB of f32 on a CPU, more on a GPU.
pub(super) fn score_budget(device: &Device) -> usize {
    if device.is_cpu() { 1 << 24 } else { 1 << 28 }
}

/// Full attention: `q`, `k`, `v` are contiguous [n, rows, head_dim], each of the n independent.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    attend_within(q, k, v, score_budget(q.device()))
}

/// [`attend`] with at most `budget` scores at once (one row at least).
fn attend_within(q: &Tensor, k: &Tensor, v: &Tensor, budget: usize) -> Result<Tensor> {
    let (n, rows, head_dim) = q.dims3()?;
    let scale = (head_dim as f64).powf(-0.5);
    let piece = |q: &Tensor, k: &Tensor, v: &Tensor| -> Result<Tensor> {
        let scores = (q.matmul(&k.t()?)? * scale)?;
        softmax(&scores)?.matmul(v)
    };
    let at_once = (budget / (rows * rows)).min(n);
    if at_once == n {
        return piece(q, k, v);
    }
    if at_once > 0 {
        let pieces = (0..n).step_by(at_once).map(|start| {
            let part = |x: &Tensor| x.narrow(0, start, at_once.min(n - start));
            piece(&part(q)?, &part(k)?, &part(v)?)
        });
        return Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 0);
    }
    // The scores of a single head exceed the budget: split its query rows.
    let rows_at_once = (budget / rows).max(1);
    let heads = (0..n).map(|head| {
        let (q, k, v) = (q.narrow(0, head, 1)?, k.narrow(0, head, 1)?, v.narrow(0, head, 1)?);
        let pieces = (0..rows)
            .step_by(rows_at_once)
            .map(|start| piece(&q.narrow(1, start, rows_at_once.min(rows - start))?, &k, &v));
        Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 1)
    });
    Tensor::cat(&heads.collect::<Result<Vec<_>>>()?, 0)
}

/// Softmax over the last dimension, computed in f32 as in the reference.
pub(super) fn softmax(scores: &Tensor) -> Result<Tensor> {
    if scores.dtype() == DType::F32 {
        return ops::softmax_last_dim(scores);
    }
    ops::softmax_last_dim(&scores.to_dtype(DType::F32)?)?.to_dtype(scores.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_in_pieces_equals_attention_at_once() {
        let numbers = |seed: f32| {
            let values = (0..3 * 10 * 4).map(|i| (i as f32 * 0.7 + seed).sin()).collect();
            Tensor::from_vec(values, (3, 10, 4), &Device::Cpu).unwrap()
        };
        let (q, k, v) = (numbers(0.0), numbers(1.0), numbers(2.0));
        let run = |budget| -> Vec<f32> {
            attend_within(&q, &k, &v, budget).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let whole = run(usize::MAX);
        // Two heads at once, one head, three rows of a head, one row.
        for budget in [200, 100, 35, 1] {
            for (got, want) in run(budget).iter().zip(&whole) {
                assert!((got - want).abs() < 1e-6, "budget {budget}: {got}, not {want}");
            }
        }
    }
}
