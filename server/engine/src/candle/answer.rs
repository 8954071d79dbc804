//! The text side of an answer: samples tokens, applies constraint and stop strings, finds calls of tools, and makes the events.

use super::constraint::Constraint;
use super::generation::Generation;
use super::logit_rules::LogitRules;
use super::sampler::{self, Sampler};
use super::stop::{StopIds, StopStrings};
use super::tools::{self, ToolParser};
use crate::qwen3vl::{TextStream, Tokenizer};
use crate::{EngineError, FinishReason, GenerationEvent};

/// An answer in progress.
pub(super) struct Answer {
    sampler: Sampler,
    rules: LogitRules,
    constraint: Option<Constraint>,
    stop_ids: StopIds,
    stops: StopStrings,
    /// Whether the text of the token that ends the answer is part of it, where it has one.
    shows_end: bool,
    min_tokens: usize,
    text: TextStream,
    tools: Option<ToolParser>,
    /// Tags of calls that are special tokens, whose text the decoder leaves out.
    tags: Vec<(u32, &'static str)>,
    logprobs: Option<usize>,
    max_tokens: usize,
    ids: Vec<u32>,
}

impl Answer {
    /// Starts the answer to a request.
    pub(super) fn new(generation: &mut Generation, eos: &[u32], tokenizer: &Tokenizer) -> Self {
        let rules = std::mem::take(&mut generation.rules);
        let Generation { request, prepared, constraint, max_tokens, .. } = generation;
        let options = &request.options;
        let tools = ToolParser::new(options.tools.as_ref());
        let tags = tools.iter().flat_map(|_| tools::special_tags(tokenizer)).collect();
        Self {
            rules,
            constraint: constraint.take(),
            sampler: Sampler::new(options.sampling.clone(), prepared.prompt.ids()),
            stop_ids: StopIds::new(eos, request),
            stops: StopStrings::new(&options.stop, options.include_stop_str_in_output),
            shows_end: options.include_stop_str_in_output,
            min_tokens: options.min_tokens,
            text: TextStream::default(),
            tools,
            tags,
            logprobs: options.logprobs,
            max_tokens: *max_tokens,
            ids: Vec::new(),
        }
    }

    /// Returns the tokens so far.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Samples a token; returns its events, and the finish reason after the last one.
    ///
    /// # Errors
    /// `Invalid` when the request leaves no token to choose, `Failed` when the logits are no numbers.
    pub(super) fn next(
        &mut self,
        logits: &[f32],
        tokenizer: &Tokenizer,
    ) -> Result<(Vec<GenerationEvent>, Option<FinishReason>), EngineError> {
        let (id, complete) = self.choose(logits)?;
        self.ids.push(id);
        let logprob = self.logprobs.map(|count| sampler::logprobs(logits, id, count, tokenizer));
        let ended = self.stop_ids.contains(id);
        let full = self.ids.len() >= self.max_tokens;
        let mut certain = if ended && !self.shows_end { String::new() } else { self.decode(id, tokenizer) };
        if ended || full || complete {
            certain.push_str(&self.text.finish(tokenizer));
        }
        let mut scanned = self.stops.push(&certain, self.ids.len() > self.min_tokens);
        if !scanned.stopped && (ended || full || complete) {
            scanned.text.push_str(&self.stops.finish());
        }
        let reason = match (scanned.stopped || ended || complete, full) {
            (true, _) => Some(FinishReason::Stop),
            (false, true) => Some(FinishReason::Length),
            (false, false) => None,
        };
        let (text, deltas, reason) = self.find_calls(scanned.text, reason);
        let mut events = vec![GenerationEvent::Token { text, id: Some(id), logprob }];
        events.extend(deltas.into_iter().map(GenerationEvent::Delta));
        Ok((events, reason))
    }

    /// Returns the text that becomes final with `id`.
    fn decode(&mut self, id: u32, tokenizer: &Tokenizer) -> String {
        match self.tags.iter().find(|(tag, _)| *tag == id) {
            Some((_, tag)) => self.text.finish(tokenizer) + tag,
            None => self.text.push(tokenizer, id),
        }
    }

    /// Separates calls of tools from the answer's text, and names them as the reason for its end.
    fn find_calls(
        &mut self,
        text: String,
        reason: Option<FinishReason>,
    ) -> (String, Vec<serde_json::Map<String, serde_json::Value>>, Option<FinishReason>) {
        let Some(parser) = &mut self.tools else { return (text, Vec::new(), reason) };
        let mut parsed = parser.push(&text);
        let reason = if parsed.over { Some(FinishReason::Stop) } else { reason };
        if reason.is_some() && !parsed.over {
            parsed.text.push_str(&parser.finish());
        }
        let reason = match reason {
            Some(FinishReason::Stop) if parser.has_called() => Some(FinishReason::ToolCalls),
            Some(FinishReason::Length) if parser.has_called() && !parser.is_inside_call() => {
                Some(FinishReason::ToolCalls)
            }
            reason => reason,
        };
        (parsed.text, parsed.deltas, reason)
    }

    /// Samples a token that rules and constraint allow; true when nothing can follow.
    fn choose(&mut self, logits: &[f32]) -> Result<(u32, bool), EngineError> {
        if self.constraint.is_none() && self.rules.is_empty() {
            return Ok((self.sampler.choose(logits)?, false));
        }
        let mut left = logits.to_vec();
        if let Some(constraint) = &mut self.constraint {
            constraint.mask()?.apply(&mut left);
        }
        self.rules.apply(&mut left, &self.ids, &self.stop_ids);
        let masked = |logits: &[f32]| logits.iter().all(|&logit| logit == f32::NEG_INFINITY);
        if masked(&left) && !masked(logits) {
            return Err(self.rules.nothing_left(&self.ids, self.constraint.is_some()));
        }
        let id = self.sampler.choose(&left)?;
        match &mut self.constraint {
            Some(constraint) => Ok((id, constraint.accept(id)?)),
            None => Ok((id, false)),
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
