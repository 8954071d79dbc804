//! Whisper's special tokens, the prompt, and the rules by which timestamps surround text. They equal transformers'
//! `WhisperTimeStampLogitsProcessor`, `SuppressTokensLogitsProcessor` and `SuppressTokensAtBeginLogitsProcessor`.

use homereel_kernels::log_sum_exp;

use super::config::{Config, GenerationConfig};
use crate::qwen3vl::Tokenizer;

/// Vocabularies of this size and larger ones have languages, as in OpenAI's package.
const MULTILINGUAL_VOCABULARY: usize = 51_865;

/// The special tokens of a checkpoint and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins every prompt.
    pub start: u32,
    /// Ends every text; smaller tokens are text.
    pub end: u32,
    /// 0.00 s; each further timestamp is 0.02 s later.
    pub first_timestamp: u32,
    /// Its probability behind `start` is that of silence.
    pub no_speech: u32,
    /// Languages by code, such as `en`; empty where the checkpoint knows only English.
    pub languages: Vec<(String, u32)>,
    /// Tokens that a text may have, its end included.
    pub max_length: usize,
    transcribe: Option<u32>,
    suppress: Vec<u32>,
    begin_suppress: Vec<u32>,
    max_initial_timestamp: Option<usize>,
}

impl SpecialTokens {
    /// Takes the tokens from the settings, and those that older files lack from the tokenizer.
    ///
    /// # Errors
    /// Names the token that is missing or does not fit.
    pub fn new(
        generation: &GenerationConfig,
        config: &Config,
        tokenizer: &Tokenizer,
    ) -> Result<Self, String> {
        let vocabulary = config.vocab_size as u32;
        let id = |text: &str| tokenizer.id(text).filter(|id| *id < vocabulary);
        let no_timestamps = generation.no_timestamps.or_else(|| id("<|notimestamps|>"));
        let no_timestamps = no_timestamps
            .ok_or("neither generation_config.json nor tokenizer.json has the token <|notimestamps|>")?;
        let first_timestamp = no_timestamps + 1;
        if no_timestamps == 0 || first_timestamp >= vocabulary || generation.end >= no_timestamps {
            return Err(format!(
                "the token <|notimestamps|> is {no_timestamps}; more than {}, the end, and less than {} would fit",
                generation.end,
                vocabulary - 1
            ));
        }
        let multilingual = generation.multilingual.unwrap_or(config.vocab_size >= MULTILINGUAL_VOCABULARY);
        let mut languages: Vec<(String, u32)> = if generation.languages.is_empty() {
            let specials = tokenizer.specials().into_iter();
            specials.map(|(text, id)| (text.to_owned(), id)).filter(|(_, id)| *id < vocabulary).collect()
        } else {
            generation.languages.clone()
        };
        languages.retain_mut(|(text, _)| match code_of(text) {
            Some(code) if multilingual => {
                *text = code.to_owned();
                true
            }
            _ => false,
        });
        languages.sort_by_key(|(_, id)| *id);
        let transcribe = generation.transcribe.or_else(|| id("<|transcribe|>")).filter(|_| multilingual);
        if multilingual && (languages.is_empty() || transcribe.is_none()) {
            return Err("the checkpoint is multilingual, but neither generation_config.json nor tokenizer.json has the \
                        tokens of languages and <|transcribe|>"
                .into());
        }
        Ok(Self {
            start: generation.start,
            end: generation.end,
            first_timestamp,
            no_speech: no_timestamps - 1,
            languages,
            max_length: generation.max_length,
            transcribe,
            suppress: generation.suppress.iter().copied().chain([no_timestamps]).collect(),
            begin_suppress: generation.begin_suppress.clone(),
            max_initial_timestamp: generation.max_initial_timestamp,
        })
    }

    /// Returns what follows [`Self::start`] in the prompt: nothing, or a language and the task.
    #[must_use]
    pub fn prompt(&self, language: Option<u32>) -> Vec<u32> {
        match self.transcribe {
            Some(task) => language.into_iter().chain([task]).collect(),
            None => Vec::new(),
        }
    }

    /// Returns the most probable language behind [`Self::start`] and its probability among the languages, as transformers'
    /// `detect_language` chooses it. `None` where the checkpoint knows only English.
    #[must_use]
    pub fn language(&self, logits: &[f32]) -> Option<(u32, f32)> {
        let known: Vec<f32> = self.languages.iter().map(|(_, id)| logits[*id as usize]).collect();
        let best = first_largest(&known)?;
        Some((self.languages[best].1, (known[best] - log_sum_exp(&known)).exp()))
    }

    /// Returns the token of a language's code.
    #[must_use]
    pub fn language_id(&self, code: &str) -> Option<u32> {
        self.languages.iter().find(|(known, _)| known == code).map(|(_, id)| *id)
    }

    /// Returns the code of a language's token.
    #[must_use]
    pub fn language_code(&self, id: u32) -> Option<&str> {
        self.languages.iter().find(|(_, known)| *known == id).map(|(code, _)| code.as_str())
    }

    /// Returns whether `token` is a timestamp.
    #[must_use]
    pub fn is_timestamp(&self, token: u32) -> bool {
        token >= self.first_timestamp
    }

    /// Excludes tokens that must not follow `text`, the tokens behind the prompt, by a logit of negative infinity.
    pub fn apply_rules(&self, text: &[u32], logits: &mut [f32]) {
        let exclude = |tokens: &[u32], logits: &mut [f32]| {
            tokens.iter().for_each(|token| logits[*token as usize] = f32::NEG_INFINITY);
        };
        exclude(&self.suppress, logits);
        let first = self.first_timestamp as usize;
        if let [.., last] = text {
            let last_is_timestamp = self.is_timestamp(*last);
            let one_before = text.len() < 2 || self.is_timestamp(text[text.len() - 2]);
            // Timestamps come in pairs, except at the beginning and before the end.
            match (last_is_timestamp, one_before) {
                (true, true) => logits[first..].fill(f32::NEG_INFINITY),
                (true, false) => logits[..self.end as usize].fill(f32::NEG_INFINITY),
                (false, _) => {}
            }
            // They do not decrease, and no segment is empty.
            if let Some(latest) = text.iter().rev().find(|token| self.is_timestamp(**token)) {
                let least = if last_is_timestamp && !one_before { *latest } else { latest + 1 };
                let least = (least as usize).min(logits.len());
                logits[first..least].fill(f32::NEG_INFINITY);
            }
        } else {
            exclude(&self.begin_suppress, logits);
            logits[..first].fill(f32::NEG_INFINITY);
            if let Some(most) = self.max_initial_timestamp
                && let Some(later) = logits.get_mut(first + most + 1..)
            {
                later.fill(f32::NEG_INFINITY);
            }
        }
        // If a timestamp is more probable than any other token, whichever timestamp it is, it is one.
        let (others, timestamps) = logits.split_at_mut(first);
        if log_sum_exp(timestamps) > largest(others) {
            others.fill(f32::NEG_INFINITY);
        }
    }
}

/// Returns `xx` of `<|xx|>`, where it looks like the code of a language.
fn code_of(text: &str) -> Option<&str> {
    let code = text.strip_prefix("<|")?.strip_suffix("|>")?;
    let known = (2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase());
    known.then_some(code)
}

/// Returns the index of the largest value, the first of equal ones; `None` where there is none above negative infinity.
#[must_use]
pub fn first_largest(values: &[f32]) -> Option<usize> {
    let most = largest(values);
    (most > f32::NEG_INFINITY).then(|| values.iter().position(|value| *value == most))?
}

fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Text is 0 to 9, the end 10, then start and silence, and 14 to 19 are timestamps.
    pub(in crate::speech) fn tokens() -> SpecialTokens {
        SpecialTokens {
            start: 11,
            end: 10,
            first_timestamp: 14,
            no_speech: 12,
            languages: vec![("en".into(), 3), ("de".into(), 4)],
            max_length: 448,
            transcribe: Some(5),
            suppress: vec![7, 13],
            begin_suppress: vec![2, 10],
            max_initial_timestamp: Some(1),
        }
    }

    /// Returns the tokens that remain, with even logits but for `liked`.
    fn remaining(text: &[u32], liked: &[u32]) -> Vec<u32> {
        let mut logits = vec![0f32; 20];
        liked.iter().for_each(|token| logits[*token as usize] = 9.0);
        tokens().apply_rules(text, &mut logits);
        (0..20).filter(|token| logits[*token as usize] > f32::NEG_INFINITY).collect()
    }

    #[test]
    fn a_text_begins_with_an_early_timestamp() {
        assert_eq!(remaining(&[], &[1]), [14, 15]);
    }

    #[test]
    fn text_or_an_end_follows_the_first_timestamp() {
        assert_eq!(remaining(&[14], &[]), [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_segment_is_not_empty_and_ends_twice_or_for_good() {
        assert_eq!(remaining(&[14, 1], &[1]), [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 15, 16, 17, 18, 19]);
        assert_eq!(remaining(&[14, 1, 16], &[10]), [10, 11, 12, 16, 17, 18, 19]);
        assert_eq!(remaining(&[14, 1, 16, 16], &[]), [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
        assert_eq!(remaining(&[14, 1, 16, 16, 1], &[1])[12..], [17, 18, 19]);
    }

    #[test]
    fn timestamps_win_together() {
        assert_eq!(remaining(&[14, 1], &[]), [15, 16, 17, 18, 19]);
    }

    #[test]
    fn the_last_timestamp_leaves_only_what_is_no_timestamp() {
        assert_eq!(remaining(&[14, 1, 19, 19, 1], &[]), [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn the_most_probable_language_is_chosen_among_the_languages() {
        let mut logits = vec![0f32; 20];
        (logits[9], logits[4]) = (50.0, 2.0);
        let (id, probability) = tokens().language(&logits).unwrap();
        assert_eq!(tokens().language_code(id), Some("de"));
        assert!((probability - 1.0 / (1.0 + (-2f32).exp())).abs() < 1e-6);
        assert_eq!(tokens().prompt(Some(id)), [4, 5]);
        assert_eq!(tokens().language_id("fr"), None);
        let english = SpecialTokens { languages: Vec::new(), transcribe: None, ..tokens() };
        assert_eq!((english.language(&logits), english.prompt(None)), (None, vec![]));
    }

    #[test]
    fn codes_of_languages_are_told_from_other_tokens() {
        assert_eq!((code_of("<|en|>"), code_of("<|haw|>")), (Some("en"), Some("haw")));
        for other in ["<|0.00|>", "<|transcribe|>", "en", "<||>", "<|EN|>"] {
            assert_eq!(code_of(other), None, "{other}");
        }
    }
}
