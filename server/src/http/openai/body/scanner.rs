//! Splits a request's body as it arrives: the media in it go to files, everything else into memory.
//!
//! Media are the strings in a part of a message (`messages[].content[]`, or in the Responses API `input[].content[]` and
//! `input[].output[]`, at any depth, except its text) that are `data:`
//! URLs, and base64 under the keys where clients send it without a URL. In the JSON that remains, a marker stands for each,
//! which only this request knows. The scanner looks at no more of the JSON than it needs; the parser checks the rest.

use super::{
    BodyError,
    media::{MediaWriter, SpooledMedia},
};

/// Maximum size of the JSON without media.
pub(super) const MAX_JSON: usize = 4 << 20;

/// Maximum number of JSON values, so that a tree of them stays small.
pub(super) const MAX_VALUES: usize = 250_000;

/// Maximum depth of arrays and objects: the parser's own limit.
const MAX_DEPTH: usize = 128;

/// Length up to which a key is compared.
const MAX_KEY: usize = 16;

/// The scheme of a URL that contains its data.
const SCHEME: &[u8] = b"data:";

/// White space before a scheme, which browsers ignore; more is no URL.
const MAX_SPACE: usize = 64;

/// An array or object that is not closed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    /// With the key of the value that is being read.
    Object(Key),
}

/// The keys that tell where media are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Messages,
    Content,
    /// Holds a part's text, which is never media.
    Text,
    /// Holds base64, with or without a `data:` URL around it.
    Data,
    Other,
}

impl Key {
    fn of(text: &[u8]) -> Self {
        match text {
            b"messages" | b"input" => Self::Messages,
            b"content" | b"output" => Self::Content,
            b"text" => Self::Text,
            b"data" | b"base64" | b"file_data" => Self::Data,
            _ => Self::Other,
        }
    }
}

/// Where parts of messages are.
const PARTS: [Container; 4] =
    [Container::Object(Key::Messages), Container::Array, Container::Object(Key::Content), Container::Array];

/// What the next byte belongs to.
#[derive(Debug)]
enum State {
    /// Punctuation, numbers, literals, white space.
    Between,
    /// A key. `None` means that it is none of [`Key`]'s.
    InKey { text: Option<Vec<u8>>, escaped: bool },
    /// A string that stays in the JSON.
    InText { escaped: bool },
    /// The first characters of a string that may be media, of which the last `matched` may be a scheme. `is_data` means that
    /// it is base64 if it is no URL.
    InScheme { read: Vec<u8>, matched: usize, is_data: bool },
    /// Media, after the scheme.
    InMedia { writer: Box<MediaWriter>, escape: Escape },
}

/// An escape sequence in a `data:` URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// After the backslash.
    Begun,
    /// After `\u`, with the digits so far.
    Unicode {
        digits: u8,
        value: u32,
    },
}

/// A push parser of a body: takes bytes with [`Self::push`], and returns the parts with [`Self::finish`].
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    open: Vec<Container>,
    key_next: bool,
    values: usize,
    json: Vec<u8>,
    media: Vec<SpooledMedia>,
    /// Files of the media; a list of frames has several.
    files: usize,
    marker: String,
    max_media: usize,
    scratch: std::path::PathBuf,
}

impl Scanner {
    /// Creates a scanner that writes at most `max_media` files to `scratch`. In the JSON, `marker` and the file's number
    /// stand for each.
    pub(super) fn new(marker: String, max_media: usize, scratch: std::path::PathBuf) -> Self {
        Self {
            state: State::Between,
            open: Vec::new(),
            key_next: false,
            values: 0,
            json: Vec::new(),
            media: Vec::new(),
            files: 0,
            marker,
            max_media,
            scratch,
        }
    }

    /// Returns the size of the JSON so far.
    pub(super) fn json_bytes(&self) -> usize {
        self.json.len()
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), BodyError> {
        while !bytes.is_empty() {
            let used = match &mut self.state {
                State::Between => self.between(bytes[0])?,
                State::InKey { text, escaped } => {
                    let byte = bytes[0];
                    self.json.push(byte);
                    match (byte, *escaped) {
                        (b'"', false) => {
                            let key = text.as_deref().map_or(Key::Other, Key::of);
                            if let Some(Container::Object(current)) = self.open.last_mut() {
                                *current = key;
                            }
                            self.state = State::Between;
                        }
                        (b'\\', false) => (*escaped, *text) = (true, None),
                        _ => {
                            *escaped = false;
                            match text {
                                Some(known) if known.len() < MAX_KEY => known.push(byte),
                                _ => *text = None,
                            }
                        }
                    }
                    1
                }
                State::InText { escaped } => {
                    // Almost all of a long text is neither a quote nor a backslash.
                    let plain = if *escaped { 1 } else { plain(bytes) };
                    let (end, closes) = match bytes.get(plain) {
                        _ if *escaped => (1, false),
                        Some(b'"') => (plain + 1, true),
                        Some(_) => (plain + 1, false),
                        None => (plain, false),
                    };
                    *escaped = !*escaped && bytes.get(plain) == Some(&b'\\');
                    self.json.extend_from_slice(&bytes[..end]);
                    if closes {
                        self.state = State::Between;
                    }
                    end
                }
                State::InScheme { .. } => self.scheme(bytes[0])?,
                State::InMedia { writer, escape } => {
                    let (used, closes) = media(writer, escape, bytes)?;
                    if closes {
                        self.end_media()?;
                    }
                    used
                }
            };
            bytes = &bytes[used..];
        }
        if self.json.len() > MAX_JSON {
            return Err(BodyError::JsonTooLarge);
        }
        Ok(())
    }

    fn between(&mut self, byte: u8) -> Result<usize, BodyError> {
        self.json.push(byte);
        match byte {
            b'{' | b'[' => {
                self.count()?;
                if self.open.len() == MAX_DEPTH {
                    return Err(BodyError::TooDeep);
                }
                self.key_next = byte == b'{';
                self.open.push(if byte == b'{' { Container::Object(Key::Other) } else { Container::Array });
            }
            b'}' | b']' => {
                self.open.pop();
                self.key_next = false;
            }
            b',' => {
                self.count()?;
                self.key_next = matches!(self.open.last(), Some(Container::Object(_)));
            }
            b':' => self.key_next = false,
            b'"' if self.key_next => self.state = State::InKey { text: Some(Vec::new()), escaped: false },
            b'"' => {
                self.state = match self.media_key() {
                    Some(key) => State::InScheme { read: Vec::new(), matched: 0, is_data: key == Key::Data },
                    None => State::InText { escaped: false },
                }
            }
            _ => {}
        }
        Ok(1)
    }

    fn count(&mut self) -> Result<(), BodyError> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(BodyError::TooManyValues) } else { Ok(()) }
    }

    /// Returns the key of the string that begins, if it may be media.
    fn media_key(&self) -> Option<Key> {
        let part = self.open.strip_prefix(&PARTS)?;
        let key = part.iter().rev().find_map(|container| match container {
            Container::Object(key) => Some(*key),
            Container::Array => None,
        })?;
        (key != Key::Text).then_some(key)
    }

    /// Takes a byte of a string's beginning. Returns how many were used.
    fn scheme(&mut self, byte: u8) -> Result<usize, BodyError> {
        let State::InScheme { read, matched, is_data } = &mut self.state else { return Ok(0) };
        let escapes = *matched == 0 && read.last() == Some(&b'\\');
        let is_space = match escapes {
            true => matches!(byte, b'n' | b'r' | b't'),
            false => matches!(byte, b' ' | b'\\'),
        };
        if *matched == 0 && is_space && read.len() < MAX_SPACE {
            read.push(byte);
            return Ok(1);
        }
        if !escapes && byte.eq_ignore_ascii_case(&SCHEME[*matched]) {
            read.push(byte);
            *matched += 1;
            if *matched == SCHEME.len() {
                self.begin_media(MediaWriter::url)?;
            }
            return Ok(1);
        }
        let (read, is_data) = (std::mem::take(read), *is_data);
        if is_data && !(read.is_empty() && byte == b'"') {
            self.begin_media(MediaWriter::base64)?;
            self.push(&read)?;
        } else {
            self.json.extend_from_slice(&read);
            self.state = State::InText { escaped: escapes };
        }
        Ok(0)
    }

    fn begin_media(
        &mut self,
        create: impl FnOnce(&std::path::Path) -> Result<MediaWriter, BodyError>,
    ) -> Result<(), BodyError> {
        if self.files >= self.max_media {
            return Err(BodyError::TooManyMedia { most: self.max_media });
        }
        let writer = Box::new(create(&self.scratch)?);
        self.state = State::InMedia { writer, escape: Escape::None };
        Ok(())
    }

    fn end_media(&mut self) -> Result<(), BodyError> {
        if let State::InMedia { writer, .. } = std::mem::replace(&mut self.state, State::Between) {
            let marker = format!("{}{}\"", self.marker, self.media.len());
            self.json.extend_from_slice(marker.as_bytes());
            let media = writer.finish()?;
            self.files += media.files.len();
            self.media.push(media);
        }
        Ok(())
    }

    /// Returns the JSON and the media. An unfinished string is an error that the parser reports.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<SpooledMedia>) {
        (self.json, self.media)
    }
}

/// Returns the number of bytes before the next quote or backslash.
fn plain(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(bytes.len())
}

/// Takes bytes of a `data:` URL. Returns how many, and whether the string ends after them.
fn media(writer: &mut MediaWriter, escape: &mut Escape, bytes: &[u8]) -> Result<(usize, bool), BodyError> {
    let byte = bytes[0];
    match *escape {
        Escape::None => {
            let plain = plain(bytes);
            writer.push(&bytes[..plain])?;
            return Ok(match bytes.get(plain) {
                Some(b'"') => (plain + 1, true),
                Some(_) => {
                    *escape = Escape::Begun;
                    (plain + 1, false)
                }
                None => (plain, false),
            });
        }
        Escape::Begun if byte == b'u' => *escape = Escape::Unicode { digits: 0, value: 0 },
        Escape::Begun => {
            *escape = Escape::None;
            // No control character belongs in a URL, so it does not matter which one it is.
            writer.push(if matches!(byte, b'/' | b'"' | b'\\') { &bytes[..1] } else { b"\n" })?;
        }
        Escape::Unicode { digits, value } => {
            let value = value * 16 + char::from(byte).to_digit(16).unwrap_or(0xffff);
            if digits < 3 {
                *escape = Escape::Unicode { digits: digits + 1, value };
            } else {
                *escape = Escape::None;
                let ascii = u8::try_from(value).ok().filter(u8::is_ascii).unwrap_or(b'\n');
                writer.push(&[ascii])?;
            }
        }
    }
    Ok((1, false))
}

#[cfg(test)]
#[path = "scanner_tests.rs"]
mod tests;
