//! The tokens of texts, as sentence-transformers makes them: with the special tokens of the checkpoint, cut at the limit, and
//! without padding.

use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{Tokenizer, TruncationParams};

use super::config::SentenceConfig;

/// Maximum size of `tokenizer.json`; XLM-RoBERTa's has 17 MB.
const MAX_JSON: usize = 64 << 20;

/// Bytes of a text per token that it may have: what lies behind is not read, since texts are rarely a tenth as dense.
const BYTES_PER_TOKEN: usize = 128;

/// Bytes of a text that are read, however many tokens it may have.
const MAX_BYTES: usize = 1 << 20;

/// A sentence model's tokenizer.
pub(super) struct SentenceTokenizer {
    inner: Tokenizer,
    max_bytes: usize,
}

impl SentenceTokenizer {
    /// Reads `tokenizer.json`. Its own truncation and padding are replaced.
    pub(super) fn from_json(json: &[u8], config: &SentenceConfig) -> Result<Self, String> {
        if json.len() > MAX_JSON {
            return Err(format!("tokenizer.json has {} bytes; at most {MAX_JSON} would fit", json.len()));
        }
        let fail = |error: tokenizers::Error| format!("tokenizer.json: {error}");
        let mut inner = Tokenizer::from_bytes(json).map_err(fail)?;
        // Ids are rows of the embedding matrix.
        let rows = config.encoder.vocab_size;
        if let Some((token, id)) = inner.get_vocab(true).into_iter().find(|(_, id)| *id as usize >= rows) {
            return Err(format!(
                "tokenizer.json has token {token:?} with id {id}; ids below vocab_size {rows} of config.json would fit"
            ));
        }
        inner.with_padding(None);
        inner.with_truncation(None).map_err(fail)?;
        let special = inner.encode("", true).map_err(fail)?.len();
        if special >= config.max_tokens {
            return Err(format!(
                "tokenizer.json adds {special} tokens to each text, but the model's limit is {}",
                config.max_tokens
            ));
        }
        let truncation = TruncationParams { max_length: config.max_tokens, ..TruncationParams::default() };
        inner.with_truncation(Some(truncation)).map_err(fail)?;
        if config.lower_case {
            let first = NormalizerWrapper::Lowercase(Lowercase);
            let then = inner.get_normalizer().cloned();
            let both = Sequence::new(std::iter::once(first).chain(then).collect());
            inner.with_normalizer(Some(both)).map_err(fail)?;
        }
        let max_bytes = (BYTES_PER_TOKEN * config.max_tokens).clamp(1 << 16, MAX_BYTES);
        Ok(Self { inner, max_bytes })
    }

    /// Returns the ids of a text, special tokens included.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let text = &text[..text.floor_char_boundary(self.max_bytes)];
        let encoding = self.inner.encode_fast(text, true).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }
}
