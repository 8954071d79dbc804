//! Weights as they lie in memory, and how a vector of them is multiplied.

use pulp::Simd;

/// A weight in memory, or two.
pub(super) trait Weight: Copy + Sync {
    /// Number of weights.
    const COUNT: usize;

    /// A vector of them.
    type Vector<S: Simd>: Copy;

    /// Splits `row` into vectors and the rest.
    fn vectors<S: Simd>(row: &[Self]) -> (&[Self::Vector<S>], &[Self]);

    /// Returns a vector with the rest of a row and zeros.
    fn rest<S: Simd>(simd: S, rest: &[Self]) -> Self::Vector<S>;

    /// Adds to each sum the product of the vector with `COUNT` vectors of `x`.
    fn multiply<S: Simd, const M: usize>(
        simd: S,
        weight: Self::Vector<S>,
        x: &[S::f32s],
        sums: &mut [S::f32s; M],
    );
}

impl Weight for f32 {
    const COUNT: usize = 1;
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn vectors<S: Simd>(row: &[f32]) -> (&[S::f32s], &[f32]) {
        S::as_simd_f32s(row)
    }

    #[inline(always)]
    fn rest<S: Simd>(simd: S, rest: &[f32]) -> S::f32s {
        simd.partial_load_f32s(rest)
    }

    #[inline(always)]
    fn multiply<S: Simd, const M: usize>(simd: S, weight: S::f32s, x: &[S::f32s], sums: &mut [S::f32s; M]) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = simd.mul_add_e_f32s(weight, *x, *sum);
        }
    }
}

/// Two weights in bf16, the one of even index in the lower half.
impl Weight for u32 {
    const COUNT: usize = 2;
    type Vector<S: Simd> = S::u32s;

    #[inline(always)]
    fn vectors<S: Simd>(row: &[u32]) -> (&[S::u32s], &[u32]) {
        S::as_simd_u32s(row)
    }

    #[inline(always)]
    fn rest<S: Simd>(simd: S, rest: &[u32]) -> S::u32s {
        simd.partial_load_u32s(rest)
    }

    #[inline(always)]
    fn multiply<S: Simd, const M: usize>(simd: S, weight: S::u32s, x: &[S::f32s], sums: &mut [S::f32s; M]) {
        let even = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(weight, simd.splat_u32s(16)));
        let odd = simd.transmute_f32s_u32s(simd.and_u32s(weight, simd.splat_u32s(0xffff_0000)));
        for (sum, x) in sums.iter_mut().zip(x.as_chunks::<2>().0) {
            *sum = simd.mul_add_e_f32s(even, x[0], *sum);
            *sum = simd.mul_add_e_f32s(odd, x[1], *sum);
        }
    }
}
