//! The bounded queue in front of the engine's thread. Waiting requests learn their position when the queue moves;
//! cancelled ones are removed.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An item that waits in the queue.
pub(super) trait Waiting {
    /// Returns whether its reader has left.
    fn is_gone(&self) -> bool;
    /// Returns whether nobody waits for it, so that others go first.
    fn is_background(&self) -> bool;
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
    /// In the order in which they are taken: background items last.
    waiting: VecDeque<T>,
    /// Whether the thread takes no further item at present.
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

/// Which items the thread takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// All.
    All,
    /// All but background items.
    Interactive,
    /// None.
    Nothing,
}

/// The result of [`Queue::take`].
#[derive(Debug)]
pub(super) enum Taken<T> {
    /// The next item.
    Item(T),
    /// There is none now.
    Nothing,
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

    /// Returns the number of waiting items.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Queues an item behind those of its class and reports its position. Never blocks.
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
        let at = match item.is_background() {
            true => state.waiting.len(),
            false => state.waiting.partition_point(|item| !item.is_background()),
        };
        state.waiting.insert(at, item);
        state.report(at);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes the next item whose reader is still there. Blocks at most `patience` while there is none; `None` means without a
    /// limit.
    pub(super) fn take(&self, takes: Takes, patience: Option<Duration>) -> Taken<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Taken::Closed;
            }
            state.waiting.retain(|item| !item.is_gone());
            let next = state.waiting.front().filter(|item| match takes {
                Takes::All => true,
                Takes::Interactive => !item.is_background(),
                Takes::Nothing => false,
            });
            let found = next.is_some();
            state.busy = takes == Takes::Nothing;
            if found && let Some(item) = state.waiting.pop_front() {
                state.busy = true;
                state.report(0);
                return Taken::Item(item);
            }
            state = match patience {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Taken::Nothing,
                Some(patience) => {
                    let waited = self.arrived.wait_timeout(state, patience);
                    let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() {
                        return Taken::Nothing;
                    }
                    state
                }
            };
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

impl<T: Waiting> QueueState<T> {
    /// Reports their positions to the items from index `from` on.
    fn report(&self, from: usize) {
        for (index, item) in self.waiting.iter().enumerate().skip(from) {
            let ahead = index + usize::from(self.busy);
            if ahead > 0 {
                item.moved_to(ahead);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct WaitingItem {
        name: u32,
        background: bool,
        gone: AtomicBool,
        position: AtomicUsize,
    }

    impl Waiting for Arc<WaitingItem> {
        fn is_gone(&self) -> bool {
            self.gone.load(Ordering::Relaxed)
        }
        fn is_background(&self) -> bool {
            self.background
        }
        fn moved_to(&self, position: usize) {
            self.position.store(position, Ordering::Relaxed);
        }
    }

    fn item(name: u32) -> Arc<WaitingItem> {
        Arc::new(WaitingItem { name, ..WaitingItem::default() })
    }

    fn take(queue: &Queue<Arc<WaitingItem>>) -> u32 {
        match queue.take(Takes::All, Some(Duration::ZERO)) {
            Taken::Item(item) => item.name,
            Taken::Nothing | Taken::Closed => panic!("nothing to take"),
        }
    }

    #[test]
    fn background_items_go_last_and_can_be_left_out() {
        let queue = Queue::new(4);
        for name in 0..4 {
            queue
                .push(Arc::new(WaitingItem { name, background: name < 2, ..WaitingItem::default() }))
                .unwrap();
        }
        assert!(matches!(queue.take(Takes::Nothing, Some(Duration::ZERO)), Taken::Nothing));
        assert_eq!((take(&queue), take(&queue)), (2, 3));
        assert!(matches!(queue.take(Takes::Interactive, Some(Duration::ZERO)), Taken::Nothing));
        assert_eq!((take(&queue), take(&queue)), (0, 1));
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
        assert_eq!(take(&queue), 0);
        assert_eq!((position(1), position(2)), (1, 2));
        assert_eq!(take(&queue), 1);
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
        assert_eq!(take(&queue), 1);
        assert_eq!(take(&queue), 3);
    }

    #[test]
    fn closing_returns_the_waiting_and_ends_the_taker() {
        let queue = Arc::new(Queue::new(2));
        let taker = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .spawn(move || matches!(taker.take(Takes::All, None), Taken::Closed))
            .unwrap();
        queue.close();
        assert!(thread.join().unwrap());
        assert_eq!(queue.push(item(0)), Err(PushError::Closed));
    }
}
