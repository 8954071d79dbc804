//! The engine thread's end of a stream of events. Knows when its reader has left, and does not let a
//! reader that stopped reading hold the engine.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{EngineError, Event};

/// Events that may lie unread.
pub(super) const CAPACITY: usize = 256;
/// How long a reader may leave a full channel unread before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// Where the events of one request go.
#[derive(Debug)]
pub(super) struct Sink {
    sender: mpsc::Sender<Result<Event, EngineError>>,
    patience: Duration,
}

impl Sink {
    /// Makes a sink and its reading end.
    #[must_use]
    pub(super) fn channel() -> (Self, mpsc::Receiver<Result<Event, EngineError>>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self { sender, patience: PATIENCE }, receiver)
    }

    /// Tells whether the reader has left.
    #[must_use]
    pub(super) fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends an event that may get lost when the channel is full (progress, positions).
    pub(super) fn offer(&self, event: Event) -> ControlFlow<()> {
        match self.sender.try_send(Ok(event)) {
            Ok(()) | Err(TrySendError::Full(_)) => ControlFlow::Continue(()),
            Err(TrySendError::Closed(_)) => ControlFlow::Break(()),
        }
    }

    /// Sends an event that must arrive; waits for a slow reader, though not for ever.
    pub(super) fn send(&self, event: Result<Event, EngineError>) -> ControlFlow<()> {
        let mut event = event;
        let mut since: Option<Instant> = None;
        loop {
            match self.sender.try_send(event) {
                Ok(()) => return ControlFlow::Continue(()),
                Err(TrySendError::Closed(_)) => return ControlFlow::Break(()),
                Err(TrySendError::Full(back)) => event = back,
            }
            let since = since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.patience {
                tracing::warn!("a reader left its events unread; its request is dropped");
                return ControlFlow::Break(());
            }
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_stops_the_work() {
        let (sink, receiver) = Sink::channel();
        assert!(sink.offer(Event::Queued { position: 1 }).is_continue());
        drop(receiver);
        assert!(sink.is_gone());
        assert!(sink.offer(Event::Queued { position: 1 }).is_break());
        assert!(sink.send(Ok(Event::Queued { position: 1 })).is_break());
    }

    #[test]
    fn a_reader_that_stopped_reading_counts_as_gone() {
        let (mut sink, _receiver) = Sink::channel();
        sink.patience = Duration::from_millis(20);
        for position in 0..CAPACITY {
            assert!(sink.send(Ok(Event::Queued { position })).is_continue());
        }
        assert!(sink.offer(Event::Queued { position: 0 }).is_continue(), "lost, not waited for");
        assert!(sink.send(Ok(Event::Queued { position: 0 })).is_break());
    }
}
