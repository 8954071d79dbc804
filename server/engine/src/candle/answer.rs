//! The text side of an answer: samples tokens, applies constraint and stop strings, and makes the events.

use super::constraint::Constraint;
use super::generation::Generation;
use super::sampler::{self, Sampler};
use super::stop::{StopIds, StopStrings};
use crate::qwen3vl::{TextStream, Tokenizer};
use crate::{EngineError, FinishReason, GenerationEvent};

/// An answer in progress.
pub(super) struct Answer {
    sampler: Sampler,
    constraint: Option<Constraint>,
    stop_ids: StopIds,
    stops: StopStrings,
    text: TextStream,
    logprobs: Option<usize>,
    max_tokens: usize,
    ids: Vec<u32>,
}

impl Answer {
    /// Starts the answer to a request.
    pub(super) fn new(generation: &Generation, eos: &[u32]) -> Self {
        let Generation { request, prepared, .. } = generation;
        Self {
            constraint: generation.constraint.clone(),
            sampler: Sampler::new(request.options.sampling.clone(), prepared.prompt.ids()),
            stop_ids: StopIds::new(eos, request),
            stops: StopStrings::new(&request.options.stop),
            text: TextStream::default(),
            logprobs: request.options.logprobs,
            max_tokens: generation.max_tokens,
            ids: Vec::new(),
        }
    }

    /// Returns the tokens so far.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Samples a token; returns its event, and the finish reason after the last one.
    pub(super) fn next(
        &mut self,
        logits: &[f32],
        tokenizer: &Tokenizer,
    ) -> Result<(GenerationEvent, Option<FinishReason>), EngineError> {
        let (id, complete) = self.choose(logits)?;
        self.ids.push(id);
        let logprob = self.logprobs.map(|count| sampler::logprobs(logits, id, count, tokenizer));
        let ended = self.stop_ids.contains(id);
        let full = self.ids.len() >= self.max_tokens;
        let mut certain = if ended { String::new() } else { self.text.push(tokenizer, id) };
        if ended || full || complete {
            certain.push_str(&self.text.finish(tokenizer));
        }
        let mut scanned = self.stops.push(&certain);
        if !scanned.stopped && (ended || full || complete) {
            scanned.text.push_str(&self.stops.finish());
        }
        let reason = match (scanned.stopped || ended || complete, full) {
            (true, _) => Some(FinishReason::Stop),
            (false, true) => Some(FinishReason::Length),
            (false, false) => None,
        };
        Ok((GenerationEvent::Token { text: scanned.text, id: Some(id), logprob }, reason))
    }

    /// Samples a token that the constraint allows; true when nothing can follow.
    fn choose(&mut self, logits: &[f32]) -> Result<(u32, bool), EngineError> {
        let Some(constraint) = &mut self.constraint else {
            return Ok((self.sampler.choose(logits)?, false));
        };
        let mut logits = logits.to_vec();
        constraint.mask()?.apply(&mut logits);
        let id = self.sampler.choose(&logits)?;
        Ok((id, constraint.accept(id)?))
    }
}
