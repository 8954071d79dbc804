//! A request with everything that generating its answer needs.

use std::time::Instant;

use super::cache::ContentId;
use super::constraint::Constraint;
use super::logit_rules::LogitRules;
use super::queue::Waiting;
use super::sink::EventSink;
use super::worker::Task;
use crate::qwen3vl::PreparedPrompt;
use crate::{EngineError, GenerationEvent, Request, Stage};

/// A request that waits for the engine's thread or runs on it.
pub(super) struct Generation {
    /// The request, whose messages are in `prepared`.
    pub(super) request: Request,
    /// The prompt.
    pub(super) prepared: PreparedPrompt,
    /// Identity and number of tokens of each picture and clip.
    pub(super) contents: Vec<(ContentId, usize)>,
    /// The constraint on the answer's form; `None` means free text.
    pub(super) constraint: Option<Constraint>,
    /// Rules about single tokens.
    pub(super) rules: LogitRules,
    /// Limit of generated tokens.
    pub(super) max_tokens: usize,
    /// Where events go.
    pub(super) sink: EventSink,
    /// When the request was submitted.
    pub(super) submitted: Instant,
    /// When the request joined the queue.
    pub(super) queued: Instant,
    /// The caller's span, for log lines of the engine's thread.
    pub(super) span: tracing::Span,
}

impl Generation {
    /// Reports progress, which a slow reader may miss.
    pub(super) fn report(&self, stage: Stage, done: usize, total: usize) {
        // The scheduler notices a reader that has left.
        let _ = self.sink.offer(GenerationEvent::Progress { stage, done, total });
    }
}

impl Waiting for Generation {
    fn is_gone(&self) -> bool {
        self.sink.is_gone()
    }

    fn is_background(&self) -> bool {
        self.request.options.background
    }

    fn moved_to(&self, position: usize) {
        // A slow reader may miss a position.
        let _ = self.sink.offer(GenerationEvent::Queued { position });
    }
}

impl Task for Generation {
    fn fail(&self, error: EngineError) {
        // Fails only if the reader has left.
        let _ = self.sink.send(Err(error));
    }
}
