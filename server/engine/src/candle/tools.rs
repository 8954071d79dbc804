//! Finds the calls of tools in the streamed text of an answer, in the form that Qwen's and Hermes' chat templates teach:
//! `<tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>`. Calls become pieces of OpenAI's `delta`, with the arguments as
//! the model writes them; all other text stays text.
//!
//! A call is reported once its arguments begin. What turns out to be no call by then is text, its tag included. The arguments
//! are passed on while they are generated, so they cannot be taken back: as with OpenAI, they may be cut off or invalid.

mod call;

use serde_json::{Map, Value, json};

use self::call::{End, ObjectScan};
use crate::qwen3vl::Tokenizer;
use crate::{ToolChoice, ToolOptions};

/// Starts a call.
pub(super) const OPEN: &str = "<tool_call>";
/// Ends a call.
pub(super) const CLOSE: &str = "</tool_call>";

/// Bytes of a call before its arguments begin, or of one in an unusual order.
const MAX_HELD: usize = 64 << 10;

/// Returns the tags that are special tokens, whose text a decoder leaves out. In Qwen3-VL's tokenizer they are ordinary added
/// tokens, and in others plain text.
pub(super) fn special_tags(tokenizer: &Tokenizer) -> Vec<(u32, &'static str)> {
    let specials = tokenizer.specials();
    [OPEN, CLOSE].into_iter().filter_map(|tag| Some((*specials.get(tag)?, tag))).collect()
}

/// Searches an answer for calls.
#[derive(Debug)]
pub(super) struct ToolParser {
    state: State,
    /// Text whose meaning is not known yet.
    held: String,
    /// Number of calls that have begun.
    begun: usize,
    /// Number of calls whose arguments are complete.
    made: usize,
    /// Whether the answer may go on after a call.
    parallel: bool,
}

#[derive(Debug)]
enum State {
    /// Outside of calls; right after one, `after_call`, whitespace only separates it from the next.
    Text { after_call: bool },
    /// Behind the opening tag.
    Opened(ObjectScan),
    /// In the arguments.
    Arguments(ObjectScan),
    /// Behind the arguments, before the closing tag.
    Closing,
}

/// What a piece of text held.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parsed {
    /// Text outside of calls.
    pub(super) text: String,
    /// Pieces of OpenAI's `delta`.
    pub(super) deltas: Vec<Map<String, Value>>,
    /// Whether the only call that the request allows has ended.
    pub(super) over: bool,
}

impl ToolParser {
    /// Starts an answer; `None` means that its request has no tools to call.
    pub(super) fn new(tools: Option<&ToolOptions>) -> Option<Self> {
        let tools = tools.filter(|tools| tools.choice != ToolChoice::None)?;
        let state = State::Text { after_call: false };
        Some(Self { state, held: String::new(), begun: 0, made: 0, parallel: tools.parallel })
    }

    /// Returns whether the model has made a call.
    pub(super) fn has_called(&self) -> bool {
        self.made > 0
    }

    /// Returns whether an answer that ends now ends in the middle of a call.
    pub(super) fn is_inside_call(&self) -> bool {
        matches!(self.state, State::Opened(_) | State::Arguments(_))
    }

    /// Adds the next piece of text.
    pub(super) fn push(&mut self, text: &str) -> Parsed {
        let mut parsed = Parsed::default();
        self.held.push_str(text);
        while !parsed.over && self.step(&mut parsed) {}
        parsed
    }

    /// Returns the remaining text at the end of an answer.
    pub(super) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        match &self.state {
            State::Text { after_call: true } if held.trim().is_empty() => String::new(),
            State::Text { .. } => held,
            State::Opened(_) => format!("{OPEN}{held}"),
            // Arguments are passed on at once, and what is behind them is the closing brace and tag.
            State::Arguments(_) | State::Closing => String::new(),
        }
    }

    /// Takes what is certain from the held text. Returns whether more may be.
    fn step(&mut self, parsed: &mut Parsed) -> bool {
        match &mut self.state {
            State::Text { after_call } => {
                let after_call = *after_call;
                self.step_text(after_call, parsed)
            }
            State::Opened(_) => self.step_opened(parsed),
            State::Arguments(scan) => {
                let (end, next) = match scan.push(&self.held) {
                    End::None => (self.held.len(), None),
                    End::Whole(end) => {
                        self.made += 1;
                        (end, Some(State::Closing))
                    }
                    End::Broken(end) => (end, Some(State::Text { after_call: false })),
                };
                self.take_arguments(end, parsed);
                let Some(next) = next else { return false };
                self.state = next;
                true
            }
            State::Closing => self.step_closing(parsed),
        }
    }

    fn step_text(&mut self, after_call: bool, parsed: &mut Parsed) -> bool {
        let start = if after_call { self.held.len() - self.held.trim_start().len() } else { 0 };
        let rest = &self.held[start..];
        if let Some(at) = rest.find(OPEN) {
            // Whitespace between two calls is no text.
            let text = if at == 0 { "" } else { &self.held[..start + at] };
            parsed.text.push_str(text);
            self.held.drain(..start + at + OPEN.len());
            self.state = State::Opened(ObjectScan::default());
            return true;
        }
        let possible = possible_start(rest, OPEN);
        if possible == rest.len() && after_call {
            return false;
        }
        let kept = self.held.split_off(self.held.len() - possible);
        parsed.text.push_str(&std::mem::replace(&mut self.held, kept));
        self.state = State::Text { after_call: false };
        false
    }

    fn step_opened(&mut self, parsed: &mut Parsed) -> bool {
        let State::Opened(scan) = &mut self.state else { return false };
        if let Some((name, arguments)) = call::usual_head(&self.held) {
            self.held.drain(..arguments);
            self.begin(&name, parsed);
            self.state = State::Arguments(ObjectScan::default());
            return true;
        }
        let end = match scan.push_from(&self.held) {
            End::None if self.held.len() <= MAX_HELD => return false,
            End::None => self.held.len(),
            End::Broken(end) => end,
            End::Whole(end) => {
                if let Some((name, arguments)) = call::whole(&self.held[..end]) {
                    self.begin(&name, parsed);
                    self.held.replace_range(..end, &arguments);
                    self.take_arguments(arguments.len(), parsed);
                    self.made += 1;
                    self.state = State::Closing;
                    return true;
                }
                end
            }
        };
        parsed.text.push_str(OPEN);
        parsed.text.extend(self.held.drain(..end));
        self.state = State::Text { after_call: false };
        true
    }

    fn step_closing(&mut self, parsed: &mut Parsed) -> bool {
        let rest = self.held.trim_start();
        // The brace that closes the call's object.
        let rest = rest.strip_prefix('}').unwrap_or(rest).trim_start();
        let behind = match rest.strip_prefix(CLOSE) {
            Some(behind) => behind,
            None if CLOSE.starts_with(rest) && self.held.len() <= MAX_HELD => return false,
            // The model left the tag out.
            None => rest,
        };
        self.held = behind.to_owned();
        self.state = State::Text { after_call: true };
        parsed.over = !self.parallel;
        true
    }

    /// Reports the beginning of a call.
    fn begin(&mut self, name: &str, parsed: &mut Parsed) {
        let id = format!("call_{:032x}", rand::random::<u128>());
        let function = json!({ "name": name, "arguments": "" });
        let call = json!({ "index": self.begun, "id": id, "type": "function", "function": function });
        parsed.deltas.push(delta(call));
        self.begun += 1;
    }

    /// Reports the first `end` bytes of the held text as arguments of the last call.
    fn take_arguments(&mut self, end: usize, parsed: &mut Parsed) {
        let arguments: String = self.held.drain(..end).collect();
        if !arguments.is_empty() {
            let function = json!({ "arguments": arguments });
            parsed.deltas.push(delta(json!({ "index": self.begun - 1, "function": function })));
        }
    }
}

fn delta(call: Value) -> Map<String, Value> {
    Map::from_iter([("tool_calls".to_owned(), json!([call]))])
}

/// Returns the length of the longest end of `text` that `tag` starts with.
fn possible_start(text: &str, tag: &str) -> usize {
    text.char_indices().map(|(at, _)| &text[at..]).find(|tail| tag.starts_with(tail)).map_or(0, str::len)
}

#[cfg(test)]
mod tests;
