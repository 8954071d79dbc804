//! Layers shared by the vision tower and the text model: linear (optionally quantized), norms and activations. Tensors are
//! loaded by name.

use candle_core::{
    DType, Device, Module, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};
use candle_nn::ops;

use super::{Result, config::Activation, cpu, weights::Weights};
use crate::EngineError;

/// A name prefix in the weights, with the device and type to load tensors as.
#[derive(Clone)]
pub(crate) struct TensorScope<'a> {
    pub(super) weights: &'a Weights,
    pub(super) device: &'a Device,
    pub(super) dtype: DType,
    /// How linear layers hold their matrices.
    matrices: MatrixFormat,
    prefix: String,
}

/// How a linear layer holds its matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MatrixFormat {
    /// In the type of the other tensors.
    Plain,
    /// In bf16 beside f32 for all else, on a CPU.
    Bf16,
    /// Quantized, where the shape allows it.
    Quantized(Quantization),
    /// In 8 bits where candle's product for that is faster than f32, else as it is.
    Q8IfFaster,
}

/// Quantization of the decoder's matrices: fewer bytes to read per token, at some loss of accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Quantization {
    /// 8.5 bits per weight, in blocks of 32.
    #[cfg_attr(feature = "clap", value(name = "q8_0"))]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4.5 bits per weight, in blocks of 256; rows of which the last block would be nearly empty use `Q8_0`.
    #[cfg_attr(feature = "clap", value(name = "q4k"))]
    #[serde(rename = "q4k")]
    Q4K,
}

impl<'a> TensorScope<'a> {
    pub(crate) fn new(weights: &'a Weights, device: &'a Device, dtype: DType, prefix: &str) -> Self {
        Self { weights, device, dtype, matrices: MatrixFormat::Plain, prefix: prefix.into() }
    }

    /// Returns the same scope with another format of matrices.
    pub(super) fn with_matrices(&self, matrices: MatrixFormat) -> Self {
        Self { matrices, ..self.clone() }
    }

    /// Returns the device that tensors are loaded to.
    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Returns the scope below `name`.
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}.{name}", self.prefix), ..self.clone() }
    }

    pub(super) fn name(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.prefix)
    }

    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, EngineError> {
        self.weights.load(&self.name(name), shape, self.device, self.dtype)
    }

    /// Loads the linear layer `name`.
    pub(crate) fn linear(
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

    /// Converts a matrix [outputs, inputs] to the scope's format.
    pub(super) fn hold(&self, weight: Tensor) -> Result<Weight, EngineError> {
        let (outputs, inputs) = weight.dims2()?;
        let padded = inputs.next_multiple_of(REPACKED_INPUTS);
        // Zeros cost time as well.
        let pads = self.device.is_cpu() && is_repacked(outputs, padded) && 4 * padded <= 5 * inputs;
        let kind = match self.matrices {
            MatrixFormat::Plain => return Ok(Weight::Dense(weight)),
            MatrixFormat::Bf16 => return Ok(Weight::Dense(weight.to_dtype(DType::BF16)?)),
            MatrixFormat::Q8IfFaster if !pads => return Ok(Weight::Dense(weight)),
            MatrixFormat::Quantized(Quantization::Q4K) if pads || inputs == padded => GgmlDType::Q4K,
            MatrixFormat::Quantized(_) if !pads && !inputs.is_multiple_of(32) => {
                return Ok(Weight::Dense(weight));
            }
            MatrixFormat::Quantized(_) | MatrixFormat::Q8IfFaster => GgmlDType::Q8_0,
        };
        let padding = if pads { padded - inputs } else { 0 };
        let weight = weight.to_device(&Device::Cpu)?.pad_with_zeros(1, 0, padding)?;
        // candle quantizes the storage from its first value on, whatever part of it the tensor is.
        let weight = match weight.layout().start_offset() {
            0 => weight,
            _ => weight.force_contiguous()?,
        };
        let quantized = QTensor::quantize_onto(&weight, kind, self.device)?;
        Ok(Weight::Quantized { matrix: QMatMul::from_qtensor(quantized)?, padding })
    }

    pub(crate) fn layer_norm(&self, name: &str, size: usize, eps: f32) -> Result<LayerNorm, EngineError> {
        let source = self.at(name);
        let (weight, bias) = (source.tensor("weight", &[size])?, source.tensor("bias", &[size])?);
        Ok(LayerNorm { weight, bias, eps })
    }

    pub(super) fn rms_norm(&self, name: &str, size: usize, eps: f64) -> Result<RmsNorm, EngineError> {
        Ok(RmsNorm { weight: self.at(name).tensor("weight", &[size])?, eps: eps as f32 })
    }
}

/// A matrix [outputs, inputs].
#[derive(Debug, Clone)]
pub(super) enum Weight {
    Dense(Tensor),
    Quantized {
        matrix: QMatMul,
        /// Zeros behind the inputs.
        padding: usize,
    },
}

/// From this number of rows on, multiplying by the dequantized matrix is faster on a CPU than candle's product of single
/// blocks.
const UNPACK_ROWS: usize = 32;

/// candle rearranges blocks of this shape for the processor's integer products.
const REPACKED_OUTPUTS: usize = 16;
const REPACKED_INPUTS: usize = 256;

/// Returns whether candle's product for a quantized matrix is faster than dequantizing it, whatever the number of rows.
fn is_repacked(outputs: usize, inputs: usize) -> bool {
    outputs.is_multiple_of(REPACKED_OUTPUTS)
        && inputs.is_multiple_of(REPACKED_INPUTS)
        && has_integer_products()
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
        if let Self::Quantized { matrix: QMatMul::QTensor(weight), .. } = self
            && let Some(y) = cpu::product_quantized(x, weight)?
        {
            return Ok(y);
        }
        match self {
            Self::Dense(weight) if cpu::suits(x) => cpu::product(x, weight),
            Self::Dense(weight) => x.matmul(&weight.t()?),
            Self::Quantized { matrix: QMatMul::QTensor(weight), padding: 0 }
                if x.device().is_cpu()
                    && x.dim(0)? >= UNPACK_ROWS
                    && !{
                        let (outputs, inputs) = weight.shape().dims2()?;
                        is_repacked(outputs, inputs)
                    } =>
            {
                let weight = weight.dequantize(x.device())?;
                match cpu::suits(x) {
                    true => cpu::product(x, &weight),
                    false => x.matmul(&weight.to_dtype(x.dtype())?.t()?),
                }
            }
            Self::Quantized { matrix, padding } => {
                let x32 = x.to_dtype(DType::F32)?.pad_with_zeros(1, 0, *padding)?.contiguous()?;
                matrix.forward(&x32)?.to_dtype(x.dtype())
            }
        }
    }
}

/// `x W^T + b` over rows.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn from_weight(weight: Weight) -> Self {
        Self { weight, bias: None }
    }

    pub(crate) fn without_bias(weight: Tensor) -> Self {
        Self::from_weight(Weight::Dense(weight))
    }

    pub(crate) fn with_bias(weight: Tensor, bias: Tensor) -> Self {
        Self { weight: Weight::Dense(weight), bias: Some(bias) }
    }

    /// `x` is [rows, inputs]; returns [rows, outputs].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.finish(self.weight.forward(x)?, None, None)
    }

    /// Returns the activation of what [`Self::forward`] returns.
    pub(crate) fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.finish(self.weight.forward(x)?, Some(activation), None)
    }

    /// Returns the sum of what [`Self::forward`] returns and `residual` [rows, outputs].
    pub(crate) fn forward_and_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.finish(self.weight.forward(x)?, None, Some(residual))
    }

    fn finish(&self, y: Tensor, activation: Option<Activation>, residual: Option<&Tensor>) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        if bias.is_none() && activation.is_none() && residual.is_none() {
            return Ok(y);
        }
        if let Some(done) = cpu::finish(&y, bias, activation, residual) {
            return done.map(|()| y);
        }
        let y = match bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        let y = match activation {
            Some(activation) => activation.forward(&y)?,
            None => y,
        };
        match residual {
            Some(residual) => y + residual,
            None => Ok(y),
        }
    }
}

/// Layer normalization with weight and bias.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match cpu::suits(x) {
            true => cpu::layer_norm(x, &self.weight, &self.bias, self.eps),
            false => ops::layer_norm(x, &self.weight, &self.bias, self.eps),
        }
    }
}

/// Root mean square normalization over the last dimension.
#[derive(Debug, Clone)]
pub(super) struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub(super) fn eps(&self) -> f32 {
        self.eps
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match cpu::suits(x) {
            true => cpu::rms_norm(x, &self.weight, self.eps),
            false => ops::rms_norm(x, &self.weight, self.eps),
        }
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
        if let Some(gated) = cpu::gated(x, self) {
            return gated;
        }
        let n = x.dim(1)? / 2;
        self.forward(&x.narrow(1, 0, n)?.contiguous()?)? * x.narrow(1, n, n)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest difference between a quantized and a dense product, relative to the largest value.
    fn error_of(quantization: Quantization, outputs: usize, inputs: usize, rows: usize) -> f32 {
        let value = |i: usize| ((i * 7919 % 1013) as f32 / 506.5 - 1.0) * 0.1;
        let tensor = |rows: usize, seed: usize| {
            let values = (0..rows * inputs).map(|i| value(i + seed)).collect::<Vec<_>>();
            Tensor::from_vec(values, (rows, inputs), &Device::Cpu).unwrap()
        };
        // A part of a larger tensor.
        let weight = tensor(outputs + 3, 0).narrow(0, 3, outputs).unwrap();
        let x = tensor(rows, 31);
        let weights = Weights::from_static("test", b"\x02\0\0\0\0\0\0\0{}").unwrap();
        let source = TensorScope::new(&weights, &Device::Cpu, DType::F32, "x");
        let held = source.with_matrices(MatrixFormat::Quantized(quantization)).hold(weight.clone()).unwrap();
        assert!(matches!(held, Weight::Quantized { .. }));
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
                // 420 inputs are padded where 512 are rearranged.
                if is_repacked(outputs, 512) {
                    let padded = error_of(Quantization::Q8_0, outputs, 420, rows);
                    assert!(padded < 0.02, "{padded}");
                }
            }
        }
    }
}
