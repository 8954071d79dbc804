//! The state of this machine: CPU, memory, GPU. Linux only. Values that cannot be read are `None`.

use std::{fs, process::Stdio, time::Duration};

use serde::Serialize;
use tokio::process::Command;

/// Timeout of `nvidia-smi`: a broken driver hangs for minutes.
const GPU_PATIENCE: Duration = Duration::from_secs(3);

/// A snapshot of the machine's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MachineStatus {
    /// Name of the CPU.
    pub cpu: Option<String>,
    /// CPU cores that this program may use.
    pub cores: usize,
    /// Load average of the last minute.
    pub load_1m: Option<f64>,
    /// Total memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Available memory in bytes.
    pub memory_available_bytes: Option<u64>,
    /// Memory of this process in bytes.
    pub resident_bytes: Option<u64>,
    /// Kernel version.
    pub kernel: Option<String>,
    /// Uptime in seconds.
    pub uptime_s: Option<f64>,
    /// GPUs, as reported by `nvidia-smi`.
    pub gpus: Vec<Gpu>,
}

/// A GPU. `None` means that nvidia-smi does not report the value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Gpu {
    /// Name of the GPU.
    pub name: String,
    /// Driver version.
    pub driver: Option<String>,
    /// Utilization in percent.
    pub utilization: Option<f64>,
    /// Dedicated memory in bytes. `None` means memory shared with the system (DGX Spark).
    pub memory_bytes: Option<u64>,
    /// Dedicated memory in use, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Temperature in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Power draw in watts.
    pub power_w: Option<f64>,
}

impl Gpu {
    /// Returns whether the GPU shares the system's memory.
    #[must_use]
    pub fn unified(&self) -> bool {
        self.memory_bytes.is_none()
    }
}

/// Takes a snapshot of the machine.
pub async fn look() -> MachineStatus {
    let memory = memory();
    MachineStatus {
        cpu: field(&read("/proc/cpuinfo"), "model name").map(str::to_owned),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load_1m: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()),
        memory_bytes: memory.total_bytes,
        memory_available_bytes: memory.available_bytes,
        resident_bytes: memory.resident_bytes,
        kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned()).filter(|text| !text.is_empty()),
        uptime_s: read("/proc/uptime").split(' ').next().and_then(|text| text.parse().ok()),
        gpus: gpus().await,
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':').map(str::trim))
}

/// Memory of this machine and of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// All of it, in bytes.
    pub total_bytes: Option<u64>,
    /// What programs can still get, in bytes.
    pub available_bytes: Option<u64>,
    /// What this process has, in bytes.
    pub resident_bytes: Option<u64>,
}

/// Reads how much memory is in use.
#[must_use]
pub fn memory() -> Memory {
    let meminfo = read("/proc/meminfo");
    Memory {
        total_bytes: kib(&meminfo, "MemTotal"),
        available_bytes: kib(&meminfo, "MemAvailable"),
        resident_bytes: kib(&read("/proc/self/status"), "VmRSS"),
    }
}

/// Returns the bytes of a field that the kernel gives in kB.
fn kib(text: &str, key: &str) -> Option<u64> {
    Some(field(text, key)?.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Asks `nvidia-smi` about the GPUs. None where there is no such program.
pub async fn gpus() -> Vec<Gpu> {
    let query =
        "--query-gpu=name,driver_version,utilization.gpu,memory.total,memory.used,temperature.gpu,power.draw";
    let output = Command::new("nvidia-smi")
        .args([query, "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(GPU_PATIENCE, output).await {
        Ok(Ok(output)) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().filter_map(gpu).collect()
        }
        _ => Vec::new(),
    }
}

/// Parses a line such as `NVIDIA GB10, 580.95, 12, [N/A], [N/A], 45, 12.3`.
fn gpu(line: &str) -> Option<Gpu> {
    let mut parts = line.split(',').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let driver = parts.next().filter(|text| !text.starts_with('[')).map(str::to_owned);
    let mut number = || parts.next().and_then(|text| text.parse::<f64>().ok());
    let (utilization, total, used, temperature_c, power_w) =
        (number(), number(), number(), number(), number());
    let mib = |mib: f64| (mib * 1_048_576.0) as u64;
    Some(Gpu {
        name,
        driver,
        utilization,
        memory_bytes: total.filter(|&total| total > 0.0).map(mib),
        memory_used_bytes: used.map(mib),
        temperature_c,
        power_w,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_shares_the_system_s_memory_tells_none_of_its_own() {
        let spark = gpu("NVIDIA GB10, 580.95.05, 12, [N/A], [N/A], 45, 12.31").unwrap();
        assert!(spark.unified());
        assert_eq!(
            (spark.utilization, spark.temperature_c, spark.power_w),
            (Some(12.0), Some(45.0), Some(12.31))
        );
        let card = gpu("NVIDIA H100, 580.1, 0, 81559, 4, 30, 70.5").unwrap();
        assert_eq!(card.memory_bytes, Some(81559 << 20));
        assert_eq!(gpu(""), None);
    }

    #[tokio::test]
    async fn this_machine_has_memory() {
        let machine = look().await;
        assert!(machine.memory_available_bytes < machine.memory_bytes && machine.resident_bytes > Some(0));
        assert!(machine.cores > 0);
    }
}
