//! Answers questions: a conversation goes in, one stream of events comes out, from the probe to the last token.
//!
//! Pages, the OpenAI endpoint, jobs and the command line render the same events. Knows no HTTP and no library.
//! **Invariant:** the stream ends with [`AskEvent::Done`] or an error; dropping it stops decoder and engine.

mod event;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use homereel_engine::{Engine, EngineError, Event, Message, ModelInfo, Part, Request, Role};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ask_error::AskError,
    media::{FrameSampling, Media, Source, ms},
};

pub use event::{AskEvent, Finished, StagesMs};

/// Events between pipeline and reader.
const EVENTS: usize = 64;

/// A piece of a turn.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Text.
    Text(String),
    /// A still picture in a file format.
    Image(Bytes),
    /// A video and how to sample it.
    Video(Source, FrameSampling),
}

/// One turn of a conversation.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Identity speaks.
    pub role: Role,
    /// The pieces, in order.
    pub content: Vec<Piece>,
    /// Further fields by OpenAI's names (calls of tools).
    pub extra: Map<String, Value>,
}

impl Turn {
    /// Makes a turn of these pieces.
    #[must_use]
    pub fn new(role: Role, content: Vec<Piece>) -> Self {
        Self { role, content, extra: Map::new() }
    }
}

/// A conversation to be continued. Fields mean what they mean in [`Request`].
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The turns; the last is the question.
    pub turns: Vec<Turn>,
    /// How to choose tokens.
    pub sampling: homereel_engine::Sampling,
    /// Tokens at most.
    pub max_tokens: Option<usize>,
    /// Strings that end the answer.
    pub stop: Vec<String>,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Go on past the end of text.
    pub ignore_eos: bool,
    /// Alternatives to report per token.
    pub logprobs: Option<usize>,
    /// What form the answer must have.
    pub response_format: homereel_engine::ResponseFormat,
    /// Further parameters by OpenAI's and vLLM's names.
    pub extra: Map<String, Value>,
}

impl Conversation {
    /// Asks one question about one video.
    #[must_use]
    pub fn about(
        source: Source,
        frames: FrameSampling,
        question: &str,
        sampling: homereel_engine::Sampling,
    ) -> Self {
        Self::of(vec![Piece::Video(source, frames), Piece::Text(question.to_owned())], sampling)
    }

    /// Asks something without any video.
    #[must_use]
    pub fn text(question: &str, sampling: homereel_engine::Sampling) -> Self {
        Self::of(vec![Piece::Text(question.to_owned())], sampling)
    }

    fn of(content: Vec<Piece>, sampling: homereel_engine::Sampling) -> Self {
        Self {
            turns: vec![Turn::new(Role::User, content)],
            sampling,
            max_tokens: None,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            response_format: homereel_engine::ResponseFormat::Text,
            extra: Map::new(),
        }
    }
}

/// Identity waits for an answer.
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
    media: Media,
    /// Slots for interactive requests, running or waiting.
    slots: Arc<Semaphore>,
    interactive: Arc<watch::Sender<usize>>,
}

impl std::fmt::Debug for AnswerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerService").field("media", &self.media).finish_non_exhaustive()
    }
}

impl AnswerService {
    /// Makes a service; at most `slots` interactive requests are held at once.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, media: Media, slots: usize) -> Self {
        Self {
            engine,
            media,
            slots: Arc::new(Semaphore::new(slots)),
            interactive: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Returns the engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Returns the decoder of videos.
    #[must_use]
    pub fn media(&self) -> &Media {
        &self.media
    }

    /// Returns how many interactive requests are running or waiting.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        *self.interactive.borrow()
    }

    /// Waits until no interactive request is running, but no longer than `patience`: a busy server must not starve
    /// its background jobs.
    pub async fn interactive_idle(&self, patience: Duration) {
        let mut count = self.interactive.subscribe();
        // Both outcomes mean the same: go on.
        let _ = tokio::time::timeout(patience, count.wait_for(|count| *count == 0)).await;
    }

    /// Waits until an interactive request is running.
    pub async fn interactive_busy(&self) {
        let mut count = self.interactive.subscribe();
        if count.wait_for(|count| *count > 0).await.is_err() {
            // Cannot be: `self` holds the sender.
            std::future::pending::<()>().await;
        }
    }

    /// Starts to answer. Returns at once; cancelled with `cancel` or by dropping the answer.
    ///
    /// # Errors
    /// `Overloaded` when too many requests are held already, `NotReady` while the model loads.
    pub fn ask(
        &self,
        conversation: Conversation,
        priority: Priority,
        cancel: &CancellationToken,
    ) -> Result<AnswerStream, AskError> {
        let info = self.engine.info()?;
        let slot = match priority {
            Priority::Background => None,
            Priority::Interactive => Some(self.take_slot()?),
        };
        let cancel = cancel.child_token();
        let (sender, receiver) = mpsc::channel(EVENTS);
        let pipeline = Pipeline { service: self.clone(), info, sender, cancel: cancel.clone() };
        tokio::spawn(async move {
            let _slot = slot;
            let cancel = pipeline.cancel.clone();
            let result = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(EngineError::Cancelled.into()),
                result = pipeline.run(conversation) => result,
            };
            if let Err(error) = result {
                // An error only says that the reader has left.
                let _ = pipeline.sender.send(Err(error)).await;
            }
        });
        Ok(AnswerStream { receiver, ended: false, _guard: cancel.drop_guard() })
    }

    fn take_slot(&self) -> Result<Slot, AskError> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            AskError::Engine(EngineError::Overloaded { queued: self.in_flight(), retry_after_s: 5 })
        })?;
        self.interactive.send_modify(|count| *count += 1);
        Ok(Slot { _permit: permit, interactive: Arc::clone(&self.interactive) })
    }
}

/// The slot of an interactive request, freed when it is dropped.
struct Slot {
    _permit: OwnedSemaphorePermit,
    interactive: Arc<watch::Sender<usize>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.interactive.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The events of one answer. Dropping it stops the work.
#[derive(Debug)]
pub struct AnswerStream {
    receiver: mpsc::Receiver<Result<AskEvent, AskError>>,
    ended: bool,
    _guard: DropGuard,
}

impl AnswerStream {
    /// Waits for the next event; none after `Done` or an error. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<AskEvent, AskError>> {
        if self.ended {
            return None;
        }
        let event = self.receiver.recv().await.unwrap_or(Err(EngineError::Incomplete.into()));
        self.ended = matches!(event, Ok(AskEvent::Done(_)) | Err(_));
        Some(event)
    }
}

struct Pipeline {
    service: AnswerService,
    info: ModelInfo,
    sender: mpsc::Sender<Result<AskEvent, AskError>>,
    cancel: CancellationToken,
}

impl Pipeline {
    async fn run(&self, conversation: Conversation) -> Result<(), AskError> {
        let started = Instant::now();
        let mut stages = StagesMs::default();
        let mut warnings = Vec::new();
        let messages = self.messages(conversation.turns, &mut stages, &mut warnings).await?;
        let request = Request {
            messages,
            sampling: conversation.sampling,
            max_tokens: conversation.max_tokens,
            stop: conversation.stop,
            stop_token_ids: conversation.stop_token_ids,
            ignore_eos: conversation.ignore_eos,
            logprobs: conversation.logprobs,
            response_format: conversation.response_format,
            extra: conversation.extra,
        };
        // Tokenising a long text takes milliseconds, which the reactor does not have.
        let engine = Arc::clone(&self.service.engine);
        let submitted = tokio::task::spawn_blocking(move || engine.submit(request)).await;
        let mut events = submitted.map_err(std::io::Error::other)??;
        let mut first_token = None;
        while let Some(event) = events.next().await {
            match event? {
                Event::Queued { position } => self.try_emit(AskEvent::Queued { position }),
                Event::Progress { stage, done, total } => {
                    self.try_emit(AskEvent::Progress { stage: stage.into(), done, total });
                }
                Event::Token { text, id, logprob } => {
                    first_token.get_or_insert_with(|| ms(started));
                    self.emit(AskEvent::Token { text, id, logprob }).await?;
                }
                Event::Delta(besides) => {
                    first_token.get_or_insert_with(|| ms(started));
                    self.emit(AskEvent::Delta(besides)).await?;
                }
                Event::Done(done) => {
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
                    return self.emit(AskEvent::Done(finished)).await;
                }
            }
        }
        Err(EngineError::Incomplete.into())
    }

    /// Decodes what the turns hold, in order.
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
                    Piece::Text(text) => Part::Text(text),
                    Piece::Image(bytes) => Part::Image(
                        self.service.media.picture(Arc::clone(&self.service.engine), bytes).await?,
                    ),
                    Piece::Video(source, sampling) => {
                        Part::Video(self.video(&source, &sampling, stages, warnings).await?)
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
        sampling: &FrameSampling,
        stages: &mut StagesMs,
        warnings: &mut Vec<String>,
    ) -> Result<homereel_engine::Clip, AskError> {
        let progress = |stage, done, total| self.try_emit(AskEvent::Progress { stage, done, total });
        let prepared =
            self.service.media.clip(&*self.service.engine, source, sampling, &self.cancel, &progress).await?;
        stages.probe += prepared.probe_ms;
        stages.decode += prepared.decode_ms;
        warnings.extend(prepared.report.warnings.iter().cloned());
        self.emit(AskEvent::Media(prepared.report.clone())).await?;
        Ok(prepared.clip.clone())
    }

    /// Sends an event that may be lost: a slow reader needs no old progress.
    fn try_emit(&self, event: AskEvent) {
        // A full or closed channel loses it.
        let _ = self.sender.try_send(Ok(event));
    }

    /// Sends an event that must arrive.
    async fn emit(&self, event: AskEvent) -> Result<(), AskError> {
        self.sender.send(Ok(event)).await.map_err(|_| EngineError::Cancelled.into())
    }
}
