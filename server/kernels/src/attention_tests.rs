//! Tests of attention against sums in f64.

use super::*;

fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.37 + seed).sin() * 2.0).collect()
}

/// Attention of one query over the given keys and values, in f64.
fn reference<'a>(query: &[f32], tokens: impl Iterator<Item = (&'a [f32], &'a [f32])> + Clone) -> Vec<f64> {
    let scale = (query.len() as f64).powf(-0.5);
    let dot = |key: &[f32]| query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let weights: Vec<f64> = tokens.clone().map(|(key, _)| (dot(key) * scale).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut out = vec![0f64; query.len()];
    for ((_, value), weight) in tokens.zip(&weights) {
        out.iter_mut().zip(value).for_each(|(out, value)| *out += weight / sum * f64::from(*value));
    }
    out
}

fn assert_close(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() < 1e-5, "{got}, not {want}");
    }
}

#[test]
fn causal_attention_equals_its_definition_for_every_mix_of_lengths() {
    for (heads, kv_heads, head_dim) in [(6, 3, 32), (4, 4, 20), (8, 2, 6)] {
        // New tokens and all tokens of each sequence: single tokens, blocks that begin and end anywhere.
        for lengths in [
            vec![(1, 1), (1, 9), (1, 600)],
            vec![(5, 5)],
            vec![(300, 300)],
            vec![(70, KEYS + 1), (1, 3), (200, 2 * KEYS)],
        ] {
            let (width, group) = (heads * head_dim, heads / kv_heads);
            let rows: usize = lengths.iter().map(|(new, _)| new).sum();
            let q = numbers(rows * width, 0.5);
            let caches: Vec<_> = lengths
                .iter()
                .map(|&(_, all)| {
                    let count = kv_heads * (all + 7) * head_dim;
                    (numbers(count, all as f32), numbers(count, 0.3 * all as f32))
                })
                .collect();
            let pasts: Vec<_> = lengths
                .iter()
                .zip(&caches)
                .map(|(&(new_tokens, tokens), (keys, values))| Past { keys, values, tokens, new_tokens })
                .collect();
            let got = attention(&q, &pasts, kv_heads, head_dim);
            let places = pasts.iter().flat_map(|past| (0..past.new_tokens).map(move |token| (past, token)));
            for (row, (past, token)) in places.enumerate() {
                for head in 0..heads {
                    let at = row * width + head * head_dim;
                    let seen = past.tokens - past.new_tokens + token + 1;
                    let (keys, values) = past.head(head / group, kv_heads, head_dim, seen);
                    let own = keys.chunks(head_dim).zip(values.chunks(head_dim));
                    assert_close(&got[at..][..head_dim], &reference(&q[at..][..head_dim], own));
                }
            }
        }
    }
}

#[test]
fn full_attention_equals_its_definition() {
    for (groups, tokens, heads, head_dim) in [(1, 5, 2, 8), (3, 20, 3, 12), (2, QUERIES + KEYS + 3, 2, 32)] {
        let width = heads * head_dim;
        let qkv = numbers(groups * tokens * 3 * width, 0.2);
        let got = full_attention(&qkv, groups, heads, head_dim);
        let part = |row: usize, which: usize, head: usize| {
            &qkv[row * 3 * width + which * width + head * head_dim..][..head_dim]
        };
        for row in (0..groups * tokens).step_by(7) {
            for head in 0..heads {
                let group = row / tokens * tokens..(row / tokens + 1) * tokens;
                let all = group.map(|row| (part(row, 1, head), part(row, 2, head)));
                let want = reference(part(row, 0, head), all);
                assert_close(&got[row * width + head * head_dim..][..head_dim], &want);
            }
        }
    }
}

#[test]
fn attention_of_the_vision_tower_equals_its_definition() {
    for (groups, patches, heads, head_dim) in [(1, 4, 2, 8), (3, 20, 3, 12), (2, QUERIES + KEYS + 3, 2, 32)] {
        let width = heads * head_dim;
        let rows = groups * patches;
        let qkv = numbers(rows * 3 * width, 0.2);
        let angles = numbers(patches * head_dim / 2, 0.9);
        let cos: Vec<f32> = angles.iter().map(|angle| angle.cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|angle| angle.sin()).collect();
        let got = vision_attention(&qkv, groups, heads, head_dim, (&cos, &sin));
        let half = head_dim / 2;
        let part = |row: usize, which: usize, head: usize| {
            &qkv[row * 3 * width + which * width + head * head_dim..][..head_dim]
        };
        let turned = |row: usize, which: usize, head: usize| -> Vec<f32> {
            let (x, at) = (part(row, which, head), row % patches * half);
            let first = (0..half).map(|i| x[i] * cos[at + i] - x[half + i] * sin[at + i]);
            let second = (0..half).map(|i| x[half + i] * cos[at + i] + x[i] * sin[at + i]);
            first.chain(second).collect()
        };
        for row in (0..rows).step_by(7) {
            for head in 0..heads {
                let group = row / patches * patches..(row / patches + 1) * patches;
                let keys: Vec<_> = group.clone().map(|row| turned(row, 1, head)).collect();
                let tokens = keys.iter().map(Vec::as_slice).zip(group.map(|row| part(row, 2, head)));
                let want = reference(&turned(row, 0, head), tokens);
                assert_close(&got[row * width + head * head_dim..][..head_dim], &want);
            }
        }
    }
}
