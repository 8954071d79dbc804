//! Foreign text (names of files, tags and models, errors of ffmpeg, answers) on its way to a terminal or a log: control
//! characters, which could move the cursor, retitle the window or start a line that looks like ours, are spelled out.

use std::{
    borrow::Cow,
    io::{self, Write},
};

/// Spells out control characters and line ends: the result is one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_, _| 0)
}

/// Spells out control characters other than line ends and tabs.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |_, c| usize::from(matches!(c, '\n' | '\t')))
}

/// Spells out what is not plain text, in the notation of JSON, so that JSON keeps its meaning. `kept` returns how many
/// bytes at a character stay as they are.
fn escape(text: &str, kept: impl Fn(&str, char) -> usize) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match kept(rest, c) {
            0 => c.len_utf8(),
            kept => kept,
        };
        match c {
            c if !is_control(c) || kept(rest, c) > 0 => out.push_str(&rest[..length]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
        rest = &rest[length..];
    }
    out.into()
}

/// Control characters, line separators, and the characters that reverse the direction of text.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes events of the log, one per call, each as one line.
#[derive(Debug)]
pub(crate) struct LogWriter<W> {
    out: W,
    /// Whether colours stay. Those of foreign text are spelled out before they arrive here.
    colours: bool,
}

impl<W: Write> LogWriter<W> {
    pub(crate) fn new(out: W, colours: bool) -> Self {
        Self { out, colours }
    }
}

impl<W: Write> Write for LogWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (text, end) = match text.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (&*text, ""),
        };
        let escaped = escape(text, |rest, _| if self.colours { colour(rest) } else { 0 });
        self.out.write_all([&*escaped, end].concat().as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns the length of the colour code at the start of `text`, or 0.
fn colour(text: &str) -> usize {
    let Some(code) = text.strip_prefix("\x1b[") else { return 0 };
    let digits = code.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if code.as_bytes().get(digits) == Some(&b'm') { "\x1b[".len() + digits + 1 } else { 0 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A name that retitles the terminal's window and adds a line.
    pub(crate) const EVIL: &str = "\x1b]0;evil\x07\nfake line";

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(line(EVIL), r"\u001b]0;evil\u0007\nfake line");
        assert_eq!(lines("a\tb\n\x1b[2Jc\r\n"), "a\tb\n\\u001b[2Jc\\r\n");
        assert_eq!(line("\u{9b}2J \u{7f} \u{202e}4pm."), r"\u009b2J \u007f \u202e4pm.");
        assert!(matches!(line("Grüße, 世界 👨‍👩‍👧.mp4"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({ "name": format!("{EVIL}\u{9b}\u{202e}") });
        let text = value.to_string();
        assert!(text.contains('\u{9b}'), "JSON itself leaves it");
        let shown = line(&text);
        assert!(!shown.contains(is_control));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn only_whole_colour_codes_stay() {
        let written = |text: &str, colours| {
            let mut out = Vec::new();
            LogWriter::new(&mut out, colours).write_all(text.as_bytes()).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written("\x1b[32mINFO\x1b[0m a\n", true), "\x1b[32mINFO\x1b[0m a\n");
        assert_eq!(written("\x1b[32mINFO\x1b[0m a\n", false), "\\u001b[32mINFO\\u001b[0m a\n");
        for code in ["\x1b[2J", "\x1b[1;", "\x1b]0;x\x07", "\x1b"] {
            assert!(!written(code, true).contains('\x1b'), "{code:?}");
        }
    }
}
