//! Answers of given tokens, without a model.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::candle::constraint::Grammars;
use crate::candle::sink::EventSink;
use crate::qwen3vl::{Checkpoint, PreparedPrompt, Prompt};
use crate::{AnswerFormat, GenerationOptions, Request, ToolChoice, ToolOptions, demo};

/// An answer that chooses the tokens that the test wants.
struct Scripted {
    answer: Answer,
    tokenizer: Tokenizer,
    eos: u32,
}

/// What an answer came to.
#[derive(Debug, Default)]
struct Outcome {
    ids: Vec<u32>,
    text: String,
    /// Name and arguments of each call.
    calls: Vec<(String, String)>,
    reason: Option<FinishReason>,
}

impl Scripted {
    fn new(options: GenerationOptions) -> Self {
        Self::with_tokenizer(options, demo::file("tokenizer.json").unwrap())
    }

    fn with_tokenizer(options: GenerationOptions, json: &[u8]) -> Self {
        let tokenizer = Tokenizer::from_json(json).unwrap();
        let eos = tokenizer.id("<|im_end|>").unwrap();
        let config = demo::file("config.json").unwrap();
        let config = Checkpoint::from_static("demo", config, demo::WEIGHTS).unwrap().config;
        let prompt = Prompt::new(&config, vec![1, 2, 3], &[], &[]).unwrap();
        let mut generation = Generation {
            constraint: Grammars::new(json, eos).unwrap().constrain(&options).unwrap(),
            rules: LogitRules::new(&options, &tokenizer).unwrap(),
            max_tokens: options.max_tokens.unwrap_or(1000),
            request: Request { messages: Vec::new(), options },
            prepared: PreparedPrompt { prompt, media: Vec::new() },
            contents: Vec::new(),
            sink: EventSink::channel().0,
            submitted: Instant::now(),
            queued: Instant::now(),
            span: tracing::Span::none(),
        };
        Self { answer: Answer::new(&mut generation, &[eos], &tokenizer), tokenizer, eos }
    }

    /// Generates a token; `wanted` are the likeliest, best first.
    fn next(&mut self, wanted: &[u32]) -> Result<(Vec<GenerationEvent>, Option<FinishReason>), EngineError> {
        let mut logits = vec![0.0; self.tokenizer.vocab_size()];
        for (id, logit) in wanted.iter().zip((1..).map(|rank| 30.0 - rank as f32)) {
            logits[*id as usize] = logit;
        }
        self.answer.next(&logits, &self.tokenizer)
    }

    /// Generates tokens up to the end of the answer.
    fn say(&mut self, ids: &[u32]) -> Outcome {
        let mut outcome = Outcome::default();
        for &id in ids {
            let (events, reason) = self.next(&[id]).unwrap();
            outcome.add(events);
            outcome.reason = reason;
            if reason.is_some() {
                break;
            }
        }
        outcome
    }

    /// Generates the tokens of a text and an end token.
    fn say_text(&mut self, text: &str) -> Outcome {
        let ids = self.tokenizer.encode(text).unwrap();
        self.say(&[&ids[..], &[self.eos]].concat())
    }
}

impl Outcome {
    fn add(&mut self, events: Vec<GenerationEvent>) {
        let (first, rest) = events.split_first().unwrap();
        let GenerationEvent::Token { text, id: Some(id), logprob } = first else { panic!("{first:?}") };
        assert!(logprob.is_some());
        self.ids.push(*id);
        self.text += text;
        for event in rest {
            let GenerationEvent::Delta(delta) = event else { panic!("{event:?}") };
            let call = &delta["tool_calls"][0];
            if let Some(name) = call["function"]["name"].as_str() {
                self.calls.push((name.to_owned(), String::new()));
            }
            self.calls.last_mut().unwrap().1 += call["function"]["arguments"].as_str().unwrap();
        }
    }
}

fn options(change: impl FnOnce(&mut GenerationOptions)) -> GenerationOptions {
    let mut options = GenerationOptions { logprobs: Some(0), ..GenerationOptions::default() };
    change(&mut options);
    options
}

fn tools(parallel: bool, choice: ToolChoice) -> Option<ToolOptions> {
    let tool = json!({ "type": "function", "function": { "name": "f" } });
    Some(ToolOptions { tools: vec![tool], choice, parallel })
}

const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"red\"}}\n</tool_call>";

#[test]
fn an_end_token_comes_after_the_least_number_of_tokens() {
    let mut scripted = Scripted::new(options(|o| o.min_tokens = 2));
    let mut outcome = Outcome::default();
    for reason in [None, None, Some(FinishReason::Stop)] {
        let (events, got) = scripted.next(&[scripted.eos, 40]).unwrap();
        outcome.add(events);
        assert_eq!(got, reason);
    }
    assert_eq!(outcome.ids, [40, 40, scripted.eos]);
}

#[test]
fn a_stop_string_ends_no_answer_before_its_least_length() {
    let text = "a red square and a red circle";
    let tokens = demo::tokenizer().encode("a red square").unwrap().len();
    for (min_tokens, shown) in [(0, "a "), (tokens, "a red square and a ")] {
        let mut scripted =
            Scripted::new(options(|o| (o.stop, o.min_tokens) = (vec!["red".into()], min_tokens)));
        let outcome = scripted.say_text(text);
        assert_eq!((outcome.text.as_str(), outcome.reason), (shown, Some(FinishReason::Stop)));
    }
}

#[test]
fn what_ends_the_answer_may_be_part_of_it() {
    let text = "a red square and more";
    let red = |o: &mut GenerationOptions| (o.stop, o.include_stop_str_in_output) = (vec!["red".into()], true);
    let outcome = Scripted::new(options(red)).say_text(text);
    assert_eq!((outcome.text.as_str(), outcome.reason), ("a red", Some(FinishReason::Stop)));
    let ids = demo::tokenizer().encode(text).unwrap();
    for (included, shown) in [(false, &ids[..2]), (true, &ids[..3])] {
        let stop = |o: &mut GenerationOptions| {
            (o.stop_token_ids, o.include_stop_str_in_output) = (vec![ids[2]], included)
        };
        let outcome = Scripted::new(options(stop)).say_text(text);
        assert_eq!(outcome.text, demo::tokenizer().decode(shown));
        assert_eq!(outcome.ids, ids[..3]);
        // The model's end token has no text.
        let outcome = Scripted::new(options(|o| o.include_stop_str_in_output = included)).say_text(text);
        assert_eq!(outcome.text, text);
    }
}

#[test]
fn an_answer_that_calls_a_tool_ends_for_that_reason() {
    let auto = |o: &mut GenerationOptions| o.tools = tools(true, ToolChoice::Auto);
    let outcome = Scripted::new(options(auto)).say_text(&format!("Let me see. {CALL}\n{CALL}"));
    assert_eq!(outcome.text, "Let me see. ");
    let call = ("f".to_owned(), "{\"a\": \"red\"}".to_owned());
    assert_eq!(outcome.calls, [call.clone(), call]);
    assert_eq!(outcome.reason, Some(FinishReason::ToolCalls));
    let tokens = demo::tokenizer().encode(&format!("Let me see. {CALL}\n{CALL}")).unwrap().len();
    assert_eq!(outcome.ids.len(), tokens + 1, "tokens of calls count");
    // Without tools, and where they must not be called, it is text.
    for none in [None, tools(true, ToolChoice::None)] {
        let outcome = Scripted::new(options(|o| o.tools = none)).say_text(CALL);
        assert_eq!((outcome.text.as_str(), outcome.calls.len()), (CALL, 0));
        assert_eq!(outcome.reason, Some(FinishReason::Stop));
    }
}

#[test]
fn an_answer_without_a_call_ends_as_others_do() {
    for text in ["A red square.", "<tool_call>oops</tool_call>", "<tool_ca"] {
        let auto = |o: &mut GenerationOptions| o.tools = tools(true, ToolChoice::Auto);
        let outcome = Scripted::new(options(auto)).say_text(text);
        assert_eq!((outcome.text.as_str(), outcome.reason), (text, Some(FinishReason::Stop)));
    }
}

#[test]
fn a_limit_inside_a_call_stays_the_reason() {
    let count = |text: &str| demo::tokenizer().encode(text).unwrap().len();
    let inside = format!("{CALL}\n{}", &CALL[..CALL.find("red").unwrap()]);
    let reason = |text: &str, max_tokens: usize| {
        let limited = |o: &mut GenerationOptions| {
            (o.tools, o.max_tokens) = (tools(true, ToolChoice::Auto), Some(max_tokens))
        };
        Scripted::new(options(limited)).say_text(text).reason.unwrap()
    };
    assert_eq!(reason(CALL, count(&inside) - count(CALL)), FinishReason::Length);
    assert_eq!(reason(CALL, count(CALL)), FinishReason::ToolCalls);
    assert_eq!(reason(&format!("{CALL}\n{CALL}"), count(&inside)), FinishReason::Length);
}

#[test]
fn one_call_is_enough_where_there_may_be_no_more() {
    let one = |o: &mut GenerationOptions| o.tools = tools(false, ToolChoice::Auto);
    let outcome = Scripted::new(options(one)).say_text(&format!("{CALL}\n{CALL}"));
    assert_eq!((outcome.calls.len(), outcome.reason), (1, Some(FinishReason::ToolCalls)));
    assert!(outcome.ids.len() <= demo::tokenizer().encode(CALL).unwrap().len() + 1);
}

#[test]
fn a_call_that_is_required_is_held_to_its_form() {
    let required = |o: &mut GenerationOptions| o.tools = tools(false, ToolChoice::Required);
    let outcome = Scripted::new(options(required)).say_text(CALL);
    assert_eq!(outcome.calls, [("f".to_owned(), "{\"a\": \"red\"}".to_owned())]);
    assert_eq!((outcome.text.as_str(), outcome.reason), ("", Some(FinishReason::ToolCalls)));
}

#[test]
fn tags_that_are_tokens_of_their_own_mark_calls_too() {
    for special in [true, false] {
        let auto = options(|o| o.tools = tools(true, ToolChoice::Auto));
        let mut scripted = Scripted::with_tokenizer(auto, &demo::tokenizer_with_tags(special));
        let [open, close] = [tools::OPEN, tools::CLOSE].map(|tag| scripted.tokenizer.id(tag).unwrap());
        let encode = |text: &str| scripted.tokenizer.encode(text).unwrap();
        let inside = encode("\n{\"name\": \"f\", \"arguments\": {\"a\": \"red\"}}\n");
        let call = [&[open][..], &inside, &[close]].concat();
        let ids = [&encode("See ")[..], &call, &encode("\n"), &call, &[scripted.eos]].concat();
        let outcome = scripted.say(&ids);
        assert_eq!(outcome.text, "See ");
        let call = ("f".to_owned(), "{\"a\": \"red\"}".to_owned());
        assert_eq!(outcome.calls, [call.clone(), call]);
        assert_eq!(outcome.reason, Some(FinishReason::ToolCalls));
    }
}

#[test]
fn the_form_wins_over_rules_and_an_answer_without_a_way_on_is_an_error() {
    let choice = |o: &mut GenerationOptions| o.response_format = AnswerFormat::Choice(vec!["red".into()]);
    let tokenizer = demo::tokenizer();
    let red = tokenizer.encode("red").unwrap();
    // A bias leads out of the form as little as the model does.
    let mut scripted = Scripted::new(options(|o| {
        choice(o);
        o.logit_bias = vec![(40, 100.0)];
    }));
    let (events, _) = scripted.next(&[40]).unwrap();
    let GenerationEvent::Token { id: Some(id), .. } = events[0] else { panic!() };
    assert_ne!(id, 40);
    let mut scripted = Scripted::new(options(|o| {
        choice(o);
        o.allowed_token_ids = Some(vec![40]);
    }));
    let EngineError::Invalid { message, param } = scripted.next(&red).unwrap_err() else { panic!() };
    assert!(message.contains("allowed_token_ids and the answer's form leave no token"), "{message}");
    assert_eq!(param, Some("allowed_token_ids"));
}
