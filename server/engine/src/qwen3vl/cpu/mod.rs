//! Kernels for f32 on a CPU: each does in one pass over its values what takes a chain of candle's operations, whose
//! intermediate tensors cost more time than the arithmetic. Other devices and types use candle's operations.

mod attention;
mod few_rows;
mod heads;
mod math;
mod product;
mod rows;

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{DType, Storage, Tensor, WithDType};
use rayon::prelude::*;

pub(super) use attention::{Past, attention, vision_attention};
pub(super) use heads::{HeadNorms, split_heads};
pub(super) use product::product;
pub(super) use rows::{Epilogue, gated, layer_norm, rms_norm};

use super::Result;

/// Multiplications that one thread does at least; waking another one takes longer than fewer.
const MIN_WORK: usize = 1 << 17;

/// Returns whether the kernels of this module are for `x`.
pub(super) fn suits(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Returns the values of a contiguous f32 tensor on the CPU, for reading.
fn floats(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + Sync> {
    values_of::<f32>(tensor)
}

/// Returns the values of a contiguous tensor on the CPU, for reading.
fn values_of<T: WithDType>(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage> + Sync, T>> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(values), Some((start, end))) if T::cpu_storage_as_slice(values).is_ok() => {
            Ok(Values { storage, range: start..end, kind: PhantomData })
        }
        _ => Err(candle_core::Error::Msg(format!("not a contiguous {:?} tensor on the CPU", T::DTYPE))),
    }
}

/// The values of a tensor, which nothing changes meanwhile.
struct Values<G, T> {
    storage: G,
    range: Range<usize>,
    kind: PhantomData<T>,
}

impl<G: Deref<Target = Storage>, T: WithDType> Deref for Values<G, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            // `values_of` has checked the type.
            Storage::Cpu(values) => {
                T::cpu_storage_as_slice(values).map_or(&[], |values| &values[self.range.clone()])
            }
            _ => &[],
        }
    }
}

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
