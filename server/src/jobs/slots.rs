//! Slots of the model's lane: how many parts of videos the model watches at once, and how many are decoded ahead.
//!
//! A part is a short video or one window of a long one. It is decoded once, then all questions about it are asked.
//! **Invariant:** at most [`JobSlots::limit`] parts have a slot, and at most [`AHEAD`] more hold decoded frames.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use homereel_engine::Engine;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{backoff::Backoff, pace::Pace};

/// Parts that are decoded while the model watches others.
pub(super) const AHEAD: usize = 1;

/// Maximum number of slots.
pub(super) const MAX_JOBS: usize = 256;

/// How many videos the model watches at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobsLimit {
    /// As many as the engine processes at once, less one for people; fewer while people's questions wait for it.
    #[default]
    Auto,
    /// A fixed number.
    Fixed(usize),
}

impl<'de> serde::Deserialize<'de> for JobsLimit {
    /// Reads `"auto"` or a number.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(usize),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for JobsLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text} is neither `auto` nor a number from 1 to {MAX_JOBS}");
        match text {
            "auto" => Ok(Self::Auto),
            number => match number.parse() {
                Ok(number @ 1..=MAX_JOBS) => Ok(Self::Fixed(number)),
                _ => Err(refused()),
            },
        }
    }
}

/// The slots. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct JobSlots {
    setting: JobsLimit,
    decoded: Arc<Resizable>,
    model: Arc<Resizable>,
    backoff: Arc<Mutex<Backoff>>,
    pace: Arc<Mutex<Pace>>,
}

/// A slot or a place for decoded frames. Dropping it frees it.
#[derive(Debug)]
pub(super) struct JobSlot {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Resizable>,
}

impl JobSlots {
    /// Creates slots for the setting: one until the engine says how many requests it processes.
    #[must_use]
    pub fn new(setting: JobsLimit) -> Self {
        Self {
            setting,
            decoded: Arc::new(Resizable::new(1 + AHEAD)),
            model: Arc::new(Resizable::new(1)),
            backoff: Arc::default(),
            pace: Arc::default(),
        }
    }

    /// Returns the present number of slots.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.model.limit()
    }

    /// Returns the number of parts that have a slot.
    #[must_use]
    pub fn used(&self) -> usize {
        self.model.used()
    }

    /// Returns the number of parts that are being decoded, or wait for a slot.
    #[must_use]
    pub fn decoding(&self) -> usize {
        self.decoded.used().saturating_sub(self.used())
    }

    /// Returns whether a slot waits for a decoded part, so that the model does less than it could.
    #[must_use]
    pub(super) fn is_starved(&self) -> bool {
        self.decoded.used() < self.limit()
    }

    /// Returns the seconds of video that the model watches per second of work; `None` until it has watched enough.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.pace().rate()
    }

    /// Adapts the number of slots to what the engine processes now, and to the latency of people's questions.
    pub(super) fn follow(&self, engine: &dyn Engine) {
        let limit = match self.setting {
            JobsLimit::Fixed(number) => number,
            JobsLimit::Auto => {
                // One is for people, except where the engine has only one: there, jobs yield (see `question`).
                let most = engine.concurrency().saturating_sub(1).clamp(1, MAX_JOBS);
                self.backoff().limit(most)
            }
        };
        self.model.resize(limit);
        self.decoded.resize(limit + AHEAD);
    }

    /// Records the latency of a person's question.
    pub(crate) fn observe(&self, ttft_ms: f64, prompt_tokens: usize) {
        let busy = self.used() > 0;
        self.backoff().observe(ttft_ms, prompt_tokens, busy);
    }

    /// Waits for a place for decoded frames, first come, first served.
    pub(super) async fn decoded(&self) -> JobSlot {
        Resizable::acquire(&self.decoded).await
    }

    /// Waits for a slot, first come, first served.
    pub(super) async fn model(&self) -> JobSlot {
        Resizable::acquire(&self.model).await
    }

    pub(super) fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backoff(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A semaphore whose number of permits changes. If it shrinks, permits in use are withdrawn when they are dropped.
#[derive(Debug)]
struct Resizable {
    semaphore: Arc<Semaphore>,
    limit: AtomicUsize,
    used: AtomicUsize,
    /// Permits to withdraw, and the lock under which the number changes.
    surplus: Mutex<usize>,
}

impl Resizable {
    fn new(limit: usize) -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(limit)),
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            surplus: Mutex::new(0),
        }
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn resize(&self, limit: usize) {
        let mut surplus = self.surplus.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.limit.swap(limit, Ordering::Relaxed);
        if limit < before {
            let fewer = before - limit;
            *surplus += fewer - self.semaphore.forget_permits(fewer);
        } else {
            let more = limit - before;
            let kept = more.min(*surplus);
            *surplus -= kept;
            self.semaphore.add_permits(more - kept);
        }
    }

    async fn acquire(of: &Arc<Self>) -> JobSlot {
        // The semaphore is never closed.
        let permit = Arc::clone(&of.semaphore).acquire_owned().await.ok();
        of.used.fetch_add(1, Ordering::Relaxed);
        JobSlot { permit, of: Arc::clone(of) }
    }
}

impl Drop for JobSlot {
    fn drop(&mut self) {
        self.of.used.fetch_sub(1, Ordering::Relaxed);
        let mut surplus = self.of.surplus.lock().unwrap_or_else(PoisonError::into_inner);
        if *surplus > 0
            && let Some(permit) = self.permit.take()
        {
            *surplus -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn free(resizable: &Arc<Resizable>) -> Option<JobSlot> {
        Resizable::acquire(resizable).now_or_never()
    }

    #[test]
    fn slots_shrink_as_they_are_freed_and_grow_at_once() {
        let slots = Arc::new(Resizable::new(3));
        let mut held: Vec<JobSlot> = (0..3).map(|_| free(&slots).unwrap()).collect();
        slots.resize(1);
        assert_eq!((slots.limit(), slots.used()), (1, 3));
        held.pop();
        assert!(free(&slots).is_none());
        held.pop();
        assert!(free(&slots).is_none(), "one is left, and it is in use");
        held.pop();
        let one = free(&slots).unwrap();
        assert!(free(&slots).is_none());
        slots.resize(2);
        let two = free(&slots).unwrap();
        drop((one, two));
        // Shrunk and grown while in use: nothing is withdrawn.
        let held: Vec<JobSlot> = (0..2).map(|_| free(&slots).unwrap()).collect();
        slots.resize(1);
        slots.resize(3);
        let third = free(&slots).unwrap();
        assert!(free(&slots).is_none());
        drop((held, third));
        assert_eq!((0..4).map(|_| free(&slots)).take_while(Option::is_some).collect::<Vec<_>>().len(), 3);
    }

    #[test]
    fn a_limit_is_auto_or_a_number() {
        assert_eq!("auto".parse(), Ok(JobsLimit::Auto));
        assert_eq!("8".parse(), Ok(JobsLimit::Fixed(8)));
        for bad in ["0", "257", "-1", "many", ""] {
            assert!(bad.parse::<JobsLimit>().unwrap_err().contains("1 to 256"), "{bad}");
        }
    }
}
