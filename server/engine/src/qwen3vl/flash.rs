//! Attention by FlashAttention's kernels, with the feature `flash-attn`: no matrix of scores, and grouped heads without
//! copies. For bf16 and f16 on CUDA; the sums are in f32.

use candle_core::{DType, Device, Tensor};

use super::Result;

/// Returns whether the kernels are compiled in and know the device and type.
pub(super) fn suits(device: &Device, dtype: DType) -> bool {
    cfg!(feature = "flash-attn") && device.is_cuda() && matches!(dtype, DType::BF16 | DType::F16)
}

/// Full attention: `q`, `k`, `v` are [groups, rows, heads, head_dim], each group independent. Returns the same shape.
pub(super) fn full(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    attention(q, k, v, false)
}

/// Causal attention of one sequence's last tokens: `q` is [heads, tokens, head_dim], `k` and `v` [kv_heads, total, head_dim].
/// Returns [tokens, heads * head_dim].
pub(super) fn causal(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (heads, tokens, head_dim) = q.dims3()?;
    // Views: the kernels follow strides, so that the cache stays where it is.
    let by_token = |x: &Tensor| x.transpose(0, 1)?.unsqueeze(0);
    attention(&by_token(q)?, &by_token(k)?, &by_token(v)?, true)?.reshape((tokens, heads * head_dim))
}

#[cfg(feature = "flash-attn")]
fn attention(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let head_dim = q.dim(3)?;
    candle_flash_attn::flash_attn(q, k, v, (head_dim as f32).powf(-0.5), causal)
}

#[cfg(not(feature = "flash-attn"))]
fn attention(_: &Tensor, _: &Tensor, _: &Tensor, _: bool) -> Result<Tensor> {
    candle_core::bail!("this build has no FlashAttention; build with --features flash-attn")
}
