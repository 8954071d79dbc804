//! What the scheduler has in progress, for `/metrics`, `/system` and `Retry-After`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::scheduler::Limits;
use crate::BatchStatus;

/// Counters that the engine's thread writes and others read.
#[derive(Debug)]
pub(super) struct BatchCounters {
    running: AtomicUsize,
    waiting: AtomicUsize,
    kv_bytes: AtomicUsize,
    batch_size: AtomicUsize,
    preemptions: AtomicU64,
    /// Moving average of the milliseconds of the thread's time per request.
    mean_ms: AtomicU64,
}

impl Default for BatchCounters {
    fn default() -> Self {
        Self {
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            kv_bytes: AtomicUsize::new(0),
            batch_size: AtomicUsize::new(0),
            preemptions: AtomicU64::new(0),
            mean_ms: AtomicU64::new(1000),
        }
    }
}

impl BatchCounters {
    /// Counts what is in progress: running sequences, those that wait or are paused, and bytes of KV.
    pub(super) fn now(&self, running: usize, waiting: usize, kv_bytes: usize) {
        self.running.store(running, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
        self.kv_bytes.store(kv_bytes, Ordering::Relaxed);
    }

    /// Counts a decoding step over `sequences`.
    pub(super) fn decoded(&self, sequences: usize) {
        self.batch_size.store(sequences, Ordering::Relaxed);
    }

    /// Counts a sequence that was paused for want of memory.
    pub(super) fn preempted(&self) {
        self.preemptions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that took so many milliseconds of the thread's time.
    pub(super) fn took(&self, ms: u64) {
        self.mean_ms.store((3 * self.mean_ms.load(Ordering::Relaxed) + ms) / 4, Ordering::Relaxed);
    }

    /// Returns about how many seconds of the thread's time a request takes.
    pub(super) fn seconds_per_request(&self) -> u64 {
        self.mean_ms.load(Ordering::Relaxed).div_ceil(1000)
    }

    /// Returns the state, beside `queued` requests that the thread has not taken.
    pub(super) fn status(&self, queued: usize, limits: Limits) -> BatchStatus {
        let kv_bytes = self.kv_bytes.load(Ordering::Relaxed);
        BatchStatus {
            num_requests_running: self.running.load(Ordering::Relaxed),
            num_requests_waiting: self.waiting.load(Ordering::Relaxed) + queued,
            batch_size: self.batch_size.load(Ordering::Relaxed),
            max_num_seqs: limits.max_num_seqs,
            kv_cache_usage_perc: kv_bytes as f64 / limits.kv_cache_memory_bytes.max(1) as f64,
            kv_cache_bytes: kv_bytes,
            num_preemptions_total: self.preemptions.load(Ordering::Relaxed),
        }
    }
}
