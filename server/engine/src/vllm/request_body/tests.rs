//! Tests of the JSON that vLLM receives.

use serde_json::Map;

use super::*;
use crate::{AnswerFormat, GenerationOptions, RgbImage, SamplingParams, ToolChoice, ToolOptions};

fn request(content: Vec<ContentPart>) -> Request {
    Request {
        messages: vec![
            Message::new(MessageRole::System, vec![ContentPart::Text("Be brief.".into())]),
            Message::new(MessageRole::User, content),
        ],
        options: GenerationOptions {
            sampling: SamplingParams { top_k: 20, seed: Some(u64::MAX), ..SamplingParams::default() },
            stop: vec!["\n".into()],
            stop_token_ids: vec![7],
            ignore_eos: true,
            logprobs: Some(3),
            ..GenerationOptions::default()
        },
    }
}

#[test]
fn pictures_stand_where_they_belong_and_parameters_keep_their_names() {
    let frame = RgbImage::new(1, 1, vec![0; 3].into());
    let request = request(vec![ContentPart::Image(frame), ContentPart::Text("what \"is\" this?".into())]);
    let media = [EncodedMedia { head: "data:image/png;base64,", data: vec!["AB".into(), "CD".into()] }];
    let settings = [("mm_processor_kwargs", json!({ "do_resize": false }))];
    let pieces = pieces("m", &request, &media, &settings, Some(9));
    let body: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    assert_eq!(body["messages"][0], json!({ "role": "system", "content": "Be brief." }));
    let content = &body["messages"][1]["content"];
    assert_eq!(content[0]["image_url"]["url"], "data:image/png;base64,ABCD");
    assert_eq!(content[1]["text"], "what \"is\" this?");
    for (name, value) in [
        ("model", json!("m")),
        ("temperature", json!(0.0)),
        ("top_k", json!(20)),
        ("repetition_penalty", json!(1.0)),
        ("seed", json!(-1)),
        ("max_tokens", json!(9)),
        ("stop", json!(["\n"])),
        ("stop_token_ids", json!([7])),
        ("ignore_eos", json!(true)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("mm_processor_kwargs", json!({ "do_resize": false })),
        ("stream", json!(true)),
    ] {
        assert_eq!(body[name], value, "{name}");
    }
}

#[test]
fn extras_go_as_they_came_but_never_in_the_place_of_our_own() {
    let mut request = request(vec![ContentPart::Text("x".into())]);
    request.options.response_format = AnswerFormat::JsonSchema(json!({ "type": "array" }));
    request.options.extra = Map::from_iter([
        ("cache_salt".to_owned(), json!("abc")),
        ("stream".to_owned(), json!(false)),
        ("model".to_owned(), json!("other")),
    ]);
    let call = json!([{ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
    let mut calling = Message::new(MessageRole::Assistant, Vec::new());
    calling.extra.insert("tool_calls".into(), call.clone());
    request.messages.push(calling);
    let body: Value = serde_json::from_slice(&pieces("m", &request, &[], &[], None).concat()).unwrap();
    assert_eq!(
        (&body["cache_salt"], &body["stream"], &body["model"]),
        (&json!("abc"), &json!(true), &json!("m"))
    );
    assert_eq!(body["response_format"]["json_schema"]["schema"], json!({ "type": "array" }));
    assert_eq!(body["messages"][2], json!({ "tool_calls": call, "role": "assistant", "content": null }));
}

fn body(options: GenerationOptions) -> Value {
    let messages = vec![Message::new(MessageRole::User, vec![ContentPart::Text("x".into())])];
    serde_json::from_slice(&pieces("m", &Request { messages, options }, &[], &[], None).concat()).unwrap()
}

/// The parameters that a request has and a plain one lacks.
fn added(options: GenerationOptions) -> Value {
    let plain = body(GenerationOptions::default());
    let Value::Object(mut fields) = body(options) else { panic!() };
    fields.retain(|name, value| plain.get(name) != Some(value));
    fields.into()
}

#[test]
fn only_what_differs_from_the_default_is_sent() {
    let names: Vec<String> =
        body(GenerationOptions::default()).as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        names,
        [
            "stream",
            "stream_options",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "repetition_penalty",
            "presence_penalty",
            "frequency_penalty",
            "ignore_eos",
            "model",
            "messages"
        ]
    );
    let options = GenerationOptions {
        min_tokens: 3,
        include_stop_str_in_output: true,
        logit_bias: vec![(7, 1.5), (9, -100.0)],
        allowed_token_ids: Some(vec![7, 9]),
        bad_words: vec!["red".into()],
        continue_final_message: true,
        template_arguments: Map::from_iter([("enable_thinking".to_owned(), json!(false))]),
        ..GenerationOptions::default()
    };
    assert_eq!(
        added(options),
        json!({
            "min_tokens": 3,
            "include_stop_str_in_output": true,
            "logit_bias": { "7": 1.5, "9": -100.0 },
            "allowed_token_ids": [7, 9],
            "bad_words": ["red"],
            "continue_final_message": true,
            "add_generation_prompt": false,
            "chat_template_kwargs": { "enable_thinking": false },
        })
    );
}

#[test]
fn every_form_has_vllms_name() {
    for (response_format, sent) in [
        (AnswerFormat::Text, json!({})),
        (AnswerFormat::JsonObject, json!({ "response_format": { "type": "json_object" } })),
        (AnswerFormat::Regex("a+".into()), json!({ "structured_outputs": { "regex": "a+" } })),
        (AnswerFormat::Choice(vec!["a".into()]), json!({ "structured_outputs": { "choice": ["a"] } })),
        (
            AnswerFormat::Grammar("root ::= x".into()),
            json!({ "structured_outputs": { "grammar": "root ::= x" } }),
        ),
    ] {
        assert_eq!(added(GenerationOptions { response_format, ..GenerationOptions::default() }), sent);
    }
}

#[test]
fn tools_are_sent_unless_they_must_not_be_called() {
    let tools = json!([{ "type": "function", "function": { "name": "f", "description": "d" } }]);
    let sent = |choice: ToolChoice, parallel: bool| {
        let tools = ToolOptions { tools: tools.as_array().unwrap().clone(), choice, parallel };
        added(GenerationOptions { tools: Some(tools), ..GenerationOptions::default() })
    };
    assert_eq!(sent(ToolChoice::None, true), json!({}));
    assert_eq!(sent(ToolChoice::Auto, true), json!({ "tools": tools }));
    assert_eq!(sent(ToolChoice::Auto, false), json!({ "tools": tools, "parallel_tool_calls": false }));
    assert_eq!(sent(ToolChoice::Required, true), json!({ "tools": tools, "tool_choice": "required" }));
    let named = json!({ "type": "function", "function": { "name": "f" } });
    assert_eq!(sent(ToolChoice::Function("f".into()), true), json!({ "tools": tools, "tool_choice": named }));
}
