//! Samples resource usage during a run: memory, the load generator's own CPU time, the GPU. Linux only; a value that cannot be
//! read is `None`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use homereel_web::bench_result::{Machine, ResourceUsage};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// Interval between samples of memory.
const PERIOD: Duration = Duration::from_millis(200);
/// Limit of a server's processes that are sampled.
const MAX_PROCESSES: usize = 256;

/// Samples resources in the background until [`ResourceMonitor::finish`].
#[derive(Debug)]
pub struct ResourceMonitor {
    memory: JoinHandle<(Option<f64>, Option<f64>)>,
    gpu: JoinHandle<Vec<[Option<f64>; 3]>>,
    stop: tokio::sync::watch::Sender<bool>,
    began: Instant,
    cpu: f64,
}

/// Starts to sample this machine, and the process `server` on it.
#[must_use]
pub fn monitor(server: Option<u32>) -> ResourceMonitor {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    ResourceMonitor {
        memory: tokio::spawn(memory(server, stopped.clone())),
        gpu: tokio::spawn(gpu(stopped)),
        stop,
        began: Instant::now(),
        cpu: own_cpu_s(),
    }
}

impl ResourceMonitor {
    /// Stops sampling and returns the usage.
    pub async fn finish(self) -> ResourceUsage {
        let wall = self.began.elapsed().as_secs_f64();
        let cpu = own_cpu_s() - self.cpu;
        // Fails only if both tasks have ended already.
        let _ = self.stop.send(true);
        let (peak_rss_mib, min_mem_available_mib) = self.memory.await.unwrap_or_default();
        let gpu = self.gpu.await.unwrap_or_default();
        let mean = |k: usize| {
            let values: Vec<f64> = gpu.iter().filter_map(|sample| sample[k]).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        ResourceUsage {
            peak_rss_mib,
            min_mem_available_mib,
            generator_cpu: cpu / wall.max(1e-9),
            gpu_utilization: mean(0),
            gpu_power_w: mean(1),
            gpu_sm_clock_mhz: mean(2),
        }
    }
}

async fn memory(
    server: Option<u32>,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) -> (Option<f64>, Option<f64>) {
    let (mut peak, mut least): (Option<f64>, Option<f64>) = (None, None);
    loop {
        let rss = server.and_then(tree_rss_mib);
        peak = peak.into_iter().chain(rss).reduce(f64::max);
        least = least.into_iter().chain(field_mib("/proc/meminfo", "MemAvailable:")).reduce(f64::min);
        if tokio::time::timeout(PERIOD, stopped.changed()).await.is_ok() {
            return (peak, least);
        }
    }
}

/// Samples utilization, power and clock once per second, if `nvidia-smi` is installed.
async fn gpu(mut stopped: tokio::sync::watch::Receiver<bool>) -> Vec<[Option<f64>; 3]> {
    let mut samples = Vec::new();
    let child = Command::new("nvidia-smi")
        .args([
            "--query-gpu=utilization.gpu,power.draw,clocks.sm",
            "--format=csv,noheader,nounits",
            "-l",
            "1",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = child else { return samples };
    let Some(stdout) = child.stdout.take() else { return samples };
    let mut lines = BufReader::new(stdout).lines();
    loop {
        tokio::select! {
            _ = stopped.changed() => return samples,
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return samples };
                // A board that does not report a value has "[N/A]".
                let mut parts = line.split(',').map(|part| part.trim().parse().ok());
                samples.push(std::array::from_fn(|_| parts.next().flatten()));
            }
        }
    }
}

/// Returns the resident memory of `root` and its descendants in total: vLLM's model is in a child process.
fn tree_rss_mib(root: u32) -> Option<f64> {
    let rss = |pid: u32| field_mib(&format!("/proc/{pid}/status"), "VmRSS:");
    let mut sum = rss(root)?;
    let mut open = children(root);
    // Bounded, because the tree may grow while it is read.
    for _ in 0..MAX_PROCESSES {
        let Some(pid) = open.pop() else { break };
        // A process that has exited since it was listed uses no memory.
        sum += rss(pid).unwrap_or_default();
        open.extend(children(pid));
    }
    Some(sum)
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Reads a line such as `VmRSS:  1234 kB` and returns MiB.
fn field_mib(path: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Returns the CPU seconds of this process so far.
fn own_cpu_s() -> f64 {
    let read = || -> Option<f64> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may contain spaces; user and system time are the 12th and 13th fields after it.
        let mut fields = text.rsplit_once(") ")?.1.split(' ').skip(11);
        let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
        // USER_HZ is 100 on all Linux machines.
        Some(ticks / 100.0)
    };
    read().unwrap_or_default()
}

/// Describes this machine.
#[must_use]
pub fn machine() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    Machine {
        cpu: named("model name")
            .or_else(|| named("CPU part"))
            .unwrap_or_else(|| std::env::consts::ARCH.into()),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_mib: field_mib("/proc/meminfo", "MemTotal:").unwrap_or_default().round(),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_and_own_cpu_time_are_sampled() {
        let monitor = monitor(Some(std::process::id()));
        // Bounded by CPU time, not by the clock: a busy machine may give this test little of it.
        let (began, mut sum) = (own_cpu_s(), 0_u64);
        for _ in 0..20_000 {
            for _ in 0..10_000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
            }
            if own_cpu_s() - began >= 0.1 {
                break;
            }
        }
        let usage = monitor.finish().await;
        assert!(usage.peak_rss_mib.unwrap() > 1.0);
        assert!(usage.min_mem_available_mib.unwrap() > 1.0);
        // qemu-user reports no CPU time.
        assert!(usage.generator_cpu > 0.0 || own_cpu_s() == 0.0, "{}", usage.generator_cpu);
    }

    #[test]
    fn memory_of_children_counts() {
        let alone = tree_rss_mib(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let listed = children(std::process::id()).contains(&child.id());
        let with = tree_rss_mib(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed && with.is_some() && alone > 0.0);
        assert_eq!(tree_rss_mib(u32::MAX), None);
    }
}
