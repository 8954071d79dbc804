//! Answers of a certain form, from the request to the events: calls of tools, choices, lengths, and continued messages.

use std::sync::Arc;

use homereel_engine::{
    AnswerFormat, Engine, EngineError, FinishReason, GenerationEvent, GenerationOptions, Message,
    MessageRole, Request, ToolChoice, ToolOptions,
};
use serde_json::{Value, json};

use crate::requests::{ask, text, with};
use crate::{collect, demo, random};

fn plain(change: impl FnOnce(&mut GenerationOptions)) -> Request {
    with(ask(vec![text("what is red and what is blue?")]), |options| {
        options.ignore_eos = false;
        change(options);
    })
}

async fn answer(engine: &Arc<dyn Engine>, request: Request) -> Result<(String, FinishReason), EngineError> {
    let (_, text, done) = collect(engine.submit(request)?).await?;
    Ok((text, done.finish_reason))
}

/// Name and arguments of each call, the text beside them, and the end.
async fn calls(engine: &Arc<dyn Engine>, request: Request) -> (Vec<(String, Value)>, String, FinishReason) {
    let mut events = engine.submit(request).unwrap();
    let (mut calls, mut beside) = (Vec::<(String, String)>::new(), String::new());
    loop {
        match events.next().await.unwrap().unwrap() {
            GenerationEvent::Token { text, .. } => beside += &text,
            GenerationEvent::Delta(delta) => {
                let call = &delta["tool_calls"][0];
                if let Some(name) = call["function"]["name"].as_str() {
                    assert_eq!(call["index"], calls.len());
                    calls.push((name.to_owned(), String::new()));
                }
                calls.last_mut().unwrap().1 += call["function"]["arguments"].as_str().unwrap();
            }
            GenerationEvent::Done(done) => {
                let parse =
                    |(name, arguments): (String, String)| (name, serde_json::from_str(&arguments).unwrap());
                return (calls.into_iter().map(parse).collect(), beside, done.finish_reason);
            }
            GenerationEvent::Queued { .. } | GenerationEvent::Progress { .. } => {}
        }
    }
}

fn tools(choice: ToolChoice, parallel: bool) -> Option<ToolOptions> {
    let tool = |name: &str, color: &str| {
        let parameters = json!({
            "type": "object", "properties": { "color": { "const": color } },
            "required": ["color"], "additionalProperties": false,
        });
        json!({ "type": "function", "function": { "name": name, "parameters": parameters } })
    };
    Some(ToolOptions { tools: vec![tool("paint", "red"), tool("draw", "blue")], choice, parallel })
}

#[tokio::test]
async fn a_tool_that_must_be_called_is_called() {
    for engine in [demo().await, random().await] {
        for parallel in [false, true] {
            let request = plain(|options| {
                options.tools = tools(ToolChoice::Required, parallel);
                options.max_tokens = Some(1000);
            });
            let (calls, beside, reason) = calls(&engine, request).await;
            assert!((1..=if parallel { 8 } else { 1 }).contains(&calls.len()), "{calls:?}");
            for (name, arguments) in calls {
                let color = match name.as_str() {
                    "paint" => "red",
                    "draw" => "blue",
                    other => panic!("{other}"),
                };
                assert_eq!(arguments, json!({ "color": color }));
            }
            assert_eq!((beside.as_str(), reason), ("", FinishReason::ToolCalls));
        }
        let request = plain(|options| {
            options.tools = tools(ToolChoice::Function("draw".into()), true);
            options.max_tokens = Some(1000);
        });
        let (calls, _, reason) = calls(&engine, request).await;
        assert_eq!(calls, [("draw".to_owned(), json!({ "color": "blue" }))]);
        assert_eq!(reason, FinishReason::ToolCalls);
    }
}

#[tokio::test]
async fn an_answer_keeps_to_choices_expressions_and_grammars() {
    let engine = random().await;
    for (format, fits) in [
        (AnswerFormat::Choice(vec!["blue".into(), "red".into()]), ["blue", "red"]),
        (AnswerFormat::Regex("blue|red".into()), ["blue", "red"]),
        (AnswerFormat::Grammar("start: \"a \" (\"b\" | \"c\")".into()), ["a b", "a c"]),
    ] {
        let (text, reason) =
            answer(&engine, plain(|options| options.response_format = format)).await.unwrap();
        assert!(fits.contains(&text.as_str()), "{text}");
        assert_eq!(reason, FinishReason::Stop);
    }
}

#[tokio::test]
async fn an_answer_has_its_least_length() {
    let engine = demo().await;
    let (short, _, done) = collect(engine.submit(plain(|_| ())).unwrap()).await.unwrap();
    assert_eq!(done.finish_reason, FinishReason::Stop);
    let least = short.len() + 5;
    let (ids, ..) =
        collect(engine.submit(plain(|options| options.min_tokens = least)).unwrap()).await.unwrap();
    assert!(ids.len() >= least, "{} tokens", ids.len());
    assert_eq!(ids[..short.len() - 1], short[..short.len() - 1]);
    let only = |options: &mut GenerationOptions| options.allowed_token_ids = Some(vec![ids[0]]);
    let (only, _, done) = collect(engine.submit(plain(only)).unwrap()).await.unwrap();
    assert_eq!((only, done.finish_reason), (vec![ids[0]; 64], FinishReason::Length));
    let biased = plain(|options| options.logit_bias = vec![(ids[1], 100.0)]);
    assert_eq!(collect(engine.submit(biased).unwrap()).await.unwrap().0[0], ids[1]);
}

#[tokio::test]
async fn a_bad_word_is_not_said() {
    let engine = demo().await;
    let (said, _) = answer(&engine, plain(|_| ())).await.unwrap();
    let word = said.split_whitespace().next().unwrap().to_owned();
    let (other, _) = answer(&engine, plain(|options| options.bad_words = vec![word.clone()])).await.unwrap();
    assert!(!other.starts_with(&word), "{other}");
}

#[tokio::test]
async fn a_message_that_is_continued_is_not_repeated() {
    let engine = demo().await;
    let (whole, _) = answer(&engine, plain(|_| ())).await.unwrap();
    let at = whole.find(' ').unwrap();
    let mut request = plain(|options| options.continue_final_message = true);
    request.messages.push(Message::new(MessageRole::Assistant, vec![text(&whole[..at])]));
    assert_eq!(answer(&engine, request).await.unwrap().0, whole[at..]);
}

#[tokio::test]
async fn what_leaves_no_token_is_an_error_of_the_request_and_the_next_one_works() {
    let engine = demo().await;
    for (change, part) in [
        (
            (|options| {
                options.response_format = AnswerFormat::Choice(vec!["red".into()]);
                options.allowed_token_ids = Some(vec![0]);
            }) as fn(&mut GenerationOptions),
            "leave no token to choose",
        ),
        (|options| options.allowed_token_ids = Some(vec![u32::MAX]), "allowed_token_ids has the token id"),
        (|options| options.logit_bias = vec![(u32::MAX, 1.0)], "logit_bias has the token id"),
    ] {
        let error = answer(&engine, plain(change)).await.unwrap_err();
        assert!(matches!(error, EngineError::Invalid { param: Some(_), .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    answer(&engine, plain(|_| ())).await.unwrap();
}
