//! Bounds the text that a template makes, in filters, methods, macros and output. What a filter or a method would make is
//! estimated before it is called.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Maximum size of one text, such as the prompt.
pub(super) const MAX_TEXT: usize = 16 << 20;
/// Maximum size of all texts that one rendering makes on its way.
const MAX_TOTAL: usize = 256 << 20;
/// Maximum length of a list.
const MAX_LIST: usize = 1 << 20;
/// Memory of an element of a list.
const ELEMENT: usize = size_of::<Value>();

/// Maximum nesting of a value. Dropping or printing a value recurses, so that a deep one would overflow the stack.
const MAX_DEPTH: usize = 64;

/// Maximum number of assignments of values with lazy iterables inside.
const MAX_LAZY: usize = 256;

/// Filters of the rewritten source: for assigned values, for operands, for operands that become text, and for results.
pub(super) const ASSIGNED: &str = "homereel_assigned";
pub(super) const OPERAND: &str = "homereel_operand";
pub(super) const TEXT: &str = "homereel_text";
pub(super) const RESULT: &str = "homereel_result";

/// Bytes that a rendering has made.
#[derive(Debug, Default)]
struct TextMade(AtomicUsize);

impl Object for TextMade {}

/// Number of values with lazy iterables inside that a rendering has assigned.
#[derive(Debug, Default)]
struct LazyMade(AtomicUsize);

impl Object for LazyMade {}

fn too_large(what: &str, limit: usize) -> Error {
    let message = format!("the template makes {what}; at most {limit} would fit");
    Error::new(ErrorKind::InvalidOperation, message)
}

pub(super) fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let made = state.get_or_set_temp_object("homereel_made", TextMade::default);
    let before = made.0.fetch_add(bytes, Ordering::Relaxed);
    if before.saturating_add(bytes) > MAX_TOTAL {
        return Err(too_large("too many bytes of text on its way", MAX_TOTAL));
    }
    Ok(())
}

fn fits(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_TEXT { Err(too_large("too long a text", MAX_TEXT)) } else { Ok(()) }
}

/// Passes on at most `left` bytes.
struct Bounded<W> {
    out: W,
    left: usize,
}

impl<W: fmt::Write> fmt::Write for Bounded<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.out.write_str(text)
    }
}

/// What [`check_nesting`] has seen of a value.
#[derive(Debug, Default)]
pub(super) struct Seen {
    parts: usize,
    /// A lazy iterable, such as a slice, within another value.
    lazy: bool,
}

/// Checks a value before it is assigned: only assignments can make values nest more deeply from step to step. A lazy
/// iterable keeps what it iterates over alive, and iterating recurses, so it becomes a list; within other values, where
/// it cannot, a rendering can assign only a few.
fn assigned(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let value = match value.kind() {
        ValueKind::Iterable => Value::from(value.try_iter()?.take(MAX_LIST + 1).collect::<Vec<_>>()),
        _ => value,
    };
    let mut seen = Seen::default();
    check_nesting(&value, 0, &mut seen)?;
    charge(state, seen.parts)?;
    if seen.lazy {
        let made = state.get_or_set_temp_object("homereel_lazy", LazyMade::default);
        if made.0.fetch_add(1, Ordering::Relaxed) >= MAX_LAZY {
            return Err(too_large("too many lists of slices", MAX_LAZY));
        }
    }
    Ok(value)
}

/// Checks the depth and the number of parts of a value.
pub(super) fn check_nesting(value: &Value, depth: usize, seen: &mut Seen) -> Result<(), Error> {
    seen.parts += 1;
    if seen.parts > MAX_LIST {
        return Err(too_large("a value of too many parts", MAX_LIST));
    }
    if depth > MAX_DEPTH {
        return Err(too_large("too deeply nested a value", MAX_DEPTH));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            seen.lazy |= depth > 0 && value.kind() == ValueKind::Iterable;
            for item in value.try_iter()? {
                check_nesting(&item, depth + 1, seen)?;
            }
        }
        ValueKind::Map => {
            // An object without enumerable attributes holds no values of the template.
            for key in value.try_iter().into_iter().flatten() {
                check_nesting(&key, depth + 1, seen)?;
                check_nesting(&value.get_item(&key)?, depth + 1, seen)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns a value as text. Nested lists that share their elements can be much longer as text than in memory.
fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    if let Some(text) = value.as_str() {
        fits(text.len())?;
        return Ok(text.into());
    }
    check_nesting(value, 0, &mut Seen::default())?;
    let mut out = Bounded { out: String::new(), left: MAX_TEXT };
    write!(out, "{value}").map_err(|_| too_large("too long a text", MAX_TEXT))?;
    Ok(out.out.into())
}

fn operand(value: Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        fits(text.len())?;
    } else if value.len().is_some_and(|length| length > MAX_LIST) {
        return Err(too_large("too long a list", MAX_LIST));
    }
    Ok(value)
}

fn as_text(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Plain => {
            Ok(Value::from(text(&value)?.into_owned()))
        }
        _ => operand(value),
    }
}

fn result(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let bytes = match (value.as_str(), value.kind()) {
        (Some(text), _) => text.len(),
        (None, ValueKind::Seq | ValueKind::Iterable) => value.len().unwrap_or(0).saturating_mul(ELEMENT),
        _ => 0,
    };
    charge(state, bytes)?;
    operand(value)
}

/// Returns the largest integer among arguments, named ones included.
fn largest(args: &[Value]) -> usize {
    let number = |value: &Value| value.as_usize().unwrap_or(0);
    let inside = |value: &Value| match value.kind() {
        ValueKind::Map => value
            .try_iter()
            .into_iter()
            .flatten()
            .filter_map(|key| value.get_item(&key).ok())
            .map(|value| number(&value))
            .max()
            .unwrap_or(0),
        _ => number(value),
    };
    args.iter().map(inside).max().unwrap_or(0)
}

/// Returns an upper bound of what a filter or a method makes of its first argument.
fn estimate(name: &str, args: &[Value]) -> Result<usize, Error> {
    let Some(first) = args.first() else { return Ok(0) };
    if name == "slice" || name == "batch" {
        return Ok(largest(args.get(1..).unwrap_or_default()).saturating_mul(ELEMENT));
    }
    if name == "list" || (name == "reverse" && first.as_str().is_none()) {
        return Ok(first.len().unwrap_or(0).saturating_mul(ELEMENT));
    }
    if name == "join" {
        let joiner = args.get(1).map(text).transpose()?.map_or(0, |text| text.len());
        let mut bytes = 0;
        for item in first.try_iter()? {
            bytes += text(&item)?.len() + joiner;
            fits(bytes)?;
        }
        return Ok(bytes);
    }
    let whole = text(first)?;
    let grown = match name {
        "replace" => {
            let (from, to) = (args.get(1).map(text).transpose()?, args.get(2).map(text).transpose()?);
            let count = whole.matches(&*from.unwrap_or_default()).count();
            count.saturating_mul(to.map_or(0, |to| to.len()))
        }
        "indent" => {
            (whole.lines().count() + 1).saturating_mul(largest(args.get(1..).unwrap_or_default()).max(4))
        }
        "format" => {
            // Each placeholder takes an argument, and a width from the format or from an argument.
            let widths = whole.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
            let width = widths.map(|digits| digits.parse().unwrap_or(usize::MAX)).max().unwrap_or(0);
            let mut each = width.max(largest(&args[1..])).saturating_add(512);
            for arg in &args[1..] {
                each = each.saturating_add(text(arg)?.len());
            }
            whole.matches(['%', '{']).count().saturating_mul(each)
        }
        _ => 0,
    };
    Ok(whole.len().saturating_add(grown))
}

fn limited(state: &State<'_, '_>, name: &str, args: &[Value]) -> Result<Value, Error> {
    fits(estimate(name, args)?)?;
    let made = state.apply_filter(&format!("homereel_{name}"), args)?;
    result(state, made)
}

fn method(state: &State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if value.as_str().is_some() {
        // In Python, the separator has the method.
        let args: Vec<Value> = match name {
            "join" => args.iter().chain([value]).cloned().collect(),
            _ => [value].into_iter().chain(args).cloned().collect(),
        };
        fits(estimate(name, &args)?)?;
    }
    result(state, unknown_method_callback(state, value, name, args)?)
}

fn write_value(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = text(value)?;
    charge(state, text.len())?;
    out.write_str(&text).map_err(Error::from)
}

/// Adds the limits to an environment.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.set_formatter(write_value);
    environment.set_unknown_method_callback(method);
    environment.add_filter(ASSIGNED, assigned);
    environment.add_filter(OPERAND, operand);
    environment.add_filter(TEXT, as_text);
    environment.add_filter(RESULT, result);
    // They show values in a longer form, which nothing bounds.
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    macro_rules! limit {
        ($($filter:ident)*) => {$(
            environment.add_filter(concat!("homereel_", stringify!($filter)), filters::$filter);
            environment.add_filter(stringify!($filter), |state: &State<'_, '_>, args: Rest<Value>| {
                limited(state, stringify!($filter), &args)
            });
        )*};
    }
    limit!(replace join indent format string upper lower title capitalize trim reverse list slice batch split lines escape);
    environment.add_filter("e", |state: &State<'_, '_>, args: Rest<Value>| limited(state, "escape", &args));
}
