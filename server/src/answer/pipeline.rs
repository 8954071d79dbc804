//! The work on one request: decodes the media, submits to the engine, and passes the events on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::{StreamExt as _, stream};
use homereel_engine::{ContentPart, Done, EngineError, GenerationEvent, Message, ModelInfo, Request, Stage};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    AnswerService, AskEvent, Conversation, Counted, Finished, Piece, QuestionPermit, StagesMs, Turn,
    WAITING_BYTES,
    reading_rate::{Reading, pixels},
};
use crate::{ask_error::AskError, media::ms};

pub(super) struct Pipeline {
    pub(super) service: AnswerService,
    pub(super) info: ModelInfo,
    pub(super) sender: mpsc::Sender<Result<(usize, AskEvent), AskError>>,
    /// Places in the channel that progress must leave free.
    pub(super) reserved: usize,
    pub(super) waiting_bytes: Arc<AtomicUsize>,
    /// `None` for background requests.
    pub(super) permit: Option<Arc<QuestionPermit>>,
    pub(super) cancel: CancellationToken,
}

impl Pipeline {
    pub(super) async fn run(
        &self,
        conversation: Conversation,
        mut waiting: Option<Counted>,
    ) -> Result<(), AskError> {
        let started = Instant::now();
        let mut stages = StagesMs::default();
        let mut warnings = Vec::new();
        let messages = self.messages(conversation.turns, &mut stages, &mut warnings).await?;
        let pixels = pixels(&messages);
        let request = Request { messages, options: conversation.options };
        let mut events = self.submit(request, conversation.n).await?;
        let mut first_tokens = vec![None; conversation.n];
        while let Some((answer, event)) = events.next().await {
            let event = event?;
            if matches!(event, GenerationEvent::Token { .. } | GenerationEvent::Delta(_)) {
                drop(waiting.take());
                first_tokens[answer].get_or_insert_with(|| ms(started));
            }
            match event {
                GenerationEvent::Queued { position } if answer == 0 => {
                    self.try_emit(AskEvent::Queued { position });
                }
                GenerationEvent::Progress { stage, done, total } if answer == 0 => {
                    self.try_emit(AskEvent::Progress { stage, done, total });
                }
                // One client sees one queue.
                GenerationEvent::Queued { .. } | GenerationEvent::Progress { .. } => {}
                GenerationEvent::Token { text, id, logprob } => {
                    self.service.activity.token();
                    self.emit(answer, AskEvent::Token { text, id, logprob })?;
                }
                GenerationEvent::Delta(besides) => self.emit(answer, AskEvent::Delta(besides))?,
                GenerationEvent::Done(done) => {
                    self.observe(pixels, &done);
                    let mut stages = stages;
                    stages.add_engine(&done.stages);
                    stages.ttft = first_tokens[answer].unwrap_or_else(|| ms(started));
                    stages.total = ms(started);
                    stages.record(&done.usage);
                    self.service.activity.ended(stages);
                    let finished = Finished {
                        finish_reason: done.finish_reason,
                        usage: done.usage,
                        stages_ms: stages,
                        warnings: warnings.iter().cloned().chain(done.warnings).collect(),
                        model: self.info.id.clone(),
                    };
                    self.emit(answer, AskEvent::Done(finished))?;
                }
            }
        }
        Ok(())
    }

    /// Submits a request for `n` answers. Returns their events, with the number of the answer.
    async fn submit(&self, request: Request, n: usize) -> Result<ManyEvents, AskError> {
        // Tokenizing a long text or compiling a schema takes too long for an async thread. It cannot be interrupted, so
        // it keeps the permit even if the client leaves.
        let engine = Arc::clone(&self.service.engine);
        let permit = self.permit.clone();
        let span = tracing::Span::current();
        let work = move || {
            let _permit = permit;
            span.in_scope(|| {
                answers(request, n).map(|request| engine.submit(request)).collect::<Result<Vec<_>, _>>()
            })
        };
        let submitted = tokio::task::spawn_blocking(work).await;
        let submitted = submitted.map_err(std::io::Error::other)??;
        Ok(stream::select_all(submitted.into_iter().enumerate().map(|(answer, events)| {
            let events = stream::unfold(events, |mut events| async move {
                let event = events.next().await?;
                Some((event, events))
            });
            events.map(move |event| (answer, event)).boxed()
        })))
    }

    /// Passes on what an answer tells about the speed of the engine.
    fn observe(&self, pixels: u64, done: &Done) {
        if let (Some(_), Some(observe)) = (&self.permit, self.service.observer.get()) {
            let computed = done.usage.prompt_tokens.saturating_sub(done.usage.cached_tokens);
            observe(done.stages.ttft_ms, computed);
        }
        self.service.rate.record(Reading {
            pixels,
            vision_ms: done.stages.vision_ms,
            prefill_ms: done.stages.prefill_ms,
            prompt_tokens: done.usage.prompt_tokens,
            cached_tokens: done.usage.cached_tokens,
        });
    }

    /// Decodes the media of the turns, in order.
    async fn messages(
        &self,
        turns: Vec<Turn>,
        stages: &mut StagesMs,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Message>, AskError> {
        let mut messages = Vec::with_capacity(turns.len());
        for (turn_at, turn) in turns.into_iter().enumerate() {
            let mut content = Vec::with_capacity(turn.content.len());
            for (at, piece) in turn.content.into_iter().enumerate() {
                let part = self.part(piece, stages, warnings).await;
                content.push(part.map_err(|source| AskError::Part {
                    turn: turn_at,
                    piece: at,
                    source: Box::new(source),
                })?);
            }
            messages.push(Message { role: turn.role, content, extra: turn.extra });
        }
        Ok(messages)
    }

    async fn part(
        &self,
        piece: Piece,
        stages: &mut StagesMs,
        warnings: &mut Vec<String>,
    ) -> Result<ContentPart, AskError> {
        let media = &self.service.media;
        let prepared = match piece {
            Piece::Text(text) => return Ok(ContentPart::Text(text)),
            Piece::Image(source) => {
                let picture = media.picture(&self.service.engine, &source, &self.cancel).await?;
                return Ok(ContentPart::Image(picture));
            }
            Piece::Clip(prepared) => prepared,
            Piece::Video(source, request) => {
                media.clip(&*self.service.engine, &source, request, &self.cancel, &self.progress()).await?
            }
            Piece::Frames(frames, fps, request) => {
                let engine = &*self.service.engine;
                media.frame_list(engine, &frames, fps, request.budget, &self.cancel, &self.progress()).await?
            }
        };
        stages.probe += prepared.probe_ms;
        stages.decode += prepared.decode_ms;
        warnings.extend(prepared.report.warnings.iter().cloned());
        self.emit(0, AskEvent::Media(prepared.report.clone()))?;
        Ok(ContentPart::Video(prepared.clip.clone()))
    }

    fn progress(&self) -> impl Fn(Stage, usize, usize) + Sync {
        |stage, done, total| self.try_emit(AskEvent::Progress { stage, done, total })
    }

    /// Queues an event that may be dropped: a slow reader does not need old progress.
    fn try_emit(&self, event: AskEvent) {
        if self.sender.capacity() > self.reserved {
            // An error only means that the reader has left.
            let _ = self.emit(0, event);
        }
    }

    /// Queues an event of an answer that must not be lost. A reader that is too far behind loses its answers.
    fn emit(&self, answer: usize, event: AskEvent) -> Result<(), AskError> {
        let bytes = event.bytes();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > WAITING_BYTES {
            tracing::warn!(
                waiting_bytes = waiting,
                "cancelled an answer, because its client reads too slowly; the client loses the rest of it"
            );
            return Err(EngineError::Cancelled.into());
        }
        self.sender.try_send(Ok((answer, event))).map_err(|_| EngineError::Cancelled.into())
    }
}

/// The events of several answers, with the number of the answer.
type ManyEvents =
    stream::SelectAll<stream::BoxStream<'static, (usize, Result<GenerationEvent, EngineError>)>>;

/// Returns the requests for `n` answers, which differ in their seeds.
fn answers(request: Request, n: usize) -> impl Iterator<Item = Request> {
    let seed = request.options.sampling.seed;
    std::iter::repeat_n(request, n).zip(0_u64..).map(move |(mut request, answer)| {
        request.options.sampling.seed = seed.map(|seed| seed.wrapping_add(answer));
        request
    })
}
