//! Attention on a CPU, in blocks of queries by blocks of keys, so that scores stay in the processor's cache and keys that a
//! query does not see cost nothing.

use gemmkit::{MatMut, MatRef, Parallelism, gemm};
use rayon::prelude::*;

use crate::few_rows;
use crate::heads::rotate;
use crate::math::{exp, largest, replace, sum_of};
use crate::{by_rows, vectorized};

/// Queries of one block, over all heads that share a key head.
pub(crate) const QUERIES: usize = 128;
/// Keys of one block.
const KEYS: usize = 512;

/// The keys and values of one sequence in one layer.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// [kv_heads, capacity, head_dim]
    pub keys: &'a [f32],
    /// [kv_heads, capacity, head_dim]
    pub values: &'a [f32],
    /// How many tokens of the capacity are valid.
    pub tokens: usize,
    /// How many of these, the last ones, have queries.
    pub new_tokens: usize,
}

impl Past<'_> {
    /// Returns keys and values [tokens, head_dim] of one head.
    pub(crate) fn head(&self, head: usize, heads: usize, head_dim: usize, tokens: usize) -> (&[f32], &[f32]) {
        let start = head * (self.keys.len() / heads);
        let range = start..start + tokens * head_dim;
        (&self.keys[range.clone()], &self.values[range])
    }
}

/// Causal attention of one or more sequences: `q` [rows, heads * head_dim] has the queries of their last tokens, sequence by
/// sequence. Returns [rows, heads * head_dim].
#[must_use]
pub fn attention(q: &[f32], pasts: &[Past<'_>], kv_heads: usize, head_dim: usize) -> Vec<f32> {
    let mut out = vec![0f32; q.len()];
    let rows: usize = pasts.iter().map(|past| past.new_tokens).sum();
    if rows == pasts.len() {
        few_rows::attention(q, pasts, kv_heads, head_dim, &mut out);
        return out;
    }
    let width = q.len() / rows.max(1);
    let mut first = 0;
    for past in pasts {
        let range = first * width..(first + past.new_tokens) * width;
        prefill(&q[range.clone()], past, kv_heads, head_dim, &mut out[range]);
        first += past.new_tokens;
    }
    out
}

/// Attention of the last tokens of a sequence: `q` and `out` are [new_tokens, heads * head_dim].
fn prefill(q: &[f32], past: &Past<'_>, kv_heads: usize, head_dim: usize, out: &mut [f32]) {
    let width = q.len() / past.new_tokens;
    let group = width / head_dim / kv_heads;
    let at_once = (QUERIES / group).max(1);
    let scale = (head_dim as f32).powf(-0.5);
    let seen_before = past.tokens - past.new_tokens;
    out.par_chunks_mut(at_once * width).enumerate().for_each(|(index, out)| {
        let (first, count) = (index * at_once, out.len() / width);
        let q = &q[first * width..];
        let mut block = Block::new(group * count, head_dim);
        for kv_head in 0..kv_heads {
            // Rows of the block: all tokens of the first head, then of the second.
            let place = |row: usize| (row % count) * width + (kv_head * group + row / count) * head_dim;
            for (row, query) in block.queries.chunks_exact_mut(head_dim).enumerate() {
                let own = &q[place(row)..][..head_dim];
                query.iter_mut().zip(own).for_each(|(query, value)| *query = value * scale);
            }
            let seen = seen_before + first + count;
            let (keys, values) = past.head(kv_head, kv_heads, head_dim, seen);
            let head = Head { keys: (keys, head_dim), values: (values, head_dim), tokens: seen };
            block.attend(&head, |row| seen_before + first + row % count + 1);
            for (row, attended) in block.attended.chunks_exact(head_dim).enumerate() {
                out[place(row)..][..head_dim].copy_from_slice(attended);
            }
        }
    });
}

/// Full attention within each of `groups` groups of rows: `qkv` is [rows, 3 * heads * head_dim], the rotary tables
/// [rows / groups, head_dim / 2]. Returns [rows, heads * head_dim].
#[must_use]
pub fn vision_attention(
    qkv: &[f32],
    groups: usize,
    heads: usize,
    head_dim: usize,
    (cos, sin): (&[f32], &[f32]),
) -> Vec<f32> {
    let width = heads * head_dim;
    let rows = qkv.len() / (3 * width);
    let patches = rows / groups;
    let half = head_dim / 2;
    let table = |patch: usize| (&cos[patch * half..][..half], &sin[patch * half..][..half]);
    let mut keys = vec![0f32; rows * width];
    by_rows(&mut keys, width, 6 * width, |first, keys| {
        vectorized(
            #[inline(always)]
            || {
                for (index, key) in keys.chunks_exact_mut(width).enumerate() {
                    let row = first + index;
                    key.copy_from_slice(&qkv[(3 * row + 1) * width..][..width]);
                    for head in key.chunks_exact_mut(head_dim) {
                        rotate(head, table(row % patches));
                    }
                }
            },
        );
    });
    by_groups(qkv, groups, heads, head_dim, (&keys, width), |query, row| rotate(query, table(row)))
}

/// The same without rotation.
#[must_use]
pub fn full_attention(qkv: &[f32], groups: usize, heads: usize, head_dim: usize) -> Vec<f32> {
    let width = heads * head_dim;
    by_groups(qkv, groups, heads, head_dim, (&qkv[width..], 3 * width), |_, _| {})
}

/// Full attention within groups of rows. `keys` are those of all heads side by side, with the numbers from one row to the next;
/// `prepare` changes a query, given the index of its row in the group.
fn by_groups(
    qkv: &[f32],
    groups: usize,
    heads: usize,
    head_dim: usize,
    (keys, stride): (&[f32], usize),
    prepare: impl Fn(&mut [f32], usize) + Sync,
) -> Vec<f32> {
    let width = heads * head_dim;
    let rows = qkv.len() / (3 * width);
    let tokens = rows / groups;
    let scale = (head_dim as f32).powf(-0.5);
    let mut out = vec![0f32; rows * width];
    out.par_chunks_mut(tokens * width).enumerate().for_each(|(group, out)| {
        let start = group * tokens;
        out.par_chunks_mut(QUERIES * width).enumerate().for_each(|(index, out)| {
            let (first, count) = (index * QUERIES, out.len() / width);
            let mut block = Block::new(count, head_dim);
            for head in 0..heads {
                let at = head * head_dim;
                for (row, query) in block.queries.chunks_exact_mut(head_dim).enumerate() {
                    query.copy_from_slice(&qkv[3 * (start + first + row) * width + at..][..head_dim]);
                    prepare(query, first + row);
                    query.iter_mut().for_each(|value| *value *= scale);
                }
                // Keys and values of all heads lie side by side.
                let own = Head {
                    keys: (&keys[start * stride + at..], stride),
                    values: (&qkv[(3 * start + 2) * width + at..], 3 * width),
                    tokens,
                };
                block.attend(&own, |_| tokens);
                for (row, attended) in block.attended.chunks_exact(head_dim).enumerate() {
                    out[row * width + at..][..head_dim].copy_from_slice(attended);
                }
            }
        });
    });
    out
}

/// Keys and values of one head: their numbers, and how many numbers lie from one token to the next.
pub(crate) struct Head<'a> {
    pub(crate) keys: (&'a [f32], usize),
    pub(crate) values: (&'a [f32], usize),
    pub(crate) tokens: usize,
}

/// A block of queries, and what it works with.
pub(crate) struct Block {
    head_dim: usize,
    /// [rows, head_dim], scaled.
    pub(crate) queries: Vec<f32>,
    /// [rows, head_dim]
    pub(crate) attended: Vec<f32>,
    /// [rows, KEYS]
    scores: Vec<f32>,
    /// Of each row, the largest score so far and the sum of the weights relative to it.
    state: Vec<(f32, f32)>,
}

impl Block {
    pub(crate) fn new(rows: usize, head_dim: usize) -> Self {
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
    pub(crate) fn attend(&mut self, head: &Head<'_>, visible: impl Fn(usize) -> usize) {
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
            vectorized(
                #[inline(always)]
                || {
                    let rows = scores
                        .chunks_exact_mut(count)
                        .zip(&mut *state)
                        .zip(attended.chunks_exact_mut(head_dim));
                    for (row, ((scores, state), attended)) in rows.enumerate() {
                        let seen = visible(row).saturating_sub(start).min(count);
                        let factor = weigh(scores, seen, state);
                        replace(
                            attended,
                            #[inline(always)]
                            |value| value * factor,
                        );
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
    replace(
        scores,
        #[inline(always)]
        |score| exp(score - new),
    );
    let total = sum_of(
        scores,
        #[inline(always)]
        |weight| weight,
    );
    *sum = sum.mul_add(factor, total);
    *most = new;
    factor
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
