//! Splits a chat request's body as it arrives: the `data:` URLs of media parts go to files, everything else into memory.
//!
//! A media part's URL is the string at `messages[].content[].image_url.url` or `video_url.url`. In the JSON that remains,
//! a marker stands for it, which only this request knows. The scanner looks at no more of the JSON than it needs; the
//! parser checks the rest.

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

/// An array or object that is not closed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    /// With the key of the value that is being read.
    Object(Key),
}

/// The keys on the way to a media part's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Messages,
    Content,
    /// `image_url` or `video_url`.
    Media,
    Url,
    Other,
}

impl Key {
    fn of(text: &[u8]) -> Self {
        match text {
            b"messages" => Self::Messages,
            b"content" => Self::Content,
            b"image_url" | b"video_url" => Self::Media,
            b"url" => Self::Url,
            _ => Self::Other,
        }
    }
}

/// Where a media part's URL is.
const MEDIA_URL: [Container; 6] = [
    Container::Object(Key::Messages),
    Container::Array,
    Container::Object(Key::Content),
    Container::Array,
    Container::Object(Key::Media),
    Container::Object(Key::Url),
];

/// What the next byte belongs to.
#[derive(Debug)]
enum State {
    /// Punctuation, numbers, literals, white space.
    Between,
    /// A key. `None` means that it is none of [`Key`]'s.
    InKey { text: Option<Vec<u8>>, escaped: bool },
    /// A string that stays in the JSON.
    InText { escaped: bool },
    /// The first characters of a media part's URL.
    InScheme { matched: usize },
    /// A `data:` URL, after its scheme.
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
                State::InScheme { matched } => {
                    let known = *matched;
                    if bytes[0].eq_ignore_ascii_case(&SCHEME[known]) {
                        *matched += 1;
                        if known + 1 == SCHEME.len() {
                            self.begin_media()?;
                        }
                        1
                    } else {
                        // Another URL: it stays in the JSON. The part that matched has the same meaning in lower case.
                        self.json.extend_from_slice(&SCHEME[..known]);
                        self.state = State::InText { escaped: false };
                        0
                    }
                }
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
            b'"' if self.open == MEDIA_URL => self.state = State::InScheme { matched: 0 },
            b'"' => self.state = State::InText { escaped: false },
            _ => {}
        }
        Ok(1)
    }

    fn count(&mut self) -> Result<(), BodyError> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(BodyError::TooManyValues) } else { Ok(()) }
    }

    fn begin_media(&mut self) -> Result<(), BodyError> {
        if self.media.len() == self.max_media {
            return Err(BodyError::TooManyMedia { most: self.max_media });
        }
        let writer = Box::new(MediaWriter::create(&self.scratch)?);
        self.state = State::InMedia { writer, escape: Escape::None };
        Ok(())
    }

    fn end_media(&mut self) -> Result<(), BodyError> {
        if let State::InMedia { writer, .. } = std::mem::replace(&mut self.state, State::Between) {
            let marker = format!("{}{}\"", self.marker, self.media.len());
            self.json.extend_from_slice(marker.as_bytes());
            self.media.push(writer.finish()?);
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
mod tests {
    use std::fs;

    use super::*;

    /// The JSON, and the contents of the files.
    fn scan(body: &[u8], step: usize) -> Result<(String, Vec<Vec<u8>>), BodyError> {
        let mut scanner = Scanner::new("mark-".into(), 4, std::env::temp_dir());
        for chunk in body.chunks(step) {
            scanner.push(chunk)?;
        }
        let (json, media) = scanner.finish();
        let files = media.iter().map(|one| fs::read(&one.path).unwrap()).collect();
        Ok((String::from_utf8(json).unwrap(), files))
    }

    fn part(url: &str) -> String {
        format!(r#"{{"type":"video_url","video_url":{{"url":"{url}"}}}}"#)
    }

    fn body(parts: &[String]) -> String {
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}],"n":1}}"#, parts.join(","))
    }

    #[test]
    fn media_go_to_files_whatever_the_chunks_are() {
        let text = r#"{"type":"text","text":"say \"data:\" and \\ é"}"#.to_owned();
        let sent =
            body(&[part("data:video/mp4;base64,aGVsbG8="), text.clone(), part("DATA:,h%69\\/\\u002B")]);
        let left = body(&[part("mark-0"), text, part("mark-1")]);
        for step in [1, 2, 3, 7, 64, 1000] {
            let (json, files) = scan(sent.as_bytes(), step).unwrap();
            assert_eq!(json, left, "{step}");
            assert_eq!(files, [b"hello".to_vec(), b"hi/+".to_vec()], "{step}");
        }
    }

    #[test]
    fn every_other_string_stays_where_it_is() {
        for sent in [
            body(&[part("https://example.org/a.mp4")]),
            body(&[part("dat")]),
            body(&[part("da\\u0074a:,x")]),
            body(&[part("")]),
            r#"{"tools":[{"url":"data:video/mp4;base64,aGk="}]}"#.to_owned(),
            r#"{"messages":[{"content":"data:,x"}]}"#.to_owned(),
            r#"{"messages":[{"content":[{"image_url":{"detail":"data:,x"}}]}]}"#.to_owned(),
            r#"{"a":{"messages":[{"content":[{"image_url":{"url":"data:,x"}}]}]}}"#.to_owned(),
            r#"]]}}{"messages"#.to_owned(),
        ] {
            for step in [1, 1000] {
                assert_eq!(scan(sent.as_bytes(), step).unwrap(), (sent.clone(), vec![]));
            }
        }
    }

    #[test]
    fn json_is_bounded_in_bytes_values_depth_and_media() {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_JSON));
        assert!(matches!(scan(text.as_bytes(), 1 << 16), Err(BodyError::JsonTooLarge)));
        let values = format!("[{}", "[0],".repeat(MAX_VALUES));
        assert!(matches!(scan(values.as_bytes(), 1 << 16), Err(BodyError::TooManyValues)));
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert!(matches!(scan(deep.as_bytes(), 1 << 16), Err(BodyError::TooDeep)));
        let many = body(&vec![part("data:,x"); 5]);
        assert!(matches!(scan(many.as_bytes(), 1 << 16), Err(BodyError::TooManyMedia { most: 4 })));
        // Media are not part of the JSON.
        let large = body(&[part(&format!("data:;base64,{}", "AAAA".repeat(MAX_JSON / 2)))]);
        assert_eq!(scan(large.as_bytes(), 1 << 16).unwrap().1[0].len(), 3 * (MAX_JSON / 2));
    }
}
