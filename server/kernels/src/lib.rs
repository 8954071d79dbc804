//! Kernels of a transformer for f32 on a CPU: each does in one pass over its values what takes a chain of tensor operations,
//! whose intermediate tensors cost more time than the arithmetic.
//!
//! All work on slices of rows, one behind the other, and split large work among rayon's threads. They are a crate of their
//! own so that it can be compiled as one unit, whatever the profile: a loop is vectorized only together with what it calls.
//!
//! # Panics
//! Where the lengths of slices do not fit the widths, as indexing does.

mod attention;
mod blocks;
mod encoder;
mod few_rows;
mod heads;
mod integers;
mod math;
mod matrix_unit;
mod product;
mod rows;

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

pub use attention::{Past, attention, full_attention, vision_attention};
pub use blocks::{BlockFormat, Blocks, product_quantized};
pub use encoder::encoder_attention;
pub use heads::{HeadLayout, HeadNorms, QkvHeads, split_heads};
pub use integers::products_i8;
pub use product::{bf16, product, product_bf16};
pub use rows::{Activation, Epilogue, gated, layer_norm, log_sum_exp, rms_norm};

/// Multiplications that one thread does at least; waking another one takes longer than fewer.
const MIN_WORK: usize = 1 << 17;

/// Splits `values`, rows of `width`, among the threads: `work` gets the index of its first row and its rows. `cost` is the
/// number of multiplications, or what takes as long, per row.
fn by_rows(values: &mut [f32], width: usize, cost: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = values.len() / width;
    if rows * cost < 2 * MIN_WORK {
        return work(0, values);
    }
    // Several parts per thread, since threads are not equally fast.
    let parts = (4 * rayon::current_num_threads()).min(rows * cost / MIN_WORK);
    let at_once = rows.div_ceil(parts).max(1);
    values.par_chunks_mut(at_once * width).enumerate().for_each(|(part, rows)| work(part * at_once, rows));
}

/// Returns `value` in bf16, rounded to the nearest. By its bits, because the conversion of the type treats special values one by
/// one.
#[inline(always)]
fn rounded(value: f32) -> bf16 {
    let bits = value.to_bits();
    // An overflow of the sum would need a NaN.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    bf16::from_bits(if value.is_nan() { 0x7fc0 } else { rounded as u16 })
}

/// Runs `work`, a closure marked for inlining, with the processor's vector instructions.
#[inline(always)]
fn vectorized(work: impl FnMut()) {
    Arch::new().dispatch(Inlined(work));
}

/// A closure that is inlined into the dispatch. As an `FnOnce`, it would be called through a shim, which is not.
struct Inlined<F>(F);

impl<F: FnMut()> NullaryFnOnce for Inlined<F> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        (self.0)();
    }
}
