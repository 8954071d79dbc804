//! Attention on a CPU, in blocks of queries by blocks of keys, so that scores stay in the processor's cache and keys that a
//! query does not see cost nothing.

use candle_core::Tensor;
use gemmkit::{MatMut, MatRef, Parallelism, gemm};
use pulp::Arch;
use rayon::prelude::*;

use super::few_rows::{self, MAX_ROWS};
use super::heads::rotate;
use super::math::{exp, largest, sum_of};
use super::{Result, by_rows, floats};

/// Queries of one block, over all heads that share a key head.
const QUERIES: usize = 128;
/// Keys of one block.
const KEYS: usize = 512;

/// The keys and values of one sequence in one layer: contiguous [kv_heads, capacity, head_dim], of which the first `tokens`
/// are valid.
pub(in super::super) struct Past {
    pub(in super::super) keys: Tensor,
    pub(in super::super) values: Tensor,
    pub(in super::super) tokens: usize,
}

/// Causal attention of one or more sequences: `q` [rows, heads * head_dim] has the queries of their last tokens, `pasts` for
/// each sequence the number of these and its cache, which contains them. Returns [rows, heads * head_dim].
pub(in super::super) fn attention(
    q: &Tensor,
    pasts: &[(usize, Past)],
    kv_heads: usize,
    head_dim: usize,
) -> Result<Tensor> {
    let (rows, width) = q.dims2()?;
    let q_values = floats(q)?;
    let mut out = vec![0f32; rows * width];
    if rows <= MAX_ROWS && pasts.iter().all(|(tokens, _)| *tokens == 1) {
        few_rows::attention(&q_values, pasts, kv_heads, head_dim, &mut out)?;
        return Tensor::from_vec(out, (rows, width), q.device());
    }
    let mut first = 0;
    for (tokens, past) in pasts {
        let range = first * width..(first + tokens) * width;
        prefill(&q_values[range.clone()], past, *tokens, kv_heads, head_dim, &mut out[range])?;
        first += tokens;
    }
    Tensor::from_vec(out, (rows, width), q.device())
}

/// Attention of the last `tokens` tokens of a sequence: `q` and `out` are [tokens, heads * head_dim].
fn prefill(
    q: &[f32],
    past: &Past,
    tokens: usize,
    kv_heads: usize,
    head_dim: usize,
    out: &mut [f32],
) -> Result<()> {
    let width = q.len() / tokens;
    let group = width / head_dim / kv_heads;
    let at_once = (QUERIES / group).max(1);
    let scale = (head_dim as f32).powf(-0.5);
    let (keys, values) = (floats(&past.keys)?, floats(&past.values)?);
    let capacity = past.keys.dim(1)?;
    let seen_before = past.tokens - tokens;
    out.par_chunks_mut(at_once * width).enumerate().for_each(|(index, out)| {
        let (first, count) = (index * at_once, out.len() / width);
        let mut block = Block::new(group * count, head_dim);
        for kv_head in 0..kv_heads {
            // Rows of the block: all tokens of the first head, then of the second.
            let place = |row: usize| {
                let (head, token) = (kv_head * group + row / count, row % count);
                (token * width + head * head_dim, first * width)
            };
            for (row, query) in block.queries.chunks_exact_mut(head_dim).enumerate() {
                let (at, before) = place(row);
                let own = &q[before + at..][..head_dim];
                query.iter_mut().zip(own).for_each(|(query, value)| *query = value * scale);
            }
            let seen = seen_before + first + count;
            let own = kv_head * capacity * head_dim..(kv_head * capacity + seen) * head_dim;
            let head =
                Head { keys: (&keys[own.clone()], head_dim), values: (&values[own], head_dim), tokens: seen };
            block.attend(&head, |row| seen_before + first + row % count + 1);
            for (row, attended) in block.attended.chunks_exact(head_dim).enumerate() {
                out[place(row).0..][..head_dim].copy_from_slice(attended);
            }
        }
    });
    Ok(())
}

/// Full attention within each of `groups` groups of rows: `qkv` is [rows, 3 * heads * head_dim], the rotary tables
/// [rows / groups, head_dim / 2]. Returns [rows, heads * head_dim].
pub(in super::super) fn vision_attention(
    qkv: &Tensor,
    groups: usize,
    heads: usize,
    (cos, sin): (&Tensor, &Tensor),
) -> Result<Tensor> {
    let (rows, width) = (qkv.dim(0)?, qkv.dim(1)? / 3);
    let (patches, head_dim) = (rows / groups, width / heads);
    let half = head_dim / 2;
    let scale = (head_dim as f32).powf(-0.5);
    let (all, cos, sin) = (floats(qkv)?, floats(cos)?, floats(sin)?);
    let table = |patch: usize| (&cos[patch * half..][..half], &sin[patch * half..][..half]);
    let mut keys = vec![0f32; rows * width];
    by_rows(&mut keys, width, 6 * width, |first, keys| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (index, key) in keys.chunks_exact_mut(width).enumerate() {
                    let row = first + index;
                    key.copy_from_slice(&all[(3 * row + 1) * width..][..width]);
                    key.chunks_exact_mut(head_dim).for_each(|head| rotate(head, table(row % patches)));
                }
            },
        );
    });
    let mut out = vec![0f32; rows * width];
    out.par_chunks_mut(patches * width).enumerate().for_each(|(group, out)| {
        let start = group * patches;
        out.par_chunks_mut(QUERIES * width).enumerate().for_each(|(index, out)| {
            let (first, count) = (index * QUERIES, out.len() / width);
            let mut block = Block::new(count, head_dim);
            for head in 0..heads {
                for (row, query) in block.queries.chunks_exact_mut(head_dim).enumerate() {
                    let patch = first + row;
                    query.copy_from_slice(&all[3 * (start + patch) * width + head * head_dim..][..head_dim]);
                    rotate(query, table(patch));
                    query.iter_mut().for_each(|value| *value *= scale);
                }
                // Keys and values of all heads lie side by side.
                let own = Head {
                    keys: (&keys[start * width + head * head_dim..], width),
                    values: (&all[(3 * start + 2) * width + head * head_dim..], 3 * width),
                    tokens: patches,
                };
                block.attend(&own, |_| patches);
                for (row, attended) in block.attended.chunks_exact(head_dim).enumerate() {
                    out[row * width + head * head_dim..][..head_dim].copy_from_slice(attended);
                }
            }
        });
    });
    Tensor::from_vec(out, (rows, width), qkv.device())
}

/// Keys and values of one head: their numbers, and how many numbers lie from one token to the next.
struct Head<'a> {
    keys: (&'a [f32], usize),
    values: (&'a [f32], usize),
    tokens: usize,
}

/// A block of queries, and what it works with.
struct Block {
    head_dim: usize,
    /// [rows, head_dim], scaled.
    queries: Vec<f32>,
    /// [rows, head_dim]
    attended: Vec<f32>,
    /// [rows, KEYS]
    scores: Vec<f32>,
    /// Of each row, the largest score so far and the sum of the weights relative to it.
    state: Vec<(f32, f32)>,
}

impl Block {
    fn new(rows: usize, head_dim: usize) -> Self {
        let numbers = vec![0f32; rows * head_dim];
        Self {
            head_dim,
            queries: numbers.clone(),
            attended: numbers,
            scores: vec![0f32; rows * KEYS],
            state: vec![(0.0, 0.0); rows],
        }
    }

    /// Computes `attended`. Row `i` sees the first `visible(i)` tokens, at least one.
    fn attend(&mut self, head: &Head<'_>, visible: impl Fn(usize) -> usize) {
        let (rows, head_dim) = (self.state.len(), self.head_dim);
        self.state.fill((f32::NEG_INFINITY, 0.0));
        for start in (0..head.tokens).step_by(KEYS) {
            let count = KEYS.min(head.tokens - start);
            let scores = &mut self.scores[..rows * count];
            let (keys, stride) = head.keys;
            gemm(
                1.0,
                MatRef::from_row_major(&self.queries, rows, head_dim),
                MatRef::new(&keys[start * stride..], head_dim, count, 1, stride as isize),
                0.0,
                MatMut::from_row_major(scores, rows, count),
                Parallelism::Serial,
            );
            let (state, attended) = (&mut self.state, &mut self.attended);
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    let rows =
                        scores.chunks_exact_mut(count).zip(state).zip(attended.chunks_exact_mut(head_dim));
                    for (row, ((scores, state), attended)) in rows.enumerate() {
                        let seen = visible(row).saturating_sub(start).min(count);
                        let factor = weigh(scores, seen, state);
                        attended.iter_mut().for_each(|value| *value *= factor);
                    }
                },
            );
            let (values, stride) = head.values;
            gemm(
                1.0,
                MatRef::from_row_major(scores, rows, count),
                MatRef::new(&values[start * stride..], count, head_dim, stride as isize, 1),
                if start == 0 { 0.0 } else { 1.0 },
                MatMut::from_row_major(&mut self.attended, rows, head_dim),
                Parallelism::Serial,
            );
        }
        for (attended, (_, sum)) in self.attended.chunks_exact_mut(head_dim).zip(&self.state) {
            attended.iter_mut().for_each(|value| *value /= sum);
        }
    }
}

/// Replaces scores by weights relative to the largest score so far, of which only the first `seen` count. Returns the factor
/// for what was weighted before.
#[inline(always)]
fn weigh(scores: &mut [f32], seen: usize, (most, sum): &mut (f32, f32)) -> f32 {
    let (scores, unseen) = scores.split_at_mut(seen);
    unseen.fill(0.0);
    let new = most.max(largest(scores));
    let factor = exp(*most - new);
    scores.iter_mut().for_each(|score| *score = exp(*score - new));
    *sum = sum.mul_add(factor, sum_of(scores, |weight| weight));
    *most = new;
    factor
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};

    use super::*;

    fn numbers(shape: &[usize], seed: f32) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37 + seed).sin() * 2.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn assert_close(got: &Tensor, want: &Tensor) {
        assert_eq!(got.dims(), want.dims());
        for (got, want) in floats(got).unwrap().iter().zip(&*floats(want).unwrap()) {
            assert!((got - want).abs() < 1e-5, "{got}, not {want}");
        }
    }

    /// Attention of one head by candle: `q` [rows, head_dim], `k` and `v` [tokens, head_dim]; row `i` sees `visible(i)` tokens.
    fn reference(q: &Tensor, k: &Tensor, v: &Tensor, visible: impl Fn(usize) -> usize) -> Tensor {
        let (rows, head_dim) = q.dims2().unwrap();
        let tokens = k.dim(0).unwrap();
        let mask = (0..rows * tokens).map(|at| match at % tokens < visible(at / tokens) {
            true => 0f32,
            false => f32::NEG_INFINITY,
        });
        let mask = Tensor::from_vec(mask.collect::<Vec<_>>(), (rows, tokens), &Device::Cpu).unwrap();
        let scores = (q.matmul(&k.t().unwrap()).unwrap() * (head_dim as f64).powf(-0.5)).unwrap();
        candle_nn::ops::softmax_last_dim(&(scores + mask).unwrap()).unwrap().matmul(v).unwrap()
    }

    #[test]
    fn causal_attention_equals_that_of_candle_for_every_mix_of_lengths() {
        for (heads, kv_heads, head_dim) in [(6, 3, 32), (4, 4, 20), (8, 2, 6)] {
            // Tokens of the pass and tokens of the whole sequence: single tokens, blocks that begin and end anywhere.
            for lengths in [
                vec![(1, 1), (1, 9), (1, 600)],
                vec![(5, 5)],
                vec![(300, 300)],
                vec![(70, KEYS + 1), (1, 3), (200, 2 * KEYS)],
            ] {
                let rows = lengths.iter().map(|(tokens, _)| tokens).sum();
                let q = numbers(&[rows, heads * head_dim], 0.5);
                let past = |tokens: usize| Past {
                    keys: numbers(&[kv_heads, tokens + 7, head_dim], tokens as f32),
                    values: numbers(&[kv_heads, tokens + 7, head_dim], 0.3 * tokens as f32),
                    tokens,
                };
                let pasts: Vec<_> = lengths.iter().map(|&(tokens, all)| (tokens, past(all))).collect();
                let got = attention(&q, &pasts, kv_heads, head_dim).unwrap();
                let mut first = 0;
                for (tokens, past) in &pasts {
                    for head in 0..heads {
                        let part = |all: &Tensor| {
                            all.narrow(0, first, *tokens)
                                .unwrap()
                                .narrow(1, head * head_dim, head_dim)
                                .unwrap()
                        };
                        let own = |all: &Tensor| {
                            let head = all.get(head / (heads / kv_heads)).unwrap();
                            head.narrow(0, 0, past.tokens).unwrap().contiguous().unwrap()
                        };
                        let seen = |row| past.tokens - tokens + row + 1;
                        let q = part(&q).contiguous().unwrap();
                        let want = reference(&q, &own(&past.keys), &own(&past.values), seen);
                        assert_close(&part(&got).contiguous().unwrap(), &want);
                    }
                    first += tokens;
                }
            }
        }
    }

    #[test]
    fn attention_of_the_vision_tower_equals_that_of_candle() {
        for (groups, patches, heads, head_dim) in
            [(1, 4, 2, 8), (3, 20, 3, 12), (2, QUERIES + KEYS + 3, 2, 32)]
        {
            let qkv = numbers(&[groups * patches, 3 * heads * head_dim], 0.2);
            let angles = numbers(&[patches, head_dim / 2], 0.9);
            let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
            let got = vision_attention(&qkv, groups, heads, (&cos, &sin)).unwrap();
            let rotated = |x: &Tensor| {
                let half = head_dim / 2;
                let (a, b) = (x.narrow(1, 0, half).unwrap(), x.narrow(1, half, half).unwrap());
                let first = ((&a * &cos).unwrap() - (&b * &sin).unwrap()).unwrap();
                let second = ((&b * &cos).unwrap() + (&a * &sin).unwrap()).unwrap();
                Tensor::cat(&[first, second], D::Minus1).unwrap()
            };
            for group in 0..groups {
                for head in 0..heads {
                    let part = |all: &Tensor, which: usize| {
                        let rows = all.narrow(0, group * patches, patches).unwrap();
                        rows.narrow(1, (which * heads + head) * head_dim, head_dim)
                            .unwrap()
                            .contiguous()
                            .unwrap()
                    };
                    let (q, k) = (rotated(&part(&qkv, 0)), rotated(&part(&qkv, 1)));
                    assert_close(&part(&got, 0), &reference(&q, &k, &part(&qkv, 2), |_| patches));
                }
            }
        }
    }
}
