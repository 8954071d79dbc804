//! One upstream as the pool sees it: its state, its places, what it was given and what it told of itself. Knows
//! nothing of requests and their content.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::client::Client;
use super::gauges::Counts;
use crate::{EngineError, UpstreamMetrics, UpstreamState, UpstreamStatus};

/// Whether it serves, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Loading(String),
    Ready,
    Gone(String),
    Unfit(String),
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) id: usize,
    pub(super) url: String,
    pub(super) client: Client,
    max_requests: usize,
    places: Arc<Semaphore>,
    state: Mutex<State>,
    draining: AtomicBool,
    /// It takes settings of media in requests, as far as is known.
    trusting: AtomicBool,
    /// How often it came (back) to serve: what it had cached before is gone.
    life: AtomicU64,
    turn: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    failovers: AtomicU64,
    metrics: Mutex<(Counts, Option<UpstreamMetrics>)>,
    /// When it last gave a token or a word.
    proven: Mutex<Instant>,
    /// Something went wrong with it: the next look asks it for a word.
    suspect: AtomicBool,
    look_again: Notify,
}

/// A request's place with a replica; counted as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
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
            places: Arc::new(Semaphore::new(max_requests)),
            state: Mutex::new(State::Loading("not reached yet".into())),
            draining: AtomicBool::new(false),
            trusting: AtomicBool::new(true),
            life: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            metrics: Mutex::default(),
            proven: Mutex::new(Instant::now()),
            suspect: AtomicBool::new(false),
            look_again: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// Takes a new state; returns the one before.
    pub(super) fn set_state(&self, state: State) -> State {
        let before = std::mem::replace(&mut *lock(&self.state), state.clone());
        if state == State::Ready && before != State::Ready {
            self.life.fetch_add(1, Ordering::Relaxed);
            self.prove();
        }
        before
    }

    /// Out of reach or not answering: `Loading` if it never served.
    pub(super) fn lose(&self, why: String) -> State {
        let served = self.life() > 0;
        self.set_state(if served { State::Gone(why) } else { State::Loading(why) })
    }

    /// Tells whether it gets new requests.
    pub(super) fn is_usable(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && *lock(&self.state) == State::Ready
    }

    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    pub(super) fn is_trusting(&self) -> bool {
        self.trusting.load(Ordering::Relaxed)
    }

    pub(super) fn set_trusting(&self, trusting: bool) {
        self.trusting.store(trusting, Ordering::Relaxed);
    }

    pub(super) fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.max_requests - self.places.available_permits()
    }

    /// Takes a place, if there is one.
    pub(super) fn take_place(self: &Arc<Self>, turn: u64) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.turn.store(turn, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(Place { replica: Arc::clone(self), _permit: permit })
    }

    /// It gave a token or a word just now.
    pub(super) fn prove(&self) {
        *lock(&self.proven) = Instant::now();
    }

    /// How long it gave neither token nor word.
    pub(super) fn unproven_for(&self) -> Duration {
        lock(&self.proven).elapsed()
    }

    /// It failed a request: whoever watches looks at once, and asks for a word.
    pub(super) fn suspect(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.suspect.store(true, Ordering::Relaxed);
        self.look_again.notify_one();
    }

    /// Tells whether it was suspected since it was last asked.
    pub(super) fn take_suspicion(&self) -> bool {
        self.suspect.swap(false, Ordering::Relaxed)
    }

    pub(super) fn count_failover(&self) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the next look.
    pub(super) async fn rest(&self, at_most: Duration) {
        tokio::select! {
            () = tokio::time::sleep(at_most) => {}
            () = self.look_again.notified() => {}
        }
    }

    /// Keeps what it told of itself; none when it tells nothing.
    pub(super) fn keep_metrics(&self, told: Option<UpstreamMetrics>) {
        let mut metrics = lock(&self.metrics);
        metrics.1 = told.map(|told| metrics.0.take(told));
    }

    pub(super) fn status(&self) -> UpstreamStatus {
        let (state, reason) = match self.state() {
            State::Loading(why) => (UpstreamState::Loading, Some(why)),
            State::Gone(why) => (UpstreamState::Gone, Some(why)),
            State::Unfit(why) => (UpstreamState::Unfit, Some(why)),
            State::Ready if self.is_usable() => (UpstreamState::Ready, None),
            State::Ready => (UpstreamState::Draining, None),
        };
        UpstreamStatus {
            id: self.id,
            url: self.url.clone(),
            state,
            reason,
            takes_media_io_kwargs: self.is_trusting(),
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
