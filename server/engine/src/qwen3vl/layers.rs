//! Layers shared by the vision tower and the text model: linear (optionally quantized), norms, activations, and
//! attention with a bounded score matrix. Tensors are loaded by name.

use candle_core::{
    DType, Device, Module, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};
use candle_nn::ops;

use super::{Result, config::Activation, few_rows, weights::Weights};
use crate::EngineError;

/// A name prefix in the weights, with the device and type to load tensors as.
#[derive(Clone)]
pub(super) struct TensorScope<'a> {
    pub(super) weights: &'a Weights,
    pub(super) device: &'a Device,
    pub(super) dtype: DType,
    /// Quantization of linear layers; `None` means none.
    quantization: Option<Quantization>,
    prefix: String,
}

/// Quantization of the decoder's matrices: fewer bytes to read per token, at some loss of accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Quantization {
    /// 8.5 bits per weight, in blocks of 32.
    #[cfg_attr(feature = "clap", value(name = "q8_0"))]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4.5 bits per weight, in blocks of 256; rows of other lengths use `Q8_0`.
    #[cfg_attr(feature = "clap", value(name = "q4k"))]
    #[serde(rename = "q4k")]
    Q4K,
}

impl<'a> TensorScope<'a> {
    pub(super) fn new(weights: &'a Weights, device: &'a Device, dtype: DType, prefix: &str) -> Self {
        Self { weights, device, dtype, quantization: None, prefix: prefix.into() }
    }

    /// Returns the same scope with another quantization of linear layers.
    pub(super) fn quantized(&self, quantization: Option<Quantization>) -> Self {
        Self { quantization, ..self.clone() }
    }

    /// Returns the scope below `name`.
    pub(super) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}.{name}", self.prefix), ..self.clone() }
    }

    pub(super) fn name(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.prefix)
    }

    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, EngineError> {
        self.weights.load(&self.name(name), shape, self.device, self.dtype)
    }

    /// Loads the linear layer `name`.
    pub(super) fn linear(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Linear, EngineError> {
        let source = self.at(name);
        let weight = self.hold(source.tensor("weight", &[outputs, inputs])?)?;
        let bias = if bias { Some(source.tensor("bias", &[outputs])?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// Loads linear layers without bias that share an input as one, so that they take one product.
    pub(super) fn fused(
        &self,
        names_and_outputs: &[(&str, usize)],
        inputs: usize,
    ) -> Result<Linear, EngineError> {
        let load = |&(name, outputs): &(&str, usize)| self.at(name).tensor("weight", &[outputs, inputs]);
        let weights = names_and_outputs.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        Ok(Linear { weight: self.hold(Tensor::cat(&weights, 0)?)?, bias: None })
    }

    /// Quantizes a matrix [outputs, inputs] as this scope is set.
    pub(super) fn hold(&self, weight: Tensor) -> Result<Weight, EngineError> {
        let inputs = weight.dim(1)?;
        let kind = match self.quantization {
            Some(Quantization::Q4K) if inputs.is_multiple_of(256) => GgmlDType::Q4K,
            Some(_) if inputs.is_multiple_of(32) => GgmlDType::Q8_0,
            _ => return Ok(Weight::Dense(weight)),
        };
        let quantized = QTensor::quantize_onto(&weight.to_device(&Device::Cpu)?, kind, self.device)?;
        Ok(Weight::Quantized(QMatMul::from_qtensor(quantized)?))
    }

    pub(super) fn layer_norm(&self, name: &str, size: usize) -> Result<LayerNorm, EngineError> {
        let source = self.at(name);
        Ok(LayerNorm { weight: source.tensor("weight", &[size])?, bias: source.tensor("bias", &[size])? })
    }

    pub(super) fn rms_norm(&self, name: &str, size: usize, eps: f64) -> Result<RmsNorm, EngineError> {
        Ok(RmsNorm { weight: self.at(name).tensor("weight", &[size])?, eps: eps as f32 })
    }
}

/// A matrix [outputs, inputs].
#[derive(Debug, Clone)]
pub(super) enum Weight {
    Dense(Tensor),
    Quantized(QMatMul),
}

/// From this number of rows on, multiplying by the dequantized matrix is faster on a CPU than candle's product of single
/// blocks.
const UNPACK_ROWS: usize = 32;

/// Returns whether candle has a product for `weight` that is faster than dequantizing it, whatever the number of rows: it
/// rearranges the blocks of 16 outputs by 256 inputs for the processor's integer products.
fn is_repacked(weight: &QTensor) -> bool {
    let whole = weight
        .shape()
        .dims2()
        .is_ok_and(|(outputs, inputs)| outputs.is_multiple_of(16) && inputs.is_multiple_of(256));
    whole && has_integer_products()
}

#[cfg(target_arch = "x86_64")]
fn has_integer_products() -> bool {
    std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni")
}

#[cfg(target_arch = "aarch64")]
fn has_integer_products() -> bool {
    std::arch::is_aarch64_feature_detected!("i8mm")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_integer_products() -> bool {
    false
}

impl Weight {
    /// `x` is [rows, inputs]; returns [rows, outputs].
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(weight) if few_rows::suits(x) => few_rows::product(x, weight),
            Self::Dense(weight) => x.matmul(&weight.t()?),
            Self::Quantized(QMatMul::QTensor(weight))
                if x.device().is_cpu() && x.dim(0)? >= UNPACK_ROWS && !is_repacked(weight) =>
            {
                x.matmul(&weight.dequantize(x.device())?.to_dtype(x.dtype())?.t()?)
            }
            Self::Quantized(weight) => {
                weight.forward(&x.to_dtype(DType::F32)?.contiguous()?)?.to_dtype(x.dtype())
            }
        }
    }
}

/// `x W^T + b` over rows.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn from_weight(weight: Weight) -> Self {
        Self { weight, bias: None }
    }

    pub(super) fn with_bias(weight: Tensor, bias: Tensor) -> Self {
        Self { weight: Weight::Dense(weight), bias: Some(bias) }
    }

    /// `x` is [rows, inputs]; returns [rows, outputs].
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.weight.forward(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Layer normalization with weight and bias; the vision tower's epsilon is a constant in transformers' code.
#[derive(Debug, Clone)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, 1e-6)
    }
}

/// Root mean square normalization over the last dimension.
#[derive(Debug, Clone)]
pub(super) struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, &self.weight, self.eps)
    }
}

impl Activation {
    pub(super) fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
        }
    }

    /// Splits `x` [rows, 2n] into gate and up and returns `act(gate) * up` [rows, n].
    pub(super) fn gated(self, x: &Tensor) -> Result<Tensor> {
        let n = x.dim(1)? / 2;
        self.forward(&x.narrow(1, 0, n)?.contiguous()?)? * x.narrow(1, n, n)?
    }
}

/// Scores that [`attend`] computes at once, in values: 64 MiB of f32 on a CPU, more on a GPU.
pub(super) fn score_budget(device: &Device) -> usize {
    if device.is_cpu() { 1 << 24 } else { 1 << 28 }
}

/// Full attention: `q`, `k`, `v` are contiguous [n, rows, head_dim], each of the n independent.
pub(super) fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    attend_within(q, k, v, score_budget(q.device()))
}

/// [`attend`] with at most `budget` scores at once (one row at least).
fn attend_within(q: &Tensor, k: &Tensor, v: &Tensor, budget: usize) -> Result<Tensor> {
    let (n, rows, head_dim) = q.dims3()?;
    let scale = (head_dim as f64).powf(-0.5);
    let piece = |q: &Tensor, k: &Tensor, v: &Tensor| -> Result<Tensor> {
        let scores = (q.matmul(&k.t()?)? * scale)?;
        softmax(&scores)?.matmul(v)
    };
    let at_once = (budget / (rows * rows)).min(n);
    if at_once == n {
        return piece(q, k, v);
    }
    if at_once > 0 {
        let pieces = (0..n).step_by(at_once).map(|start| {
            let part = |x: &Tensor| x.narrow(0, start, at_once.min(n - start));
            piece(&part(q)?, &part(k)?, &part(v)?)
        });
        return Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 0);
    }
    // The scores of a single head exceed the budget: split its query rows.
    let rows_at_once = (budget / rows).max(1);
    let heads = (0..n).map(|head| {
        let (q, k, v) = (q.narrow(0, head, 1)?, k.narrow(0, head, 1)?, v.narrow(0, head, 1)?);
        let pieces = (0..rows)
            .step_by(rows_at_once)
            .map(|start| piece(&q.narrow(1, start, rows_at_once.min(rows - start))?, &k, &v));
        Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 1)
    });
    Tensor::cat(&heads.collect::<Result<Vec<_>>>()?, 0)
}

/// Softmax over the last dimension, computed in f32 as in the reference.
pub(super) fn softmax(scores: &Tensor) -> Result<Tensor> {
    if scores.dtype() == DType::F32 {
        return ops::softmax_last_dim(scores);
    }
    ops::softmax_last_dim(&scores.to_dtype(DType::F32)?)?.to_dtype(scores.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_in_pieces_equals_attention_at_once() {
        let numbers = |seed: f32| {
            let values = (0..3 * 10 * 4).map(|i| (i as f32 * 0.7 + seed).sin()).collect();
            Tensor::from_vec(values, (3, 10, 4), &Device::Cpu).unwrap()
        };
        let (q, k, v) = (numbers(0.0), numbers(1.0), numbers(2.0));
        let run = |budget| -> Vec<f32> {
            attend_within(&q, &k, &v, budget).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let whole = run(usize::MAX);
        // Two heads at once, one head, three rows of a head, one row.
        for budget in [200, 100, 35, 1] {
            for (got, want) in run(budget).iter().zip(&whole) {
                assert!((got - want).abs() < 1e-6, "budget {budget}: {got}, not {want}");
            }
        }
    }

    /// Largest difference between a quantized and a dense product, relative to the largest value.
    fn error_of(quantization: Quantization, outputs: usize, inputs: usize, rows: usize) -> f32 {
        let value = |i: usize| ((i * 7919 % 1013) as f32 / 506.5 - 1.0) * 0.1;
        let tensor = |rows: usize, seed: usize| {
            let values = (0..rows * inputs).map(|i| value(i + seed)).collect::<Vec<_>>();
            Tensor::from_vec(values, (rows, inputs), &Device::Cpu).unwrap()
        };
        let (weight, x) = (tensor(outputs, 0), tensor(rows, 31));
        let weights = Weights::from_static("test", b"\x02\0\0\0\0\0\0\0{}").unwrap();
        let source = TensorScope::new(&weights, &Device::Cpu, DType::F32, "x").quantized(Some(quantization));
        let held = source.hold(weight.clone()).unwrap();
        assert!(matches!(held, Weight::Quantized(_)));
        let got = held.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let want = Weight::Dense(weight).forward(&x).unwrap().flatten_all().unwrap();
        let want = want.to_vec1::<f32>().unwrap();
        let scale = want.iter().fold(0f32, |most, value| most.max(value.abs()));
        got.iter().zip(want).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
    }

    #[test]
    fn quantized_products_are_close_for_few_rows_and_for_many() {
        for rows in [1, UNPACK_ROWS, UNPACK_ROWS + 3] {
            // 48 outputs by 512 inputs are rearranged, 24 are not.
            for outputs in [24, 48] {
                let eight = error_of(Quantization::Q8_0, outputs, 512, rows);
                assert!(eight < 0.02, "q8_0, {rows} rows: {eight}");
                let four = error_of(Quantization::Q4K, outputs, 512, rows);
                assert!(four < 0.2 && four > eight, "q4k, {rows} rows: {four}");
                let of = |quantization| error_of(quantization, outputs, 96, rows);
                assert_eq!(of(Quantization::Q4K), of(Quantization::Q8_0));
            }
        }
    }
}
