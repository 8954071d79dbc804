//! A worker's progress counter, which its parent watches, and the number of processors that it may use.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Steps so far: chunks read from the file, packets decoded.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Processors that the worker may use.
static THREADS: OnceLock<usize> = OnceLock::new();

/// Counts a step. A worker without steps counts as stuck.
#[doc(hidden)]
pub fn progress() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// Returns the number of steps so far.
pub(crate) fn steps() -> u64 {
    STEPS.load(Ordering::Relaxed)
}

/// Returns how many threads may compute at once. The first call must precede the sandbox: inside, a cgroup's quota cannot be
/// read, and [`thread::available_parallelism`] would count processors that a container does not have.
pub(crate) fn threads() -> usize {
    *THREADS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
