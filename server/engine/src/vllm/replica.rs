//! One replica: its state, its slots, and its counters.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::capacity::Capacity;
use super::client::Client;
use super::metrics::MonotonicCounts;
use crate::{EngineError, ReplicaMetrics, ReplicaState, ReplicaStatus};

/// Whether the replica serves, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Availability {
    Loading(String),
    Ready,
    Gone(String),
    Unfit(String),
}

/// One replica.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) id: usize,
    pub(super) url: String,
    pub(super) client: Client,
    max_requests: usize,
    permits: Arc<Semaphore>,
    state: Mutex<Availability>,
    draining: AtomicBool,
    /// Whether it accepts `media_io_kwargs` in requests, as far as is known.
    mm_kwargs: AtomicBool,
    /// Whether it accepts `priority` in requests.
    priority: AtomicBool,
    /// Number of times that it started to serve; its caches are empty after each.
    generation: AtomicU64,
    turn: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    failovers: AtomicU64,
    metrics: Mutex<(MonotonicCounts, Option<ReplicaMetrics>)>,
    capacity: Mutex<Capacity>,
    /// When it last returned a token or passed a health check.
    last_success: Mutex<Instant>,
    /// Whether a failed request asks for a health check.
    check_requested: AtomicBool,
    check_now: Notify,
}

/// A slot for one request on a replica; released when dropped.
#[derive(Debug)]
pub(super) struct ReplicaSlot {
    pub(super) replica: Arc<Replica>,
    _permit: OwnedSemaphorePermit,
}

impl Replica {
    pub(super) fn new(id: usize, url: &Url, max_requests: usize) -> Result<Self, EngineError> {
        Ok(Self {
            id,
            url: url.as_str().trim_end_matches('/').to_owned(),
            client: Client::new(url)?,
            max_requests,
            permits: Arc::new(Semaphore::new(max_requests)),
            state: Mutex::new(Availability::Loading("not reached yet".into())),
            draining: AtomicBool::new(false),
            mm_kwargs: AtomicBool::new(true),
            priority: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            metrics: Mutex::default(),
            capacity: Mutex::new(Capacity::new(max_requests)),
            last_success: Mutex::new(Instant::now()),
            check_requested: AtomicBool::new(false),
            check_now: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> Availability {
        lock(&self.state).clone()
    }

    /// Sets the state; returns the previous one.
    pub(super) fn set_state(&self, state: Availability) -> Availability {
        let before = std::mem::replace(&mut *lock(&self.state), state.clone());
        if state == Availability::Ready && before != Availability::Ready {
            self.generation.fetch_add(1, Ordering::Relaxed);
            self.record_success();
        }
        before
    }

    /// Marks the replica as unreachable, or as `Loading` if it never served.
    pub(super) fn mark_unreachable(&self, why: String) -> Availability {
        let served = self.generation() > 0;
        self.set_state(if served { Availability::Gone(why) } else { Availability::Loading(why) })
    }

    /// Returns whether it receives new requests.
    pub(super) fn is_usable(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && *lock(&self.state) == Availability::Ready
    }

    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    pub(super) fn accepts_mm_kwargs(&self) -> bool {
        self.mm_kwargs.load(Ordering::Relaxed)
    }

    pub(super) fn set_accepts_mm_kwargs(&self, mm_kwargs: bool) {
        self.mm_kwargs.store(mm_kwargs, Ordering::Relaxed);
    }

    pub(super) fn accepts_priority(&self) -> bool {
        self.priority.load(Ordering::Relaxed)
    }

    pub(super) fn set_accepts_priority(&self, priority: bool) {
        self.priority.store(priority, Ordering::Relaxed);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Returns how many requests it probably processes at once; at most `max_requests`.
    pub(super) fn capacity(&self) -> usize {
        lock(&self.capacity).estimate()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.max_requests - self.permits.available_permits()
    }

    /// Acquires a slot, if one is free.
    pub(super) fn try_acquire(self: &Arc<Self>, turn: u64) -> Option<ReplicaSlot> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        self.turn.store(turn, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(ReplicaSlot { replica: Arc::clone(self), _permit: permit })
    }

    /// Records that it returned a token or passed a health check.
    pub(super) fn record_success(&self) {
        *lock(&self.last_success) = Instant::now();
    }

    /// Returns the time since the last success.
    pub(super) fn since_success(&self) -> Duration {
        lock(&self.last_success).elapsed()
    }

    /// Records a failed request and triggers a health check.
    pub(super) fn request_check(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.check_requested.store(true, Ordering::Relaxed);
        self.check_now.notify_one();
    }

    /// Returns and clears whether a health check was requested.
    pub(super) fn take_check_request(&self) -> bool {
        self.check_requested.swap(false, Ordering::Relaxed)
    }

    pub(super) fn count_failover(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the next check.
    pub(super) async fn wait_for_next_check(&self, at_most: Duration) {
        tokio::select! {
            () = tokio::time::sleep(at_most) => {}
            () = self.check_now.notified() => {}
        }
    }

    /// Stores its metrics; `None` means that it exposes none.
    pub(super) fn set_metrics(&self, told: Option<ReplicaMetrics>) {
        if let Some(told) = &told {
            lock(&self.capacity).observe(told, self.in_flight());
        }
        let mut metrics = lock(&self.metrics);
        metrics.1 = told.map(|told| metrics.0.take(told));
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        let (state, reason) = match self.state() {
            Availability::Loading(why) => (ReplicaState::Loading, Some(why)),
            Availability::Gone(why) => (ReplicaState::Gone, Some(why)),
            Availability::Unfit(why) => (ReplicaState::Unfit, Some(why)),
            Availability::Ready if self.is_usable() => (ReplicaState::Ready, None),
            Availability::Ready => (ReplicaState::Draining, None),
        };
        ReplicaStatus {
            id: self.id,
            url: self.url.clone(),
            state,
            reason,
            takes_media_io_kwargs: self.accepts_mm_kwargs(),
            in_flight: self.in_flight(),
            max_requests: self.max_requests,
            requests_total: self.requests.load(Ordering::Relaxed),
            failures_total: self.failures.load(Ordering::Relaxed),
            failovers_total: self.failovers.load(Ordering::Relaxed),
            metrics: lock(&self.metrics).1,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
