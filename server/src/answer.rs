//! Answers questions: takes a conversation and returns a stream of events, from the probe to the last token.
//!
//! Pages, the OpenAI endpoint, jobs and the command line render the same events. Depends on neither HTTP nor
//! the library.
//! **Invariant:** the stream ends with [`AskEvent::Done`] or an error. Dropping it stops the decoder and the
//! engine.

mod conversation;
mod event;
mod reading_rate;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use homereel_engine::{ContentPart, Engine, EngineError, GenerationEvent, Message, ModelInfo, Request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use crate::{
    ask_error::AskError,
    media::{ClipRequest, MediaDecoder, Source, ms},
};

pub use conversation::{Conversation, Piece, Turn};
pub use event::{AskEvent, Finished, StagesMs};
use reading_rate::{Reading, ReadingRate, pixels};

/// Places for progress in the channel between pipeline and reader.
const EVENTS: usize = 64;

/// Places for descriptions of media and the end, in that channel.
const MEDIA: usize = 64;

/// Maximum size of the events that wait for a slow reader. Normally a whole answer takes less.
const WAITING_BYTES: usize = 8 << 20;

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
    interactive: Arc<watch::Sender<usize>>,
    /// Number of interactive requests that wait for their first token.
    waiting: Arc<watch::Sender<usize>>,
    /// Is told of the first tokens of interactive requests.
    observer: Arc<OnceLock<Observer>>,
    rate: Arc<Mutex<ReadingRate>>,
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
            interactive: Arc::new(watch::Sender::new(0)),
            waiting: Arc::new(watch::Sender::new(0)),
            observer: Arc::default(),
            rate: Arc::default(),
        }
    }

    /// Sets what is told of the first tokens of interactive requests. Only the first call has an effect.
    pub fn observe_first_tokens(&self, observer: impl Fn(f64, usize) + Send + Sync + 'static) {
        let _ = self.observer.set(Box::new(observer));
    }

    /// Returns how long the model takes to read `pixels` pixels of frames before its first token, in seconds, by the last
    /// answers of this process; `None` before the first one.
    #[must_use]
    pub fn expected_reading_s(&self, pixels: u64) -> Option<f64> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).expected_s(pixels)
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
        conversation: Conversation,
        priority: Priority,
        cancel: &CancellationToken,
    ) -> Result<AnswerStream, AskError> {
        let info = self.engine.info()?;
        let permit = match priority {
            Priority::Background => None,
            Priority::Interactive => Some(Arc::new(self.take_permit()?)),
        };
        let waiting_for_token = permit.is_some().then(|| Counted::new(&self.waiting));
        let cancel = cancel.child_token();
        // The engine never waits for a reader, so that one who stops reading does not delay the others.
        let waiting = conversation.options.max_tokens.unwrap_or(usize::MAX).min(info.max_model_len);
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
        Ok(AnswerStream { receiver, waiting_bytes, ended: false, _guard: cancel.drop_guard() })
    }

    fn take_permit(&self) -> Result<QuestionPermit, AskError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            AskError::Engine(EngineError::Overloaded { queued: self.in_flight(), retry_after_s: 5 })
        })?;
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

/// The events of one answer. Dropping it stops the work.
#[derive(Debug)]
pub struct AnswerStream {
    receiver: mpsc::Receiver<Result<AskEvent, AskError>>,
    waiting_bytes: Arc<AtomicUsize>,
    ended: bool,
    _guard: DropGuard,
}

impl AnswerStream {
    /// Waits for the next event. `None` follows `Done` or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<AskEvent, AskError>> {
        if self.ended {
            return None;
        }
        let event = self.receiver.recv().await.unwrap_or(Err(EngineError::Incomplete.into()));
        if let Ok(event) = &event {
            self.waiting_bytes.fetch_sub(event.bytes(), Ordering::Relaxed);
        }
        self.ended = matches!(event, Ok(AskEvent::Done(_)) | Err(_));
        Some(event)
    }
}

struct Pipeline {
    service: AnswerService,
    info: ModelInfo,
    sender: mpsc::Sender<Result<AskEvent, AskError>>,
    /// Places in the channel that progress must leave free.
    reserved: usize,
    waiting_bytes: Arc<AtomicUsize>,
    /// `None` for background requests.
    permit: Option<Arc<QuestionPermit>>,
    cancel: CancellationToken,
}

impl Pipeline {
    async fn run(&self, conversation: Conversation, mut waiting: Option<Counted>) -> Result<(), AskError> {
        let started = Instant::now();
        let mut stages = StagesMs::default();
        let mut warnings = Vec::new();
        let messages = self.messages(conversation.turns, &mut stages, &mut warnings).await?;
        let pixels = pixels(&messages);
        let request = Request { messages, options: conversation.options };
        // Tokenizing a long text or compiling a schema takes too long for an async thread. It cannot be interrupted, so
        // it keeps the permit even if the client leaves.
        let engine = Arc::clone(&self.service.engine);
        let permit = self.permit.clone();
        let span = tracing::Span::current();
        let work = move || {
            let _permit = permit;
            span.in_scope(|| engine.submit(request))
        };
        let submitted = tokio::task::spawn_blocking(work).await;
        let mut events = submitted.map_err(std::io::Error::other)??;
        let mut first_token = None;
        while let Some(event) = events.next().await {
            let event = event?;
            if matches!(event, GenerationEvent::Token { .. } | GenerationEvent::Delta(_)) {
                drop(waiting.take());
            }
            match event {
                GenerationEvent::Queued { position } => self.try_emit(AskEvent::Queued { position }),
                GenerationEvent::Progress { stage, done, total } => {
                    self.try_emit(AskEvent::Progress { stage, done, total });
                }
                GenerationEvent::Token { text, id, logprob } => {
                    first_token.get_or_insert_with(|| ms(started));
                    self.emit(AskEvent::Token { text, id, logprob })?;
                }
                GenerationEvent::Delta(besides) => {
                    first_token.get_or_insert_with(|| ms(started));
                    self.emit(AskEvent::Delta(besides))?;
                }
                GenerationEvent::Done(done) => {
                    if let (Some(_), Some(observe)) = (&self.permit, self.service.observer.get()) {
                        let computed = done.usage.prompt_tokens.saturating_sub(done.usage.cached_tokens);
                        observe(done.stages.ttft_ms, computed);
                    }
                    self.service.rate.lock().unwrap_or_else(PoisonError::into_inner).record(Reading {
                        pixels,
                        vision_ms: done.stages.vision_ms,
                        prefill_ms: done.stages.prefill_ms,
                        prompt_tokens: done.usage.prompt_tokens,
                        cached_tokens: done.usage.cached_tokens,
                    });
                    stages.add_engine(&done.stages);
                    stages.ttft = first_token.unwrap_or_else(|| ms(started));
                    stages.total = ms(started);
                    warnings.extend(done.warnings);
                    stages.record(&done.usage);
                    let finished = Finished {
                        finish_reason: done.finish_reason,
                        usage: done.usage,
                        stages_ms: stages,
                        warnings,
                        model: self.info.id.clone(),
                    };
                    return self.emit(AskEvent::Done(finished));
                }
            }
        }
        Err(EngineError::Incomplete.into())
    }

    /// Decodes the media of the turns, in order.
    async fn messages(
        &self,
        turns: Vec<Turn>,
        stages: &mut StagesMs,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Message>, AskError> {
        let mut messages = Vec::with_capacity(turns.len());
        for turn in turns {
            let mut content = Vec::with_capacity(turn.content.len());
            for piece in turn.content {
                content.push(match piece {
                    Piece::Text(text) => ContentPart::Text(text),
                    Piece::Image(source) => ContentPart::Image(
                        self.service.media.picture(&self.service.engine, &source, &self.cancel).await?,
                    ),
                    Piece::Clip(prepared) => {
                        warnings.extend(prepared.report.warnings.iter().cloned());
                        self.emit(AskEvent::Media(prepared.report.clone()))?;
                        ContentPart::Video(prepared.clip.clone())
                    }
                    Piece::Video(source, request) => {
                        ContentPart::Video(self.video(&source, request, stages, warnings).await?)
                    }
                });
            }
            messages.push(Message { role: turn.role, content, extra: turn.extra });
        }
        Ok(messages)
    }

    async fn video(
        &self,
        source: &Source,
        request: ClipRequest,
        stages: &mut StagesMs,
        warnings: &mut Vec<String>,
    ) -> Result<homereel_engine::VideoInput, AskError> {
        let progress = |stage, done, total| self.try_emit(AskEvent::Progress { stage, done, total });
        let prepared =
            self.service.media.clip(&*self.service.engine, source, request, &self.cancel, &progress).await?;
        stages.probe += prepared.probe_ms;
        stages.decode += prepared.decode_ms;
        warnings.extend(prepared.report.warnings.iter().cloned());
        self.emit(AskEvent::Media(prepared.report.clone()))?;
        Ok(prepared.clip.clone())
    }

    /// Queues an event that may be dropped: a slow reader does not need old progress.
    fn try_emit(&self, event: AskEvent) {
        if self.sender.capacity() > self.reserved {
            // An error only means that the reader has left.
            let _ = self.emit(event);
        }
    }

    /// Queues an event that must not be lost. A reader that is too far behind loses its answer.
    fn emit(&self, event: AskEvent) -> Result<(), AskError> {
        let bytes = event.bytes();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > WAITING_BYTES {
            tracing::warn!(
                waiting_bytes = waiting,
                "cancelled an answer, because its client reads too slowly; the client loses the rest of it"
            );
            return Err(EngineError::Cancelled.into());
        }
        self.sender.try_send(Ok(event)).map_err(|_| EngineError::Cancelled.into())
    }
}

#[cfg(test)]
mod tests;
