//! Decodes base64 as browsers do (WHATWG's forgiving-base64: white space and missing padding do not matter), while it arrives.
//! The alphabet for URLs and percent-encoded characters are read as well.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Characters per group.
const GROUP: usize = 4;

/// Decodes one text.
#[derive(Debug, Default)]
pub(super) struct Base64Text {
    /// Characters of groups that are not decoded yet.
    symbols: Vec<u8>,
    /// `=` at the end so far.
    padding: usize,
    /// The beginning of a `%XX`.
    escape: Vec<u8>,
}

impl Base64Text {
    /// Takes the next characters and appends their bytes to `out`.
    ///
    /// # Errors
    /// Says what is not base64.
    pub(super) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        if self.padding == 0 && self.escape.is_empty() && text.iter().all(is_plain) {
            self.symbols.extend_from_slice(text);
        } else {
            text.iter().try_for_each(|&byte| self.character(byte))?;
        }
        let left = self.symbols.split_off(self.symbols.len() / GROUP * GROUP);
        let groups = std::mem::replace(&mut self.symbols, left);
        decode(&groups, out)
    }

    /// Takes the end of the text.
    ///
    /// # Errors
    /// Says what is missing.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Result<(), String> {
        if !self.escape.is_empty() {
            return Err("its last % has no two digits".into());
        }
        match (self.symbols.len(), self.padding) {
            (1, _) => Err("its end is missing".into()),
            (0 | 2 | 3, 0) | (2, 2) | (3, 1) => decode(&self.symbols, out),
            _ => Err("its padding is wrong".into()),
        }
    }

    fn character(&mut self, byte: u8) -> Result<(), String> {
        if self.escape.is_empty() && byte != b'%' {
            return self.symbol(byte);
        }
        self.escape.push(byte);
        if self.escape.len() < 3 {
            return Ok(());
        }
        let escape = std::mem::take(&mut self.escape);
        match percent_encoding::percent_decode(&escape).collect::<Vec<u8>>().as_slice() {
            [byte] => self.symbol(*byte),
            _ => Err(format!("{} is no character of it", String::from_utf8_lossy(&escape))),
        }
    }

    fn symbol(&mut self, byte: u8) -> Result<(), String> {
        let symbol = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => return Ok(()),
            b'=' => {
                self.padding += 1;
                return Ok(());
            }
            _ if self.padding > 0 => return Err("there is text after the padding".into()),
            b'-' => b'+',
            b'_' => b'/',
            b'+' | b'/' => byte,
            _ if byte.is_ascii_alphanumeric() => byte,
            _ => return Err(format!("{:?} is no character of it", char::from(byte))),
        };
        self.symbols.push(symbol);
        Ok(())
    }
}

fn decode(symbols: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    FORGIVING.decode_vec(symbols, out).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, step: usize) -> Result<Vec<u8>, String> {
        let (mut decoder, mut out) = (Base64Text::default(), Vec::new());
        for chunk in text.as_bytes().chunks(step) {
            decoder.push(chunk, &mut out)?;
        }
        decoder.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_browsers_read_is_read_in_any_chunks() {
        for (text, bytes) in [
            ("aGVsbG8=", b"hello".as_slice()),
            ("aGVsbG8", b"hello"),
            ("aGVsbA==", b"hell"),
            ("aGVsbA", b"hell"),
            (" aGVs\r\nbG8=\n", b"hello"),
            ("aGVsbG8%3D", b"hello"),
            ("%61GVsbG8", b"hello"),
            ("-_-_", b"\xfb\xff\xbf"),
            ("+/+/", b"\xfb\xff\xbf"),
            // The last bits of a cut group do not matter.
            ("aGl", b"hi"),
            ("", b""),
        ] {
            for step in [1, 2, 3, 5, 100] {
                assert_eq!(decoded(text, step).as_deref(), Ok(bytes), "{text} {step}");
            }
        }
    }

    #[test]
    fn what_is_not_base64_is_named() {
        for (text, word) in [
            ("!!!!", "'!'"),
            ("aGk=aGk=", "after the padding"),
            ("aGVsb", "end is missing"),
            ("aGVs=", "padding"),
            ("aGk==", "padding"),
            ("aGk===", "padding"),
            ("aGk%3", "two digits"),
            ("aG%zz", "%zz"),
            ("aG,k", "','"),
        ] {
            for step in [1, 100] {
                let fault = decoded(text, step).unwrap_err();
                assert!(fault.contains(word), "{text}: {fault}");
            }
        }
    }
}
