//! Tensors on a CPU in f32 go through the kernels of `homereel-kernels`; other devices and types through candle's operations.

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor, WithDType};
use homereel_kernels as kernels;

use super::config::Activation;
use super::layers::RmsNorm;
use super::{Result, kv::Past};

/// Returns whether the kernels are for `x`.
pub(crate) fn suits(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Returns `x W^T` [rows, outputs] for `x` [rows, inputs] and a contiguous `weight` [outputs, inputs] in f32 or bf16.
pub(super) fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let contiguous = x.contiguous()?;
    let values = floats(&contiguous)?;
    let y = match weight.dtype() {
        DType::BF16 => kernels::product_bf16(&values, &values_of(weight)?, inputs),
        _ => kernels::product(&values, &floats(weight)?, inputs),
    };
    Tensor::from_vec(y, (rows, weight.dim(0)?), x.device())
}

/// Returns the same for a quantized `weight`, whose rows may be longer by zeros. `None` means that candle's product is faster, or
/// the only one.
pub(super) fn product_quantized(x: &Tensor, weight: &QTensor) -> Result<Option<Tensor>> {
    let format = match weight.dtype() {
        GgmlDType::Q8_0 => kernels::BlockFormat::Q8_0,
        GgmlDType::Q4K => kernels::BlockFormat::Q4K,
        _ => return Ok(None),
    };
    if !suits(x) {
        return Ok(None);
    }
    let (outputs, _) = weight.shape().dims2()?;
    let (rows, inputs) = x.dims2()?;
    let x = x.contiguous()?;
    let blocks = kernels::Blocks { bytes: &weight.data()?, format, outputs };
    let y = kernels::product_quantized(&floats(&x)?, inputs, blocks);
    y.map(|y| Tensor::from_vec(y, (rows, outputs), x.device())).transpose()
}

/// Root mean square normalization of the rows of `x`.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let y = kernels::rms_norm(&floats(&x.contiguous()?)?, &floats(weight)?, eps);
    Tensor::from_vec(y, x.shape(), x.device())
}

/// Layer normalization of the rows of `x`.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let y = kernels::layer_norm(&floats(&x.contiguous()?)?, &floats(weight)?, &floats(bias)?, eps);
    Tensor::from_vec(y, x.shape(), x.device())
}

/// Splits the rows of `x` [rows, 2n] into gate and up and returns `activation(gate) * up` [rows, n]. `None` means that there is
/// no kernel.
pub(super) fn gated(x: &Tensor, activation: Activation) -> Option<Result<Tensor>> {
    let activation = if suits(x) { kernel_of(activation)? } else { return None };
    let gated = || {
        let (rows, width) = x.dims2()?;
        let y = kernels::gated(&floats(&x.contiguous()?)?, width / 2, activation);
        Tensor::from_vec(y, (rows, width / 2), x.device())
    };
    Some(gated())
}

fn kernel_of(activation: Activation) -> Option<kernels::Activation> {
    match activation {
        Activation::Silu => Some(kernels::Activation::Silu),
        Activation::Gelu => Some(kernels::Activation::Gelu),
        Activation::GeluTanh => Some(kernels::Activation::GeluTanh),
    }
}

/// Returns `residual + activation(y + bias)`, in the memory of `y`, which nothing else holds. `None` means that there is no
/// kernel.
pub(super) fn finish(
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
    residual: Option<&Tensor>,
) -> Option<Result<()>> {
    let activation = match activation {
        _ if !suits(y) => return None,
        Some(activation) => Some(kernel_of(activation)?),
        None => None,
    };
    Some(y.inplace_op1(&Finish { bias, activation, residual }))
}

struct Finish<'a> {
    bias: Option<&'a Tensor>,
    activation: Option<kernels::Activation>,
    residual: Option<&'a Tensor>,
}

impl InplaceOp1 for Finish<'_> {
    fn name(&self) -> &'static str {
        "finish"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end)), [_, width]) =
            (storage, layout.contiguous_offsets(), layout.dims())
        else {
            return Err(candle_core::Error::Msg("not contiguous rows of f32".into()));
        };
        let residual = self.residual.map(Tensor::contiguous).transpose()?;
        let (bias, residual) =
            (self.bias.map(floats).transpose()?, residual.as_ref().map(floats).transpose()?);
        let (bias, residual) = (bias.as_deref(), residual.as_deref());
        kernels::Epilogue { bias, activation: self.activation, residual }
            .apply(&mut values[start..end], *width);
        Ok(())
    }
}

/// Splits `qkv` [rows, heads * head_dim + 2 * kv_heads * head_dim] into queries [rows, heads * head_dim], keys and values
/// [kv_heads, rows, head_dim]. Queries and keys are normalized and rotated by tables [rows, head_dim / 2].
pub(super) fn split_heads(
    qkv: &Tensor,
    layout: kernels::HeadLayout,
    (q_norm, k_norm): (&RmsNorm, &RmsNorm),
    (cos, sin): (&Tensor, &Tensor),
) -> Result<(Tensor, Tensor, Tensor)> {
    let (rows, device) = (qkv.dim(0)?, qkv.device());
    let (q, k) = (floats(q_norm.weight())?, floats(k_norm.weight())?);
    let norms = kernels::HeadNorms { q: &q, k: &k, eps: q_norm.eps() };
    let heads = kernels::split_heads(&floats(qkv)?, layout, norms, (&floats(cos)?, &floats(sin)?));
    let by_head = (layout.kv_heads, rows, layout.head_dim);
    Ok((
        Tensor::from_vec(heads.q, (rows, layout.heads * layout.head_dim), device)?,
        Tensor::from_vec(heads.k, by_head, device)?,
        Tensor::from_vec(heads.v, by_head, device)?,
    ))
}

/// Causal attention of one or more sequences: `q` [rows, heads * head_dim] has the queries of their last tokens, `pasts` the
/// number of these and the cache that contains them. Returns [rows, heads * head_dim].
pub(crate) fn attention(q: &Tensor, pasts: &[(usize, Past)], layout: kernels::HeadLayout) -> Result<Tensor> {
    let guards = pasts.iter().map(|(_, past)| Ok((floats(&past.keys)?, floats(&past.values)?)));
    let guards = guards.collect::<Result<Vec<_>>>()?;
    let pasts = pasts.iter().zip(&guards).map(|((new_tokens, past), (keys, values))| kernels::Past {
        keys,
        values,
        tokens: past.tokens,
        new_tokens: *new_tokens,
    });
    let pasts: Vec<_> = pasts.collect();
    let y = kernels::attention(&floats(q)?, &pasts, layout.kv_heads, layout.head_dim);
    Tensor::from_vec(y, q.shape(), q.device())
}

/// Full attention within each of `groups` groups of rows: `qkv` is [rows, 3 * heads * head_dim], the rotary tables
/// [rows / groups, head_dim / 2]. Returns [rows, heads * head_dim].
pub(super) fn vision_attention(
    qkv: &Tensor,
    groups: usize,
    heads: usize,
    (cos, sin): (&Tensor, &Tensor),
) -> Result<Tensor> {
    let (rows, width) = (qkv.dim(0)?, qkv.dim(1)? / 3);
    let tables = (&*floats(cos)?, &*floats(sin)?);
    let y = kernels::vision_attention(&floats(qkv)?, groups, heads, width / heads, tables);
    Tensor::from_vec(y, (rows, width), qkv.device())
}

/// The same without rotation.
pub(crate) fn full_attention(qkv: &Tensor, groups: usize, heads: usize) -> Result<Tensor> {
    let (rows, width) = (qkv.dim(0)?, qkv.dim(1)? / 3);
    let y = kernels::full_attention(&floats(qkv)?, groups, heads, width / heads);
    Tensor::from_vec(y, (rows, width), qkv.device())
}

/// Returns the values of a contiguous f32 tensor on the CPU, for reading.
pub(crate) fn floats(tensor: &Tensor) -> Result<impl Deref<Target = [f32]>> {
    values_of::<f32>(tensor)
}

/// Returns the values of a contiguous tensor on the CPU, for reading.
fn values_of<T: WithDType>(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage>, T>> {
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
