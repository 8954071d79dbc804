//! Opens the device for tensors: the CPU, or the first CUDA device.

use candle_core::Device;

use super::DeviceKind;
use crate::EngineError;

/// Opens a device.
///
/// # Errors
/// `Failed` for `cuda` in a build without the feature, without NVIDIA's driver, or without a device that it can use.
pub fn open_device(kind: DeviceKind) -> Result<Device, EngineError> {
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda => cuda(),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Device, EngineError> {
    Err(EngineError::Failed(
        "--device cuda needs a build with the cuda feature (cargo build --features cuda); --device cpu would fit"
            .into(),
    ))
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Device, EngineError> {
    super::libcuda::open().map_err(|said| {
        EngineError::Failed(format!(
            "--device cuda needs NVIDIA's driver, which is not on this machine ({said}); --device cpu would fit"
        ))
    })?;
    Device::new_cuda(0).map_err(|error| {
        // With RUST_BACKTRACE set, candle appends a backtrace to its message.
        let said = error.to_string();
        EngineError::Failed(format!("no CUDA device: {}", said.lines().next().unwrap_or_default()))
    })
}
