//! The system calls that a worker may make, as three seccomp filters.
//!
//! A call that is not listed fails with `ENOSYS`, as if the kernel were older than the call. C libraries and codecs have a
//! fallback for that error (a filter cannot inspect the arguments of `clone3`, but glibc then uses `clone`, whose flags it
//! can), so that a newer libc does not turn every video into an error. Opening files fails with `EACCES`, because legitimate
//! code tries it (Rust reads the cgroup's processor quota, glibc counts processors) and continues without. Calls that only an
//! attacker makes (programs, processes, sockets, signals to others, kernel interfaces) kill the process, so that an attack
//! is noticed and has one attempt.
//!
//! The kernel runs all three filters and takes the strictest result: kill, then error, then allow.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

type CallRules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[c_long] = &[
    // The file, the socket, the log: open descriptors only.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Its own signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Clocks, chance, and how large the machine is (glibc's qsort asks).
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Calls that NVIDIA's driver makes besides, once it has begun. What it may open, Landlock says.
const CHIP: &[c_long] = &[
    libc::SYS_ioctl,
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
    libc::SYS_pread64,
    libc::SYS_dup,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_get_mempolicy,
    libc::SYS_mbind,
    libc::SYS_mincore,
    libc::SYS_msync,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// Calls that honest code tries and does without.
const REFUSED: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
];

/// Calls that no honest worker makes.
const FATAL: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_memfd_create,
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// Installs the filters, for all threads that there are and will be; `chip` lets NVIDIA's driver work.
///
/// # Errors
/// When the kernel has no seccomp, or this architecture no filter.
pub(super) fn filter(chip: bool) -> Result<(), seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let enosys = SeccompAction::Errno(libc::ENOSYS as u32);
    let eacces = SeccompAction::Errno(libc::EACCES as u32);
    // All are compiled before the first is in force.
    let programs: [BpfProgram; 3] = [
        SeccompFilter::new(fatal()?, SeccompAction::Allow, SeccompAction::KillProcess, arch)?.try_into()?,
        SeccompFilter::new(allowed(chip)?, enosys, SeccompAction::Allow, arch)?.try_into()?,
        SeccompFilter::new(refused(chip), SeccompAction::Allow, eacces, arch)?.try_into()?,
    ];
    // Installing needs calls that are not on the list: that one goes in last.
    let [fatal, allowed, refused] = &programs;
    apply_filter_all_threads(fatal)?;
    apply_filter_all_threads(refused)?;
    apply_filter_all_threads(allowed)
}

fn always(calls: &[c_long]) -> CallRules {
    // An empty chain of rules matches any arguments.
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

fn refused(chip: bool) -> CallRules {
    let mut rules = always(REFUSED);
    if chip {
        rules.remove(&libc::SYS_openat);
    }
    rules
}

fn allowed(chip: bool) -> Result<CallRules, BackendError> {
    let mut rules = always(ALLOWED);
    // Another filter answers these.
    rules.extend(always(REFUSED));
    let no_code = || masked(2, libc::PROT_EXEC as u64, 0);
    let anonymous = masked(3, libc::MAP_ANONYMOUS as u64, libc::MAP_ANONYMOUS as u64)?;
    let fcntl = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
    // The path is out of a filter's sight; with this flag glibc asks for an open descriptor. What is left to an
    // attacker is whether a file exists and how long it is.
    let empty_path = masked(3, libc::AT_EMPTY_PATH as u64, libc::AT_EMPTY_PATH as u64)?;
    let conditional = [
        // No file becomes memory, no memory becomes code.
        (libc::SYS_mmap, vec![SeccompRule::new(vec![no_code()?, anonymous])?]),
        (libc::SYS_mprotect, vec![SeccompRule::new(vec![no_code()?])?]),
        (libc::SYS_clone, vec![SeccompRule::new(vec![masked(0, THREAD | NAMESPACES, THREAD)?])?]),
        (libc::SYS_newfstatat, vec![SeccompRule::new(vec![empty_path])?]),
        // To whom the socket is connected, and to nobody else.
        (libc::SYS_sendto, vec![SeccompRule::new(vec![equal(4, SeccompCmpArgLen::Qword, 0)?])?]),
        (libc::SYS_fcntl, any(1, &fcntl.map(|command| command as u64))?),
        (libc::SYS_prctl, any(0, &[libc::PR_SET_NAME as u64])?),
        // `abort` sends itself a signal.
        (libc::SYS_tgkill, any(0, &[u64::from(std::process::id())])?),
    ];
    rules.extend(conditional);
    if chip {
        rules.extend(always(CHIP));
        // Its devices are memory, too; code is still loaded by nobody.
        rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![no_code()?])?]);
    }
    Ok(rules)
}

const THREAD: u64 = libc::CLONE_THREAD as u64;
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

fn fatal() -> Result<CallRules, BackendError> {
    let mut rules = always(FATAL);
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![masked(0, THREAD, 0)?])?]);
    Ok(rules)
}

/// Matches when 32 bits of argument `index` are one of `values`.
fn any(index: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .iter()
        .map(|value| SeccompRule::new(vec![equal(index, SeccompCmpArgLen::Dword, *value)?]))
        .collect()
}

fn equal(index: u8, length: SeccompCmpArgLen, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, length, SeccompCmpOp::Eq, value)
}

/// Matches when argument `index` under `mask` is `value`.
fn masked(index: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}
