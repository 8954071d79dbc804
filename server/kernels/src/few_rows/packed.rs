//! Rows in the order in which a product reads them.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::weight::Weight;

/// Rows that are multiplied at a time.
pub(super) const GROUP: usize = 4;

/// Vectors of a row of weights that are multiplied with all rows of `x` before the next ones: four such parts stay in the
/// first cache.
pub(super) const VECTORS: usize = 64;

/// Rows in the order of reading: for each part of [`VECTORS`], for each [`GROUP`] of rows, for each vector of weights, for
/// each row, the vectors of values to multiply. Incomplete vectors end with zeros.
pub(super) struct Packed {
    values: Vec<f32>,
    /// Index of the first value. It lies at the beginning of a cache line, since a vector in two lines is read twice.
    from: usize,
}

impl Packed {
    /// Packs `x`, rows of `inputs`, to be multiplied with weights of type `W`.
    pub(super) fn new<W: Weight>(x: &[f32], inputs: usize) -> Self {
        Arch::new().dispatch(Pack::<W> { x, inputs, weight: PhantomData })
    }

    /// Packs within a dispatch.
    #[inline(always)]
    pub(super) fn within<S: Simd, W: Weight>(simd: S, x: &[f32], inputs: usize) -> Self {
        Pack::<W> { x, inputs, weight: PhantomData }.with_simd(simd)
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values[self.from..]
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

struct Pack<'a, W> {
    x: &'a [f32],
    inputs: usize,
    weight: PhantomData<W>,
}

impl<W: Weight> WithSimd for Pack<'_, W> {
    type Output = Packed;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Packed {
        let Self { x, inputs, .. } = self;
        let step = S::F32_LANES * W::COUNT;
        let spare = LINE / size_of::<f32>();
        let mut values: Vec<f32> =
            Vec::with_capacity(x.len() / inputs * inputs.next_multiple_of(step) + spare);
        let from = values.as_ptr().align_offset(LINE).min(spare);
        values.resize(from, 0.0);
        for part in (0..inputs).step_by(VECTORS * step) {
            let end = inputs.min(part + VECTORS * step);
            for rows in x.chunks(GROUP * inputs) {
                for at in (part..end).step_by(step) {
                    for row in rows.chunks_exact(inputs) {
                        let vector = &row[at..end.min(at + step)];
                        for first in 0..W::COUNT {
                            let begin = values.len();
                            values.extend(vector.iter().skip(first).step_by(W::COUNT));
                            values.resize(begin + S::F32_LANES, 0.0);
                        }
                    }
                }
            }
        }
        Packed { values, from }
    }
}
