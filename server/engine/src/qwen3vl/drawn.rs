//! Random weights of any shape, generated on the device from the tensor's name. They serve to measure speed and to compare
//! implementations at published sizes: `scripts/gpu-check/transformers_side.py` generates the same values in PyTorch.
//!
//! A *bank* of [`BANK`] numbers of unit variance is repeated over the values of a tensor, starting at an offset
//! that depends on its name. Matrices are scaled by the square root of their fan-in; norm weights lie around 1.

use candle_core::{DType, Device, Tensor};

use super::Result;

/// Values of the bank. A prime, so that the rows of a matrix do not repeat.
const BANK: usize = 1_048_573;
/// Spread of norm weights and biases.
const SMALL: f64 = 0.02;

/// Returns the tensor `name` of `shape`, drawn on `device`.
pub(super) fn draw(name: &str, shape: &[usize], device: &Device, dtype: DType) -> Result<Tensor> {
    let (scale, shift) = match shape {
        [_] if name.ends_with("bias") => (SMALL, 0.0),
        [_] => (SMALL, 1.0),
        _ => ((shape[1..].iter().product::<usize>() as f64).sqrt().recip(), 0.0),
    };
    let bank = Tensor::from_vec(bank(), BANK, device)?.affine(scale, shift)?.to_dtype(dtype)?;
    let count = shape.iter().product::<usize>();
    let mut start = offset(name);
    let mut left = count;
    let mut pieces = Vec::with_capacity(count / BANK + 2);
    while left > 0 {
        let length = left.min(BANK - start);
        pieces.push(bank.narrow(0, start, length)?);
        left -= length;
        start = 0;
    }
    Tensor::cat(&pieces, 0)?.reshape(shape)
}

/// Numbers between -√3 and √3, uniform, by the linear congruential generator of Numerical Recipes.
fn bank() -> Vec<f32> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 3_f32.sqrt()
    };
    std::iter::repeat_with(next).take(BANK).collect()
}

/// FNV-1a of the name, modulo the bank.
fn offset(name: &str) -> usize {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % BANK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, shape: &[usize]) -> Vec<f32> {
        draw(name, shape, &Device::Cpu, DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_matrix_has_the_variance_of_its_fan_in() {
        let values = values("m.weight", &[1500, 1000]);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 1e-4 && (variance * 1000.0 - 1.0).abs() < 0.01, "{mean} {variance}");
    }

    #[test]
    fn a_tensor_longer_than_the_bank_repeats_it_from_the_offset_on() {
        let long = values("m.weight", &[2, BANK]);
        assert_eq!(long[..BANK], long[BANK..]);
        assert_eq!(long[0], bank()[offset("m.weight")] * (1.0 / (BANK as f64).sqrt()) as f32);
    }

    #[test]
    fn norm_weights_lie_around_one_and_biases_around_zero() {
        assert!(values("n.weight", &[500]).iter().all(|value| (value - 1.0).abs() < 0.04));
        assert!(values("n.bias", &[500]).iter().all(|value| value.abs() < 0.04));
    }
}
