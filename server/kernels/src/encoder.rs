//! Attention of encoders: every token of a sequence sees all tokens of it. Sequences of different lengths lie one behind the
//! other without padding, so that nothing has to be masked.

use rayon::prelude::*;

use crate::attention::{Block, Head, QUERIES};

/// Full attention within sequences of `lengths` rows: `qkv` is [rows, 3 * heads * head_dim]. Returns
/// [rows, heads * head_dim].
#[must_use]
pub fn encoder_attention(qkv: &[f32], lengths: &[usize], heads: usize, head_dim: usize) -> Vec<f32> {
    let width = heads * head_dim;
    let mut out = vec![0f32; qkv.len() / 3];
    let (mut rest, mut first) = (out.as_mut_slice(), 0);
    let mut sequences = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let (own, after) = rest.split_at_mut(length * width);
        sequences.push((&qkv[3 * first * width..][..3 * length * width], own));
        (rest, first) = (after, first + length);
    }
    sequences.into_par_iter().for_each(|(qkv, out)| attend(qkv, heads, head_dim, out));
    out
}

fn attend(qkv: &[f32], heads: usize, head_dim: usize, out: &mut [f32]) {
    let width = heads * head_dim;
    let tokens = out.len() / width;
    let scale = (head_dim as f32).powf(-0.5);
    out.par_chunks_mut(QUERIES * width).enumerate().for_each(|(index, out)| {
        let (first, count) = (index * QUERIES, out.len() / width);
        let mut block = Block::new(count, head_dim);
        for head in 0..heads {
            let at = head * head_dim;
            for (row, query) in block.queries.chunks_exact_mut(head_dim).enumerate() {
                let own = &qkv[3 * (first + row) * width + at..][..head_dim];
                query.iter_mut().zip(own).for_each(|(query, value)| *query = value * scale);
            }
            let own = Head {
                keys: (&qkv[width + at..], 3 * width),
                values: (&qkv[2 * width + at..], 3 * width),
                tokens,
            };
            block.attend(&own, |_| tokens);
            for (row, attended) in block.attended.chunks_exact(head_dim).enumerate() {
                out[row * width + at..][..head_dim].copy_from_slice(attended);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_stays_within_each_sequence() {
        for (lengths, heads, head_dim) in
            [(vec![1], 1, 1), (vec![3, 0, 7, 1], 2, 5), (vec![QUERIES + 3, 600], 3, 8)]
        {
            let width = heads * head_dim;
            let rows: usize = lengths.iter().sum();
            let qkv: Vec<f32> = (0..rows * 3 * width).map(|i| (i as f32 * 0.37).sin() * 2.0).collect();
            let got = encoder_attention(&qkv, &lengths, heads, head_dim);
            let part = |row: usize, which: usize, head: usize| {
                &qkv[(3 * row + which) * width + head * head_dim..][..head_dim]
            };
            let mut first = 0;
            for &length in &lengths {
                let own = first..first + length;
                for row in own.clone().step_by(5) {
                    for head in 0..heads {
                        let dot = |key: &[f32]| -> f64 {
                            part(row, 0, head)
                                .iter()
                                .zip(key)
                                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                                .sum()
                        };
                        let weight = |token| (dot(part(token, 1, head)) * (head_dim as f64).powf(-0.5)).exp();
                        let sum: f64 = own.clone().map(weight).sum();
                        for at in 0..head_dim {
                            let value = |token| weight(token) * f64::from(part(token, 2, head)[at]);
                            let want = own.clone().map(value).sum::<f64>() / sum;
                            let got = f64::from(got[row * width + head * head_dim + at]);
                            assert!((got - want).abs() < 1e-5, "{got}, not {want}");
                        }
                    }
                }
                first += length;
            }
        }
    }
}
