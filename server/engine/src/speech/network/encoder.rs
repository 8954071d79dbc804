//! The encoder: two convolutions over frames of features, then layers of full attention within a window.

use candle_core::Tensor;

use super::{EPS, Result, fused};
use crate::EngineError;
use crate::qwen3vl::{Activation, LayerNorm, Linear, TensorScope, attend, cpu};
use crate::speech::config::Config;

pub(super) struct Encoder {
    /// The convolutions as products with rows of three neighbours.
    convolutions: [Linear; 2],
    /// [positions, d_model]
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

struct Layer {
    heads: usize,
    norm: LayerNorm,
    qkv: Linear,
    out: Linear,
    mlp_norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Encoder {
    pub(super) fn load(scope: &TensorScope<'_>, config: &Config) -> Result<Self, EngineError> {
        let width = config.d_model;
        let layer = |index| Layer::load(&scope.at("layers").at(index), config);
        Ok(Self {
            convolutions: [
                convolution(&scope.at("conv1"), config.mel_bins, width)?,
                convolution(&scope.at("conv2"), width, width)?,
            ],
            positions: scope.tensor("embed_positions.weight", &[config.source_positions, width])?,
            layers: (0..config.encoder_layers).map(layer).collect::<Result<_, _>>()?,
            norm: scope.layer_norm("layer_norm", width, EPS)?,
        })
    }

    /// `windows` are [2 * positions, bins] each. Returns [windows * positions, d_model].
    pub(super) fn forward(&self, windows: &[Tensor]) -> Result<Tensor> {
        let begin = |features: &Tensor| {
            let x = self.convolutions[0].forward_activated(&neighbours(features, 1)?, Activation::Gelu)?;
            let x = self.convolutions[1].forward_activated(&neighbours(&x, 2)?, Activation::Gelu)?;
            x + &self.positions
        };
        let mut x = Tensor::cat(&windows.iter().map(begin).collect::<Result<Vec<_>>>()?, 0)?;
        for layer in &self.layers {
            x = layer.forward(x, windows.len())?;
        }
        self.norm.forward(&x)
    }
}

impl Layer {
    fn load(scope: &TensorScope<'_>, config: &Config) -> Result<Self, EngineError> {
        let (width, ffn) = (config.d_model, config.encoder_ffn);
        Ok(Self {
            heads: config.encoder_heads,
            norm: scope.layer_norm("self_attn_layer_norm", width, EPS)?,
            qkv: fused(&scope.at("self_attn"), &["q_proj", "k_proj", "v_proj"], width)?,
            out: scope.linear("self_attn.out_proj", width, width, true)?,
            mlp_norm: scope.layer_norm("final_layer_norm", width, EPS)?,
            up: scope.linear("fc1", width, ffn, true)?,
            down: scope.linear("fc2", ffn, width, true)?,
        })
    }

    fn forward(&self, x: Tensor, windows: usize) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm.forward(&x)?)?;
        let x = self.out.forward_and_add(&attention(&qkv, windows, self.heads)?, &x)?;
        let up = self.up.forward_activated(&self.mlp_norm.forward(&x)?, Activation::Gelu)?;
        self.down.forward_and_add(&up, &x)
    }
}

/// Full attention within each of `windows` windows of rows: `qkv` is [rows, 3 * width]. Returns [rows, width].
fn attention(qkv: &Tensor, windows: usize, heads: usize) -> Result<Tensor> {
    if cpu::suits(qkv) {
        return cpu::full_attention(qkv, windows, heads);
    }
    let (rows, width) = (qkv.dim(0)?, qkv.dim(1)? / 3);
    let (tokens, head_dim) = (rows / windows, width / heads);
    let split = qkv.reshape((windows, tokens, 3, heads, head_dim))?.permute((2, 0, 3, 1, 4))?.contiguous()?;
    let part = |index| split.get(index)?.reshape((windows * heads, tokens, head_dim));
    let attended = attend(&part(0)?, &part(1)?, &part(2)?)?;
    attended.reshape((windows, heads, tokens, head_dim))?.transpose(1, 2)?.reshape((rows, width))
}

/// Loads a convolution of three neighbours as a linear layer over rows of them.
fn convolution(scope: &TensorScope<'_>, inputs: usize, outputs: usize) -> Result<Linear, EngineError> {
    let weight = scope.tensor("weight", &[outputs, inputs, 3])?;
    let weight = weight.transpose(1, 2)?.contiguous()?.reshape((outputs, 3 * inputs))?;
    Ok(Linear::with_bias(weight, scope.tensor("bias", &[outputs])?))
}

/// Returns, for every row of `x` [rows, channels] or every second one, the row before it, itself, and the row behind it:
/// [rows / stride, 3 * channels]. Zeros lie outside.
fn neighbours(x: &Tensor, stride: usize) -> Result<Tensor> {
    let (rows, channels) = x.dims2()?;
    let padded = x.pad_with_zeros(0, 1, 1)?;
    if stride == 1 {
        let shifted = (0..3).map(|shift| padded.narrow(0, shift, rows)).collect::<Result<Vec<_>>>()?;
        return Tensor::cat(&shifted, 1);
    }
    // Two rows side by side are the first two neighbours; the third begins the next pair.
    let pairs = padded.reshape(((rows + 2) / 2, 2 * channels))?;
    Tensor::cat(&[pairs.narrow(0, 0, rows / 2)?, pairs.narrow(0, 1, rows / 2)?.narrow(1, 0, channels)?], 1)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn rows_have_their_neighbours() {
        let x =
            Tensor::from_vec((1..=8).map(|n| n as f32).collect::<Vec<_>>(), (4, 2), &Device::Cpu).unwrap();
        let all = neighbours(&x, 1).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(all[0], [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(all[3], [5.0, 6.0, 7.0, 8.0, 0.0, 0.0]);
        let second = neighbours(&x, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(second, [all[0].clone(), all[2].clone()]);
    }

    #[test]
    fn operations_of_other_devices_equal_the_kernel() {
        let (windows, tokens, heads, head_dim) = (2, 7, 3, 8);
        let count = windows * tokens * 3 * heads * head_dim;
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
        let qkv = Tensor::from_vec(values, (windows * tokens, 3 * heads * head_dim), &Device::Cpu).unwrap();
        let kernel = attention(&qkv, windows, heads).unwrap().to_vec2::<f32>().unwrap();
        let wide = qkv.to_dtype(candle_core::DType::F64).unwrap();
        let other = attention(&wide, windows, heads).unwrap().to_dtype(candle_core::DType::F32).unwrap();
        for (got, want) in kernel.concat().iter().zip(other.to_vec2::<f32>().unwrap().concat()) {
            assert!((got - want).abs() < 1e-5, "{got}, not {want}");
        }
    }
}
