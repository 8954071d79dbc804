//! Sends the events of one request from the engine's thread to its reader, without ever waiting for it. A reader that does
//! not keep up holds up its own request only; one that stopped reading counts as gone.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{EngineError, GenerationEvent};

/// Capacity of the channel, in events.
pub(super) const CAPACITY: usize = 256;
/// How long a request waits for its reader. Then the reader counts as gone.
const PATIENCE: Duration = Duration::from_secs(20);

type Event = Result<GenerationEvent, EngineError>;

/// Sends the events of one request.
#[derive(Debug)]
pub(super) struct EventSink {
    sender: mpsc::Sender<Event>,
    waiting: RefCell<WaitingEvents>,
}

/// Events that did not fit into the channel: a token, and what follows the last one.
#[derive(Debug, Default)]
struct WaitingEvents {
    events: VecDeque<Event>,
    since: Option<Instant>,
}

/// How far the reader has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// All events are in the channel.
    Ready,
    /// Some events wait for room in the channel.
    Behind,
    /// The reader has left, or has not read for too long.
    Gone,
}

impl EventSink {
    /// Creates a sink and its receiver.
    #[must_use]
    pub(super) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self { sender, waiting: RefCell::default() }, receiver)
    }

    /// Returns whether the reader has left.
    #[must_use]
    pub(super) fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends an event that may be dropped when the channel is full (progress, positions).
    pub(super) fn offer(&self, event: GenerationEvent) -> ControlFlow<()> {
        match self.sender.try_send(Ok(event)) {
            Ok(()) | Err(TrySendError::Full(_)) => ControlFlow::Continue(()),
            Err(TrySendError::Closed(_)) => ControlFlow::Break(()),
        }
    }

    /// Sends an event that must arrive, after those that wait.
    pub(super) fn send(&self, event: Event) -> Reader {
        self.waiting.borrow_mut().events.push_back(event);
        self.flush(Instant::now())
    }

    /// Moves waiting events into the channel, as far as there is room at the time `now`.
    pub(super) fn flush(&self, now: Instant) -> Reader {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(event) = waiting.events.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => waiting.since = None,
                Err(TrySendError::Closed(_)) => return Reader::Gone,
                Err(TrySendError::Full(event)) => {
                    waiting.events.push_front(event);
                    let since = *waiting.since.get_or_insert(now);
                    if now.saturating_duration_since(since) < PATIENCE {
                        return Reader::Behind;
                    }
                    tracing::warn!(
                        waited_s = PATIENCE.as_secs(),
                        "cancelled a request whose client did not read the generated text in time; its answer is lost"
                    );
                    return Reader::Gone;
                }
            }
        }
        if self.is_gone() { Reader::Gone } else { Reader::Ready }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(position: usize) -> GenerationEvent {
        GenerationEvent::Queued { position }
    }

    #[test]
    fn a_reader_that_left_stops_the_work() {
        let (sink, receiver) = EventSink::channel();
        assert!(sink.offer(event(1)).is_continue());
        assert_eq!(sink.send(Ok(event(1))), Reader::Ready);
        drop(receiver);
        assert!(sink.is_gone());
        assert!(sink.offer(event(1)).is_break());
        assert_eq!(sink.send(Ok(event(1))), Reader::Gone);
    }

    #[test]
    fn a_reader_that_stopped_reading_is_waited_for_and_then_counts_as_gone() {
        let (sink, mut receiver) = EventSink::channel();
        for position in 0..CAPACITY {
            assert_eq!(sink.send(Ok(event(position))), Reader::Ready);
        }
        assert!(sink.offer(event(0)).is_continue(), "lost, not waited for");
        assert_eq!(sink.send(Ok(event(CAPACITY))), Reader::Behind);
        assert_eq!(sink.send(Ok(event(CAPACITY + 1))), Reader::Behind);
        let now = Instant::now();
        assert_eq!(sink.flush(now), Reader::Behind);
        // It reads one event, which makes room for one.
        assert_eq!(receiver.try_recv().unwrap().unwrap(), event(0));
        assert_eq!(sink.flush(now + PATIENCE), Reader::Behind, "it has read since");
        assert_eq!(sink.flush(now + 2 * PATIENCE), Reader::Gone);
        for position in 1..=CAPACITY {
            assert_eq!(receiver.try_recv().unwrap().unwrap(), event(position));
        }
    }
}
