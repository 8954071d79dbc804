//! Sends the events of one request from the engine's thread to its reader, and cancels the request when the reader has
//! disconnected or stopped reading.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{EngineError, GenerationEvent};

/// Capacity of the channel, in events.
pub(super) const CAPACITY: usize = 256;
/// Total time for which one request may wait for its reader. Then the reader counts as gone.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// Sends the events of one request.
#[derive(Debug)]
pub(super) struct EventSink {
    sender: mpsc::Sender<Result<GenerationEvent, EngineError>>,
    /// What is left of [`PATIENCE`].
    patience: Cell<Duration>,
}

impl EventSink {
    /// Creates a sink and its receiver.
    #[must_use]
    pub(super) fn channel() -> (Self, mpsc::Receiver<Result<GenerationEvent, EngineError>>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self { sender, patience: Cell::new(PATIENCE) }, receiver)
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

    /// Sends an event that must arrive; waits for a slow reader, up to a limit.
    pub(super) fn send(&self, event: Result<GenerationEvent, EngineError>) -> ControlFlow<()> {
        let mut event = event;
        loop {
            match self.sender.try_send(event) {
                Ok(()) => return ControlFlow::Continue(()),
                Err(TrySendError::Closed(_)) => return ControlFlow::Break(()),
                Err(TrySendError::Full(back)) => event = back,
            }
            let Some(left) = self.patience.get().checked_sub(POLL) else {
                tracing::warn!(
                    waited_s = PATIENCE.as_secs(),
                    "cancelled a request whose client did not read the generated text in time; its answer is lost"
                );
                return ControlFlow::Break(());
            };
            self.patience.set(left);
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_stops_the_work() {
        let (sink, receiver) = EventSink::channel();
        assert!(sink.offer(GenerationEvent::Queued { position: 1 }).is_continue());
        drop(receiver);
        assert!(sink.is_gone());
        assert!(sink.offer(GenerationEvent::Queued { position: 1 }).is_break());
        assert!(sink.send(Ok(GenerationEvent::Queued { position: 1 })).is_break());
    }

    #[test]
    fn a_reader_that_stopped_reading_counts_as_gone() {
        let (mut sink, _receiver) = EventSink::channel();
        sink.patience = Cell::new(Duration::from_millis(20));
        for position in 0..CAPACITY {
            assert!(sink.send(Ok(GenerationEvent::Queued { position })).is_continue());
        }
        assert!(sink.offer(GenerationEvent::Queued { position: 0 }).is_continue(), "lost, not waited for");
        assert!(sink.send(Ok(GenerationEvent::Queued { position: 0 })).is_break());
    }
}
