//! What requests for responses may have: items, parameters, and what is refused.

use homereel_engine::MessageRole;

use super::responses::text;
use super::*;

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
