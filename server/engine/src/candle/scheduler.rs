//! Schedules the requests on the engine's thread: decodes one token of every answer in a batch, and between two such steps
//! works on the prompts of new requests, in slices of a few layers, so that a long clip does not hold up the others.
//!
//! Among prompts, the one with the least work left goes first, and later ones cannot hold up an older one for ever. Requests of
//! jobs rest while a person's or a program's request is in progress, except in every eighth step. A request starts when the KV
//! of its tokens fits into the budget, or alone. Where it does not fit beside requests of jobs, these are paused: they give up
//! their KV and go on when there is room again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::BatchCounters;
use super::cache::MIN_COMMON;
use super::generation::Generation;
use super::queue::Takes;
use super::sequence::{Sequence, Shared};
use super::sink::Reader;
use super::worker::{Progress, Runner};
use crate::qwen3vl::{Kv, TokenSpan};
use crate::{Done, EngineError};

/// Work on prompts between two decoding steps: at least one layer, then more until this time is over, or as much as the last
/// decoding step took. Where that is long, one layer at a time would keep new requests waiting for a step per layer.
const SLICE: Duration = Duration::from_millis(20);

/// Requests of jobs take part in one of so many steps while others are in progress.
const BACKGROUND_EVERY: usize = 8;

/// A prompt that so many later ones have overtaken before it could start goes first.
const MAX_PASSED: usize = 8;

/// After so many later ones have overtaken it, a prompt that has started gets a slice before the next one does.
const MAX_AHEAD: usize = 2;

/// What runs at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Requests of each kind.
    pub(crate) max_num_seqs: usize,
    /// Bytes of KV of running requests.
    pub(crate) kv_cache_memory_bytes: usize,
    /// Prompt tokens per pass.
    pub(crate) max_num_batched_tokens: usize,
}

/// Schedules requests on one model.
pub(super) struct Scheduler {
    shared: Shared,
    limits: Limits,
    /// In the order of arrival.
    running: Vec<Sequence>,
    /// Requests that have ended, whose readers are behind.
    ended: Vec<Generation>,
    steps: usize,
    /// How long the last decoding step took.
    decoding: Duration,
    /// [`SLICE`]; shorter in tests, whose models are small.
    slice: Duration,
    batch: Arc<BatchCounters>,
}

impl Scheduler {
    /// Creates a scheduler, which reports to `batch`.
    pub(super) fn new(shared: Shared, limits: Limits, batch: Arc<BatchCounters>) -> Self {
        Self {
            shared,
            limits,
            running: Vec::new(),
            ended: Vec::new(),
            steps: 0,
            decoding: Duration::ZERO,
            slice: SLICE,
            batch,
        }
    }

    fn interactive(&self) -> usize {
        self.running.iter().filter(|sequence| !sequence.is_background()).count()
    }

    /// Decodes one token of each answer that `takes_part`. Returns whether there was one.
    fn decode(&mut self, takes_part: &[bool]) -> bool {
        let mut indices = Vec::new();
        let mut spans = Vec::new();
        let mut kvs: Vec<&mut Kv> = Vec::new();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            if takes_part[index]
                && let Some((token, kv)) = sequence.next_token()
            {
                indices.push(index);
                spans.push(TokenSpan::Token(token));
                kvs.push(kv);
            }
        }
        self.batch.decoded(indices.len());
        if indices.is_empty() {
            return false;
        }
        let logits = self.shared.model.run(&spans, &mut kvs).and_then(|logits| {
            logits
                .iter()
                .flatten()
                .map(|row| Ok(row.to_vec1::<f32>()?))
                .collect::<Result<Vec<_>, EngineError>>()
        });
        // From the last one on, since an answer that ends leaves the list.
        for (at, &index) in indices.iter().enumerate().rev() {
            match &logits {
                Ok(rows) => self.accept(index, &rows[at]),
                Err(error) => self.end(index, Err(error.clone())),
            }
        }
        true
    }

    fn accept(&mut self, index: usize, logits: &[f32]) {
        match self.running[index].accept(&self.shared, logits) {
            Ok(None) => {}
            Ok(Some(done)) => self.end(index, Ok(done)),
            Err(error) => self.end(index, Err(error)),
        }
    }

    fn end(&mut self, index: usize, result: Result<Done, EngineError>) {
        let at_once = self.running.len() as u64;
        let sequence = self.running.remove(index);
        // Requests that run at the same time share the thread.
        self.batch.took(sequence.taken.elapsed().as_millis() as u64 / at_once);
        let generation = sequence.end(&mut self.shared, result);
        if generation.sink.flush(Instant::now()) == Reader::Behind {
            self.ended.push(generation);
        }
    }

    /// Works on prompts for a slice of time. Returns whether there was work.
    fn work_on_prompts(&mut self, takes_part: &[bool]) -> bool {
        let start = Instant::now();
        let Some(index) = self.next_prompt(takes_part) else { return false };
        if !self.running[index].has_started() {
            let forked = self.fork_for(index);
            self.running[index].begin(&mut self.shared, forked);
        }
        // A new request waits for no more than one step of a job.
        let background = self.running[index].is_background();
        let slice = if background { self.slice } else { self.slice.max(self.decoding) };
        loop {
            match self.running[index].advance(&mut self.shared) {
                Err(error) => self.end(index, Err(error)),
                Ok(Some(logits)) => self.accept(index, &logits),
                Ok(None) if start.elapsed() < slice && !self.running[index].generation.sink.is_gone() => {
                    continue;
                }
                Ok(None) => {}
            }
            return true;
        }
    }

    /// Chooses the prompt to work on.
    fn next_prompt(&mut self, takes_part: &[bool]) -> Option<usize> {
        let prompts = self.running.iter().enumerate();
        let prompts = prompts.filter(|(index, sequence)| takes_part[*index] && !sequence.decodes());
        let mut prompts: Vec<_> = prompts.collect();
        prompts.sort_by_key(|(_, sequence)| {
            let overtaken = !sequence.has_started() && sequence.passed >= MAX_PASSED;
            (sequence.is_background(), !overtaken, if overtaken { 0 } else { sequence.left() })
        });
        let prompts: Vec<usize> = prompts.into_iter().map(|(index, _)| index).collect();
        let (mut chosen, mut starts) = (None, true);
        for index in prompts {
            let started = self.running[index].has_started();
            if started || starts && !self.waits_for_prefix(index, takes_part) && self.admit(index) {
                chosen = Some(index);
                break;
            }
            // Nothing that has not started overtakes it any more: it starts as soon as others have ended.
            starts &= self.running[index].passed < MAX_PASSED;
        }
        let chosen = chosen?;
        if self.running[chosen].has_started() {
            return Some(chosen);
        }
        let kind = self.running[chosen].is_background();
        let held_up = self.running[..chosen].iter().zip(takes_part).position(|(older, takes_part)| {
            let works = *takes_part && older.has_started() && !older.decodes();
            works && older.is_background() == kind && older.passed >= MAX_AHEAD
        });
        if let Some(older) = held_up {
            self.running[older].passed = 0;
            return Some(older);
        }
        self.running[chosen].passed = 0;
        for sequence in self.running[..chosen].iter_mut().filter(|sequence| !sequence.decodes()) {
            sequence.passed += 1;
        }
        Some(chosen)
    }

    /// Returns whether another sequence is computing what this one begins with, for example the same prompt for another
    /// answer: this one then copies it.
    fn waits_for_prefix(&self, index: usize, takes_part: &[bool]) -> bool {
        let new = &self.running[index];
        let half = new.keys().len() / 2;
        self.running.iter().zip(takes_part).any(|(other, takes_part)| {
            let works = *takes_part && other.has_started() && !other.decodes();
            let as_urgent = new.is_background() || !other.is_background();
            let gain = || other.common_keys(new.keys());
            works
                && as_urgent
                && gain() >= MIN_COMMON.max(half)
                && gain() > self.shared.prefixes.common(new.keys())
        })
    }

    /// Returns whether the KV of a new sequence fits beside that of the others, after pausing those of jobs if need be.
    fn admit(&mut self, index: usize) -> bool {
        let new = &self.running[index];
        let started = |background: bool| {
            let others = self.running.iter().filter(|other| other.has_started());
            others.filter(|other| other.is_background() == background).map(Sequence::reserved).sum::<usize>()
        };
        let fits = |used: usize| {
            let bytes = (used + new.reserved()) * self.shared.model.kv_bytes_per_token();
            used == 0 || bytes <= self.limits.kv_cache_memory_bytes
        };
        let (interactive, mut background) = (started(false), started(true));
        if fits(interactive + background) {
            return true;
        }
        if new.is_background() || !fits(interactive) {
            return false;
        }
        let mut paused = Vec::new();
        for (at, other) in self.running.iter().enumerate().rev() {
            if other.has_started() && other.is_background() && !fits(interactive + background) {
                background -= other.reserved();
                paused.push(at);
            }
        }
        for at in paused {
            self.running[at].pause(&mut self.shared);
            self.batch.preempted();
        }
        true
    }

    /// Copies the KV of a running sequence with the same beginning, where the prefix cache has no longer one.
    fn fork_for(&self, index: usize) -> Option<Kv> {
        let keys = self.running[index].keys();
        let others = self.running.iter().enumerate().filter(|&(other, _)| other != index);
        let (len, source) = others
            .map(|(_, other)| (other.common_prefix(keys), other))
            .max_by_key(|(len, _)| *len)
            .filter(|&(len, _)| len >= MIN_COMMON && len > self.shared.prefixes.common(keys))?;
        source.fork(len)
    }

    /// Sends waiting events, ends the requests whose readers have left, and returns which sequences take part in this step:
    /// not those whose readers are behind, and usually not those of jobs beside others.
    fn participants(&mut self) -> Vec<bool> {
        let now = Instant::now();
        self.ended.retain(|generation| generation.sink.flush(now) == Reader::Behind);
        let mut takes_part = Vec::with_capacity(self.running.len());
        for index in (0..self.running.len()).rev() {
            match self.running[index].generation.sink.flush(now) {
                Reader::Ready => takes_part.push(true),
                Reader::Behind => takes_part.push(false),
                Reader::Gone => self.end(index, Err(EngineError::Cancelled)),
            }
        }
        takes_part.reverse();
        let others =
            || self.running.iter().zip(&takes_part).any(|(other, ready)| *ready && !other.is_background());
        if !self.steps.is_multiple_of(BACKGROUND_EVERY) && others() {
            for (takes_part, sequence) in takes_part.iter_mut().zip(&self.running) {
                *takes_part &= !sequence.is_background();
            }
        }
        takes_part
    }
}

impl Scheduler {
    /// Reports what is in progress.
    fn report(&self) {
        let running = self.running.iter().filter(|sequence| sequence.has_started()).count();
        let tokens: usize = self.running.iter().map(Sequence::held).sum();
        let bytes = tokens * self.shared.model.kv_bytes_per_token();
        self.batch.now(running, self.running.len() - running, bytes);
    }
}

impl Runner<Generation> for Scheduler {
    fn takes(&self) -> Takes {
        match self.running.len() < self.limits.max_num_seqs {
            true => Takes::All,
            // Requests of jobs leave their places to others, and rest.
            false if self.interactive() < self.limits.max_num_seqs => Takes::Interactive,
            false => Takes::Nothing,
        }
    }

    fn start(&mut self, generation: Generation) {
        let sequence = Sequence::new(generation);
        self.running.push(sequence);
    }

    fn step(&mut self) -> Progress {
        self.steps += 1;
        let takes_part = self.participants();
        let worked = self.work_on_prompts(&takes_part);
        // Work on prompts may have ended a request.
        let takes_part = if worked { self.participants() } else { takes_part };
        let start = Instant::now();
        let decoded = self.decode(&takes_part);
        self.decoding = if decoded { start.elapsed() } else { Duration::ZERO };
        self.report();
        match (self.running.is_empty() && self.ended.is_empty(), worked || decoded) {
            (true, _) => Progress::Idle,
            (false, true) => Progress::Busy,
            (false, false) => Progress::Stalled,
        }
    }

    fn fail(&mut self, error: &EngineError) {
        for sequence in &self.running {
            sequence.generation.sink.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
