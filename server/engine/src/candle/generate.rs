//! Generates one answer: makes patches, runs the vision tower, prefills the prompt and decodes tokens. Stops between
//! two steps when the request was cancelled.

use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::Tensor;

use super::cache::{ContentId, FeatureCache, PrefixCache, identity, prefix_keys};
use super::constraint::Constraint;
use super::sampler::{self, Sampler};
use super::sink::EventSink;
use super::stop::{StopIds, StopStrings};
use crate::qwen3vl::{Features, Kv, Model, PreparedPrompt, PromptBuilder, PromptMedia, TextStream};
use crate::{Done, EngineError, FinishReason, GenerationEvent, Request, Stage, StageTimes, Usage};

/// A request with everything that generating its answer needs.
pub(super) struct Generation {
    /// The request, whose messages are in `prepared`.
    pub(super) request: Request,
    /// The prompt.
    pub(super) prepared: PreparedPrompt,
    /// The constraint on the answer's form; `None` means free text.
    pub(super) constraint: Option<Constraint>,
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

/// The model with its caches.
pub(super) struct Generator {
    /// The network.
    pub(super) model: Model,
    /// Vision features of recent content.
    pub(super) features: FeatureCache,
    /// KV of recent prompts.
    pub(super) prefixes: PrefixCache,
}

impl Generator {
    /// Generates one answer and sends its events, including the final one.
    pub(super) fn run(&mut self, generation: &Generation, builder: &PromptBuilder, eos: &[u32]) {
        let _span = generation.span.enter();
        let last = match self.answer(generation, builder, eos) {
            Ok(done) => Ok(GenerationEvent::Done(done)),
            Err(error) => Err(error),
        };
        if let Err(error) = &last
            && !matches!(error, EngineError::Cancelled)
        {
            tracing::error!(%error, "failed to generate an answer; its client gets the error");
        }
        // Fails only if the reader has left.
        let _ = generation.sink.send(last);
    }

    fn answer(
        &mut self,
        generation: &Generation,
        builder: &PromptBuilder,
        eos: &[u32],
    ) -> Result<Done, EngineError> {
        let mut clock = StageClock::start(generation);
        let prompt = &generation.prepared.prompt;
        let background = generation.request.options.background;
        let contents: Vec<(ContentId, usize)> = generation
            .prepared
            .media
            .iter()
            .map(|(media, grid)| {
                let tokens = grid.patches() / builder.config.vision.merge_unit();
                (identity(media, *grid), tokens)
            })
            .collect();
        let keys = prefix_keys(prompt, &contents);
        let mut kv = self.prefixes.take(&keys).unwrap_or_else(|| self.model.new_kv());
        let cached_tokens = kv.len();

        let needed = prompt.visual().last().is_some_and(|&last| last >= cached_tokens);
        let features = match needed {
            true => self.see(generation, builder, &contents, &mut clock)?,
            false => None,
        };

        let start = Instant::now();
        let mut progress = report(generation, Stage::Prefill);
        let prefill = self.model.prefill(prompt, features.as_ref(), &mut kv, &mut progress);
        clock.times.prefill_ms = ms(start);
        let logits = match prefill {
            Ok(logits) => logits,
            Err(error) => {
                // A retry continues from the chunks that were done.
                self.prefixes.put(keys, prompt.ids().len(), kv, background);
                return Err(error);
            }
        };

        let mut answer = AnswerInProgress::new(generation, builder, eos);
        let finished = self.generate(&mut answer, logits, &mut kv, &mut clock);
        let mut keys = keys;
        keys.extend(answer.ids.iter().map(|&id| u64::from(id)));
        self.prefixes.put(keys, prompt.ids().len(), kv, background);
        let usage =
            Usage { prompt_tokens: prompt.ids().len(), completion_tokens: answer.ids.len(), cached_tokens };
        Ok(Done { finish_reason: finished?, usage, stages: clock.finish(), warnings: Vec::new() })
    }

    /// Returns the features of all pictures and clips, from the cache or the vision tower.
    fn see(
        &mut self,
        generation: &Generation,
        builder: &PromptBuilder,
        contents: &[(ContentId, usize)],
        clock: &mut StageClock,
    ) -> Result<Option<Features>, EngineError> {
        let background = generation.request.options.background;
        let count = contents.len();
        let mut all = Vec::with_capacity(count);
        for (index, ((media, _), (identity, _))) in generation.prepared.media.iter().zip(contents).enumerate()
        {
            if let Some(features) = self.features.get(identity, background) {
                all.push(features);
                continue;
            }
            let start = Instant::now();
            report(generation, Stage::Preprocess)(index, count).continue_or_cancel()?;
            let visual = match media {
                PromptMedia::Image(image) => builder.processor.image_patches(image),
                PromptMedia::Video(clip) => builder.processor.video_patches(clip),
            };
            clock.times.preprocess_ms += ms(start);
            let start = Instant::now();
            let mut report = report(generation, Stage::Vision);
            // Assumes that all media take the same number of blocks, since the others are not known yet.
            let mut progress = |done: usize, total: usize| report(index * total + done, count * total);
            let features = self.model.encode(&visual, &mut progress)?;
            clock.times.vision_ms += ms(start);
            self.features.put(*identity, features.clone(), background);
            all.push(features);
        }
        if all.len() == 1 {
            return Ok(all.pop());
        }
        Features::cat(&all.iter().collect::<Vec<_>>()).map(Some)
    }

    fn generate(
        &self,
        answer: &mut AnswerInProgress<'_>,
        first: Tensor,
        kv: &mut Kv,
        clock: &mut StageClock,
    ) -> Result<FinishReason, EngineError> {
        let mut logits = first;
        loop {
            let values = logits.to_vec1::<f32>()?;
            let finished = answer.next(&values)?;
            clock.token();
            if let Some(reason) = finished {
                return Ok(reason);
            }
            let last = answer.ids.last().copied().unwrap_or_default();
            logits = self.model.step(last, kv)?;
        }
    }
}

/// An answer in progress.
struct AnswerInProgress<'a> {
    generation: &'a Generation,
    builder: &'a PromptBuilder,
    sampler: Sampler,
    constraint: Option<Constraint>,
    stop_ids: StopIds,
    stops: StopStrings,
    text: TextStream<'a>,
    ids: Vec<u32>,
}

impl<'a> AnswerInProgress<'a> {
    fn new(generation: &'a Generation, builder: &'a PromptBuilder, eos: &[u32]) -> Self {
        let Generation { request, prepared, .. } = generation;
        Self {
            generation,
            builder,
            constraint: generation.constraint.clone(),
            sampler: Sampler::new(request.options.sampling.clone(), prepared.prompt.ids()),
            stop_ids: StopIds::new(eos, request),
            stops: StopStrings::new(&request.options.stop),
            text: TextStream::new(&builder.tokenizer),
            ids: Vec::new(),
        }
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

    /// Samples and sends a token; returns the finish reason after the last one.
    fn next(&mut self, logits: &[f32]) -> Result<Option<FinishReason>, EngineError> {
        let (id, complete) = self.choose(logits)?;
        self.ids.push(id);
        let logprob = self
            .generation
            .request
            .options
            .logprobs
            .map(|count| sampler::logprobs(logits, id, count, &self.builder.tokenizer));
        let ended = self.stop_ids.contains(id);
        let full = self.ids.len() >= self.generation.max_tokens;
        let mut certain = if ended { String::new() } else { self.text.push(id) };
        if ended || full || complete {
            certain.push_str(&self.text.finish());
        }
        let mut scanned = self.stops.push(&certain);
        if !scanned.stopped && (ended || full || complete) {
            scanned.text.push_str(&self.stops.finish());
        }
        let token = GenerationEvent::Token { text: scanned.text, id: Some(id), logprob };
        self.generation.sink.send(Ok(token)).continue_or_cancel()?;
        Ok(match (scanned.stopped || ended || complete, full) {
            (true, _) => Some(FinishReason::Stop),
            (false, true) => Some(FinishReason::Length),
            (false, false) => None,
        })
    }
}

/// Times of a generation's stages.
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

    fn finish(mut self) -> StageTimes {
        self.times.generate_ms = self.first_token.map_or(0.0, ms);
        self.times
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Returns a callback that sends progress, and breaks once the reader has left.
fn report(generation: &Generation, stage: Stage) -> impl FnMut(usize, usize) -> ControlFlow<()> {
    move |done, total| generation.sink.offer(GenerationEvent::Progress { stage, done, total })
}

trait ContinueOrCancel {
    fn continue_or_cancel(self) -> Result<(), EngineError>;
}

impl ContinueOrCancel for ControlFlow<()> {
    fn continue_or_cancel(self) -> Result<(), EngineError> {
        match self {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EngineError::Cancelled),
        }
    }
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
