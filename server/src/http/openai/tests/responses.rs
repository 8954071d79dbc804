//! The Responses API with a scripted engine.

use homereel_engine::{AnswerFormat, ContentPart, MessageRole, ToolChoice};
use homereel_library::Auth;

use super::*;

impl App {
    async fn respond(&self, body: &Value) -> (StatusCode, Value) {
        let response = self.post_to("/v1/responses", body.to_string()).await;
        (response.status(), json_of(response).await)
    }

    /// Asks and returns the response.
    async fn told(&self, body: Value) -> Value {
        let (status, told) = self.respond(&body).await;
        assert_eq!(status, StatusCode::OK, "{body}: {told}");
        told
    }

    async fn get_json(&self, path: &str) -> (StatusCode, Value) {
        let response = self.get(path).await;
        (response.status(), json_of(response).await)
    }

    fn asked(&self) -> homereel_engine::Request {
        self.engine.requests().last().unwrap().clone()
    }
}

fn text(part: &str) -> ContentPart {
    ContentPart::Text(part.into())
}

fn delta(fields: Value) -> Step {
    Step::Event(GenerationEvent::Delta(fields.as_object().unwrap().clone()))
}

fn ended(finish_reason: FinishReason) -> Step {
    let usage = Usage { prompt_tokens: 12, completion_tokens: 3, cached_tokens: 4 };
    Step::Event(GenerationEvent::Done(Done {
        finish_reason,
        usage,
        stages: StageTimes::default(),
        warnings: vec![],
    }))
}

/// An answer that calls `look`.
fn call_script() -> Vec<Step> {
    let begin = json!({ "tool_calls": [{ "index": 0, "id": "call_1", "type": "function", "function": { "name": "look", "arguments": "" } }] });
    let rest = json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"at\": 1}" } }] });
    vec![delta(begin), delta(rest), ended(FinishReason::ToolCalls)]
}

/// Returns the events of a stream: names and data.
fn events(text: &str) -> Vec<(String, Value)> {
    let blocks = text.split("\n\n").filter_map(|block| {
        let name = block.lines().find_map(|line| line.strip_prefix("event: "))?;
        let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    });
    blocks.collect()
}

#[tokio::test]
async fn a_response_has_openai_s_shape_and_repeats_the_request() {
    let app = app(script()).await;
    let told = app
        .told(json!({
            "model": "fake", "input": "what colour?", "instructions": "be brief", "metadata": { "a": "b" },
            "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9, "user": null, "truncation": "disabled",
            "tools": [{ "type": "function", "name": "look", "parameters": { "type": "object" }, "strict": true }],
            "parallel_tool_calls": false, "max_tool_calls": 3, "text": { "format": { "type": "json_object" } },
        }))
        .await;
    let id = told["id"].as_str().unwrap();
    assert!(id.starts_with("resp_") && id.len() == 37, "{id}");
    assert_eq!((&told["object"], &told["status"]), (&json!("response"), &json!("completed")));
    let message = &told["output"][0];
    assert_eq!(
        message,
        &json!({
            "id": message["id"], "type": "message", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": "Red.", "annotations": [], "logprobs": [] }],
        })
    );
    assert_eq!(
        told["usage"],
        json!({
            "input_tokens": 12, "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 0 },
            "output_tokens": 3, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 15,
        })
    );
    for (name, value) in [
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("instructions", json!("be brief")),
        ("metadata", json!({ "a": "b" })),
        ("max_output_tokens", json!(9)),
        ("max_tool_calls", json!(3)),
        ("temperature", json!(0.5)),
        ("top_p", json!(0.9)),
        ("parallel_tool_calls", json!(false)),
        ("previous_response_id", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("service_tier", json!("default")),
        ("store", json!(true)),
        ("text", json!({ "format": { "type": "json_object" }, "verbosity": "medium" })),
        ("tool_choice", json!("auto")),
        (
            "tools",
            json!([{ "type": "function", "name": "look", "description": null, "parameters": { "type": "object" }, "strict": true }]),
        ),
        ("truncation", json!("disabled")),
        ("background", json!(false)),
        ("model", json!("fake")),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert!(told["created_at"].is_u64() && told["completed_at"].is_u64());
    assert_eq!(told["homereel"]["warnings"], json!(["a warning"]));
    let asked = app.asked();
    assert_eq!(asked.messages[0].role, MessageRole::System);
    assert_eq!(
        (&asked.messages[0].content, &asked.messages[1].content),
        (&vec![text("be brief")], &vec![text("what colour?")])
    );
    assert_eq!(
        (asked.options.max_tokens, asked.options.response_format),
        (Some(9), AnswerFormat::JsonObject)
    );
    let tools = asked.options.tools.unwrap();
    assert!(!tools.parallel);
    assert_eq!(
        tools.tools,
        [
            json!({ "type": "function", "function": { "name": "look", "parameters": { "type": "object" }, "strict": true } })
        ]
    );
}

#[tokio::test]
async fn a_stream_has_openai_s_events_in_order() {
    let app = app(script()).await;
    let body = json!({ "input": "x", "stream": true, "include": ["message.output_text.logprobs"], "top_logprobs": 1 });
    let response = app.post_to("/v1/responses", body.to_string()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let sent = text_of(response).await;
    assert!(sent.contains(": prefill 1/2\n"), "{sent}");
    assert!(!sent.contains("[DONE]"), "{sent}");
    let events = events(&sent);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
    }
    assert_eq!(events[0].1["response"]["status"], "in_progress");
    assert_eq!(events[4].1["logprobs"][0]["top_logprobs"][0]["token"], "Re");
    let (item, last) = (&events[2].1["item"], &events[10].1["response"]);
    assert_eq!(
        (&last["output"][0]["id"], &last["output"][0]["content"][0]["text"]),
        (&item["id"], &json!("Red."))
    );
    assert_eq!(last["output"][0]["content"][0]["logprobs"].as_array().unwrap().len(), 3);
    assert_eq!(events[9].1["item"], last["output"][0]);
    let (status, kept) = app.get_json(&format!("/v1/responses/{}", last["id"].as_str().unwrap())).await;
    assert_eq!((status, &kept), (StatusCode::OK, last), "what was sent is kept");
}

#[tokio::test]
async fn calls_are_items_and_their_results_continue_the_conversation() {
    let app = app(call_script()).await;
    let tools = json!([{ "type": "function", "name": "look" }, { "type": "function", "name": "listen" }]);
    let choice = json!({ "type": "function", "name": "look" });
    let first = app.told(json!({ "input": "what is there?", "tools": tools, "tool_choice": choice })).await;
    assert_eq!(app.asked().options.tools.unwrap().choice, ToolChoice::Function("look".into()));
    assert_eq!(first["tool_choice"], choice);
    let call = first["output"][0].clone();
    assert_eq!(
        (&call["type"], &call["call_id"], &call["name"], &call["arguments"]),
        (&json!("function_call"), &json!("call_1"), &json!("look"), &json!("{\"at\": 1}"))
    );
    let result = json!({ "type": "function_call_output", "call_id": "call_1", "output": "a star" });
    // By the previous response, with the call itself, and with a reference to it.
    let question = json!({ "role": "user", "content": "what is there?" });
    let reference = json!({ "type": "item_reference", "id": call["id"] });
    for body in [
        json!({ "previous_response_id": first["id"], "input": [result] }),
        json!({ "previous_response_id": first["id"], "input": [reference, result] }),
        json!({ "input": [question, call, result] }),
        json!({ "input": [question, reference, result] }),
        json!({ "input": [question, { "id": call["id"] }, result], "store": false }),
    ] {
        app.told(body.clone()).await;
        let messages = app.asked().messages;
        let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [MessageRole::User, MessageRole::Assistant, MessageRole::Tool], "{body}");
        let function = &messages[1].extra["tool_calls"][0]["function"];
        assert_eq!(function, &json!({ "name": "look", "arguments": "{\"at\": 1}" }), "{body}");
        assert_eq!(
            (&messages[2].extra["tool_call_id"], &messages[2].content),
            (&json!("call_1"), &vec![text("a star")])
        );
    }
    let stream = json!({ "input": "x", "tools": tools, "stream": true, "tool_choice": { "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "listen" }] } });
    let events = events(&text_of(app.post_to("/v1/responses", stream.to_string()).await).await);
    let names: Vec<&str> = events[2..].iter().map(|(name, _)| name.trim_start_matches("response.")).collect();
    assert_eq!(
        names,
        [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(events[2].1["item"]["name"], "look");
    let asked = app.asked().options.tools.unwrap();
    assert_eq!((asked.choice, asked.tools.len()), (ToolChoice::Required, 1));
    let last = &events.last().unwrap().1["response"];
    assert_eq!(
        (&last["tools"][0]["name"], &last["tool_choice"]["mode"]),
        (&json!("look"), &json!("required"))
    );
}

#[tokio::test]
async fn items_in_all_their_forms_become_messages() {
    let app = app(script()).await;
    let told = app
        .told(json!({ "input": [
            { "role": "developer", "content": "be brief" },
            { "type": "message", "role": "user", "content": [
                { "type": "input_text", "text": "look" },
                { "type": "input_text", "text": "here" },
            ] },
            { "type": "reasoning", "id": "rs_x", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": null },
            { "type": "message", "id": "msg_x", "status": "completed", "role": "assistant", "content": [
                { "type": "output_text", "text": "A dot.", "annotations": [] }, { "type": "refusal", "refusal": "No." },
            ] },
            { "type": "function_call", "call_id": "1", "name": "look", "arguments": "{}" },
            { "type": "function_call", "call_id": "2", "name": "look", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "1", "output": [{ "type": "input_text", "text": "a dot" }] },
            { "type": "function_call_output", "call_id": "2", "output": "" },
        ] }))
        .await;
    let messages = app.asked().messages;
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    use MessageRole::{Assistant, System, Tool, User};
    assert_eq!(roles, [System, User, Assistant, Tool, Tool]);
    assert_eq!(messages[1].content, [text("look"), text("here")]);
    assert_eq!(messages[2].content, [text("A dot."), text("No.")]);
    assert_eq!(messages[2].extra["reasoning"], "hm");
    assert_eq!(messages[2].extra["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(messages[3].content, [text("a dot")]);

    // Listed in the long form, each with an id, and continued in the same way.
    let path = format!("/v1/responses/{}/input_items?order=asc", told["id"].as_str().unwrap());
    let (_, listed) = app.get_json(&path).await;
    let items = listed["data"].as_array().unwrap();
    let kinds: Vec<_> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "message",
            "message",
            "reasoning",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output"
        ]
    );
    assert!(items.iter().all(|item| item["id"].is_string() && item["status"] == "completed"));
    assert_eq!((&items[2]["id"], &items[3]["id"]), (&json!("rs_x"), &json!("msg_x")));
    app.told(json!({ "previous_response_id": told["id"], "input": "and now?" })).await;
    let continued = app.asked().messages;
    assert_eq!(continued[..5], messages[..]);
    assert_eq!((continued[5].role, &continued[5].content), (Assistant, &vec![text("Red.")]));
    assert_eq!((continued[6].role, &continued[6].content), (User, &vec![text("and now?")]));
}

#[tokio::test]
async fn deleting_a_response_breaks_no_later_one() {
    let app = app(script()).await;
    let first = app.told(json!({ "input": "x" })).await;
    let second = app.told(json!({ "previous_response_id": first["id"], "input": "y" })).await;
    let delete = async |response: &Value| {
        let url = format!("/v1/responses/{}", response["id"].as_str().unwrap());
        let response = app.send(Request::delete(url).body(Body::empty()).unwrap()).await;
        (response.status(), json_of(response).await)
    };
    let (status, told) = delete(&first).await;
    assert_eq!(
        (status, told),
        (StatusCode::OK, json!({ "id": first["id"], "object": "response", "deleted": true }))
    );
    assert_eq!(delete(&first).await.0, StatusCode::NOT_FOUND);
    app.told(json!({ "previous_response_id": second["id"], "input": "z" })).await;
    assert_eq!(app.asked().messages.len(), 5);

    let told = app.told(json!({ "input": "x", "store": false })).await;
    assert_eq!(told["store"], false);
    let (status, told) = app.respond(&json!({ "previous_response_id": told["id"], "input": "x" })).await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("previous_response_not_found"))
    );
}

#[tokio::test]
async fn a_cut_answer_is_incomplete_and_a_broken_one_failed() {
    let cut = app(vec![token("Re"), ended(FinishReason::Length)]).await;
    let told = cut.told(json!({ "input": "x", "max_output_tokens": 1 })).await;
    assert_eq!((&told["status"], &told["completed_at"]), (&json!("incomplete"), &Value::Null));
    assert_eq!(told["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(told["output"][0]["status"], "incomplete");
    let sent = text_of(cut.post_to("/v1/responses", r#"{"input":"x","stream":true}"#).await).await;
    assert_eq!(events(&sent).last().unwrap().0, "response.incomplete");

    let broken = app(vec![token("Re"), Step::Vanish]).await;
    let (status, _) = broken.respond(&json!({ "input": "x" })).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let sent = text_of(broken.post_to("/v1/responses", r#"{"input":"x","stream":true}"#).await).await;
    let events = events(&sent);
    let [(_, error), (name, failed)] = &events[events.len() - 2..] else { panic!("{sent}") };
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("internal")));
    assert_eq!((name.as_str(), &failed["response"]["status"]), ("response.failed", &json!("failed")));
    assert_eq!(failed["response"]["error"]["code"], "server_error");
    let path = format!("/v1/responses/{}", failed["response"]["id"].as_str().unwrap());
    assert_eq!(broken.get(&path).await.status(), StatusCode::NOT_FOUND);

    // An error before the first token has a status.
    let refusal =
        EngineError::ContextLength { prompt_tokens: 9, context: 8, hint: "use fewer frames".into() };
    let refused = app(vec![Step::Fail(refusal)]).await;
    let (status, told) = refused.respond(&json!({ "input": "x", "stream": true })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(
        (&told["error"]["code"], &told["error"]["param"]),
        (&json!("context_length_exceeded"), &json!("input"))
    );
}

#[tokio::test]
async fn a_reader_of_a_response_who_leaves_stops_the_engine() {
    let app = app(vec![token("Re"), Step::Wait(Duration::from_secs(3600)), done()]).await;
    let mut left = app.engine.left();
    let response = app.post_to("/v1/responses", r#"{"input":"x","stream":true}"#).await;
    let mut body = response.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    drop(body);
    left.wait_for(|count| *count == 1).await.unwrap();
    assert_eq!(app.state.answers.in_flight(), 0);
}

#[tokio::test]
async fn another_caller_sees_nothing_of_a_response() {
    let mut app = app(script()).await;
    app.state.auth = Auth::new(app.state.library.pool().clone(), true);
    app.router = http::router(app.state.clone());
    let mut keys = Vec::new();
    for name in ["a", "b"] {
        keys.push(app.state.auth.add_key(name, homereel_library::Role::Member).await.unwrap().token);
    }
    let call = async |method: &str, url: &str, key: &str, body: Value| {
        let request =
            Request::builder().method(method).uri(url).header("authorization", format!("Bearer {key}"));
        let response = app.send(request.body(Body::from(body.to_string())).unwrap()).await;
        (response.status().as_u16(), json_of(response).await)
    };
    let (status, first) = call("POST", "/v1/responses", &keys[0], json!({ "input": "x" })).await;
    assert_eq!(status, 200, "{first}");
    let url = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    let items = format!("{url}/input_items");
    let follow_up = json!({ "input": "x", "previous_response_id": first["id"] });
    let reference = json!({ "input": [{ "type": "item_reference", "id": first["output"][0]["id"] }] });
    for (key, [shown, listed, continued, referred, deleted]) in
        [(&keys[1], [404, 404, 400, 400, 404]), (&keys[0], [200, 200, 200, 200, 200])]
    {
        assert_eq!(call("GET", &url, key, Value::Null).await.0, shown);
        assert_eq!(call("GET", &items, key, Value::Null).await.0, listed);
        assert_eq!(call("POST", "/v1/responses", key, follow_up.clone()).await.0, continued);
        assert_eq!(call("POST", "/v1/responses", key, reference.clone()).await.0, referred);
        assert_eq!(call("DELETE", &url, key, Value::Null).await.0, deleted);
    }
}

#[tokio::test]
async fn what_has_no_effect_is_named_once() {
    let app = app(script()).await;
    let told = app
        .told(json!({
            "input": "x", "truncation": "auto", "include": ["reasoning.encrypted_content"], "top_logprobs": 2,
            "reasoning": { "effort": "high" }, "text": { "verbosity": "low", "colour": 1 }, "user": "me",
            "stream_options": { "include_obfuscation": true }, "service_tier": "flex", "temperatur": 1,
            "prompt_cache_key": "k", "safety_identifier": "s",
        }))
        .await;
    let warnings = told["homereel"]["warnings"].as_array().unwrap();
    for name in [
        "truncation",
        "reasoning.encrypted_content",
        "top_logprobs",
        "reasoning has",
        "text.verbosity",
        "text.colour",
        "user",
        "stream_options.include_obfuscation",
        "service_tier",
        "temperatur ",
        "prompt_cache_key",
        "safety_identifier",
    ] {
        let found = warnings.iter().filter(|warning| warning.as_str().unwrap().contains(name)).count();
        assert_eq!(found, 1, "{name}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 13, "and the engine's own: {warnings:?}");
    assert_eq!((&told["user"], &told["reasoning"]["effort"]), (&json!("me"), &json!("high")));
}

#[tokio::test]
async fn what_does_not_fit_a_response_is_refused_and_named() {
    let app = app(script()).await;
    let part = |part: Value| json!({ "input": [{ "role": "user", "content": [part] }] });
    let item = |item: Value| json!({ "input": [{ "role": "user", "content": "x" }, item] });
    let call = json!({ "type": "function_call", "call_id": "1", "name": "f", "arguments": "{}" });
    let tool = json!([{ "type": "function", "name": "f" }]);
    for (body, status, param, word) in [
        (json!({}), 400, "input", "missing"),
        (json!({ "input": 1 }), 400, "input", "neither"),
        (json!({ "input": [] }), 400, "input", "empty"),
        (json!({ "input": ["x"] }), 400, "input[0]", "an object"),
        (json!({ "input": [{}] }), 400, "input[0].type", "missing"),
        (item(json!({ "type": "web_search_call" })), 400, "input[1].type", "web_search_call"),
        (item(json!({ "type": "message", "content": "x" })), 400, "input[1].role", "missing"),
        (item(json!({ "role": "king", "content": "x" })), 400, "input[1].role", "king"),
        (item(json!({ "role": "tool", "content": "x" })), 400, "input[1].role", "function_call_output"),
        (item(json!({ "role": "user" })), 400, "input[1].content", "content"),
        (
            item(json!({ "type": "function_call", "name": "f", "arguments": "{}" })),
            400,
            "input[1].call_id",
            "missing",
        ),
        (
            item(json!({ "type": "function_call", "call_id": "1", "arguments": "{}" })),
            400,
            "input[1].name",
            "missing",
        ),
        (
            item(json!({ "type": "function_call", "call_id": "1", "name": "f", "arguments": {} })),
            400,
            "input[1].arguments",
            "string",
        ),
        (
            item(json!({ "type": "function_call_output", "call_id": "9", "output": "x" })),
            400,
            "input[1].call_id",
            "9",
        ),
        (
            json!({ "input": [call, { "type": "function_call_output", "call_id": "1" }] }),
            400,
            "input[1].output",
            "content",
        ),
        (
            json!({ "input": [call, { "type": "function_call_output", "call_id": "1", "output": [{ "type": "input_image", "image_url": "https://x.org/a.png" }] }] }),
            400,
            "input[1].output[0].image_url",
            "https",
        ),
        (item(json!({ "type": "item_reference" })), 400, "input[1].id", "missing"),
        (item(json!({ "type": "item_reference", "id": "msg_1" })), 400, "input[1].id", "msg_1"),
        (part(json!({ "type": "input_audio" })), 400, "input[0].content[0].type", "sound"),
        (part(json!({ "type": "input_file" })), 400, "input[0].content[0]", "URL"),
        (
            part(json!({ "type": "input_image", "image_url": "sha256:00" })),
            400,
            "input[0].content[0].image_url",
            "sha256",
        ),
        (
            part(json!({ "type": "input_video", "video_url": "data:video/mp4;base64,!!" })),
            400,
            "input[0].content[0].video_url",
            "base64",
        ),
        (json!({ "previous_response_id": "resp_1" }), 400, "previous_response_id", "resp_1"),
        (json!({ "previous_response_id": "1" }), 400, "previous_response_id", "24 hours"),
        (json!({ "instructions": [] }), 400, "instructions", "string"),
        (json!({ "tools": [{ "type": "web_search" }] }), 400, "tools[0].type", "web_search"),
        (json!({ "tools": [{ "type": "function" }] }), 400, "tools[0].name", "missing"),
        (json!({ "tool_choice": "required" }), 400, "tool_choice", "tools"),
        (
            json!({ "tools": tool, "tool_choice": { "type": "file_search" } }),
            400,
            "tool_choice",
            "file_search",
        ),
        (
            json!({ "tools": tool, "tool_choice": { "type": "allowed_tools", "mode": "auto", "tools": [{ "name": "g" }] } }),
            400,
            "tool_choice.tools[0].name",
            "g",
        ),
        (
            json!({ "tools": tool, "tool_choice": { "type": "allowed_tools" } }),
            400,
            "tool_choice.mode",
            "auto",
        ),
        (json!({ "text": { "format": { "type": "yaml" } } }), 400, "text.format", "yaml"),
        (
            json!({ "text": { "format": { "type": "json_schema", "name": "x" } } }),
            400,
            "text.format",
            "schema",
        ),
        (json!({ "text": { "verbosity": "loud" } }), 400, "text.verbosity", "loud"),
        (json!({ "temperature": 9 }), 400, "temperature", "9"),
        (json!({ "max_output_tokens": 0 }), 400, "max_output_tokens", "0"),
        (json!({ "max_tool_calls": 0 }), 400, "max_tool_calls", "0"),
        (json!({ "top_logprobs": 21 }), 400, "top_logprobs", "21"),
        (json!({ "metadata": { "a": 1 } }), 400, "metadata.a", "string"),
        (json!({ "metadata": { "a": "x".repeat(513) } }), 400, "metadata", "512"),
        (json!({ "include": "x" }), 400, "include", "sequence"),
        (json!({ "background": true }), 400, "background", "stream"),
        (json!({ "conversation": "conv_1" }), 400, "conversation", "previous_response_id"),
        (json!({ "prompt": { "id": "x" } }), 400, "prompt", "templates"),
        (json!({ "max_tokens": 5 }), 400, "max_tokens", "max_output_tokens"),
        (json!({ "messages": [] }), 400, "messages", "input"),
        (json!({ "n": 2 }), 400, "n", "one answer"),
        (json!({ "model": "gpt-9" }), 404, "model", "gpt-9"),
        (json!({ "store": "yes" }), 400, "store", "boolean"),
    ] {
        let mut whole = if body == json!({}) { json!({}) } else { json!({ "input": "x" }) };
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let (given, told) = app.respond(&whole).await;
        assert_eq!((given.as_u16(), &told["error"]["param"]), (status, &json!(param)), "{body}: {told}");
        assert!(told["error"]["message"].as_str().unwrap().contains(word), "{told}");
    }
    for body in ["{", "[]", "null", ""] {
        assert_eq!(app.post_to("/v1/responses", body).await.status(), StatusCode::BAD_REQUEST, "{body}");
    }
    assert!(app.engine.requests().is_empty());
    for (path, status) in [
        ("/v1/responses/x", 404),
        ("/v1/responses/resp_x", 404),
        ("/v1/responses/resp_x/input_items", 404),
        ("/v1/responses/resp_x/input_items?limit=0", 400),
        ("/v1/responses/resp_x?stream=true", 400),
    ] {
        assert_eq!(app.get(path).await.status().as_u16(), status, "{path}");
    }
}
