//! Splits the rows of a fused query, key and value product into heads, normalized and rotated.

use candle_core::Tensor;
use pulp::Arch;

use super::rows::rms_row;
use super::{Result, by_rows, floats};

/// Cost per value, in multiplications.
const COST: usize = 6;

/// Norms of the queries' and keys' heads.
pub(in super::super) struct HeadNorms<'a> {
    /// [head_dim]
    pub(in super::super) q: &'a Tensor,
    /// [head_dim]
    pub(in super::super) k: &'a Tensor,
    pub(in super::super) eps: f32,
}

/// Splits `qkv` [rows, (heads + 2 * kv_heads) * head_dim] into queries [rows, heads * head_dim], keys and values
/// [kv_heads, rows, head_dim]. Queries and keys are normalized and rotated by tables [rows, head_dim / 2].
pub(in super::super) fn split_heads(
    qkv: &Tensor,
    kv_heads: usize,
    norms: &HeadNorms<'_>,
    (cos, sin): (&Tensor, &Tensor),
) -> Result<(Tensor, Tensor, Tensor)> {
    let (rows, width) = qkv.dims2()?;
    let head_dim = norms.q.elem_count();
    let heads = width / head_dim - 2 * kv_heads;
    let mut q = vec![0f32; rows * heads * head_dim];
    let mut k = vec![0f32; rows * kv_heads * head_dim];
    let mut v = k.clone();
    let half = head_dim / 2;
    let (all, q_norm, k_norm) = (floats(qkv)?, floats(norms.q)?, floats(norms.k)?);
    let (cos, sin) = (floats(cos)?, floats(sin)?);
    let table = |row: usize| (&cos[row * half..][..half], &sin[row * half..][..half]);
    let source = |row: usize, head: usize| &all[row * width + head * head_dim..][..head_dim];
    by_rows(&mut q, heads * head_dim, COST * heads * head_dim, |first, q| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (index, q) in q.chunks_exact_mut(head_dim).enumerate() {
                    let (row, head) = (first + index / heads, index % heads);
                    rms_row(source(row, head), &q_norm, norms.eps, q);
                    rotate(q, table(row));
                }
            },
        );
    });
    by_rows(&mut k, head_dim, COST * head_dim, |first, k| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (index, k) in k.chunks_exact_mut(head_dim).enumerate() {
                    let (head, row) = ((first + index) / rows, (first + index) % rows);
                    rms_row(source(row, heads + head), &k_norm, norms.eps, k);
                    rotate(k, table(row));
                }
            },
        );
    });
    for (index, v) in v.chunks_exact_mut(head_dim).enumerate() {
        v.copy_from_slice(source(index % rows, heads + kv_heads + index / rows));
    }
    let by_head = (kv_heads, rows, head_dim);
    let device = qkv.device();
    Ok((
        Tensor::from_vec(q, (rows, heads * head_dim), device)?,
        Tensor::from_vec(k, by_head, device)?,
        Tensor::from_vec(v, by_head, device)?,
    ))
}

/// Rotates the pairs of a head: value `i` with value `i + head_dim / 2`.
#[inline(always)]
pub(super) fn rotate(head: &mut [f32], (cos, sin): (&[f32], &[f32])) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (a, b) = (*first, *second);
        *first = a * cos - b * sin;
        *second = b * cos + a * sin;
    }
}
