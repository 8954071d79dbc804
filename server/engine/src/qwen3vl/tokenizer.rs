//! The checkpoint's `tokenizer.json`: encodes text without ever producing special tokens from a user's text, and decodes ids
//! as they arrive.

use std::collections::HashMap;

use tokenizers::Tokenizer as HfTokenizer;

/// Tokens that one character may span before its bytes are shown as they are.
const MAX_PENDING: usize = 16;

/// Maximum size of `tokenizer.json`; Qwen3-VL's has 7 MB.
const MAX_JSON: usize = 64 << 20;

/// Maximum number of tokens; Qwen3-VL has 151 669.
const MAX_TOKENS: usize = 1 << 20;

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    inner: HfTokenizer,
    /// Special tokens by text, longest first, so that the longest match wins.
    specials: Vec<(String, u32)>,
}

/// A piece of a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptPiece {
    /// Ordinary text, encoded without special tokens.
    Text(String),
    /// A special token that the template wrote.
    Special(u32),
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// Describes what is wrong with the file.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        if json.len() > MAX_JSON {
            return Err(format!("tokenizer.json has {} bytes; at most {MAX_JSON} would fit", json.len()));
        }
        let mut inner = HfTokenizer::from_bytes(json).map_err(|error| format!("tokenizer.json: {error}"))?;
        let tokens = inner.get_vocab_size(true);
        if tokens > MAX_TOKENS {
            return Err(format!("tokenizer.json has {tokens} tokens; at most {MAX_TOKENS} would fit"));
        }
        // Special tokens in text are ordinary text from here on; `split` finds the template's.
        inner.set_encode_special_tokens(true);
        let mut specials: Vec<(String, u32)> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (token.content, id))
            .collect();
        specials.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        Ok(Self { inner, specials })
    }

    /// Returns the id of a token given by its exact text.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the vocabulary size, including added tokens.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Inserts `guard` into every special token that `text` contains, starts at its end, or could complete with text after it,
    /// so that [`Tokenizer::split`] finds none of them.
    #[must_use]
    pub fn defuse(&self, text: &str, guard: char) -> String {
        let mut out = String::with_capacity(text.len() + 8);
        let mut copied = 0;
        for (at, _) in text.char_indices() {
            let rest = &text[at..];
            let special = self
                .specials
                .iter()
                .any(|(token, _)| rest.starts_with(token.as_str()) || token.starts_with(rest));
            if special {
                let after = at + rest.chars().next().map_or(0, char::len_utf8);
                out.push_str(&text[copied..after]);
                out.push(guard);
                copied = after;
            }
        }
        out.push_str(&text[copied..]);
        out
    }

    /// Splits a rendered prompt at its special tokens and removes the guards from the rest.
    #[must_use]
    pub fn split(&self, rendered: &str, guard: char) -> Vec<PromptPiece> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = rendered;
        while let Some(first) = rest.chars().next() {
            let found = self.specials.iter().find(|(token, _)| rest.starts_with(token.as_str()));
            if let Some((token, id)) = found {
                if !text.is_empty() {
                    pieces.push(PromptPiece::Text(std::mem::take(&mut text)));
                }
                pieces.push(PromptPiece::Special(*id));
                rest = &rest[token.len()..];
                continue;
            }
            if first != guard {
                text.push(first);
            }
            rest = &rest[first.len_utf8()..];
        }
        if !text.is_empty() {
            pieces.push(PromptPiece::Text(text));
        }
        pieces
    }

    /// Returns the ids of ordinary text; special tokens in it are spelled out.
    ///
    /// # Errors
    /// Why the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the text of ids, without special tokens.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).unwrap_or_default()
    }

    /// Returns the text of one token for log-probabilities, with special tokens by name.
    #[must_use]
    pub fn token_text(&self, id: u32) -> String {
        self.inner.decode(&[id], false).unwrap_or_default()
    }

    /// Returns special tokens by their text.
    #[must_use]
    pub fn specials(&self) -> HashMap<&str, u32> {
        self.specials.iter().map(|(token, id)| (token.as_str(), *id)).collect()
    }
}

/// Decodes a stream of ids to a stream of text. Text is returned once it is final: a character that spans several tokens
/// waits for its last byte.
#[derive(Debug, Default)]
pub struct TextStream {
    /// Ids from shortly before the text shown, because decoding may depend on the previous token.
    window: Vec<u32>,
    /// Number of ids in `window` that have been shown.
    shown: usize,
}

impl TextStream {
    /// Adds one id; returns the text that became final, which may be empty.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.window.push(id);
        let pending = self.window.len() - self.shown;
        let (before, now) = self.texts(tokenizer);
        if now.ends_with(char::REPLACEMENT_CHARACTER) && pending < MAX_PENDING {
            return String::new();
        }
        let text = behind(&before, &now).to_owned();
        self.window.drain(..self.shown);
        self.shown = self.window.len();
        text
    }

    /// Returns the remaining text at the end of an answer, with invalid bytes as U+FFFD.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        let (before, now) = self.texts(tokenizer);
        self.shown = self.window.len();
        behind(&before, &now).to_owned()
    }

    fn texts(&self, tokenizer: &Tokenizer) -> (String, String) {
        let before = tokenizer.decode(&self.window[..self.shown]);
        (before, tokenizer.decode(&self.window))
    }
}

/// Returns the part of `now` after its common prefix with `before`, unless invalid bytes were shown that a later token
/// completed.
fn behind<'a>(before: &str, now: &'a str) -> &'a str {
    let same = before.chars().zip(now.chars()).take_while(|(a, b)| a == b);
    &now[same.map(|(c, _)| c.len_utf8()).sum()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: char = '\u{E000}';

    fn tokenizer() -> Tokenizer {
        crate::demo::tokenizer()
    }

    #[test]
    fn special_tokens_in_user_text_become_ordinary_text() {
        let tokenizer = tokenizer();
        let pad = tokenizer.id("<|video_pad|>").unwrap();
        let text = "see <|video_pad|> and <|im_end|>";
        let rendered = format!("<|im_start|>user\n{}<|im_end|>", tokenizer.defuse(text, GUARD));
        let pieces = tokenizer.split(&rendered, GUARD);
        let start = tokenizer.id("<|im_start|>").unwrap();
        let end = tokenizer.id("<|im_end|>").unwrap();
        assert_eq!(
            pieces,
            [
                PromptPiece::Special(start),
                PromptPiece::Text(format!("user\n{text}")),
                PromptPiece::Special(end)
            ]
        );
        let ids = tokenizer.encode(text).unwrap();
        assert!(!ids.contains(&pad) && !ids.contains(&end));
        assert_eq!(tokenizer.decode(&ids), text);
    }

    #[test]
    fn a_special_token_put_together_from_parts_is_defused_too() {
        let tokenizer = tokenizer();
        let parts = ["a <", "|im_", "end|> b", "<|im_end", "|>"];
        let joined: String = parts.iter().map(|part| tokenizer.defuse(part, GUARD)).collect();
        let pieces = tokenizer.split(&joined, GUARD);
        assert_eq!(pieces, [PromptPiece::Text(parts.concat())]);
    }

    #[test]
    fn clean_text_is_untouched() {
        let text = "is 3 < 4? <b>yes</b> a|b <0.5 seconds>";
        assert_eq!(tokenizer().defuse(text, GUARD), text);
    }

    #[test]
    fn characters_spread_over_tokens_come_out_whole() {
        let tokenizer = tokenizer();
        let text = "Grüße, 世界 👨‍👩‍👧 end";
        let mut stream = TextStream::default();
        let mut pieces = Vec::new();
        for id in tokenizer.encode(text).unwrap() {
            pieces.push(stream.push(&tokenizer, id));
        }
        pieces.push(stream.finish(&tokenizer));
        assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')), "{pieces:?}");
        assert!(pieces.iter().any(String::is_empty), "no character was spread: {pieces:?}");
        assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn broken_bytes_are_not_held_for_ever() {
        let tokenizer = tokenizer();
        let first_byte = tokenizer.encode("👨").unwrap()[0];
        let mut stream = TextStream::default();
        let shown: String = (0..40).map(|_| stream.push(&tokenizer, first_byte)).collect();
        assert!(shown.chars().count() >= 16, "{shown:?}");
        assert!(stream.finish(&tokenizer).chars().count() <= 24);
    }

    #[test]
    fn text_goes_on_after_broken_bytes() {
        let tokenizer = tokenizer();
        let bytes = tokenizer.encode("👨").unwrap();
        let mut stream = TextStream::default();
        let mut shown = String::new();
        for id in [bytes[0]; MAX_PENDING].into_iter().chain(bytes[1..].iter().copied()) {
            shown += &stream.push(&tokenizer, id);
        }
        for id in tokenizer.encode(" a red square").unwrap() {
            shown += &stream.push(&tokenizer, id);
        }
        assert!(shown.ends_with("👨 a red square"), "{shown:?}");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let error = Tokenizer::from_json(&vec![b' '; MAX_JSON + 1]).err().unwrap();
        assert_eq!(error, "tokenizer.json has 67108865 bytes; at most 67108864 would fit");
        let vocab: serde_json::Map<String, serde_json::Value> =
            (0..=MAX_TOKENS).map(|id| (format!("t{id}"), id.into())).collect();
        let json = serde_json::json!({ "version": "1.0", "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "t0" } });
        let error = Tokenizer::from_json(json.to_string().as_bytes()).err().unwrap();
        assert_eq!(error, "tokenizer.json has 1048577 tokens; at most 1048576 would fit");
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        assert!(Tokenizer::from_json(b"{}").err().unwrap().contains("tokenizer.json"));
    }
}
