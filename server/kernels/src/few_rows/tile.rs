//! The product of packed rows with a part of a matrix, tile by tile.

use std::array::from_fn;

use pulp::{Simd, WithSimd};

use super::packed::{GROUP, Packed, VECTORS};
use super::weight::Weight;

/// Adds `weight[output] · x[row]` to `columns[output * rows + row]`.
pub(super) struct Product<'a, W> {
    /// Rows of `width`.
    pub(super) weight: &'a [W],
    pub(super) x: &'a Packed,
    pub(super) width: usize,
    pub(super) rows: usize,
    pub(super) columns: &'a mut [f32],
}

impl<W: Weight> WithSimd for Product<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weight, x, width, rows, columns } = self;
        let x = x.values();
        match rows {
            1 => tiles::<S, W, 8>(simd, weight, x, width, rows, columns),
            // AVX2 has half as many registers as AVX-512 and NEON.
            _ if S::F32_LANES == 8 => tiles::<S, W, 3>(simd, weight, x, width, rows, columns),
            _ => tiles::<S, W, 4>(simd, weight, x, width, rows, columns),
        }
    }
}

/// Multiplies `R` outputs at a time.
#[inline(always)]
pub(super) fn tiles<S: Simd, W: Weight, const R: usize>(
    simd: S,
    weight: &[W],
    x: &[f32],
    width: usize,
    rows: usize,
    columns: &mut [f32],
) {
    let mut weights = weight.chunks_exact(R * width);
    let mut outputs = columns.chunks_exact_mut(R * rows);
    for (weight, columns) in weights.by_ref().zip(outputs.by_ref()) {
        tile::<S, W, R>(simd, weight, x, width, rows, columns);
    }
    let rest = outputs.into_remainder().chunks_exact_mut(rows);
    for (weight, columns) in weights.remainder().chunks_exact(width).zip(rest) {
        tile::<S, W, 1>(simd, weight, x, width, rows, columns);
    }
}

#[inline(always)]
fn tile<S: Simd, W: Weight, const R: usize>(
    simd: S,
    weight: &[W],
    x: &[f32],
    width: usize,
    rows: usize,
    columns: &mut [f32],
) {
    let (mut x, _) = S::as_simd_f32s(x);
    for part in (0..width).step_by(VECTORS * S::F32_LANES) {
        let end = width.min(part + VECTORS * S::F32_LANES);
        let weights: [_; R] = from_fn(|r| &weight[r * width..][part..end]);
        let steps = (end - part).div_ceil(S::F32_LANES) * W::COUNT;
        for row in (0..rows).step_by(GROUP) {
            let count = GROUP.min(rows - row);
            let (group, next) = x.split_at(count * steps);
            let columns = &mut columns[row..];
            match count {
                1 => multiply::<S, W, 1, R>(simd, weights, group, rows, columns),
                2 => multiply::<S, W, 2, R>(simd, weights, group, rows, columns),
                3 => multiply::<S, W, 3, R>(simd, weights, group, rows, columns),
                _ => multiply::<S, W, GROUP, R>(simd, weights, group, rows, columns),
            }
            x = next;
        }
    }
}

/// Adds the products of parts of `R` outputs with parts of `M` rows.
#[inline(always)]
fn multiply<S: Simd, W: Weight, const M: usize, const R: usize>(
    simd: S,
    weights: [&[W]; R],
    x: &[S::f32s],
    rows: usize,
    columns: &mut [f32],
) {
    let whole = W::vectors::<S>(weights[0]).0.len();
    let vectors: [_; R] = from_fn(|r| &W::vectors::<S>(weights[r]).0[..whole]);
    let mut sums = [[simd.splat_f32s(0.0); M]; R];
    let mut x = x.chunks_exact(M * W::COUNT);
    for (at, x) in (0..whole).zip(x.by_ref()) {
        for r in 0..R {
            W::multiply(simd, vectors[r][at], x, &mut sums[r]);
        }
    }
    if let Some(x) = x.next() {
        for r in 0..R {
            let rest = W::rest(simd, W::vectors::<S>(weights[r]).1);
            W::multiply(simd, rest, x, &mut sums[r]);
        }
    }
    for r in 0..R {
        for m in 0..M {
            columns[r * rows + m] += simd.reduce_sum_f32s(sums[r][m]);
        }
    }
}
