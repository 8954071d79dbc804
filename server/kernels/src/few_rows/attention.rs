//! Attention of one query per sequence.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::packed::Packed;
use super::tile::tiles;
use crate::MIN_WORK;
use crate::attention::Past;
use crate::math::{exp, largest, replace, sum_of};

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
            let packed = Packed::within::<S, f32>(simd, query, head_dim);
            weights.fill(0.0);
            tiles::<S, f32, 8>(simd, keys, packed.values(), head_dim, 1, &mut weights);
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
