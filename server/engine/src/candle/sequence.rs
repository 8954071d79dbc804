//! One request on the engine's thread: looks for its prefix in the cache, runs the vision tower and the prefill in small
//! steps, and decodes in a batch with others.

use std::sync::Arc;
use std::time::Instant;

use super::answer::Answer;
use super::cache::{FeatureCache, PrefixCache, common_prefix, prefix_keys};
use super::generation::Generation;
use super::sink::Reader;
use crate::qwen3vl::{Encoding, Features, Kv, Model, Pass, PromptBuilder, PromptMedia, TokenSpan};
use crate::{Done, EngineError, EngineErrorKind, GenerationEvent, Stage, StageTimes, Usage};

/// Tokens of an answer for which memory is counted before it begins; most are shorter.
const USUAL_ANSWER: usize = 1024;

/// What all sequences share.
pub(super) struct Shared {
    /// The network.
    pub(super) model: Model,
    /// Makes patches.
    pub(super) builder: Arc<PromptBuilder>,
    /// Tokens that end an answer.
    pub(super) eos: Vec<u32>,
    /// Vision features of recent content.
    pub(super) features: FeatureCache,
    /// KV of recent prompts.
    pub(super) prefixes: PrefixCache,
    /// Prompt tokens per pass.
    pub(super) max_num_batched_tokens: usize,
}

/// A request in progress.
pub(super) struct Sequence {
    pub(super) generation: Generation,
    /// One per token that it needs before it can go on: of the prompt, and of the answer up to the last pause.
    keys: Vec<u64>,
    prompt_tokens: usize,
    /// `None` until the sequence starts, and while it is paused.
    kv: Option<Kv>,
    /// Tokens whose KV the prefix cache had when the sequence first started.
    cached_tokens: Option<usize>,
    phase: Phase,
    /// The answer so far, while the sequence is paused or starts again.
    paused: Option<Box<Answer>>,
    clock: StageClock,
    /// When it left the queue.
    pub(super) taken: Instant,
    /// How many later sequences went first.
    pub(super) passed: usize,
}

enum Phase {
    /// Nothing has been done.
    Waiting,
    /// The vision tower runs.
    Vision { seen: Vec<Features>, encoding: Option<Encoding> },
    /// The prompt is prefilled; a pass may have begun.
    Prefill { features: Option<Features>, pass: Option<Pass> },
    /// Tokens are generated.
    Decode(Box<Answer>),
}

impl Sequence {
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            keys: prefix_keys(&generation.prepared.prompt, &generation.contents),
            prompt_tokens: generation.prepared.prompt.ids().len(),
            kv: None,
            cached_tokens: None,
            phase: Phase::Waiting,
            paused: None,
            clock: StageClock::start(&generation),
            taken: Instant::now(),
            passed: 0,
            generation,
        }
    }

    pub(super) fn is_background(&self) -> bool {
        self.generation.request.options.background
    }

    /// Returns whether the next step is a token.
    pub(super) fn decodes(&self) -> bool {
        matches!(self.phase, Phase::Decode(_))
    }

    /// Returns the number of generated tokens.
    #[cfg(test)]
    pub(super) fn tokens(&self) -> usize {
        match &self.phase {
            Phase::Decode(answer) => answer.ids().len(),
            _ => 0,
        }
    }

    /// Returns about how much work is left before the first token, in prompt tokens.
    pub(super) fn left(&self) -> usize {
        let total = self.keys.len();
        let visual = self.generation.prepared.prompt.visual().len();
        match &self.phase {
            Phase::Waiting => total + visual,
            Phase::Vision { encoding, .. } => {
                let (done, blocks) = encoding.as_ref().map_or((0, 1), Encoding::progress);
                total + visual * (blocks - done) / blocks
            }
            Phase::Prefill { .. } => total - self.held(),
            Phase::Decode(_) => 0,
        }
    }

    /// Returns the number of tokens that a new sequence with `keys` could copy from this one.
    pub(super) fn common_prefix(&self, keys: &[u64]) -> usize {
        self.common_keys(keys).min(self.held())
    }

    /// Returns the number of tokens that a new sequence with `keys` could copy from this one after its prefill.
    pub(super) fn common_keys(&self, keys: &[u64]) -> usize {
        common_prefix(&self.keys, keys).min(keys.len().saturating_sub(1))
    }

    pub(super) fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Returns a copy of the first `len` tokens' KV.
    pub(super) fn fork(&self, len: usize) -> Option<Kv> {
        self.kv.as_ref()?.fork(len).ok()
    }

    /// Returns for how many tokens the sequence may need KV: its prompt, and an answer of usual length.
    pub(super) fn reserved(&self) -> usize {
        let usual = self.prompt_tokens + self.generation.max_tokens.min(USUAL_ANSWER);
        // After a pause, the keys include the answer so far.
        usual.max(self.keys.len())
    }

    /// Returns the number of tokens whose KV the sequence holds.
    pub(super) fn held(&self) -> usize {
        self.kv.as_ref().map_or(0, Kv::len)
    }

    /// Returns whether the sequence has its KV.
    pub(super) fn has_started(&self) -> bool {
        self.kv.is_some()
    }

    /// Starts with `forked` KV of another sequence, or what the prefix cache has.
    pub(super) fn begin(&mut self, shared: &mut Shared, forked: Option<Kv>) {
        let kv = forked.or_else(|| shared.prefixes.take(&self.keys)).unwrap_or_else(|| shared.model.new_kv());
        if self.cached_tokens.is_none() {
            self.cached_tokens = Some(kv.len());
            self.clock.times.queue_ms = ms(self.generation.queued);
        }
        let needed = self.generation.prepared.prompt.visual().last().is_some_and(|&last| last >= kv.len());
        self.kv = Some(kv);
        self.phase = match needed {
            true => Phase::Vision { seen: Vec::new(), encoding: None },
            false => Phase::Prefill { features: None, pass: None },
        };
    }

    /// Runs one block of the vision tower, or one layer of a prefill chunk. Returns the logits after the prompt at its end.
    ///
    /// # Errors
    /// `Failed` when the device fails.
    pub(super) fn advance(&mut self, shared: &mut Shared) -> Result<Option<Vec<f32>>, EngineError> {
        let start = Instant::now();
        match &mut self.phase {
            Phase::Waiting | Phase::Decode(_) => Ok(None),
            Phase::Vision { .. } => {
                self.look(shared)?;
                self.clock.times.vision_ms += ms(start);
                Ok(None)
            }
            Phase::Prefill { .. } => {
                let logits = self.prefill(shared);
                self.clock.times.prefill_ms += ms(start);
                logits
            }
        }
    }

    fn look(&mut self, shared: &mut Shared) -> Result<(), EngineError> {
        let Phase::Vision { seen, encoding } = &mut self.phase else { return Ok(()) };
        let media = &self.generation.prepared.media;
        let count = media.len();
        let background = self.generation.request.options.background;
        let index = seen.len();
        if encoding.is_none() {
            match shared.features.get(&self.generation.contents[index].0, background) {
                Some(features) => seen.push(features),
                None => {
                    self.generation.report(Stage::Preprocess, index, count);
                    *encoding = Some(shared.model.start_encoding(media[index].1.into())?);
                }
            }
        }
        if let Some(running) = encoding {
            let mut preprocess_ms = 0.0;
            let patches = &mut |groups| {
                let start = Instant::now();
                let processor = &shared.builder.processor;
                let visual = match &media[index].0 {
                    PromptMedia::Image(image) => processor.image_patches(image),
                    PromptMedia::Video(clip) => processor.video_group_patches(clip, groups),
                };
                preprocess_ms = ms(start);
                visual.pixels
            };
            let features = shared.model.advance_encoding(running, patches)?;
            self.clock.times.preprocess_ms += preprocess_ms;
            self.clock.times.vision_ms -= preprocess_ms;
            let (done, total) = running.progress();
            // Assumes that all media take the same number of blocks, since the others are not known yet.
            self.generation.report(Stage::Vision, index * total + done, count * total);
            if let Some(features) = features {
                shared.features.put(self.generation.contents[index].0, features.clone(), background);
                seen.push(features);
                *encoding = None;
            }
        }
        if seen.len() == count {
            let features = Features::cat(&seen.iter().collect::<Vec<_>>())?;
            self.phase = Phase::Prefill { features: Some(features), pass: None };
        }
        Ok(())
    }

    fn prefill(&mut self, shared: &mut Shared) -> Result<Option<Vec<f32>>, EngineError> {
        let (Phase::Prefill { features, pass }, Some(kv)) = (&mut self.phase, &mut self.kv) else {
            return Ok(None);
        };
        let prompt = &self.generation.prepared.prompt;
        let total = prompt.ids().len();
        let mut running = match pass.take() {
            Some(pass) => pass,
            None => {
                let end = total.min(kv.len() + shared.max_num_batched_tokens);
                let span = TokenSpan::Prompt { prompt, features: features.as_ref(), end };
                shared.model.start(&[span], &mut [&mut *kv])?
            }
        };
        let Some(logits) = shared.model.advance(&mut running, &mut [&mut *kv])? else {
            *pass = Some(running);
            return Ok(None);
        };
        let first = self.cached_tokens.unwrap_or_default().min(kv.len());
        if self.paused.is_none() {
            self.generation.report(Stage::Prefill, kv.len() - first, total - first);
        }
        let Some(logits) = logits.into_iter().next().flatten() else { return Ok(None) };
        let tokenizer = &shared.builder.tokenizer;
        let answer = self.paused.take();
        let answer =
            answer.unwrap_or_else(|| Box::new(Answer::new(&mut self.generation, &shared.eos, tokenizer)));
        self.phase = Phase::Decode(answer);
        Ok(Some(logits.to_vec1::<f32>()?))
    }

    /// Returns the token to decode next and the cache to append it to; `None` before the first token.
    pub(super) fn next_token(&mut self) -> Option<(u32, &mut Kv)> {
        let Phase::Decode(answer) = &self.phase else { return None };
        Some((*answer.ids().last()?, self.kv.as_mut()?))
    }

    /// Samples and sends a token. Returns the final event after the last one.
    ///
    /// # Errors
    /// `Invalid` when the request leaves no token to choose, `Failed` when the logits are no numbers, `Cancelled` when the
    /// reader has left.
    pub(super) fn accept(&mut self, shared: &Shared, logits: &[f32]) -> Result<Option<Done>, EngineError> {
        let Phase::Decode(answer) = &mut self.phase else { return Ok(None) };
        let (events, reason) = answer.next(logits, &shared.builder.tokenizer)?;
        self.clock.token();
        let tokens = answer.ids().len();
        for event in events {
            if self.generation.sink.send(Ok(event)) == Reader::Gone {
                return Err(EngineError::Cancelled);
            }
        }
        let Some(finish_reason) = reason else { return Ok(None) };
        let usage = Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: tokens,
            cached_tokens: self.cached_tokens.unwrap_or_default(),
        };
        Ok(Some(Done { finish_reason, usage, stages: self.clock.finish(), warnings: Vec::new() }))
    }

    /// Gives up the KV and waits: what the prefix cache still has when the sequence starts again is not computed again.
    pub(super) fn pause(&mut self, shared: &mut Shared) {
        if let Phase::Decode(answer) = std::mem::replace(&mut self.phase, Phase::Waiting) {
            let new = &answer.ids()[self.keys.len() - self.prompt_tokens..];
            self.keys.extend(new.iter().map(|&id| u64::from(id)));
            self.generation.prepared.prompt.push_generated(new);
            self.paused = Some(answer);
        }
        self.keep_kv(shared);
    }

    fn keep_kv(&mut self, shared: &mut Shared) {
        if let Some(kv) = self.kv.take() {
            shared.prefixes.put(self.keys.clone(), self.prompt_tokens, kv, self.is_background());
        }
    }

    /// Ends the sequence: its KV goes to the prefix cache, and its final event to the reader.
    pub(super) fn end(mut self, shared: &mut Shared, result: Result<Done, EngineError>) -> Generation {
        if let Phase::Decode(answer) = &self.phase {
            let new = &answer.ids()[self.keys.len() - self.prompt_tokens..];
            self.keys.extend(new.iter().map(|&id| u64::from(id)));
        }
        self.keep_kv(shared);
        if let Err(error) = &result
            && !matches!(error.kind(), EngineErrorKind::Cancelled | EngineErrorKind::Invalid)
        {
            let _span = self.generation.span.enter();
            tracing::error!(%error, "failed to generate an answer; its client gets the error");
        }
        self.generation.sink.send(result.map(GenerationEvent::Done));
        self.generation
    }
}

/// Times of a sequence's stages.
struct StageClock {
    submitted: Instant,
    first_token: Option<Instant>,
    times: StageTimes,
}

impl StageClock {
    fn start(generation: &Generation) -> Self {
        let times = StageTimes {
            queue_ms: ms(generation.queued),
            preprocess_ms: (generation.queued - generation.submitted).as_secs_f64() * 1e3,
            ..StageTimes::default()
        };
        Self { submitted: generation.submitted, first_token: None, times }
    }

    fn token(&mut self) {
        if self.first_token.is_none() {
            self.first_token = Some(Instant::now());
            self.times.ttft_ms = ms(self.submitted);
        }
    }

    fn finish(&self) -> StageTimes {
        StageTimes { generate_ms: self.first_token.map_or(0.0, ms), ..self.times }
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
