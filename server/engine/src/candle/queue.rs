//! The bounded queue in front of the engine's thread. Waiting requests learn their position when the queue moves;
//! cancelled ones are removed.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// An item that waits in the queue.
pub(super) trait Waiting {
    /// Returns whether its reader has left.
    fn is_gone(&self) -> bool;
    /// Reports how many items are ahead.
    fn moved_to(&self, position: usize);
}

/// A bounded queue from many threads to one.
pub(super) struct Queue<T> {
    state: Mutex<QueueState<T>>,
    arrived: Condvar,
    depth: usize,
}

struct QueueState<T> {
    waiting: VecDeque<T>,
    /// Whether the thread is working on an item that it took.
    busy: bool,
    closed: bool,
}

/// Why [`Queue::push`] failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// The queue is full, with this many items.
    Full(usize),
    /// The queue is closed.
    Closed,
}

impl<T: Waiting> Queue<T> {
    /// Creates an empty queue for `depth` waiting items.
    #[must_use]
    pub(super) fn new(depth: usize) -> Self {
        let state = QueueState { waiting: VecDeque::new(), busy: false, closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new(), depth }
    }

    /// Appends an item and reports its position. Never blocks.
    ///
    /// # Errors
    /// [`PushError`] when full or closed.
    pub(super) fn push(&self, item: T) -> Result<(), PushError> {
        let mut state = self.lock();
        if state.closed {
            return Err(PushError::Closed);
        }
        if state.waiting.len() >= self.depth {
            state.waiting.retain(|item| !item.is_gone());
        }
        if state.waiting.len() >= self.depth {
            return Err(PushError::Full(state.waiting.len()));
        }
        let ahead = state.waiting.len() + usize::from(state.busy);
        if ahead > 0 {
            item.moved_to(ahead);
        }
        state.waiting.push_back(item);
        self.arrived.notify_one();
        Ok(())
    }

    /// Blocks until there is an item whose reader is still there, and takes it. `None` means that the queue is closed.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        state.busy = false;
        loop {
            if state.closed {
                return None;
            }
            state.waiting.retain(|item| !item.is_gone());
            if let Some(item) = state.waiting.pop_front() {
                state.busy = true;
                for (ahead, item) in state.waiting.iter().enumerate() {
                    item.moved_to(ahead + 1);
                }
                return Some(item);
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Closes the queue, wakes the consumer, and returns the waiting items.
    pub(super) fn close(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        self.arrived.notify_all();
        state.waiting.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        // The state is valid after every statement, so it is valid after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct WaitingItem {
        name: u32,
        gone: AtomicBool,
        position: AtomicUsize,
    }

    impl Waiting for Arc<WaitingItem> {
        fn is_gone(&self) -> bool {
            self.gone.load(Ordering::Relaxed)
        }
        fn moved_to(&self, position: usize) {
            self.position.store(position, Ordering::Relaxed);
        }
    }

    fn item(name: u32) -> Arc<WaitingItem> {
        Arc::new(WaitingItem { name, ..WaitingItem::default() })
    }

    #[test]
    fn positions_follow_the_line() {
        let queue = Queue::new(4);
        let items = [item(0), item(1), item(2)];
        for item in &items {
            queue.push(Arc::clone(item)).unwrap();
        }
        let position = |i: usize| items[i].position.load(Ordering::Relaxed);
        assert_eq!((position(0), position(1), position(2)), (0, 1, 2));
        assert_eq!(queue.pop().unwrap().name, 0);
        assert_eq!((position(1), position(2)), (1, 2));
        assert_eq!(queue.pop().unwrap().name, 1);
        assert_eq!(position(2), 1);
    }

    #[test]
    fn a_full_queue_refuses_and_those_who_left_make_room() {
        let queue = Queue::new(2);
        let (first, second) = (item(0), item(1));
        queue.push(Arc::clone(&first)).unwrap();
        queue.push(Arc::clone(&second)).unwrap();
        assert_eq!(queue.push(item(2)), Err(PushError::Full(2)));
        first.gone.store(true, Ordering::Relaxed);
        queue.push(item(3)).unwrap();
        assert_eq!(queue.pop().unwrap().name, 1);
        assert_eq!(queue.pop().unwrap().name, 3);
    }

    #[test]
    fn closing_returns_the_waiting_and_ends_the_taker() {
        let queue = Arc::new(Queue::new(2));
        let taker = Arc::clone(&queue);
        let thread = std::thread::Builder::new().spawn(move || taker.pop().is_none()).unwrap();
        queue.close();
        assert!(thread.join().unwrap());
        assert_eq!(queue.push(item(0)), Err(PushError::Closed));
    }
}
