//! Requests in the forms of various clients.

use homereel_engine::{AnswerFormat, ContentPart, GenerationOptions, MessageRole, ToolChoice};

use super::*;

#[tokio::test]
async fn values_that_clients_write_otherwise_mean_the_same() {
    let app = app(script()).await;
    for (extra, check) in [
        (json!({ "max_tokens": 64.0 }), (|o| o.max_tokens == Some(64)) as fn(&GenerationOptions) -> bool),
        (json!({ "max_tokens": -1 }), |o| o.max_tokens.is_none()),
        (json!({ "top_p": 0, "temperature": 1 }), |o| {
            o.sampling.temperature == 0.0 && o.sampling.top_p == 1.0
        }),
        (json!({ "stop": "" }), |o| o.stop.is_empty()),
        (json!({ "stop": ["", "x"] }), |o| o.stop == ["x"]),
        (json!({ "top_logprobs": 0 }), |o| o.logprobs.is_none()),
        (json!({ "logprobs": null, "top_logprobs": null, "tools": null, "n": 1.0 }), |o| {
            o.logprobs.is_none()
        }),
        (json!({ "tools": [], "tool_choice": "none" }), |o| o.tools.is_none()),
        (json!({ "response_format": { "type": "json_schema", "schema": { "type": "object" } } }), |o| {
            o.response_format == AnswerFormat::JsonSchema(json!({ "type": "object" }))
        }),
        (json!({ "guided_json": "{\"type\": \"object\"}" }), |o| {
            o.response_format == AnswerFormat::JsonSchema(json!({ "type": "object" }))
        }),
        (json!({ "structured_outputs": { "choice": ["a", "b"] } }), |o| {
            o.response_format == AnswerFormat::Choice(vec!["a".into(), "b".into()])
        }),
        (json!({ "guided_regex": "a+", "response_format": { "type": "text" } }), |o| {
            o.response_format == AnswerFormat::Regex("a+".into())
        }),
        (json!({ "chat_template_kwargs": { "a": 1 } }), |o| o.template_arguments["a"] == 1),
    ] {
        let (status, told) = app.chat(&question(extra.clone())).await;
        assert_eq!(status, StatusCode::OK, "{told}");
        assert_eq!(told["homereel"]["warnings"], json!(["a warning"]), "{extra}");
        assert!(check(&app.engine.requests().last().unwrap().options), "{extra}");
    }
}

#[tokio::test]
async fn tools_and_their_results_reach_the_engine() {
    let app = app(script()).await;
    let tool =
        json!({ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } });
    let call = json!({ "id": "a", "type": "function", "function": { "name": "look", "arguments": "{}" } });
    let (status, told) = app
        .chat(&json!({
            "tools": [tool], "tool_choice": { "type": "function", "function": { "name": "look" } },
            "parallel_tool_calls": false,
            "messages": [
                { "role": "user", "content": "what is there?" },
                { "role": "assistant", "content": null, "tool_calls": [call], "reasoning": null, "reasoning_content": "x" },
                { "role": "tool", "tool_call_id": "a", "content": ["a ", { "type": "text", "text": "star" }] },
                { "role": "assistant", "refusal": "no" },
                { "role": "assistant", "content": null, "reasoning": { "a": 1 } },
                { "role": "developer", "content": "be brief" },
            ],
        }))
        .await;
    assert_eq!(status, StatusCode::OK, "{told}");
    let request = app.engine.requests().remove(0);
    let tools = request.options.tools.unwrap();
    assert_eq!((tools.tools, tools.parallel), (vec![tool], false));
    assert_eq!(tools.choice, ToolChoice::Function("look".into()));
    assert_eq!(request.messages[1].extra["tool_calls"], json!([call]));
    assert_eq!(request.messages[1].extra["reasoning_content"], "x");
    assert_eq!(request.messages[2].extra["tool_call_id"], "a");
    assert_eq!(request.messages[2].content.len(), 2);
    assert_eq!(request.messages[3].content, [ContentPart::Text("no".into())]);
    assert!(request.messages[4].content.is_empty() && request.messages[4].extra.is_empty());
    assert_eq!(request.messages[5].role, MessageRole::System);
}

#[tokio::test]
async fn several_answers_are_choices_of_one_reply() {
    let app = app(script()).await;
    let (status, told) = app.chat(&question(json!({ "n": 3, "seed": 5, "temperature": 1 }))).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    let choices = told["choices"].as_array().unwrap();
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!((&choice["index"], &choice["message"]["content"]), (&json!(index), &json!("Red.")));
        assert_eq!(choice["finish_reason"], "stop");
    }
    assert_eq!(choices.len(), 3);
    assert_eq!(
        (&told["usage"]["prompt_tokens"], &told["usage"]["completion_tokens"]),
        (&json!(12), &json!(9))
    );
    let seeds: Vec<_> = app.engine.requests().iter().map(|request| request.options.sampling.seed).collect();
    assert_eq!(seeds, [Some(5), Some(6), Some(7)]);

    let body = question(json!({ "n": 2, "stream": true, "stream_options": { "include_usage": true } }));
    let text = text_of(app.post(body.to_string()).await).await;
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.iter().filter(|data| **data == "[DONE]").count(), 1, "{text}");
    let chunks = data[..data.len() - 1].iter().map(|data| serde_json::from_str::<Value>(data).unwrap());
    let (mut texts, mut ends, mut counted) = ([String::new(), String::new()], 0, 0);
    for chunk in chunks {
        counted += usize::from(chunk["usage"]["completion_tokens"] == 6);
        let Some(choice) = chunk["choices"].get(0) else { continue };
        texts[usize::try_from(choice["index"].as_u64().unwrap()).unwrap()]
            .push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        ends += usize::from(choice["finish_reason"] == "stop");
    }
    assert_eq!((texts, ends, counted), (["Red.".into(), "Red.".into()], 2, 1));
}

#[tokio::test]
async fn the_model_answers_to_its_further_names() {
    let app = app_with(script(), |config| config.served_model_names = vec!["gpt-4o".into()]).await;
    let (status, told) = app.chat(&question(json!({ "model": "gpt-4o" }))).await;
    assert_eq!((status, &told["model"]), (StatusCode::OK, &json!("gpt-4o")));
    let listed = json_of(app.get("/v1/models").await).await;
    assert_eq!((&listed["data"][0]["id"], &listed["data"][1]["id"]), (&json!("fake"), &json!("gpt-4o")));
    assert_eq!(app.get("/v1/models/gpt-4o").await.status(), StatusCode::OK);
    let (status, told) = app.chat(&question(json!({ "model": "gpt-5" }))).await;
    assert_eq!((status, &told["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
}

#[tokio::test]
async fn urls_with_a_slash_too_many_are_found_and_compressed_bodies_refused() {
    let app = app(script()).await;
    for url in ["/v1/models/", "/v1//models", "/v1/v1/models", "//v1/models", "/version", "/health"] {
        assert_eq!(app.get(url).await.status(), StatusCode::OK, "{url}");
    }
    let body = Body::from(question(json!({})).to_string());
    let request =
        Request::post("/v1/chat/completions").header("content-encoding", "gzip").body(body).unwrap();
    let response = app.send(request).await;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(json_of(response).await["error"]["message"].as_str().unwrap().contains("gzip"));
}

#[tokio::test]
async fn very_many_unknown_parameters_make_a_short_list_of_warnings() {
    let app = app(script()).await;
    let unknown: serde_json::Map<String, Value> = (0..1000).map(|at| (format!("x{at}"), json!(1))).collect();
    let (status, told) = app.chat(&question(Value::Object(unknown))).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    let warnings = told["homereel"]["warnings"].as_array().unwrap();
    // 32, how many more, and the engine's own.
    assert_eq!((warnings.len(), &warnings[32]), (34, &json!("there are 968 more warnings")));
}

#[tokio::test]
async fn a_file_that_is_neither_picture_nor_video_is_named() {
    let app = app(script()).await;
    for part in [
        json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,SGVsbG8gd29ybGQ=" } }),
        json!({ "type": "file", "file": { "file_data": "data:video/mp4;base64,SGVsbG8gd29ybGQ=" } }),
    ] {
        let (status, told) = app.chat(&json!({ "messages": [{ "role": "user", "content": [part] }] })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains("neither a picture nor a video: a text file"), "{message}");
    }
}
