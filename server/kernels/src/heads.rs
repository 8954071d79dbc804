//! Splits the rows of a fused query, key and value product into heads, normalized and rotated.

use crate::rows::rms_row;
use crate::{by_rows, vectorized};

/// Cost per value, in multiplications.
const COST: usize = 6;

/// How queries, keys and values lie in a row: `heads` queries, then `kv_heads` keys, then as many values.
#[derive(Debug, Clone, Copy)]
pub struct HeadLayout {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys, and of values.
    pub kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
}

/// Norms of the queries' and keys' heads.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorms<'a> {
    /// `[head_dim]`
    pub q: &'a [f32],
    /// `[head_dim]`
    pub k: &'a [f32],
    /// Added to the mean square.
    pub eps: f32,
}

/// Heads of some rows.
#[derive(Debug)]
pub struct QkvHeads {
    /// [rows, heads * head_dim]
    pub q: Vec<f32>,
    /// [kv_heads, rows, head_dim]
    pub k: Vec<f32>,
    /// [kv_heads, rows, head_dim]
    pub v: Vec<f32>,
}

/// Splits `qkv` [rows, (heads + 2 * kv_heads) * head_dim]. Queries and keys are normalized, and rotated by the tables `cos`
/// and `sin` [rows, head_dim / 2].
#[must_use]
pub fn split_heads(
    qkv: &[f32],
    HeadLayout { heads, kv_heads, head_dim }: HeadLayout,
    norms: HeadNorms<'_>,
    (cos, sin): (&[f32], &[f32]),
) -> QkvHeads {
    let width = (heads + 2 * kv_heads) * head_dim;
    let rows = qkv.len() / width;
    let half = head_dim / 2;
    let mut q = vec![0f32; rows * heads * head_dim];
    let mut k = vec![0f32; rows * kv_heads * head_dim];
    let mut v = vec![0f32; rows * kv_heads * head_dim];
    let table = |row: usize| (&cos[row * half..][..half], &sin[row * half..][..half]);
    let source = |row: usize, head: usize| &qkv[row * width + head * head_dim..][..head_dim];
    by_rows(&mut q, heads * head_dim, COST * heads * head_dim, |first, q| {
        vectorized(
            #[inline(always)]
            || {
                for (index, q) in q.chunks_exact_mut(head_dim).enumerate() {
                    let (row, head) = (first + index / heads, index % heads);
                    rms_row(source(row, head), norms.q, norms.eps, q);
                    rotate(q, table(row));
                }
            },
        );
    });
    by_rows(&mut k, head_dim, COST * head_dim, |first, k| {
        vectorized(
            #[inline(always)]
            || {
                for (index, k) in k.chunks_exact_mut(head_dim).enumerate() {
                    let (head, row) = ((first + index) / rows, (first + index) % rows);
                    rms_row(source(row, heads + head), norms.k, norms.eps, k);
                    rotate(k, table(row));
                }
            },
        );
    });
    for (index, v) in v.chunks_exact_mut(head_dim).enumerate() {
        v.copy_from_slice(source(index % rows, heads + kv_heads + index / rows));
    }
    QkvHeads { q, k, v }
}

/// Rotates the pairs of a head: value `i` with value `i + head_dim / 2`.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], (cos, sin): (&[f32], &[f32])) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (a, b) = (*first, *second);
        *first = a * cos - b * sin;
        *second = b * cos + a * sin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_split_normalized_and_rotated() {
        let layout = HeadLayout { heads: 3, kv_heads: 1, head_dim: 4 };
        let rows = 2;
        let qkv: Vec<f32> = (0..rows * 5 * 4).map(|i| i as f32 + 1.0).collect();
        let norms = HeadNorms { q: &[1.0, 1.0, 1.0, 2.0], k: &[0.5; 4], eps: 0.0 };
        // A quarter turn in the first row, none in the second.
        let (cos, sin) = ([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]);
        let got = split_heads(&qkv, layout, norms, (&cos, &sin));
        let normed = |row: usize, head: usize, weight: &[f32]| -> Vec<f32> {
            let own = &qkv[(row * 5 + head) * 4..][..4];
            let rms = (own.iter().map(|value| value * value).sum::<f32>() / 4.0).sqrt();
            own.iter().zip(weight).map(|(value, weight)| value / rms * weight).collect()
        };
        let turned = |x: Vec<f32>| vec![-x[2], -x[3], x[0], x[1]];
        let close = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        for head in 0..3 {
            assert!(close(&got.q[head * 4..][..4], &turned(normed(0, head, norms.q))), "{:?}", got.q);
            assert!(close(&got.q[(3 + head) * 4..][..4], &normed(1, head, norms.q)), "{:?}", got.q);
        }
        assert!(
            close(&got.k[..4], &turned(normed(0, 3, norms.k))) && close(&got.k[4..], &normed(1, 3, norms.k))
        );
        assert_eq!(got.v, [17.0, 18.0, 19.0, 20.0, 37.0, 38.0, 39.0, 40.0]);
    }
}
