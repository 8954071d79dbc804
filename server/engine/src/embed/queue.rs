//! The bounded queue in front of a sentence model's thread: queries before passages.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Embedded, Purpose};
use crate::EngineError;

/// Calls of each purpose that may wait.
const DEPTH: usize = 64;

/// Seconds after which a retry makes sense, per waiting call.
const SECONDS_PER_CALL: u64 = 1;

/// The vectors of a call's texts.
pub(super) type Vectors = Result<Embedded, EngineError>;

/// Texts to embed.
pub(super) struct Task {
    pub(super) texts: Vec<String>,
    pub(super) purpose: Purpose,
    pub(super) cancel: CancellationToken,
    pub(super) reply: oneshot::Sender<Vectors>,
}

impl Task {
    /// Returns whether nobody waits for the vectors any more.
    pub(super) fn is_gone(&self) -> bool {
        self.cancel.is_cancelled() || self.reply.is_closed()
    }

    pub(super) fn answer(self, vectors: Vectors) {
        // Fails only if the reader has left.
        let _ = self.reply.send(vectors);
    }
}

/// What [`Queue::take`] returns.
pub(super) enum Taken {
    Task(Task),
    /// None came for as long as was asked.
    Idle,
    Closed,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    queries: VecDeque<Task>,
    passages: VecDeque<Task>,
    closed: bool,
}

impl Queue {
    /// Queues a task; never blocks.
    ///
    /// # Errors
    /// `Overloaded` when as many wait as may; `Incomplete` when the queue is closed.
    pub(super) fn push(&self, task: Task) -> Result<(), EngineError> {
        let mut state = self.lock();
        if state.closed {
            return Err(EngineError::Incomplete);
        }
        let waiting = match task.purpose {
            Purpose::Query => &mut state.queries,
            Purpose::Passage | Purpose::Plain => &mut state.passages,
        };
        if waiting.len() >= DEPTH {
            waiting.retain(|task| !task.is_gone());
        }
        if waiting.len() >= DEPTH {
            let queued = waiting.len();
            return Err(EngineError::Overloaded { queued, retry_after_s: SECONDS_PER_CALL * queued as u64 });
        }
        waiting.push_back(task);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes the next task. Blocks while there is none, at most for `patience`; `None` means without a limit.
    pub(super) fn take(&self, patience: Option<Duration>) -> Taken {
        let end = patience.map(|patience| Instant::now() + patience);
        let mut state = self.lock();
        loop {
            if state.closed {
                return Taken::Closed;
            }
            if let Some(task) = state.queries.pop_front().or_else(|| state.passages.pop_front()) {
                return Taken::Task(task);
            }
            state = match end {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Idle;
                    }
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Takes the next query, if one waits.
    pub(super) fn take_query(&self) -> Option<Task> {
        self.lock().queries.pop_front()
    }

    /// Returns whether the queue is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Closes the queue. The readers of what waits learn that there will be no answer.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queries.clear();
        state.passages.clear();
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after every statement, so it is valid after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
