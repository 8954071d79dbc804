//! Checks of the GPU, as reported by nvidia-smi. A GB10 has unified memory and reports `[N/A]` for its size, which
//! means unknown, not 0.

use std::{path::Path, process::Stdio, time::Duration};

use homereel_engine::DeviceKind;
use serde_json::json;
use tokio::{process::Command, time::timeout};

use super::{Check, CheckState};

const FIELDS: &str =
    "name,driver_version,compute_cap,memory.total,temperature.gpu,utilization.gpu,power.draw,clocks.sm";

/// Timeout of nvidia-smi, which waits while the driver initializes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Temperature above which a GB10 throttles.
const HOT_C: f64 = 85.0;

/// A GPU.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DetectedGpu {
    name: String,
    driver: Option<String>,
    compute: Option<String>,
    memory_mib: Option<f64>,
    temperature_c: Option<f64>,
    utilization: Option<f64>,
    power_w: Option<f64>,
    clock_mhz: Option<f64>,
    cuda: Option<String>,
}

impl DetectedGpu {
    /// Returns whether the GPU shares the system's memory.
    pub(super) fn unified(&self) -> bool {
        self.memory_mib.is_none()
    }
}

/// Queries nvidia-smi for the first GPU.
pub(super) async fn look() -> Option<DetectedGpu> {
    let query = format!("--query-gpu={FIELDS}");
    let line = output("nvidia-smi", &[&query, "--format=csv,noheader,nounits"]).await?;
    let table = output("nvidia-smi", &[]).await.unwrap_or_default();
    let mut gpu = parse(line.lines().next()?)?;
    gpu.cuda = cuda_version(&table);
    Some(gpu)
}

/// Runs a program and returns its output. `None` means that it is missing, fails or times out.
pub(super) async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let command = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, command).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse(line: &str) -> Option<DetectedGpu> {
    let mut values = line.split(',').map(known);
    let mut next = || values.next().flatten();
    let name = next()?;
    let driver = next();
    let compute = next();
    let mut number = || next().and_then(|text| text.parse::<f64>().ok());
    Some(DetectedGpu {
        name,
        driver,
        compute,
        memory_mib: number(),
        temperature_c: number(),
        utilization: number(),
        power_w: number(),
        clock_mhz: number(),
        cuda: None,
    })
}

fn known(value: &str) -> Option<String> {
    let value = value.trim();
    let unknown = value.is_empty()
        || value.trim_matches(['[', ']']).eq_ignore_ascii_case("N/A")
        || value.trim_matches(['[', ']']).eq_ignore_ascii_case("Not Supported")
        || value.starts_with("[Unknown");
    (!unknown).then(|| value.to_owned())
}

/// Parses the newest CUDA version that the driver supports from the table of a plain `nvidia-smi`.
fn cuda_version(table: &str) -> Option<String> {
    let rest = table.split("CUDA Version:").nth(1)?;
    known(rest.split_whitespace().next()?.trim_end_matches('|'))
}

pub(super) fn checks(gpu: Option<&DetectedGpu>, device: DeviceKind) -> Vec<Check> {
    let built = cfg!(feature = "cuda");
    match gpu {
        Some(gpu) => vec![found(gpu), cuda(gpu, built, device)],
        None => vec![absent(built, device)],
    }
}

fn absent(built: bool, device: DeviceKind) -> Check {
    let card = Path::new("/sys/module/nvidia").exists() || nvidia_on_the_bus();
    let install =
        "install it: `apt install nvidia-driver-580-open` (a DGX Spark has it; reboot after an update)";
    match (built, card) {
        (true, _) if device == DeviceKind::Cuda => {
            Check::new("gpu", CheckState::Fail, "this build uses CUDA, but no NVIDIA driver responds")
                .mend(install)
        }
        (_, true) => {
            Check::new("gpu", CheckState::Warn, "there is an NVIDIA GPU, but its driver does not respond")
                .mend(install)
        }
        (true, false) => Check::new(
            "gpu",
            CheckState::Note,
            "this build can use CUDA, but there is no NVIDIA driver; models run on the CPU",
        ),
        (false, false) => Check::new("gpu", CheckState::Note, "no NVIDIA GPU; models run on the CPU"),
    }
}

fn nvidia_on_the_bus() -> bool {
    let Ok(devices) = std::fs::read_dir("/sys/bus/pci/devices") else { return false };
    devices.flatten().any(|device| {
        let word = |name| std::fs::read_to_string(device.path().join(name)).unwrap_or_default();
        // PCI class 0x03: display or 3D controller.
        word("vendor").trim() == "0x10de" && word("class").starts_with("0x03")
    })
}

fn found(gpu: &DetectedGpu) -> Check {
    let mut words = vec![gpu.name.clone()];
    words.extend(gpu.compute.as_ref().map(|compute| format!("compute capability {compute}")));
    words.push(
        gpu.memory_mib.map_or_else(|| "unified memory".into(), |mib| format!("{:.0} GiB", mib / 1024.0)),
    );
    words.extend(gpu.temperature_c.map(|celsius| format!("{celsius:.0} °C")));
    let facts = json!({
        "name": gpu.name, "driver": gpu.driver, "cuda": gpu.cuda, "compute_capability": gpu.compute,
        "memory_mib": gpu.memory_mib, "temperature_c": gpu.temperature_c, "utilization_percent": gpu.utilization,
        "power_w": gpu.power_w, "sm_clock_mhz": gpu.clock_mhz,
    });
    let check = |state| Check::new("gpu", state, words.join(", ")).facts(facts.clone());
    match gpu.temperature_c {
        Some(celsius) if celsius > HOT_C => check(CheckState::Warn)
            .mend("improve its cooling; `nvidia-smi -lgc 0,2100` makes it a quarter slower and 20 °C cooler"),
        _ => check(CheckState::Ok),
    }
}

fn cuda(gpu: &DetectedGpu, built: bool, device: DeviceKind) -> Check {
    let driver = gpu.driver.as_deref().unwrap_or("unknown");
    let version = gpu.cuda.as_deref().unwrap_or("unknown");
    let words = format!(
        "driver {driver}, CUDA {version}, this build {}",
        if built { "uses it" } else { "does not use it" }
    );
    let check = |state| Check::new("cuda", state, words.clone());
    let major: u32 = version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    match (built, device) {
        (true, _) if (1..13).contains(&major) => {
            check(CheckState::Fail).mend("this build needs CUDA 13: update the driver to 580 or newer")
        }
        (false, DeviceKind::Cuda) => check(CheckState::Fail).mend(
            "build with `cargo build --release --features cuda`, or use --engine vllm, or --device cpu",
        ),
        (false, _) => check(CheckState::Note).mend(
            "to run candle on this GPU, build with --features cuda; --engine vllm works with this build",
        ),
        _ => check(CheckState::Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB10: &str = "NVIDIA GB10, 580.95.05, 12.1, [N/A], 41, 0, 4.53, 208";
    const H100: &str = "NVIDIA H100 80GB HBM3, 580.82.07, 9.0, 81559, 31, 0, 69.50, 345";

    #[test]
    fn what_a_gb10_does_not_tell_is_unknown_and_never_0() {
        let gpu = parse(GB10).unwrap();
        assert!(gpu.unified());
        assert_eq!((gpu.temperature_c, gpu.utilization), (Some(41.0), Some(0.0)));
        let check = found(&gpu);
        assert_eq!(check.state, CheckState::Ok);
        assert!(check.facts["memory_mib"].is_null());
        assert!(check.found.contains("unified memory"), "{}", check.found);
        assert!(!parse(H100).unwrap().unified());
        let silent = parse("NVIDIA GB10, [Not Supported], N/A, Not Supported, , [Unknown Error]").unwrap();
        assert_eq!((silent.driver, silent.temperature_c, silent.utilization), (None, None, None));
    }

    #[test]
    fn an_empty_answer_is_no_gpu() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("[N/A], 580"), None);
    }

    #[test]
    fn the_driver_s_cuda_stands_in_the_table() {
        let table = "| NVIDIA-SMI 580.95.05   Driver Version: 580.95.05   CUDA Version: 13.0     |";
        assert_eq!(cuda_version(table).as_deref(), Some("13.0"));
        assert_eq!(cuda_version("| CUDA Version: N/A |"), None);
        assert_eq!(cuda_version("NVIDIA-SMI has failed"), None);
    }

    #[test]
    fn an_old_driver_below_a_cuda_build_is_a_failure_with_a_mend() {
        let gpu = DetectedGpu { cuda: Some("12.8".into()), ..parse(H100).unwrap() };
        let check = cuda(&gpu, true, DeviceKind::Cuda);
        assert_eq!(check.state, CheckState::Fail);
        assert!(check.mend.unwrap().contains("580"));
        assert_eq!(cuda(&gpu, false, DeviceKind::Cpu).state, CheckState::Note);
        assert_eq!(absent(true, DeviceKind::Cuda).state, CheckState::Fail);
    }
}
