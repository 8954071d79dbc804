//! Tests of the limits, at and beyond them.

use serde_json::{Value, json};

use super::*;
use crate::{AnswerFormat, ContentPart, Message, MessageRole, ToolChoice, ToolOptions};

#[test]
fn ranges_are_checked_and_named() {
    check_sampling(&SamplingParams::default()).unwrap();
    for (change, name) in [
        ((|s| s.temperature = -1.0) as fn(&mut SamplingParams), "temperature"),
        (|s| s.top_p = 0.0, "top_p"),
        (|s| s.min_p = 1.5, "min_p"),
        (|s| s.repetition_penalty = 0.0, "repetition_penalty"),
        (|s| s.presence_penalty = f64::NAN, "presence_penalty"),
        (|s| s.frequency_penalty = 3.0, "frequency_penalty"),
    ] {
        let message = {
            let mut sampling = SamplingParams::default();
            change(&mut sampling);
            check_sampling(&sampling).unwrap_err().to_string()
        };
        assert!(message.starts_with(name), "{message}");
    }
}

fn request(change: impl FnOnce(&mut GenerationOptions)) -> Request {
    let text = |text: &str| vec![ContentPart::Text(text.into())];
    let mut options = GenerationOptions::default();
    change(&mut options);
    let messages = vec![
        Message::new(MessageRole::User, text("what?")),
        Message::new(MessageRole::Assistant, text("A ")),
    ];
    Request { messages, options }
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name } })
}

fn tools(tools: Vec<Value>, choice: ToolChoice) -> Option<ToolOptions> {
    Some(ToolOptions { tools, choice, parallel: true })
}

/// Checks that a request is refused because of `param`, with a message that holds `says`.
#[track_caller]
fn refused(request: &Request, param: &'static str, says: &str) {
    match check(request) {
        Err(EngineError::Invalid { message, param: Some(named) }) => {
            assert!(named == param && message.contains(says), "{named}: {message}");
        }
        result => panic!("{param}, {says}: {result:?}"),
    }
}

#[test]
fn what_is_at_its_limit_fits_and_what_is_beyond_is_named() {
    let fits = |change: fn(&mut GenerationOptions)| check(&request(change)).unwrap();
    fits(|o| (o.min_tokens, o.max_tokens) = (5, Some(5)));
    fits(|o| o.min_tokens = 5000);
    fits(|o| o.logit_bias = vec![(7, 100.0), (8, -100.0)]);
    fits(|o| o.allowed_token_ids = Some(vec![u32::MAX]));
    fits(|o| o.bad_words = vec!["x".repeat(1024); 256]);
    fits(|o| o.response_format = AnswerFormat::Choice(vec!["x".repeat(64); 1024]));
    fits(|o| o.response_format = AnswerFormat::Regex("x".repeat(64 << 10)));
    fits(|o| o.continue_final_message = true);
    for (change, param, says) in [
        (
            (|o| (o.min_tokens, o.max_tokens) = (6, Some(5))) as fn(&mut GenerationOptions),
            "min_tokens",
            "is 6",
        ),
        (|o| o.logit_bias = vec![(7, 100.5)], "logit_bias", "token 7 is 100.5"),
        (|o| o.logit_bias = vec![(7, f32::NAN)], "logit_bias", "NaN"),
        (|o| o.logit_bias = vec![(7, 0.0); 1025], "logit_bias", "1025"),
        (|o| o.allowed_token_ids = Some(Vec::new()), "allowed_token_ids", "empty"),
        (|o| o.bad_words = vec!["x".into(); 257], "bad_words", "257"),
        (|o| o.bad_words = vec![String::new()], "bad_words", "0 bytes"),
        (|o| o.bad_words = vec!["x".repeat(1025)], "bad_words", "1025"),
        (|o| o.response_format = AnswerFormat::Choice(Vec::new()), "structured_outputs", "0 choices"),
        (
            |o| o.response_format = AnswerFormat::Choice(vec!["a".into(), String::new()]),
            "structured_outputs",
            "1 of",
        ),
        (|o| o.response_format = AnswerFormat::Choice(vec!["x".into(); 1025]), "structured_outputs", "1025"),
        (
            |o| o.response_format = AnswerFormat::Choice(vec!["x".repeat(65); 1024]),
            "structured_outputs",
            "66560",
        ),
        (|o| o.response_format = AnswerFormat::Regex(String::new()), "structured_outputs", "regex has 0"),
        (
            |o| o.response_format = AnswerFormat::Grammar("x".repeat(65537)),
            "structured_outputs",
            "grammar has 65537",
        ),
    ] {
        refused(&request(change), param, says);
    }
}

#[test]
fn tools_have_distinct_names_and_a_choice_that_fits() {
    let asked = |tools: Option<ToolOptions>| request(|o| o.tools = tools);
    let long = "f".repeat(64);
    let names = ["f", "F_1-x", long.as_str()].map(tool).to_vec();
    for choice in [ToolChoice::Auto, ToolChoice::None, ToolChoice::Required, ToolChoice::Function("f".into())]
    {
        check(&asked(tools(names.clone(), choice))).unwrap();
    }
    check(&asked(tools(Vec::new(), ToolChoice::Auto))).unwrap();
    let many = (0..129).map(|at| tool(&format!("f{at}"))).collect();
    let shapeless = json!({ "type": "function", "function": { "name": "f", "parameters": [] } });
    for (given, param, says) in [
        (tools(many, ToolChoice::Auto), "tools", "129"),
        (tools(vec![json!({})], ToolChoice::Auto), "tools", "tools[0].function.name"),
        (tools(vec![tool("f"), tool("a b")], ToolChoice::Auto), "tools", "tools[1].function.name is \"a b\""),
        (tools(vec![tool("")], ToolChoice::Auto), "tools", "1 to 64"),
        (tools(vec![tool(&"f".repeat(65))], ToolChoice::Auto), "tools", "1 to 64"),
        (tools(vec![tool("f"), tool("f")], ToolChoice::Auto), "tools", "twice"),
        (tools(vec![shapeless], ToolChoice::Auto), "tools", "parameters"),
        (tools(Vec::new(), ToolChoice::Required), "tool_choice", "no tools"),
        (tools(vec![tool("f")], ToolChoice::Function("g".into())), "tool_choice", "\"g\""),
    ] {
        refused(&asked(given), param, says);
    }
}

#[test]
fn a_call_excludes_another_form_and_continuing() {
    for choice in [ToolChoice::Required, ToolChoice::Function("f".into())] {
        let given = || tools(vec![tool("f")], choice.clone());
        let both = request(|o| (o.tools, o.response_format) = (given(), AnswerFormat::JsonObject));
        refused(&both, "tool_choice", "response_format");
        let both = request(|o| (o.tools, o.continue_final_message) = (given(), true));
        refused(&both, "tool_choice", "continue_final_message");
    }
    let auto = || tools(vec![tool("f")], ToolChoice::Auto);
    check(&request(|o| (o.tools, o.response_format) = (auto(), AnswerFormat::JsonObject))).unwrap();
    check(&request(|o| (o.tools, o.continue_final_message) = (auto(), true))).unwrap();
}

#[test]
fn only_a_text_of_the_assistant_can_be_continued() {
    let mut continued = request(|o| o.continue_final_message = true);
    check(&continued).unwrap();
    continued.messages[1].content = vec![ContentPart::Text(" \n".into())];
    refused(&continued, "continue_final_message", "no text");
    continued.messages[1].content.clear();
    refused(&continued, "continue_final_message", "no text");
    continued.messages.pop();
    refused(&continued, "continue_final_message", "not the assistant's");
    continued.messages.clear();
    refused(&continued, "continue_final_message", "not the assistant's");
}

#[test]
fn token_ids_are_within_the_vocabulary() {
    let options = |change: fn(&mut GenerationOptions)| request(change).options;
    check_vocabulary(&options(|o| o.logit_bias = vec![(9, 1.0)]), 10).unwrap();
    check_vocabulary(&options(|o| o.stop_token_ids = vec![10]), 10).unwrap();
    for (change, name) in [
        ((|o| o.logit_bias = vec![(9, 1.0), (10, 1.0)]) as fn(&mut GenerationOptions), "logit_bias"),
        (|o| o.allowed_token_ids = Some(vec![10]), "allowed_token_ids"),
    ] {
        let message = check_vocabulary(&options(change), 10).unwrap_err().to_string();
        assert_eq!(message, format!("{name} has the token id 10; 0 to 9 would fit"));
    }
}

#[test]
fn an_answer_has_room_for_its_least_length() {
    let room = |change: fn(&mut GenerationOptions)| max_tokens(&request(change).options, 9000);
    assert_eq!(room(|_| ()), DEFAULT_MAX_TOKENS);
    assert_eq!(room(|o| o.min_tokens = 3000), 3000);
    assert_eq!(room(|o| o.min_tokens = 10_000), 9000);
    assert_eq!(room(|o| (o.min_tokens, o.max_tokens) = (3, Some(4))), 4);
}
