//! Shutdown of the process: the first signal drains, the second aborts, a failure makes the exit code
//! non-zero.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long requests in flight may continue after the first signal.
const DRAIN: Duration = Duration::from_secs(30);

/// Shutdown state of the process. Cheap to clone; clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    crashed: Arc<AtomicBool>,
}

impl Lifecycle {
    /// Starts to listen for SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the runtime cannot listen for signals.
    pub fn listen(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let life = self.clone();
        tokio::spawn(async move {
            for wave in 0.. {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if wave == 0 {
                    tracing::info!(
                        grace_s = DRAIN.as_secs(),
                        "received a signal to stop; finishing the requests in flight within the grace period, and a second signal aborts them"
                    );
                    life.drain();
                } else {
                    tracing::warn!("received a second signal to stop; aborting the requests in flight");
                    life.hard.cancel();
                }
            }
        });
        Ok(())
    }

    /// Starts to drain: new work is refused, and running work is aborted after the grace period.
    pub fn drain(&self) {
        self.soft.cancel();
        let hard = self.hard.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DRAIN).await;
            hard.cancel();
        });
    }

    /// Drains because a part of the server failed; the exit code will be non-zero.
    pub fn crash(&self) {
        self.crashed.store(true, Ordering::Release);
        self.drain();
    }

    /// Cancelled when the server drains: live streams end, no new work starts.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when all work must stop.
    #[must_use]
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Returns whether the server drains.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Returns whether a part of the server failed.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }
}
