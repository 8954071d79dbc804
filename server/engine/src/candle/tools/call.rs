//! The JSON object of a call: where it ends, and what it calls. It is read while it is generated, so its end is found by
//! braces and strings alone; whether it is valid JSON is not known before.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes within which the arguments of a call in the usual order begin.
const MAX_HEAD: usize = 1024;

/// Searches for the end of a JSON object.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectScan {
    /// Bytes of the text that were read, for [`ObjectScan::push_from`].
    read: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// Where an object ends, in bytes from the start of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not in this text.
    None,
    /// Behind its last brace.
    Whole(usize),
    /// Before a character that no object has there.
    Broken(usize),
}

impl ObjectScan {
    /// Reads a text that continues the one before.
    pub(super) fn push(&mut self, text: &str) -> End {
        for (at, byte) in text.bytes().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match (byte, self.depth) {
                (b'{', _) | (b'[', 1..) => self.depth += 1,
                (b'}' | b']', 1) => return End::Whole(at + 1),
                (b'}' | b']', 2..) => self.depth -= 1,
                (b'"', 1..) => self.in_string = true,
                // A tag. No JSON has this character outside of strings.
                (b'<', _) => return End::Broken(at),
                (_, 0) if !byte.is_ascii_whitespace() => return End::Broken(at),
                _ => {}
            }
        }
        End::None
    }

    /// Reads a text that begins with the one before.
    pub(super) fn push_from(&mut self, text: &str) -> End {
        let read = std::mem::replace(&mut self.read, text.len());
        match self.push(&text[read..]) {
            End::None => End::None,
            End::Whole(at) => End::Whole(read + at),
            End::Broken(at) => End::Broken(read + at),
        }
    }
}

/// Returns the name in `{"name": "f", "arguments": {`, and where the arguments start. `None` means that the text is too short
/// or in another order.
pub(super) fn usual_head(text: &str) -> Option<(String, usize)> {
    let head = &text[..text.floor_char_boundary(MAX_HEAD)];
    let rest = after(after(after(head, "{")?, "\"name\"")?, ":")?.trim_start();
    let mut names = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let name = names.next()?.ok()?;
    let rest = &rest[names.byte_offset()..];
    let rest = after(after(after(rest, ",")?, "\"arguments\"")?, ":")?.trim_start();
    rest.starts_with('{').then_some((name, head.len() - rest.len()))
}

fn after<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    text.trim_start().strip_prefix(token)
}

/// Returns the name and the arguments of a whole call, in any order; `None` means that it is none. Missing arguments are none,
/// and those in a string are unpacked.
pub(super) fn whole(text: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Call<'a> {
        name: String,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let call: Call<'_> = serde_json::from_str(text).ok()?;
    let arguments = call.arguments.map_or("{}", RawValue::get);
    let unpacked = serde_json::from_str::<String>(arguments);
    Some((call.name, unpacked.unwrap_or_else(|_| arguments.to_owned())))
}
