//! What the run cost the machine, read while it runs: memory, the generator's own CPU time, the GPU. Linux only; what
//! can't be read is left out, never guessed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// How often memory is read.
const PERIOD: Duration = Duration::from_millis(200);
/// Processes of a server that are looked at.
const MAX_PROCESSES: usize = 256;

/// What was seen during a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// The largest resident set of the server's process (`--server-pid`) with its children, MiB. Pages that they share
    /// count for each.
    pub peak_rss_mib: Option<f64>,
    /// The least `MemAvailable` of this machine, MiB.
    pub min_mem_available_mib: Option<f64>,
    /// CPU seconds of the load generator itself for each second of the run.
    pub generator_cpu: f64,
    /// Mean GPU utilisation, percent.
    pub gpu_utilization: Option<f64>,
    /// Mean power of the GPU, watts.
    pub gpu_power_w: Option<f64>,
    /// Mean clock of the GPU's multiprocessors, MHz.
    pub gpu_sm_clock_mhz: Option<f64>,
}

/// Watches until it is told to stop.
#[derive(Debug)]
pub struct Watch {
    memory: JoinHandle<(Option<f64>, Option<f64>)>,
    gpu: JoinHandle<Vec<[Option<f64>; 3]>>,
    stop: tokio::sync::watch::Sender<bool>,
    began: Instant,
    cpu: f64,
}

/// Starts to watch this machine, and the process `server` on it.
#[must_use]
pub fn watch(server: Option<u32>) -> Watch {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    Watch {
        memory: tokio::spawn(memory(server, stopped.clone())),
        gpu: tokio::spawn(gpu(stopped)),
        stop,
        began: Instant::now(),
        cpu: own_cpu_s(),
    }
}

impl Watch {
    /// Ends the watch.
    pub async fn end(self) -> Seen {
        let wall = self.began.elapsed().as_secs_f64();
        let cpu = own_cpu_s() - self.cpu;
        // Only fails when nobody listens any more, and then there is nothing to stop.
        let _ = self.stop.send(true);
        let (peak_rss_mib, min_mem_available_mib) = self.memory.await.unwrap_or_default();
        let gpu = self.gpu.await.unwrap_or_default();
        let mean = |k: usize| {
            let values: Vec<f64> = gpu.iter().filter_map(|sample| sample[k]).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Seen {
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

/// Utilisation, power and clock, one sample a second, where there is an `nvidia-smi`.
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
                // "[N/A]" where a board does not tell: no number.
                let mut parts = line.split(',').map(|part| part.trim().parse().ok());
                samples.push(std::array::from_fn(|_| parts.next().flatten()));
            }
        }
    }
}

/// The resident sets of `root` and of all that it started, added up; a vLLM's model lives in a child.
fn tree_rss_mib(root: u32) -> Option<f64> {
    let rss = |pid: u32| field_mib(&format!("/proc/{pid}/status"), "VmRSS:");
    let mut sum = rss(root)?;
    let mut open = children(root);
    // A tree that grows while it is read ends somewhere all the same.
    for _ in 0..MAX_PROCESSES {
        let Some(pid) = open.pop() else { break };
        // Gone since it was listed: nothing of it is resident.
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

/// Reads a line like `VmRSS:  1234 kB`, in MiB.
fn field_mib(path: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// CPU seconds of this process so far.
fn own_cpu_s() -> f64 {
    let read = || -> Option<f64> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th fields after it.
        let mut fields = text.rsplit_once(") ")?.1.split(' ').skip(11);
        let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
        // USER_HZ, which Linux fixes at 100 for every program.
        Some(ticks / 100.0)
    };
    read().unwrap_or_default()
}

/// Describes this machine for a report: (processor, cores, memory in MiB, kernel).
#[must_use]
pub fn describe() -> Described {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    Described {
        cpu: named("model name")
            .or_else(|| named("CPU part"))
            .unwrap_or_else(|| std::env::consts::ARCH.into()),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_mib: field_mib("/proc/meminfo", "MemTotal:").unwrap_or_default().round(),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
    }
}

/// The machine that the load came from (the server's too, where it is a local one).
#[derive(Debug, Clone, Serialize)]
pub struct Described {
    /// Name of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory.
    pub memory_mib: f64,
    /// Release of the kernel.
    pub kernel: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_sees_memory_and_its_own_work() {
        let watch = watch(Some(std::process::id()));
        // Work, not time: a busy machine gives little of the one in much of the other.
        let (began, mut sum) = (own_cpu_s(), 0_u64);
        for _ in 0..20_000 {
            for _ in 0..10_000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
            }
            if own_cpu_s() - began >= 0.1 {
                break;
            }
        }
        let seen = watch.end().await;
        assert!(seen.peak_rss_mib.unwrap() > 1.0);
        assert!(seen.min_mem_available_mib.unwrap() > 1.0);
        // Under qemu-user a program is told that it never worked.
        assert!(seen.generator_cpu > 0.0 || own_cpu_s() == 0.0, "{}", seen.generator_cpu);
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
