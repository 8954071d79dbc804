//! Rules of a request about single tokens, applied to the logits in vLLM's order: allowed ids, bad words, no end before the
//! least length, biases. The sampler's penalties come after them.

use super::stop::StopIds;
use crate::qwen3vl::Tokenizer;
use crate::{EngineError, GenerationOptions};

/// The rules of one request.
#[derive(Debug, Default)]
pub(super) struct LogitRules {
    /// Ids that may be chosen; `None` means all. As in vLLM, an end token is only among them if it is named.
    allowed: Option<Vec<u32>>,
    /// Token sequences of the bad words.
    bad_words: Vec<Vec<u32>>,
    min_tokens: usize,
    bias: Vec<(u32, f32)>,
    /// Names of the parameters that can exclude tokens, for errors.
    excluding: Vec<&'static str>,
}

impl LogitRules {
    /// Takes the rules out of a request's options.
    ///
    /// # Errors
    /// `Failed` when a bad word cannot be tokenized.
    pub(super) fn new(options: &GenerationOptions, tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let allowed = options.allowed_token_ids.clone();
        let mut bad_words = Vec::new();
        for word in &options.bad_words {
            bad_words.extend(sequences(word, tokenizer)?);
        }
        let excluding = [
            ("allowed_token_ids", allowed.is_some()),
            ("bad_words", !bad_words.is_empty()),
            ("min_tokens", options.min_tokens > 0),
        ];
        let excluding = excluding.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        let (min_tokens, bias) = (options.min_tokens, options.logit_bias.clone());
        Ok(Self { allowed, bad_words, min_tokens, bias, excluding })
    }

    /// Returns whether no rule is given.
    pub(super) fn is_empty(&self) -> bool {
        self.excluding.is_empty() && self.bias.is_empty()
    }

    /// Applies the rules to the logits of the token after `answer`, whose end tokens are `ends`.
    pub(super) fn apply(&self, logits: &mut [f32], answer: &[u32], ends: &StopIds) {
        if let Some(allowed) = &self.allowed {
            let kept = |&id: &u32| Some((id as usize, *logits.get(id as usize)?));
            let kept: Vec<(usize, f32)> = allowed.iter().filter_map(kept).collect();
            logits.fill(f32::NEG_INFINITY);
            kept.into_iter().for_each(|(id, logit)| logits[id] = logit);
        }
        let mut exclude = |id: u32| {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        };
        for word in &self.bad_words {
            if let Some((&last, before)) = word.split_last()
                && answer.ends_with(before)
            {
                exclude(last);
            }
        }
        if answer.len() < self.min_tokens {
            ends.iter().for_each(exclude);
        }
        for &(id, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
    }

    /// Returns the error for a token of which the rules, and the answer's form where it is `constrained`, leave none.
    pub(super) fn nothing_left(&self, answer: &[u32], constrained: bool) -> EngineError {
        let mut names = self.excluding.clone();
        if constrained {
            names.push("the answer's form");
        }
        let message = format!(
            "after {} tokens of the answer, {} leave no token to choose",
            answer.len(),
            names.join(" and ")
        );
        EngineError::Invalid { message, param: self.excluding.first().copied() }
    }
}

/// Returns the token sequences that spell `word`, as in vLLM: as it is at the start of a text, and behind a space where that
/// makes another first token.
fn sequences(word: &str, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, EngineError> {
    let encode = |text: &str| {
        tokenizer.encode(text).map_err(|error| EngineError::Failed(format!("tokenizer: {error}")))
    };
    // Whitespace alone stands for itself.
    let bare = Some(word.trim_start()).filter(|bare| !bare.is_empty());
    let plain = encode(bare.unwrap_or(word))?;
    let spaced = bare.map(|bare| encode(&format!(" {bare}"))).transpose()?;
    let spaced = spaced.filter(|spaced| spaced.len() == plain.len() && spaced.first() != plain.first());
    Ok([Some(plain), spaced].into_iter().flatten().filter(|ids| !ids.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Request, demo};

    const MASKED: f32 = f32::NEG_INFINITY;

    fn applied(change: impl FnOnce(&mut GenerationOptions), answer: &[u32]) -> Vec<f32> {
        let mut options = GenerationOptions::default();
        change(&mut options);
        let rules = LogitRules::new(&options, &demo::tokenizer()).unwrap();
        let ends = StopIds::new(&[3], &Request { messages: Vec::new(), options });
        let mut logits = vec![1.0, 2.0, 3.0, 4.0];
        rules.apply(&mut logits, answer, &ends);
        logits
    }

    #[test]
    fn only_allowed_ids_are_left_and_an_end_only_if_it_is_named() {
        assert_eq!(
            applied(|o| o.allowed_token_ids = Some(vec![2, 0, 2, 9]), &[]),
            [1.0, MASKED, 3.0, MASKED]
        );
        assert_eq!(applied(|o| o.allowed_token_ids = Some(vec![3]), &[]), [MASKED, MASKED, MASKED, 4.0]);
    }

    #[test]
    fn biases_are_added_and_raise_nothing_that_is_masked() {
        let biased = applied(
            |o| {
                o.allowed_token_ids = Some(vec![0, 1]);
                o.logit_bias = vec![(0, 1.5), (2, 100.0), (1, -100.0), (9, 1.0)];
            },
            &[],
        );
        assert_eq!(biased, [2.5, -98.0, MASKED, MASKED]);
    }

    #[test]
    fn nothing_ends_the_answer_before_its_least_length() {
        let least = |o: &mut GenerationOptions| (o.min_tokens, o.stop_token_ids) = (2, vec![1]);
        assert_eq!(applied(least, &[0]), [1.0, MASKED, 3.0, MASKED]);
        assert_eq!(applied(least, &[0, 0]), [1.0, 2.0, 3.0, 4.0]);
        let ignored = |o: &mut GenerationOptions| (o.min_tokens, o.ignore_eos) = (2, true);
        assert_eq!(applied(ignored, &[0]), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn the_last_token_of_a_bad_word_is_masked_behind_its_others() {
        let tokenizer = demo::tokenizer();
        let options = GenerationOptions { bad_words: vec!["squares".into()], ..GenerationOptions::default() };
        let rules = LogitRules::new(&options, &tokenizer).unwrap();
        let masked = |answer: &[u32]| {
            let mut logits = vec![0.0; tokenizer.vocab_size()];
            rules.apply(&mut logits, answer, &StopIds::default());
            (0..).zip(logits).filter(|(_, logit)| *logit == MASKED).map(|(id, _)| id).collect::<Vec<u32>>()
        };
        let word = tokenizer.encode("squares").unwrap();
        let (last, before) = word.split_last().unwrap();
        assert!(!before.is_empty(), "the word is one token");
        assert_eq!(masked(before), [*last]);
        assert_eq!(masked(&[&[0], before].concat()), [*last]);
        assert_eq!(masked(&before[1..]), Vec::<u32>::new());
        assert_eq!(masked(&[before, &[0]].concat()), Vec::<u32>::new());
    }

    #[test]
    fn a_bad_word_is_also_found_behind_a_space() {
        let tokenizer = demo::tokenizer();
        let found = sequences(" red", &tokenizer).unwrap();
        let (plain, spaced) = (tokenizer.encode("red").unwrap(), tokenizer.encode(" red").unwrap());
        assert_eq!(found[0], plain);
        // As in vLLM, only where it has as many tokens.
        assert_eq!(found.get(1), Some(&spaced).filter(|spaced| spaced.len() == plain.len()));
        let newline = sequences("\n", &tokenizer).unwrap();
        assert_eq!(newline, [tokenizer.encode("\n").unwrap()]);
    }

    #[test]
    fn the_error_names_what_excludes_every_token() {
        let options = GenerationOptions {
            min_tokens: 1,
            allowed_token_ids: Some(vec![3]),
            ..GenerationOptions::default()
        };
        let rules = LogitRules::new(&options, &demo::tokenizer()).unwrap();
        let EngineError::Invalid { message, param } = rules.nothing_left(&[1, 2], true) else { panic!() };
        assert_eq!(
            message,
            "after 2 tokens of the answer, allowed_token_ids and min_tokens and the answer's form leave no token to choose"
        );
        assert_eq!(param, Some("allowed_token_ids"));
    }
}
