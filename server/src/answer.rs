//! Answers questions: takes a conversation and returns a stream of events, from the probe to the last token.
//!
//! Pages, the OpenAI endpoint, jobs and the command line render the same events. Depends on neither HTTP nor
//! the library.
//! **Invariant:** the stream ends with [`AskEvent::Done`] or an error. Dropping it stops the decoder and the
//! engine.

mod activity;
mod conversation;
mod estimate;
mod event;
mod outlines;
mod pipeline;
mod reading_rate;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use homereel_engine::{Engine, EngineError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use crate::{ask_error::AskError, media::MediaDecoder, telemetry};

pub use activity::Activity;
pub use conversation::{Conversation, Piece, Turn};
pub use estimate::{Estimate, EstimateLimits, Seconds, TextTokens};
pub use event::{AskEvent, Finished, StagesMs};
use pipeline::Pipeline;
use reading_rate::ReadingRate;

/// Places for progress in the channel between pipeline and reader.
const EVENTS: usize = 64;

/// Places for descriptions of media and the end, in that channel.
const MEDIA: usize = 64;

/// Maximum size of the events that wait for a slow reader. Normally a whole answer takes less.
const WAITING_BYTES: usize = 8 << 20;

/// Places for tokens in that channel; only several long answers to one request could take more.
const MAX_WAITING: usize = 1 << 20;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A person or a program.
    Interactive,
    /// A job; interactive questions take precedence (see [`AnswerService::interactive_idle`]).
    Background,
}

/// Answers questions with an engine and a decoder. Cheap to clone.
#[derive(Clone)]
pub struct AnswerService {
    engine: Arc<dyn Engine>,
    media: MediaDecoder,
    /// Permits for interactive requests that run or wait.
    permits: Arc<Semaphore>,
    /// Number of permits, free and taken.
    max_requests: Arc<Mutex<usize>>,
    interactive: Arc<watch::Sender<usize>>,
    /// Number of interactive requests that wait for their first token.
    waiting: Arc<watch::Sender<usize>>,
    /// Is told of the first tokens of interactive requests.
    observer: Arc<OnceLock<Observer>>,
    rate: Arc<ReadingRate>,
    activity: Arc<Activity>,
}

/// Gets the milliseconds from an engine's `submit` to its first token, and the number of prompt tokens computed.
type Observer = Box<dyn Fn(f64, usize) + Send + Sync>;

impl std::fmt::Debug for AnswerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerService").field("media", &self.media).finish_non_exhaustive()
    }
}

impl AnswerService {
    /// Creates a service that accepts at most `permits` interactive requests at once.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, media: MediaDecoder, permits: usize) -> Self {
        Self {
            engine,
            media,
            permits: Arc::new(Semaphore::new(permits)),
            max_requests: Arc::new(Mutex::new(permits)),
            interactive: Arc::new(watch::Sender::new(0)),
            waiting: Arc::new(watch::Sender::new(0)),
            observer: Arc::default(),
            rate: Arc::default(),
            activity: Arc::default(),
        }
    }

    /// Returns what was answered since the start.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Sets what is told of the first tokens of interactive requests. Only the first call has an effect.
    pub fn observe_first_tokens(&self, observer: impl Fn(f64, usize) + Send + Sync + 'static) {
        let _ = self.observer.set(Box::new(observer));
    }

    /// Changes the maximum number of interactive requests. Those that run or wait go on: where they are more, no other is
    /// accepted until enough of them have ended.
    pub fn set_max_requests(&self, wanted: usize) {
        let mut permits = self.max_requests.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *permits, wanted);
        if wanted >= before {
            self.permits.add_permits(wanted - before);
            return;
        }
        let excess = u32::try_from(before - wanted).unwrap_or(u32::MAX);
        let semaphore = Arc::clone(&self.permits);
        tokio::spawn(async move {
            // The semaphore is never closed.
            if let Ok(permits) = semaphore.acquire_many(excess).await {
                permits.forget();
            }
        });
    }

    /// Returns how long the model takes to read `pixels` pixels of frames before its first token, in seconds, by the last
    /// answers of this process; `None` before the first one.
    #[must_use]
    pub fn expected_reading_s(&self, pixels: u64) -> Option<f64> {
        self.rate.expected_s(pixels)
    }

    /// Returns the engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Returns the video decoder.
    #[must_use]
    pub fn media(&self) -> &MediaDecoder {
        &self.media
    }

    /// Returns the number of interactive requests that run or wait.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        *self.interactive.borrow()
    }

    /// Waits until no interactive request runs, but at most `patience`, so that a busy server does not starve
    /// its background jobs.
    pub async fn interactive_idle(&self, patience: Duration) {
        let mut count = self.interactive.subscribe();
        // The caller continues in both cases.
        let _ = tokio::time::timeout(patience, count.wait_for(|count| *count == 0)).await;
    }

    /// Waits until no interactive request waits for its first token, but at most `patience`.
    pub async fn first_tokens_sent(&self, patience: Duration) {
        let mut count = self.waiting.subscribe();
        // The caller continues in both cases.
        let _ = tokio::time::timeout(patience, count.wait_for(|count| *count == 0)).await;
    }

    /// Waits until an interactive request runs.
    pub async fn interactive_busy(&self) {
        let mut count = self.interactive.subscribe();
        if count.wait_for(|count| *count > 0).await.is_err() {
            // Unreachable: `self` holds the sender.
            std::future::pending::<()>().await;
        }
    }

    /// Starts to answer and returns at once. `cancel`, or dropping the answer, stops the work.
    ///
    /// # Errors
    /// `Overloaded` when all permits are taken, `NotReady` while the model loads.
    pub fn ask(
        &self,
        mut conversation: Conversation,
        priority: Priority,
        cancel: &CancellationToken,
    ) -> Result<AnswerStream, AskError> {
        conversation.options.request_id = telemetry::request_id();
        let info = self.engine.info()?;
        let permit = match priority {
            Priority::Background => None,
            Priority::Interactive => Some(Arc::new(self.take_permit()?)),
        };
        let left = conversation.n;
        let waiting_for_token = permit.is_some().then(|| Counted::new(&self.waiting));
        let cancel = cancel.child_token();
        // The engine never waits for a reader, so that one who stops reading does not delay the others.
        let waiting = conversation.options.max_tokens.unwrap_or(usize::MAX).min(info.max_model_len);
        let waiting = waiting.saturating_mul(conversation.n).min(MAX_WAITING);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = mpsc::channel(EVENTS + MEDIA + waiting);
        let pipeline = Pipeline {
            service: self.clone(),
            info,
            sender,
            reserved: MEDIA + waiting,
            waiting_bytes: Arc::clone(&waiting_bytes),
            permit,
            cancel: cancel.clone(),
        };
        let work = async move {
            let cancel = pipeline.cancel.clone();
            let result = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(EngineError::Cancelled.into()),
                result = pipeline.run(conversation, waiting_for_token) => result,
            };
            if let Err(error) = result {
                // Without room for the error, the end of the channel is one.
                let _ = pipeline.sender.try_send(Err(error));
            }
        };
        tokio::spawn(work.in_current_span());
        Ok(AnswerStream { receiver, waiting_bytes, left, _guard: cancel.drop_guard() })
    }

    /// Takes one of the permits of interactive requests, for work that is no question: background jobs go on meanwhile.
    ///
    /// # Errors
    /// `Overloaded` when all permits are taken.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit, AskError> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            AskError::Engine(EngineError::Overloaded { queued: self.in_flight(), retry_after_s: 5 })
        })
    }

    fn take_permit(&self) -> Result<QuestionPermit, AskError> {
        let permit = self.admit()?;
        Ok(QuestionPermit { _permit: permit, _interactive: Counted::new(&self.interactive) })
    }
}

/// The permit of an interactive request, released on drop.
struct QuestionPermit {
    _permit: OwnedSemaphorePermit,
    _interactive: Counted,
}

/// Raises a number by one until it is dropped.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The events of a request's answers. Dropping it stops the work.
#[derive(Debug)]
pub struct AnswerStream {
    receiver: mpsc::Receiver<Result<(usize, AskEvent), AskError>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Answers that have not ended.
    left: usize,
    _guard: DropGuard,
}

impl AnswerStream {
    /// Waits for the next event. `None` follows the last `Done` or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<AskEvent, AskError>> {
        Some(self.next_of_any().await?.map(|(_, event)| event))
    }

    /// Like [`Self::next`], and returns the number of the answer, which is 0 for events before the first token.
    pub async fn next_of_any(&mut self) -> Option<Result<(usize, AskEvent), AskError>> {
        if self.left == 0 {
            return None;
        }
        let event = self.receiver.recv().await.unwrap_or(Err(EngineError::Incomplete.into()));
        match &event {
            Ok((_, event)) => {
                self.waiting_bytes.fetch_sub(event.bytes(), Ordering::Relaxed);
                self.left -= usize::from(matches!(event, AskEvent::Done(_)));
            }
            Err(_) => self.left = 0,
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests;
