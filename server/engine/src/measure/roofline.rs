//! The limits of a device: memory bandwidth and matrix throughput. Reports compare a model's measured speed with the
//! speed that these limits allow.

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module as _, Result, Tensor};
use serde::Serialize;

/// Bytes of each array that memory is measured with: many times what a cache holds.
const ARRAY: usize = 256 << 20;
/// Rounds of which the fastest counts: other work on the machine only makes a round slower.
const ROUNDS: usize = 7;
/// Least duration of a round; shorter work is repeated within it.
const ROUND: Duration = Duration::from_millis(150);

/// Bytes a second between memory and all cores together.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemoryBandwidth {
    /// Reading alone, which is what generating a token does.
    pub read_gbs: f64,
    /// STREAM's triad, `a = b + 3c`: two reads and a write, counted as 24 bytes for each element.
    pub triad_gbs: f64,
}

/// Multiplication of activations (`rows` x `inner`) with weights (`inner` x `columns`).
#[derive(Debug, Clone, Copy)]
pub struct MatrixShape {
    /// Tokens at once: 1 when generating, hundreds in prefill.
    pub rows: usize,
    /// Width of the activations.
    pub inner: usize,
    /// Width of the result.
    pub columns: usize,
}

/// How weights are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// As numbers of this type.
    Plain(DType),
    /// In blocks of few bits, as `--quantize` holds them.
    Quantized(GgmlDType),
}

/// A multiplication, measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MatrixThroughput {
    /// 10⁹ multiplications and additions a second.
    pub gflops: f64,
    /// 10⁹ bytes of weights a second.
    pub weights_gbs: f64,
}

/// Measures memory with all cores that this process may use.
#[must_use]
pub fn memory() -> MemoryBandwidth {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = ARRAY / size_of::<f64>();
    let share = count.div_ceil(threads);
    let (b, c) = (vec![1.0_f64; count], vec![2.0_f64; count]);
    let mut a = vec![0.0_f64; count];
    let read = best(|| {
        std::thread::scope(|scope| {
            for part in b.chunks(share) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
    });
    let triad = best(|| {
        std::thread::scope(|scope| {
            let parts = a.chunks_mut(share).zip(b.chunks(share)).zip(c.chunks(share));
            for ((a, b), c) in parts {
                scope.spawn(move || {
                    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                        *a = b + 3.0 * c;
                    }
                    black_box(a);
                });
            }
        });
    });
    MemoryBandwidth { read_gbs: ARRAY as f64 / read / 1e9, triad_gbs: 3.0 * ARRAY as f64 / triad / 1e9 }
}

/// Sums in lanes that do not wait for each other, so that memory is the limit and not the adder.
fn sum(values: &[f64]) -> f64 {
    let mut lanes = [0.0; 16];
    for chunk in values.chunks_exact(lanes.len()) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}

/// Measures a copy of `bytes` bytes within the memory of `device`: bytes read and written, in 10⁹ a second.
///
/// # Errors
/// When the device has no room for twice `bytes`.
pub fn copy_gbs(device: &Device, bytes: usize) -> Result<f64> {
    let source = Tensor::ones(bytes / size_of::<f32>(), DType::F32, device)?;
    let seconds = timed(device, || source.copy())?;
    Ok(2.0 * bytes as f64 / seconds / 1e9)
}

/// Measures one multiplication, by the code that the candle engine multiplies with.
///
/// # Errors
/// When the device has no such type, or no memory.
pub fn product(device: &Device, shape: MatrixShape, weights: WeightFormat) -> Result<MatrixThroughput> {
    let MatrixShape { rows, inner, columns } = shape;
    let x = Tensor::rand(-1_f32, 1.0, (rows, inner), device)?;
    let w = Tensor::rand(-1_f32, 1.0, (columns, inner), device)?;
    let (bytes, seconds) = match weights {
        // As the network does on a CPU.
        WeightFormat::Plain(DType::F32) if device.is_cpu() => {
            let (x, w) = (x.flatten_all()?.to_vec1::<f32>()?, w.flatten_all()?.to_vec1::<f32>()?);
            let product =
                || Tensor::from_vec(homereel_kernels::product(&x, &w, inner), (rows, columns), device);
            (columns * inner * size_of::<f32>(), timed(device, product)?)
        }
        WeightFormat::Plain(dtype) => {
            let (x, w) = (x.to_dtype(dtype)?, w.to_dtype(dtype)?);
            let bytes = columns * inner * dtype.size_in_bytes();
            (bytes, timed(device, || x.matmul(&w.t()?))?)
        }
        WeightFormat::Quantized(dtype) => {
            let held = QTensor::quantize(&w, dtype)
                .map_err(|error| error.context(format!("no {dtype:?} weights on this device")))?;
            let bytes = held.storage_size_in_bytes();
            let held = QMatMul::from_qtensor(held)?;
            (bytes, timed(device, || held.forward(&x))?)
        }
    };
    let flops = 2.0 * (rows * inner * columns) as f64;
    Ok(MatrixThroughput { gflops: flops / seconds / 1e9, weights_gbs: bytes as f64 / seconds / 1e9 })
}

/// Returns the seconds that `work` takes in the best of a few rounds.
fn timed(device: &Device, work: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let run = |times: usize| -> Result<f64> {
        let began = Instant::now();
        for _ in 0..times {
            black_box(work()?);
        }
        device.synchronize()?;
        Ok(began.elapsed().as_secs_f64() / times as f64)
    };
    run(1)?;
    let once = run(1)?;
    let times = ((ROUND.as_secs_f64() / once.max(1e-9)).ceil() as usize).clamp(1, 10_000);
    (0..ROUNDS).try_fold(f64::INFINITY, |least, _| Ok(least.min(run(times)?)))
}

/// Returns the seconds of the best of a few rounds.
fn best(mut round: impl FnMut()) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            round();
            began.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_in_lanes_is_the_sum() {
        let values: Vec<f64> = (0..64).map(f64::from).collect();
        assert_eq!(sum(&values), 2016.0);
    }

    #[test]
    fn products_are_measured_in_every_kind_of_weights() {
        let shape = MatrixShape { rows: 2, inner: 256, columns: 64 };
        for weights in [
            WeightFormat::Plain(DType::F32),
            WeightFormat::Quantized(GgmlDType::Q8_0),
            WeightFormat::Quantized(GgmlDType::Q4K),
        ] {
            let got = product(&Device::Cpu, shape, weights).unwrap();
            assert!(got.gflops > 0.0 && got.weights_gbs > 0.0, "{weights:?}: {got:?}");
            // Two rows: each weight is multiplied and added twice, so the two figures hang together.
            let bits = 8.0 * got.weights_gbs / (got.gflops / 4.0);
            let expected = match weights {
                WeightFormat::Plain(_) => 32.0,
                WeightFormat::Quantized(GgmlDType::Q8_0) => 8.5,
                WeightFormat::Quantized(_) => 4.5,
            };
            assert!((bits - expected).abs() < 0.01, "{weights:?} has {bits} bits a weight");
        }
    }
}
