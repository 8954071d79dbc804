//! `homereel guard`: stops model services before memory runs out. On a GB10 the GPU uses system memory,
//! control groups do not limit it, and running out of memory freezes the machine instead of killing a
//! process.
//!
//! Depends on `/proc/meminfo`, control groups and systemctl, not on any model.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{process::Command, time::sleep};

use super::{GuardArgs, UsageError};

/// Interval between memory readings: a GB10 was seen to lose 26 GiB in 9 s.
const EVERY: Duration = Duration::from_millis(250);
/// How long a unit may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(8);
/// How long memory must stay available before a unit is started again.
const CALM: Duration = Duration::from_secs(60);
/// After a second stop within this time, the units stay stopped.
const ONCE_IN: Duration = Duration::from_secs(3600);
/// Timeout of one call of systemctl.
const PATIENCE: Duration = Duration::from_secs(20);

/// Watches memory until it is killed, or, with `--wait-mib`, until enough is available.
pub(super) async fn run(args: GuardArgs) -> anyhow::Result<()> {
    let memory = MemorySource { cgroup: args.cgroup };
    memory.available_mib()?;
    if let Some(wanted) = args.wait_mib {
        return wait(&memory, wanted, Duration::from_secs(args.timeout_s)).await;
    }
    let floor = args.floor_mib.unwrap_or(0);
    if args.restart_mib.is_some_and(|restart| restart <= floor) {
        return Err(
            UsageError(anyhow::anyhow!("--restart-mib must be larger than --floor-mib ({floor})")).into()
        );
    }
    // The guard's own pages must not be swapped out under memory pressure. Without the permission to lock
    // them it continues.
    if let Err(error) = rustix::mm::mlockall(rustix::mm::MlockAllFlags::CURRENT) {
        tracing::warn!(%error, "failed to lock the memory guard in memory; it may be swapped out and react too late");
    }
    tracing::info!(
        floor_mib = floor,
        units = args.unit.join(" "),
        "started to watch available memory; will stop the units when it falls below the floor"
    );
    let guard = Guard { memory, floor, units: args.unit, restart: args.restart_mib, notes: args.notes };
    guard.watch().await
}

async fn wait(memory: &MemorySource, wanted: u64, patience: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let available = memory.available_mib()?;
        if available >= wanted {
            return Ok(());
        }
        ensure!(
            began.elapsed() < patience,
            "{available} MiB are available and {wanted} are needed; stop something, or lower the model's memory fraction"
        );
        sleep(Duration::from_secs(1)).await;
    }
}

struct Guard {
    memory: MemorySource,
    floor: u64,
    units: Vec<String>,
    restart: Option<u64>,
    notes: Option<PathBuf>,
}

impl Guard {
    async fn watch(&self) -> anyhow::Result<()> {
        let mut last_stop: Option<Instant> = None;
        loop {
            sleep(EVERY).await;
            let available = self.memory.available_mib()?;
            if available >= self.floor {
                continue;
            }
            let stopped = match self.stop(available).await {
                Ok(stopped) => stopped,
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        units = self.units.join(" "),
                        available_mib = available,
                        floor_mib = self.floor,
                        "failed to stop the units while memory is low; will retry"
                    );
                    continue;
                }
            };
            if stopped.is_empty() {
                tracing::warn!(
                    available_mib = available,
                    floor_mib = self.floor,
                    "available memory is below the floor, but none of the units is running; nothing was stopped"
                );
                sleep(CALM).await;
                continue;
            }
            let again = last_stop.is_none_or(|last| last.elapsed() > ONCE_IN);
            last_stop = Some(Instant::now());
            if let Some(above) = self.restart.filter(|_| again) {
                self.start_when_calm(&stopped, above).await?;
            } else if self.restart.is_some() {
                self.note("Stopped twice within an hour, so the model stays stopped. Lower its memory fraction, then start it.");
            }
        }
    }

    /// Stops the running units. Kills those that do not stop in time, or while available memory still falls.
    async fn stop(&self, available: u64) -> anyhow::Result<Vec<String>> {
        let units = self.running().await?;
        if units.is_empty() {
            return Ok(units);
        }
        tracing::warn!(
            available_mib = available,
            floor_mib = self.floor,
            units = units.join(" "),
            "available memory is below the floor; stopping the units"
        );
        let mut stop = vec!["stop", "--no-block"];
        stop.extend(units.iter().map(String::as_str));
        systemctl(&stop).await?;
        let began = Instant::now();
        let mut killed = false;
        while !self.running().await?.is_empty() {
            let now = self.memory.available_mib()?;
            if !killed && (began.elapsed() > GRACE || now < self.floor / 2) {
                let mut kill = vec!["kill", "--kill-who=all", "--signal=KILL"];
                kill.extend(units.iter().map(String::as_str));
                // A unit that has exited meanwhile cannot be killed.
                let _ = systemctl(&kill).await;
                killed = true;
            }
            if began.elapsed() > 10 * GRACE {
                bail!("{} did not stop", units.join(" "));
            }
            sleep(EVERY).await;
        }
        let after = self.memory.available_mib()?;
        let how = if killed { "killed" } else { "stopped" };
        self.note(&format!(
            "Memory guard: {} {how} with {available} MiB available (floor {} MiB); {after} MiB {:.1} s later. \
             Look at `journalctl -u {}` for what it was doing; lower its memory fraction or context.",
            units.join(" "),
            self.floor,
            began.elapsed().as_secs_f32(),
            units[0],
        ));
        Ok(units)
    }

    async fn start_when_calm(&self, units: &[String], above: u64) -> anyhow::Result<()> {
        let mut since = Instant::now();
        while since.elapsed() < CALM {
            sleep(Duration::from_secs(1)).await;
            if self.memory.available_mib()? < above {
                since = Instant::now();
            }
        }
        let mut start = vec!["start", "--no-block"];
        start.extend(units.iter().map(String::as_str));
        match systemctl(&start).await {
            Ok(_) => self.note(&format!("Memory guard: {} started again, once.", units.join(" "))),
            Err(error) => {
                let units = units.join(" ");
                tracing::error!(
                    error = format!("{error:#}"),
                    units,
                    "failed to start the units again after memory was freed; start them by hand"
                )
            }
        }
        Ok(())
    }

    async fn running(&self) -> anyhow::Result<Vec<String>> {
        let mut list =
            vec!["list-units", "--plain", "--no-legend", "--full", "--state=active,activating,deactivating"];
        list.extend(self.units.iter().map(String::as_str));
        let text = systemctl(&list).await?;
        Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Appends a note for the next operator; the journal has the same message.
    fn note(&self, words: &str) {
        tracing::warn!(action = words, "the memory guard stopped or started units, because memory was low");
        let Some(path) = &self.notes else { return };
        let time = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| write!(file, "\n## {time}, memory guard\n{words}\n"));
        if let Err(error) = written {
            tracing::error!(%error, path = %path.display(), "failed to write the memory guard's action to its notes; only this log has it");
        }
    }
}

async fn systemctl(arguments: &[&str]) -> anyhow::Result<String> {
    let command =
        Command::new("systemctl").arg("--no-ask-password").args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, command).await;
    let output = output.with_context(|| format!("systemctl {} timed out", arguments[0]))?;
    let output = output.context("failed to run systemctl")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "systemctl {} failed: {}", arguments.join(" "), words.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Source of the amount of available memory.
struct MemorySource {
    cgroup: Option<PathBuf>,
}

impl MemorySource {
    fn available_mib(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string("/proc/meminfo").context("failed to read /proc/meminfo")?;
        let machine = meminfo_kib(&text, "MemAvailable").context("/proc/meminfo has no MemAvailable")? >> 10;
        match &self.cgroup {
            Some(directory) => Ok(machine.min(headroom_mib(directory)?)),
            None => Ok(machine),
        }
    }
}

/// Parses a field of `/proc/meminfo`, in KiB.
pub(super) fn meminfo_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns how much memory a control group has left (version 2, or the memory controller of version 1).
fn headroom_mib(directory: &Path) -> anyhow::Result<u64> {
    let pairs = [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")];
    let number = |name: &str| fs::read_to_string(directory.join(name)).ok();
    for (limit, used) in pairs {
        let (Some(limit), Some(used)) = (number(limit), number(used)) else { continue };
        if limit.trim() == "max" {
            return Ok(u64::MAX >> 20);
        }
        let limit: u64 = limit.trim().parse().context("the control group's limit is not a number")?;
        let used: u64 = used.trim().parse().context("the control group's usage is not a number")?;
        return Ok(limit.saturating_sub(used) >> 20);
    }
    bail!("{} is not a control group with a memory controller", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_meminfo_are_found_by_their_whole_name() {
        let text = "MemTotal:       127600748 kB\nMemFree: 7 kB\nMemAvailable:   9 kB\n";
        assert_eq!(meminfo_kib(text, "MemAvailable"), Some(9));
        assert_eq!(meminfo_kib(text, "Mem"), None);
        assert_eq!(meminfo_kib(text, "SwapTotal"), None);
    }

    #[test]
    fn the_headroom_of_both_kinds_of_control_groups_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(headroom_mib(directory.path()).is_err());
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("memory.limit_in_bytes", "3145728\n");
        write("memory.usage_in_bytes", "1048576\n");
        assert_eq!(headroom_mib(directory.path()).unwrap(), 2);
        write("memory.max", "max\n");
        write("memory.current", "1048576\n");
        assert_eq!(headroom_mib(directory.path()).unwrap(), u64::MAX >> 20);
    }
}
