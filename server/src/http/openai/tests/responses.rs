//! The Responses API with a scripted engine.

use homereel_engine::{AnswerFormat, ContentPart, MessageRole, ToolChoice};
use homereel_library::Auth;

use super::*;

impl App {
    pub(super) async fn respond(&self, body: &Value) -> (StatusCode, Value) {
        let response = self.post_to("/v1/responses", body.to_string()).await;
        (response.status(), json_of(response).await)
    }

    /// Asks and returns the response.
    pub(super) async fn told(&self, body: Value) -> Value {
        let (status, told) = self.respond(&body).await;
        assert_eq!(status, StatusCode::OK, "{body}: {told}");
        told
    }

    pub(super) async fn get_json(&self, path: &str) -> (StatusCode, Value) {
        let response = self.get(path).await;
        (response.status(), json_of(response).await)
    }

    pub(super) fn asked(&self) -> homereel_engine::Request {
        self.engine.requests().last().unwrap().clone()
    }
}

pub(super) fn text(part: &str) -> ContentPart {
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
