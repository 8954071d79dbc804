//! Describes a device and watches how much of its memory is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use candle_core::Device;
use serde::{Deserialize, Serialize};

/// Time between two looks at the used memory.
const INTERVAL: Duration = Duration::from_millis(2);

/// What a device is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// Name, as the driver or the processor reports it.
    pub name: String,
    /// CUDA compute capability, for example `9.0`; `None` means a CPU.
    pub compute_capability: Option<String>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of memory that are in use, by this process and others.
    pub used_bytes: u64,
}

/// Describes `device`.
///
/// # Errors
/// When the driver does not answer.
pub fn describe(device: &Device) -> candle_core::Result<Description> {
    let (free, total) = memory(device)?;
    let (name, compute_capability) = identity(device)?;
    Ok(Description { name, compute_capability, memory_bytes: total, used_bytes: total.saturating_sub(free) })
}

#[cfg(feature = "cuda")]
fn identity(device: &Device) -> candle_core::Result<(String, Option<String>)> {
    let Device::Cuda(cuda) = device else { return Ok((cpu_name(), None)) };
    let stream = cuda.cuda_stream();
    let context = stream.context();
    let name = context.name().map_err(candle_core::Error::wrap)?;
    let (major, minor) = context.compute_capability().map_err(candle_core::Error::wrap)?;
    Ok((name, Some(format!("{major}.{minor}"))))
}

#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "the build for CUDA asks the driver here")]
fn identity(_: &Device) -> candle_core::Result<(String, Option<String>)> {
    Ok((cpu_name(), None))
}

/// Returns the free and total bytes of the memory of `device`.
#[cfg(feature = "cuda")]
fn memory(device: &Device) -> candle_core::Result<(u64, u64)> {
    let Device::Cuda(cuda) = device else { return Ok(system_memory()) };
    let (free, total) = cuda.cuda_stream().context().mem_get_info().map_err(candle_core::Error::wrap)?;
    Ok((free as u64, total as u64))
}

#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "the build for CUDA asks the driver here")]
fn memory(_: &Device) -> candle_core::Result<(u64, u64)> {
    Ok(system_memory())
}

/// Returns the available and total bytes of the system's memory.
fn system_memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default()
    };
    (1024 * kib("MemAvailable"), 1024 * kib("MemTotal"))
}

fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("CPU".into(), |(_, name)| name.to_owned())
}

/// Samples the used memory of a device on a thread of its own, until [`PeakMemory::stop`].
#[derive(Debug)]
pub struct PeakMemory {
    stopped: Arc<AtomicBool>,
    least_free: Arc<AtomicU64>,
    free_before: u64,
    thread: JoinHandle<()>,
}

impl PeakMemory {
    /// Starts to sample.
    ///
    /// # Errors
    /// When the driver does not answer, or the system gives no thread.
    pub fn start(device: &Device) -> candle_core::Result<Self> {
        let (free_before, _) = memory(device)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let least_free = Arc::new(AtomicU64::new(free_before));
        let (stop, least, device) = (Arc::clone(&stopped), Arc::clone(&least_free), device.clone());
        let thread = std::thread::Builder::new().name("peak-memory".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Ok((free, _)) = memory(&device) {
                    least.fetch_min(free, Ordering::Relaxed);
                }
                std::thread::sleep(INTERVAL);
            }
        })?;
        Ok(Self { stopped, least_free, free_before, thread })
    }

    /// Stops, and returns the most bytes that were in use beyond those at the start.
    #[must_use]
    pub fn stop(self) -> u64 {
        self.stopped.store(true, Ordering::Relaxed);
        // The thread has no result, and it does not panic.
        let _ = self.thread.join();
        self.free_before - self.least_free.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_described_by_its_name_and_memory() {
        let it = describe(&Device::Cpu).unwrap();
        assert!(!it.name.is_empty() && it.compute_capability.is_none());
        assert!(it.used_bytes > 0 && it.used_bytes < it.memory_bytes, "{it:?}");
    }
}
