//! Decodes windows to tokens: greedily at first, as transformers' `generate` does, and at rising temperatures where Whisper's
//! rules call a text improbable or repetitive. Windows of a batch share every pass.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use homereel_kernels::log_sum_exp;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::network::{Model, Sequence};
use super::tokens::{SpecialTokens, first_largest};
use crate::EngineError;

/// Temperatures that are tried one after the other.
const TEMPERATURES: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
/// Below this mean log-probability of its tokens, a text is improbable.
pub(super) const LEAST_LOGPROB: f32 = -1.0;
/// Above this ratio of its bytes to those compressed, a text is repetitive.
pub(super) const MOST_COMPRESSION: f32 = 2.4;
/// Above this probability of silence, an improbable text is none.
pub(super) const MOST_NO_SPEECH: f32 = 0.6;
/// Seed of the draws at temperatures above zero, so that a window has one text whatever else is decoded with it.
const SEED: u64 = 20;
/// Numbers of tokens after which a text that goes on and on is examined.
const EXAMINED_EVERY: usize = 64;

/// What is made of tokens: their text.
pub(super) type TextOf<'a> = dyn Fn(&[u32]) -> String + 'a;

/// A window's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Tokens behind the prompt, timestamps included, without the end.
    pub tokens: Vec<u32>,
    /// The log-probability of each token.
    pub logprobs: Vec<f32>,
    /// The mean of these and that of the end.
    pub avg_logprob: f32,
    /// Probability of silence.
    pub no_speech_prob: f32,
    /// Bytes of the text per byte of it compressed.
    pub compression_ratio: f32,
    /// Temperature at which it was found.
    pub temperature: f32,
    /// Language that was given or detected; `None` where the checkpoint knows only English.
    pub language: Option<u32>,
    /// The language's probability; 1 where it was given.
    pub language_prob: f32,
}

impl Decoded {
    /// Returns whether Whisper's rules call the window silent.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.no_speech_prob > MOST_NO_SPEECH && self.avg_logprob < LEAST_LOGPROB
    }

    /// Returns whether the text repeats itself.
    #[must_use]
    pub fn is_repetitive(&self) -> bool {
        self.compression_ratio > MOST_COMPRESSION
    }

    fn needs_another_try(&self) -> bool {
        (self.is_repetitive() || self.avg_logprob < LEAST_LOGPROB) && !self.is_silent()
    }
}

/// A window to decode.
pub(super) struct Window<'a> {
    /// Its sequence, empty.
    pub(super) sequence: &'a mut Sequence,
    /// Token of its language; `None` means that it is detected.
    pub(super) language: Option<u32>,
}

/// How windows are decoded.
pub(super) struct Decoding<'a> {
    /// The network.
    pub(super) model: &'a Model,
    /// Its special tokens.
    pub(super) tokens: &'a SpecialTokens,
    /// Its vocabulary.
    pub(super) text_of: &'a TextOf<'a>,
    /// Whether temperatures above zero are tried.
    pub(super) fallback: bool,
    /// Returns whether nobody waits for the window of this index any more.
    pub(super) is_gone: &'a dyn Fn(usize) -> bool,
}

/// A text in progress.
struct Draft {
    /// Index of its window.
    window: usize,
    rng: Option<StdRng>,
    tokens: Vec<u32>,
    /// One per token, and one of the end.
    logprobs: Vec<f32>,
    /// Logits for the next token.
    logits: Vec<f32>,
}

impl Decoding<'_> {
    /// Decodes windows, one result for each; `None` for those that nobody waits for.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn run(&self, mut windows: Vec<Window<'_>>) -> Result<Vec<Option<Decoded>>, EngineError> {
        let (begun, first) = self.begin(&mut windows)?;
        let prompt_len = windows.first().map_or(0, |window| window.sequence.len());
        let mut results: Vec<Option<Decoded>> = vec![None; windows.len()];
        let mut pending: Vec<usize> = (0..windows.len()).collect();
        for (attempt, temperature) in TEMPERATURES.into_iter().enumerate() {
            pending.retain(|window| !(self.is_gone)(*window));
            if pending.is_empty() {
                break;
            }
            let drafts = pending.iter().map(|&window| Draft {
                window,
                rng: (attempt > 0).then(|| StdRng::seed_from_u64(SEED + attempt as u64)),
                tokens: Vec::new(),
                logprobs: Vec::new(),
                logits: first[window].clone(),
            });
            pending.iter().for_each(|&window| windows[window].sequence.truncate(prompt_len));
            for draft in self.generate(drafts.collect(), &mut windows, temperature, prompt_len)? {
                let window = draft.window;
                results[window] = Some(self.judge(draft, temperature, &begun[window]));
            }
            let again = |window: &usize| results[*window].as_ref().is_some_and(Decoded::needs_another_try);
            pending.retain(again);
            if !self.fallback {
                break;
            }
        }
        Ok(results)
    }

    /// Appends the prompts. Returns silence and language of each window, and the logits behind its prompt.
    fn begin(&self, windows: &mut [Window<'_>]) -> Result<(Vec<Begun>, Vec<Vec<f32>>), EngineError> {
        let starts = vec![self.tokens.start; windows.len()];
        let mut logits = self.model.logits(&self.append(&starts, windows)?)?;
        let begun: Vec<Begun> =
            windows.iter().zip(&logits).map(|(window, logits)| self.begun(window.language, logits)).collect();
        let prompts: Vec<Vec<u32>> = begun.iter().map(|begun| self.tokens.prompt(begun.language)).collect();
        let len = prompts.first().map_or(0, Vec::len);
        for at in 0..len {
            let next: Vec<u32> = prompts.iter().map(|prompt| prompt[at]).collect();
            let hidden = self.append(&next, windows)?;
            if at + 1 == len {
                logits = self.model.logits(&hidden)?;
            }
        }
        Ok((begun, logits))
    }

    fn append(
        &self,
        tokens: &[u32],
        windows: &mut [Window<'_>],
    ) -> Result<super::network::Hidden, EngineError> {
        let mut sequences: Vec<&mut Sequence> =
            windows.iter_mut().map(|window| &mut *window.sequence).collect();
        self.model.append(tokens, &mut sequences)
    }

    /// `logits` are those behind the start.
    fn begun(&self, language: Option<u32>, logits: &[f32]) -> Begun {
        let no_speech_prob = (logits[self.tokens.no_speech as usize] - log_sum_exp(logits)).exp();
        let (language, language_prob) = match language.filter(|_| !self.tokens.languages.is_empty()) {
            Some(language) => (Some(language), 1.0),
            None => match self.tokens.language(logits) {
                Some((language, probability)) => (Some(language), probability),
                None => (None, 1.0),
            },
        };
        Begun { no_speech_prob, language, language_prob }
    }

    /// Adds tokens until every text has ended.
    fn generate(
        &self,
        mut drafts: Vec<Draft>,
        windows: &mut [Window<'_>],
        temperature: f32,
        prompt_len: usize,
    ) -> Result<Vec<Draft>, EngineError> {
        let room = self.model.config().target_positions.saturating_sub(prompt_len);
        let most = self.tokens.max_length.min(room);
        // Drawn texts are second-rate already: half the length must do, as in OpenAI's package.
        let most = if temperature > 0.0 { most.div_ceil(2) } else { most };
        let mut done = Vec::new();
        while !drafts.is_empty() {
            let ended =
                |draft: &mut Draft| self.choose(draft, temperature, most) || (self.is_gone)(draft.window);
            done.extend(drafts.extract_if(.., ended));
            if drafts.is_empty() {
                break;
            }
            let next: Vec<u32> = drafts.iter().filter_map(|draft| draft.tokens.last().copied()).collect();
            let mut sequences: Vec<&mut Sequence> = windows
                .iter_mut()
                .enumerate()
                .filter(|(window, _)| drafts.iter().any(|draft| draft.window == *window))
                .map(|(_, window)| &mut *window.sequence)
                .collect();
            let hidden = self.model.append(&next, &mut sequences)?;
            for (draft, logits) in drafts.iter_mut().zip(self.model.logits(&hidden)?) {
                draft.logits = logits;
            }
        }
        Ok(done)
    }

    /// Chooses the next token; returns whether the text has ended.
    fn choose(&self, draft: &mut Draft, temperature: f32, most: usize) -> bool {
        self.tokens.apply_rules(&draft.tokens, &mut draft.logits);
        let chosen = match &mut draft.rng {
            None => first_largest(&draft.logits),
            Some(rng) => draw(&draft.logits, temperature, rng.random::<f32>()),
        };
        // Rules leave nothing only in a damaged model.
        let Some(token) = chosen else { return true };
        draft.logprobs.push(draft.logits[token] - log_sum_exp(&draft.logits));
        if token as u32 == self.tokens.end {
            return true;
        }
        draft.tokens.push(token as u32);
        draft.tokens.len() >= most || (self.fallback && self.goes_on_and_on(draft))
    }

    /// Returns whether a text will have to be tried again because it repeats itself.
    fn goes_on_and_on(&self, draft: &Draft) -> bool {
        draft.tokens.len().is_multiple_of(EXAMINED_EVERY)
            && compression_ratio(&self.text(&draft.tokens)) > 2.0 * MOST_COMPRESSION
    }

    fn text(&self, tokens: &[u32]) -> String {
        let text: Vec<u32> = tokens.iter().copied().filter(|token| *token < self.tokens.end).collect();
        (self.text_of)(&text)
    }

    fn judge(&self, draft: Draft, temperature: f32, begun: &Begun) -> Decoded {
        let Draft { tokens, mut logprobs, .. } = draft;
        let avg_logprob = logprobs.iter().sum::<f32>() / logprobs.len().max(1) as f32;
        logprobs.truncate(tokens.len());
        Decoded {
            compression_ratio: compression_ratio(&self.text(&tokens)),
            tokens,
            logprobs,
            avg_logprob,
            no_speech_prob: begun.no_speech_prob,
            temperature,
            language: begun.language,
            language_prob: begun.language_prob,
        }
    }
}

/// What the start of a window's prompt says.
struct Begun {
    no_speech_prob: f32,
    language: Option<u32>,
    language_prob: f32,
}

/// Draws a token at a temperature, by a number from 0 to 1.
fn draw(logits: &[f32], temperature: f32, number: f32) -> Option<usize> {
    let scaled: Vec<f32> = logits.iter().map(|logit| logit / temperature).collect();
    let total = log_sum_exp(&scaled);
    let mut left = number;
    let mut last = None;
    for (token, logit) in scaled.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY) {
        last = Some(token);
        left -= (logit - total).exp();
        if left <= 0.0 {
            break;
        }
    }
    last
}

/// Returns bytes of `text` per byte of it compressed by zlib; 0 for none.
#[must_use]
pub(super) fn compression_ratio(text: &str) -> f32 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a vector does not fail.
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_or(0.0, |bytes| text.len() as f32 / bytes.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_is_told_from_text() {
        let text =
            " The children build a snowman in the garden, and grandmother brings them a carrot for its nose.";
        assert!(compression_ratio(text) < 1.6, "{}", compression_ratio(text));
        assert!(compression_ratio(&" Thank you.".repeat(12)) > 2.4);
        assert_eq!(compression_ratio(""), 0.0);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [f32::NEG_INFINITY, 0.0, 3f32.ln()];
        assert_eq!(draw(&logits, 1.0, 0.2), Some(1));
        assert_eq!(draw(&logits, 1.0, 0.3), Some(2));
        assert_eq!(draw(&logits, 1.0, 1.0), Some(2));
        // At a low temperature, the largest is nearly certain.
        assert_eq!(draw(&logits, 0.1, 1e-4), Some(2));
        assert_eq!(draw(&[f32::NEG_INFINITY], 1.0, 0.5), None);
    }

    #[test]
    fn silence_needs_an_improbable_text() {
        let decoded = |no_speech_prob, avg_logprob, compression_ratio| Decoded {
            tokens: vec![],
            logprobs: vec![],
            avg_logprob,
            no_speech_prob,
            compression_ratio,
            temperature: 0.0,
            language: None,
            language_prob: 1.0,
        };
        assert!(decoded(0.7, -1.1, 1.0).is_silent() && !decoded(0.7, -1.1, 1.0).needs_another_try());
        assert!(!decoded(0.7, -0.9, 1.0).is_silent() && !decoded(0.7, -0.9, 1.0).needs_another_try());
        assert!(decoded(0.5, -1.1, 1.0).needs_another_try());
        assert!(decoded(0.5, -0.2, 2.5).needs_another_try());
    }
}
