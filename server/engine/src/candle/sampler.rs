//! Samples the next token from logits, in vLLM's order of operations: penalties, greedy or temperature, min-p, top-k,
//! top-p, draw. Log-probabilities are those of the unmodified logits.
//!
//! The seeded draw is candle-transformers' `LogitsProcessor`. That has neither min-p nor presence and frequency penalties,
//! and applies top-p to probabilities that top-k has not renormalized, so the candidates are selected here.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Draw};

use crate::{EngineError, SamplingParams, TokenLogprob, qwen3vl::Tokenizer};

/// Temperatures below this are greedy, as in vLLM.
const GREEDY_BELOW: f64 = 1e-5;

/// The sampler of one answer.
pub(super) struct Sampler {
    sampling: SamplingParams,
    draws: LogitsProcessor,
    /// Per token, whether it occurs in the prompt and how often in the answer.
    seen: HashMap<u32, TokenCount>,
}

#[derive(Default)]
struct TokenCount {
    answer: u32,
}

impl Sampler {
    /// Creates the sampler for an answer to `prompt`. Equal seeds give equal draws; without a seed draws differ.
    #[must_use]
    pub(super) fn new(sampling: SamplingParams, prompt: &[u32]) -> Self {
        let seed = sampling.seed.unwrap_or_else(rand::random);
        let draws = LogitsProcessor::from_sampling(seed, Draw::All { temperature: 1.0 });
        // Only the repetition penalty considers the prompt.
        let prompt = if sampling.repetition_penalty == 1.0 { &[] } else { prompt };
        let seen = prompt.iter().map(|&id| (id, TokenCount::default())).collect();
        Self { sampling, draws, seen }
    }

    /// Samples the next token; `logits` has one value per id.
    ///
    /// # Errors
    /// `Failed` when the logits are not finite.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Result<u32, EngineError> {
        let mut logits = logits.to_vec();
        self.penalise(&mut logits);
        let best = argmax(&logits)?;
        let id = if self.sampling.temperature < GREEDY_BELOW {
            best
        } else {
            self.draw(&logits, logits[best as usize])?
        };
        self.seen.entry(id).or_default().answer += 1;
        Ok(id)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let SamplingParams { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        let (repetition, presence, frequency) =
            (repetition_penalty as f32, presence_penalty as f32, frequency_penalty as f32);
        for (&id, seen) in &self.seen {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
            if seen.answer > 0 {
                *logit -= frequency * seen.answer as f32 + presence;
            }
        }
    }

    /// Draws from the candidates left by temperature, min-p, top-k and top-p. `best` is the largest logit.
    fn draw(&mut self, logits: &[f32], best: f32) -> Result<u32, EngineError> {
        let SamplingParams { temperature, top_p, top_k, min_p, .. } = self.sampling;
        // Weights relative to the best token's weight of 1, so that min-p is a plain threshold.
        let weight = |logit: f32| (f64::from(logit - best) / temperature).exp();
        let mut kept: Vec<(u32, f64)> = (0..)
            .zip(logits)
            .map(|(id, &logit)| (id, weight(logit)))
            .filter(|&(_, weight)| weight > 0.0 && weight >= min_p)
            .collect();
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if top_k > 0 && top_k < kept.len() {
            kept.select_nth_unstable_by(top_k - 1, order);
            kept.truncate(top_k);
        }
        // Always sorted, so that a draw depends on the seed only.
        kept.sort_unstable_by(order);
        if top_p < 1.0 {
            let total: f64 = kept.iter().map(|&(_, weight)| weight).sum();
            let mut before = 0.0;
            let nucleus = kept.iter().take_while(|&&(_, weight)| {
                let inside = before < top_p * total;
                before += weight;
                inside
            });
            let len = nucleus.count().max(1);
            kept.truncate(len);
        }
        let left = kept.iter().map(|&(_, weight)| weight.ln() as f32).collect::<Vec<_>>();
        let at = self.draws.sample(&Tensor::new(left, &Device::Cpu)?)?;
        Ok(kept[at as usize].0)
    }
}

/// Returns the id of the largest logit; the lowest id among equals.
fn argmax(logits: &[f32]) -> Result<u32, EngineError> {
    let mut best: Option<(u32, f32)> = None;
    for (id, &logit) in (0..).zip(logits) {
        if logit.is_nan() {
            return Err(EngineError::Failed("the model's logits are not numbers".into()));
        }
        if best.is_none_or(|(_, top)| logit > top) {
            best = Some((id, logit));
        }
    }
    match best {
        Some((id, logit)) if logit.is_finite() => Ok(id),
        _ => Err(EngineError::Failed("the model's logits are not finite".into())),
    }
}

/// Returns the log-probabilities of `id` and of the `count` most likely tokens.
#[must_use]
pub(super) fn logprobs(logits: &[f32], id: u32, count: usize, tokenizer: &Tokenizer) -> TokenLogprob {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    let log_sum = f64::from(max) + sum.ln();
    let logprob = |id: u32| (f64::from(logits[id as usize]) - log_sum) as f32;
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let count = count.min(ids.len());
    if count > 0 && count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
    }
    ids.truncate(count);
    ids.sort_unstable_by(order);
    let top = ids.into_iter().map(|id| (tokenizer.token_text(id), Some(id), logprob(id))).collect();
    TokenLogprob { logprob: logprob(id), top }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities 0.5, 0.25, 0.15, 0.07, 0.03 of ids 3, 1, 0, 4, 2.
    fn logits() -> Vec<f32> {
        [0.15f32, 0.25, 0.03, 0.5, 0.07].iter().map(|p| p.ln()).collect()
    }

    fn sampling(change: impl FnOnce(&mut SamplingParams)) -> SamplingParams {
        let mut sampling = SamplingParams { temperature: 1.0, seed: Some(7), ..SamplingParams::default() };
        change(&mut sampling);
        sampling
    }

    /// Relative frequencies of 20,000 first draws.
    fn frequencies(sampling: &SamplingParams) -> [f64; 5] {
        let mut counts = [0u32; 5];
        let mut sampler = Sampler::new(sampling.clone(), &[]);
        for _ in 0..20_000 {
            counts[sampler.choose(&logits()).unwrap() as usize] += 1;
            sampler.seen.clear();
        }
        counts.map(|count| f64::from(count) / 20_000.0)
    }

    fn assert_near(got: [f64; 5], want: [f64; 5]) {
        for (id, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() < 0.015, "id {id}: {got} instead of {want}");
            assert!(want > 0.0 || *got == 0.0, "id {id} is cut but was drawn");
        }
    }

    #[test]
    fn greedy_takes_the_likeliest_and_the_lowest_id_of_equals() {
        let mut sampler = Sampler::new(SamplingParams::default(), &[]);
        assert_eq!(sampler.choose(&logits()).unwrap(), 3);
        assert_eq!(sampler.choose(&[1.0, 2.0, 2.0]).unwrap(), 1);
    }

    #[test]
    fn plain_sampling_follows_the_probabilities() {
        assert_near(frequencies(&sampling(|_| ())), [0.15, 0.25, 0.03, 0.5, 0.07]);
    }

    #[test]
    fn temperature_sharpens() {
        // p^2 renormalised: squares sum to 0.3408.
        let got = frequencies(&sampling(|s| s.temperature = 0.5));
        let sum = 0.3408;
        assert_near(got, [0.0225 / sum, 0.0625 / sum, 0.0009 / sum, 0.25 / sum, 0.0049 / sum]);
    }

    #[test]
    fn top_k_keeps_the_k_likeliest() {
        let got = frequencies(&sampling(|s| s.top_k = 2));
        assert_near(got, [0.0, 1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0]);
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_p() {
        let got = frequencies(&sampling(|s| s.top_p = 0.8));
        assert_near(got, [0.15 / 0.9, 0.25 / 0.9, 0.0, 0.5 / 0.9, 0.0]);
    }

    #[test]
    fn top_p_counts_what_top_k_left() {
        // Of 2/3 and 1/3 the first alone reaches 0.6.
        let got = frequencies(&sampling(|s| (s.top_k, s.top_p) = (2, 0.6)));
        assert_near(got, [0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn min_p_is_relative_to_the_likeliest() {
        let got = frequencies(&sampling(|s| s.min_p = 0.2));
        assert_near(got, [0.15 / 0.9, 0.25 / 0.9, 0.0, 0.5 / 0.9, 0.0]);
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let draw = |seed| {
            let mut sampler = Sampler::new(sampling(|s| s.seed = Some(seed)), &[]);
            (0..64).map(|_| sampler.choose(&logits()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn penalties_are_those_of_vllm() {
        let penalised = |change: fn(&mut SamplingParams), prompt: &[u32], answer: &[u32]| {
            let mut sampler = Sampler::new(sampling(change), prompt);
            for &id in answer {
                sampler.seen.entry(id).or_default().answer += 1;
            }
            let mut logits = vec![2.0, -2.0, 1.0];
            sampler.penalise(&mut logits);
            logits
        };
        // Repetition counts the prompt and works on the sign; the others count the answer only.
        assert_eq!(penalised(|s| s.repetition_penalty = 2.0, &[0], &[1]), [1.0, -4.0, 1.0]);
        assert_eq!(penalised(|s| s.presence_penalty = 0.5, &[0], &[1, 1]), [2.0, -2.5, 1.0]);
        assert_eq!(penalised(|s| s.frequency_penalty = 0.5, &[0], &[1, 1]), [2.0, -3.0, 1.0]);
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error() {
        let mut sampler = Sampler::new(SamplingParams::default(), &[]);
        assert!(sampler.choose(&[0.0, f32::NAN]).is_err());
        assert!(sampler.choose(&[f32::NEG_INFINITY]).is_err());
        assert!(sampler.choose(&[]).is_err());
    }

    #[test]
    fn logprobs_are_those_of_the_untouched_logits() {
        let tokenizer = crate::demo::tokenizer();
        let got = logprobs(&logits(), 0, 2, &tokenizer);
        assert!((got.logprob - 0.15f32.ln()).abs() < 1e-5);
        let ids: Vec<u32> = got.top.iter().filter_map(|entry| entry.1).collect();
        assert_eq!(ids, [3, 1]);
        assert!((got.top[0].2 - 0.5f32.ln()).abs() < 1e-5);
    }
}
