//! Answers with calls, whole and cut at every place.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::ToolChoice;

/// What an answer came to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    text: String,
    /// Name and arguments of each call.
    calls: Vec<(String, String)>,
    has_called: bool,
    is_inside_call: bool,
}

fn parser(parallel: bool) -> ToolParser {
    let tools = ToolOptions { tools: Vec::new(), choice: ToolChoice::Auto, parallel };
    ToolParser::new(Some(&tools)).unwrap()
}

fn outcome<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Outcome {
    let mut parser = parser(true);
    let mut outcome = Outcome::default();
    for piece in pieces {
        let Parsed { text, deltas, over } = parser.push(piece);
        assert!(!over);
        outcome.text += &text;
        deltas.iter().for_each(|delta| join(delta, &mut outcome.calls));
    }
    outcome.is_inside_call = parser.is_inside_call();
    outcome.text += &parser.finish();
    outcome.has_called = parser.has_called();
    outcome
}

/// Joins pieces as OpenAI's clients do.
fn join(delta: &Map<String, Value>, calls: &mut Vec<(String, String)>) {
    let [call] = delta["tool_calls"].as_array().unwrap().as_slice() else { panic!("{delta:?}") };
    let at = call["index"].as_u64().unwrap() as usize;
    if at == calls.len() {
        assert_eq!(call["type"], "function");
        assert!(call["id"].as_str().unwrap().starts_with("call_"));
        calls.push((call["function"]["name"].as_str().unwrap().to_owned(), String::new()));
    }
    assert_eq!(at + 1, calls.len(), "only the last call goes on");
    calls[at].1 += call["function"]["arguments"].as_str().unwrap();
}

/// Checks an answer whole, cut in two at every place, and in single characters.
#[track_caller]
fn check(answer: &str, text: &str, calls: &[(&str, &str)]) -> Outcome {
    let whole = outcome([answer]);
    assert_eq!(whole.text, text);
    let owned = |&(name, arguments): &(&str, &str)| (name.to_owned(), arguments.to_owned());
    assert_eq!(whole.calls, calls.iter().map(owned).collect::<Vec<_>>());
    for (at, _) in answer.char_indices() {
        let (before, after) = answer.split_at(at);
        assert_eq!(outcome([before, after]), whole, "cut at {at}");
    }
    let characters = answer.char_indices().map(|(at, c)| &answer[at..at + c.len_utf8()]);
    assert_eq!(outcome(characters), whole);
    whole
}

fn call(name: &str, arguments: &str) -> String {
    format!("{OPEN}\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n{CLOSE}")
}

#[test]
fn text_without_calls_is_text() {
    for text in ["", "A red square.", "a <tool", "<tool_cal> </tool_call> < <<tool_", "{\"name\": \"f\"}"] {
        assert!(!check(text, text, &[]).has_called);
    }
}

#[test]
fn text_and_a_call() {
    let got = check(
        &format!("Let me see.\n{}", call("f", r#"{"a": 1}"#)),
        "Let me see.\n",
        &[("f", r#"{"a": 1}"#)],
    );
    assert!(got.has_called && !got.is_inside_call);
}

#[test]
fn two_calls_without_the_whitespace_around_them() {
    let calls = format!("{}\n{}\n", call("f", "{}"), call("g", "{\"b\" : [1, {}]}"));
    check(&calls, "", &[("f", "{}"), ("g", "{\"b\" : [1, {}]}")]);
    check(&format!("{calls} Done <b"), "\n Done <b", &[("f", "{}"), ("g", "{\"b\" : [1, {}]}")]);
}

#[test]
fn arguments_stay_as_the_model_writes_them() {
    for arguments in [
        r#"{"text": "}{][ \" \\", "n": {"a": [{"b": "\\\""}]}}"#,
        r#"{"html": "</tool_call> <tool_call> \u003c"}"#,
        "{ \"a\":1,\n\t\"b\" : \"Grüße 👨‍👩‍👧\" }",
        // Braces match, but it is no JSON: clients see what the model wrote, as with OpenAI.
        r#"{"a": }"#,
    ] {
        check(&call("f", arguments), "", &[("f", arguments)]);
    }
}

#[test]
fn calls_in_other_forms_are_understood() {
    let arguments = r#"{"a": "}"}"#;
    for object in [
        r#"{"arguments": {"a": "}"}, "name": "f"}"#.to_owned(),
        r#"{"name":"f","arguments":"{\"a\": \"}\"}"}"#.to_owned(),
        format!("{{\"id\": 7, \"name\": \"f\", \"arguments\": {arguments}}}"),
        format!(" \t{{\n\"name\"\n:\n\"\\u0066\"\n,\n\"arguments\"\n:\n{arguments}\n}}\n"),
    ] {
        for closed in [CLOSE, "\n</tool_call>\n", ""] {
            check(&format!("{OPEN}{object}{closed}"), "", &[("f", arguments)]);
        }
    }
    check(&format!("{OPEN}{{\"name\": \"f\"}}{CLOSE}"), "", &[("f", "{}")]);
    check(&format!("{OPEN}{{\"name\": \"f\", \"arguments\": null}}{CLOSE}"), "", &[("f", "{}")]);
    // Without the last brace.
    check(&format!("{OPEN}{{\"name\": \"f\", \"arguments\": {{}}\n{CLOSE}"), "", &[("f", "{}")]);
    // Without the closing tag.
    let unclosed = format!("{OPEN}{{\"name\": \"f\", \"arguments\": {{}}}}\n");
    check(&format!("{unclosed}{}", call("g", "{}")), "", &[("f", "{}"), ("g", "{}")]);
    check(&format!("{unclosed}So"), "So", &[("f", "{}")]);
}

#[test]
fn what_is_no_call_is_text() {
    for inside in [
        "oops",
        "{oops}",
        "{\"name\": 7, \"arguments\": {}}",
        "{\"arguments\": {}}",
        "[1]",
        "{\"name\": \"f\", \"arguments\": [}",
        "{\"name\": \"f\" ",
        "",
        "\n<tool_call",
    ] {
        let text = format!("a {OPEN}{inside}{CLOSE} b");
        assert!(!check(&text, &text, &[]).has_called, "{text}");
        check(&format!("{text}{}", call("f", "{}")), &text, &[("f", "{}")]);
    }
}

#[test]
fn an_answer_cut_off_before_the_arguments_is_text() {
    let whole = call("f", r#"{"a": 1}"#);
    let begin = whole.find("{\"a\"").unwrap();
    for end in 0..=begin {
        let got = check(&whole[..end], &whole[..end], &[]);
        assert!(!got.has_called);
        assert_eq!(got.is_inside_call, end >= OPEN.len());
    }
}

#[test]
fn an_answer_cut_off_in_the_arguments_keeps_what_was_passed_on() {
    let got =
        check(&format!("{OPEN}{{\"name\": \"f\", \"arguments\": {{\"a\": \"x"), "", &[("f", "{\"a\": \"x")]);
    assert!(!got.has_called && got.is_inside_call);
    // A tag where there cannot be one.
    let got = check(
        &format!("{OPEN}{{\"name\": \"f\", \"arguments\": {{\"a\": {CLOSE} b"),
        "</tool_call> b",
        &[("f", "{\"a\": ")],
    );
    assert!(!got.has_called && !got.is_inside_call);
}

#[test]
fn an_answer_cut_off_behind_the_arguments_has_made_its_call() {
    let whole = call("f", "{}");
    for end in whole.find("{}").unwrap() + 2..whole.len() {
        let got = check(&whole[..end], "", &[("f", "{}")]);
        assert!(got.has_called && !got.is_inside_call);
    }
}

#[test]
fn arguments_are_passed_on_at_once() {
    let mut parser = parser(true);
    let begun = parser.push("<tool_call>\n{\"name\": \"f\", \"arguments\": {");
    assert_eq!(begun.deltas.len(), 2);
    assert_eq!(begun.deltas[0]["tool_calls"][0]["function"], json!({ "name": "f", "arguments": "" }));
    assert_eq!(
        json!(begun.deltas[1]),
        json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{" } }] })
    );
    for piece in ["\"a", "\": \"", "x</tool_call>", "\""] {
        let parsed = parser.push(piece);
        let [delta] = &parsed.deltas[..] else { panic!("{parsed:?}") };
        assert_eq!(delta["tool_calls"][0]["function"], json!({ "arguments": piece }));
    }
}

#[test]
fn one_call_ends_an_answer_that_may_have_no_more() {
    let whole = call("f", "{}");
    for at in 0..whole.len() {
        let mut parser = parser(false);
        assert!(!parser.push(&whole[..at]).over);
        let parsed = parser.push(&format!("{}\n{whole}", &whole[at..]));
        assert!(parsed.over && parser.has_called());
        assert!(parsed.deltas.len() <= 2, "{parsed:?}");
    }
}

#[test]
fn a_call_that_never_begins_is_not_held_for_ever() {
    let mut parser = parser(true);
    let text = format!("{OPEN}{{\"x\": \"{}", "y".repeat(MAX_HELD));
    assert_eq!(parser.push(&text), Parsed { text, ..Parsed::default() });
}

#[test]
fn without_tools_nothing_is_searched() {
    assert!(ToolParser::new(None).is_none());
    let tools = ToolOptions { tools: Vec::new(), choice: ToolChoice::None, parallel: true };
    assert!(ToolParser::new(Some(&tools)).is_none());
}

#[test]
fn pieces_of_calls_in_any_order_come_to_the_same_however_they_are_cut() {
    const PIECES: [&str; 28] = [
        "<tool_call>{\"name\": \"f\", \"arguments\": ",
        "{\"arguments\": {}, \"name\": \"f\"}",
        OPEN,
        CLOSE,
        "<tool_",
        "call>",
        "</tool",
        "<",
        ">",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\"name\"",
        ":",
        "\"f\"",
        ",",
        "\"arguments\"",
        "{\"name\": \"f\", \"arguments\": ",
        "{\"a\": 1}",
        "\n",
        " ",
        "é",
        "null",
        "x",
        "\"\\u0041\"",
    ];
    let mut rng = StdRng::seed_from_u64(7);
    let mut called = 0;
    for _ in 0..20_000 {
        let answer: String =
            (0..rng.random_range(1..14)).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect();
        let whole = outcome([answer.as_str()]);
        let characters = answer.char_indices().map(|(at, c)| &answer[at..at + c.len_utf8()]);
        assert_eq!(outcome(characters), whole, "{answer:?}");
        // Without a call, nothing is lost.
        if whole.calls.is_empty() {
            assert_eq!(whole.text, answer);
        }
        called += usize::from(!whole.calls.is_empty());
    }
    assert!(called > 100, "{called} answers with calls");
}
