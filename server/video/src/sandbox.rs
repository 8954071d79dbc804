//! The sandbox of a worker, entered once, on the worker's only thread, before a byte of the file is read.
//!
//! Independent layers, each of which stops most attacks: no capabilities and no new privileges, Landlock (no file system, no
//! network), seccomp (only the system calls in [`calls`]), resource limits, no inherited descriptors. On a kernel that lacks a layer the sandbox
//! is weaker, but videos can still be read; [`Sandbox`] reports which layers are active.

mod calls;
mod capabilities;
mod descriptors;

use std::{fs, io, path::PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
    thread::set_no_new_privs,
};
use serde::{Deserialize, Serialize};

pub(crate) use descriptors::close_inherited;

/// The newest Landlock that we know words of; an older kernel enforces its part of them.
const NEWEST: ABI = ABI::V10;
/// Descriptors of a worker: three streams, its socket, the file and copies of both.
const DESCRIPTORS: u64 = 32;
/// Address space beyond the memory that may be written to: libraries, and arenas and stacks that are reserved only.
/// Seen on two processors with 8K and 1080p clips: 0.5 to 0.6 GB. Each further thread reserves 66 MB; this is
/// room for a hundred.
const RESERVED: u64 = 8 << 30;
/// The same with NVIDIA's driver, which reserves addresses for all memory of the machine and its devices.
const CHIP_RESERVED: u64 = 1 << 44;
const CHIP_DESCRIPTORS: u64 = 256;

/// What holds a worker. All layers are there on Linux 5.13 and newer, unless the machine's owner switched one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sandbox {
    /// Version of Landlock's rules that are enforced: files from 1, TCP from 4, signals and abstract sockets from 6.
    pub landlock_abi: Option<u32>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Whether no program that it might start could gain privileges.
    pub no_new_privs: bool,
    /// Whether it has no capability, also when root started it.
    pub no_capabilities: bool,
    /// Whether descriptors that the parent left open by accident were closed.
    pub descriptors_closed: bool,
}

impl Sandbox {
    /// Returns what is missing, each with how to mend it; nothing on a machine as it should be.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let layers = [
            (
                self.landlock_abi.is_some(),
                "Landlock (needs Linux 5.13 and `landlock` among the kernel's `lsm=`): files are kept from the worker \
                 by seccomp alone",
            ),
            (
                self.seccomp,
                "seccomp (needs CONFIG_SECCOMP_FILTER, on x86-64 or aarch64): the worker may make any system call",
            ),
            (self.no_new_privs, "no_new_privs (needs Linux 3.5)"),
            (
                self.no_capabilities,
                "capset (the kernel refused it): the worker keeps the server's capabilities",
            ),
            (
                self.descriptors_closed,
                "close_range (needs Linux 5.9): descriptors that leak into the worker stay open",
            ),
        ];
        layers.into_iter().filter(|(there, _)| !there).map(|(_, text)| text).collect()
    }
}

/// The bounds of a sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SandboxLimits {
    /// Bytes that the worker may write to.
    pub(crate) memory: u64,
    /// Seconds of processor time.
    pub(crate) cpu_s: u64,
    pub(crate) descriptors_closed: bool,
}

/// Locks the process in, for good.
///
/// # Errors
/// When limits cannot be lowered, or when there is a second thread, which would stay outside.
pub(crate) fn enter(cell: SandboxLimits) -> io::Result<Sandbox> {
    alone()?;
    limit(cell, DESCRIPTORS, RESERVED)?;
    let (no_new_privs, no_capabilities) = privileges()?;
    let landlock_abi = landlock(&[]).ok().as_ref().and_then(abi);
    // Last, for the calls that build the other layers are not on its list.
    let seccomp = calls::filter(false).is_ok();
    let descriptors_closed = cell.descriptors_closed;
    Ok(Sandbox { landlock_abi, seccomp, no_new_privs, no_capabilities, descriptors_closed })
}

/// Locks the process in with NVIDIA's decoder chip, which `open` opens: the driver needs its devices and libraries, threads
/// of its own and vast reservations of addresses. Landlock is closed first, so that those threads are inside; without
/// Landlock the chip is not opened. Returns why it is not, if it is not; then the sandbox is the usual one.
///
/// # Errors
/// As [`enter`].
pub(crate) fn enter_with(
    cell: SandboxLimits,
    open: impl FnOnce() -> Result<(), String>,
) -> io::Result<(Sandbox, Option<String>)> {
    alone()?;
    let (no_new_privs, no_capabilities) = privileges()?;
    let Some(landlock_abi) = landlock(&chip_rules()).ok().as_ref().and_then(abi) else {
        let reason = "this kernel has no Landlock, without which no device is opened";
        return Ok((enter(cell)?, Some(reason.into())));
    };
    match open() {
        Ok(()) => {
            limit(cell, CHIP_DESCRIPTORS, CHIP_RESERVED)?;
            let seccomp = calls::filter(true).is_ok();
            let descriptors_closed = cell.descriptors_closed;
            let landlock_abi = Some(landlock_abi);
            Ok((Sandbox { landlock_abi, seccomp, no_new_privs, no_capabilities, descriptors_closed }, None))
        }
        Err(reason) => {
            limit(cell, DESCRIPTORS, RESERVED)?;
            // On top of the first, with nothing left; threads that the driver may have left behind have the first.
            let landlock_abi = landlock(&[]).ok().as_ref().and_then(abi);
            let seccomp = calls::filter(false).is_ok();
            let descriptors_closed = cell.descriptors_closed;
            let sandbox =
                Sandbox { landlock_abi, seccomp, no_new_privs, no_capabilities, descriptors_closed };
            Ok((sandbox, Some(reason)))
        }
    }
}

fn alone() -> io::Result<()> {
    if fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(io::Error::other("a thread was started before the sandbox was entered"));
    }
    Ok(())
}

/// Gives up privileges. Returns whether no new ones can be gained, and whether no capability is left.
fn privileges() -> io::Result<(bool, bool)> {
    // A core dump would hold the video; where the kernel pipes cores to a program, the limit of size is not asked.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let no_new_privs = set_no_new_privs(true).is_ok();
    Ok((no_new_privs, capabilities::drop_all()))
}

/// Lowers what the process may use. `RLIMIT_NPROC` is not among it, for it counts all threads of the user, the
/// server's too; seccomp forbids processes instead, and `memory` bounds threads by their stacks.
fn limit(cell: SandboxLimits, descriptors: u64, reserved: u64) -> io::Result<()> {
    let limits = [
        (Resource::Core, 0),
        // Not even the video's own file could be written, should its descriptor allow it.
        (Resource::Fsize, 0),
        (Resource::Memlock, 0),
        (Resource::Nofile, descriptors),
        (Resource::Cpu, cell.cpu_s),
        (Resource::Data, cell.memory),
        (Resource::As, cell.memory.saturating_add(reserved)),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// Takes every right that Landlock knows and grants back only `granted`: open descriptors stay usable, nothing else is.
fn landlock(granted: &[(PathBuf, BitFlags<AccessFs>)]) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (path, access) in granted {
        ruleset = ruleset.add_rules(path_beneath_rules([path], *access))?;
    }
    ruleset.restrict_self()
}

/// What NVIDIA's driver opens: its devices, to use; libraries and what the kernel tells of the machine, to read.
fn chip_rules() -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let read = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let using = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let readable =
        ["/usr/lib", "/usr/lib64", "/usr/local/cuda", "/lib", "/lib64", "/etc/ld.so.cache", "/proc", "/sys"];
    let mut rules: Vec<_> = readable.iter().map(|path| (PathBuf::from(path), read)).collect();
    let devices = fs::read_dir("/dev").into_iter().flatten().filter_map(Result::ok);
    rules.extend(
        devices
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("nvidia"))
            .map(|entry| (entry.path(), using | AccessFs::ReadDir)),
    );
    rules.retain(|(path, _)| path.exists());
    rules
}

fn abi(status: &RestrictionStatus) -> Option<u32> {
    match (&status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => Some(effective_abi as u32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Sandbox;

    #[test]
    fn what_is_missing_is_named() {
        let whole = Sandbox {
            landlock_abi: Some(1),
            seccomp: true,
            no_new_privs: true,
            no_capabilities: true,
            descriptors_closed: true,
        };
        assert!(whole.missing().is_empty());
        let missing = Sandbox { landlock_abi: None, ..whole }.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("Landlock"), "{missing:?}");
        assert_eq!(Sandbox::default().missing().len(), 5);
    }
}
