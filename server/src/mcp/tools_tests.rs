//! Tools against a scripted API, whose requests are recorded.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse as _};
use serde_json::json;

use super::*;

type Answer = (StatusCode, Vec<(&'static str, &'static str)>, String);

/// An API that gives the same answer to every request, and the requests that it got.
fn scripted(answer: Answer) -> (Api, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&calls);
    let router = Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        seen.lock().unwrap().push(format!("{} {} {body}", parts.method, parts.uri).trim().to_owned());
        let (status, headers, body) = answer.clone();
        let mut response = (status, body).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    });
    (Api::Local(router), calls)
}

async fn result(answer: Answer, tool: &str, arguments: Value) -> (Value, Vec<String>) {
    let (api, calls) = scripted(answer);
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let result = call(&api, None, tool, arguments).await.unwrap();
    let calls = calls.lock().unwrap().clone();
    (serde_json::to_value(result).unwrap(), calls)
}

fn ok(body: impl ToString) -> Answer {
    (StatusCode::OK, Vec::new(), body.to_string())
}

#[tokio::test]
async fn a_search_passes_its_arguments_on_and_returns_what_a_model_needs() {
    let hit = json!({
        "kind": "moment", "start": 83.0, "end": 85.0, "answer_id": null, "url": "/videos/1?t=83",
        "snippet": [{ "text": "the girl ", "matched": false }, { "text": "blows", "matched": true }],
    });
    let video = json!({
        "id": "1", "name": "Birthday.mp4", "url": "/videos/1", "duration_s": 120.0, "camera": null, "taken": null,
        "taken_ms": 5, "places": [hit],
    });
    let found = json!({ "query": "x", "total": 1, "next_offset": null, "videos": [video] });
    let arguments =
        json!({ "query": "cake & \"candles\"", "from": "2019-01-01", "favourites_only": true, "limit": 3 });
    let (result, calls) = result(ok(&found), "search_videos", arguments).await;
    assert_eq!(
        calls,
        ["GET /api/search?q=cake%20%26%20%22candles%22&limit=3&offset=0&from=2019%2D01%2D01&favourite=1&"]
    );
    let place = json!({
        "kind": "moment", "start": 83.0, "end": 85.0, "url": "/videos/1?t=83", "text": "the girl blows",
    });
    let expected = json!({ "total": 1, "next_offset": null, "videos": [{
        "id": "1", "name": "Birthday.mp4", "url": "/videos/1", "duration_s": 120.0, "camera": null, "taken": null,
        "places": [place],
    }]});
    assert_eq!(result["structuredContent"], expected);
    assert_eq!(result["content"][0]["text"], expected.to_string(), "for clients that read text only");
}

#[tokio::test]
async fn a_transcript_is_read_in_parts() {
    let line = json!({ "index": 7, "start": 1.5, "end": 2.0, "text": "Hello.", "confidence": 0.9 });
    let transcript =
        json!({ "video": "1", "state": "done", "line_count": 90, "model": "m", "lines": [line] });
    let arguments = json!({ "video": "1", "first": 7, "limit": 1 });
    let (result, calls) = result(ok(&transcript), "get_transcript", arguments).await;
    assert_eq!(calls, ["GET /api/videos/1/transcript.json?first=7&limit=1&"]);
    let expected = json!({
        "video": "1", "state": "done", "line_count": 90, "lines": [{ "start": 1.5, "end": 2.0, "text": "Hello." }],
    });
    assert_eq!(result["structuredContent"], expected);
}

#[tokio::test]
async fn a_picture_is_an_image_with_its_second() {
    let answer = (StatusCode::OK, vec![("homereel-frame-time", "83.480")], "jpeg".to_owned());
    let (result, calls) = result(answer, "get_frame", json!({ "video": "a/b", "second": 83.5 })).await;
    assert_eq!(calls, ["GET /api/videos/a%2Fb/frame.jpg?t=83%2E5&width=768&"]);
    assert_eq!(
        result["content"][0],
        json!({ "type": "image", "data": "anBlZw==", "mimeType": "image/jpeg" })
    );
    assert!(result["content"][1]["text"].as_str().unwrap().contains("second 83.480"), "{result}");
}

#[tokio::test]
async fn a_question_about_a_part_of_a_video_is_asked_without_being_stored() {
    let answer =
        json!({ "model": "m", "choices": [{ "message": { "content": "Red." }, "finish_reason": "stop" }] });
    let arguments = json!({ "video": "1", "question": "What colour?", "start": 2.0 });
    let (result, calls) = result(ok(&answer), "ask_video", arguments).await;
    let (call, body) = calls[0].split_at(calls[0].find('{').unwrap());
    assert_eq!(call.trim(), "POST /v1/chat/completions");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["video_url"]["url"], "homereel:1");
    assert_eq!(body["media_io_kwargs"], json!({ "video": { "start": 2.0 } }));
    assert_eq!(result["structuredContent"], json!({ "answer": "Red.", "cut_off": false, "model": "m" }));
}

#[tokio::test]
async fn an_answer_from_notes_is_read_to_its_end() {
    let events = "event: notes\ndata: {\"notes\":[{\"number\":1,\"video\":\"1\",\"name\":\"a\",\"at\":\"0:01\"}]}\n\n:\n\n\
                  event: token\ndata: {\"text\":\"At \"}\n\nevent: token\ndata: {\"text\":\"home.\"}\n\n\
                  event: done\ndata: {\"model\":\"m\"}\n\n";
    let arguments = json!({ "question": "Where?" });
    let (result, _) = result(ok(events), "ask_all_videos", arguments.clone()).await;
    let notes = json!([{ "number": 1, "video": "1", "name": "a" }]);
    assert_eq!(result["structuredContent"], json!({ "answer": "At home.", "notes": notes, "model": "m" }));
    let failed = "event: token\ndata: {\"text\":\"At \"}\n\nevent: error\ndata: {\"detail\":\"the engine failed\"}\n\n";
    let (result, _) = self::result(ok(failed), "ask_all_videos", arguments).await;
    assert_eq!(
        (&result["isError"], result["content"][0]["text"].as_str().unwrap().contains("failed")),
        (&json!(true), true)
    );
}

#[tokio::test]
async fn errors_are_results_that_say_what_is_wrong() {
    let refused =
        (StatusCode::NOT_FOUND, Vec::new(), json!({ "detail": "no video has the id 1" }).to_string());
    let (result, _) = result(refused, "describe_video", json!({ "video": "1" })).await;
    assert_eq!(result["isError"], true);
    assert_eq!(result["content"][0]["text"], "no video has the id 1 (status 404)");
    for (tool, arguments, part) in [
        ("get_frame", json!({ "video": "1" }), "second"),
        ("list_videos", json!({ "limit": 51 }), "limit is 51; 1 to 50 would fit"),
        ("search_videos", json!({ "query": "a", "colour": "red" }), "colour"),
    ] {
        let (result, calls) = self::result(ok("{}"), tool, arguments).await;
        assert_eq!((&result["isError"], calls.len()), (&json!(true), 0), "{tool}");
        assert!(result["content"][0]["text"].as_str().unwrap().contains(part), "{result}");
    }
    let (api, _) = scripted(ok("{}"));
    assert!(call(&api, None, "delete_video", JsonObject::new()).await.is_none());
}

#[test]
fn every_tool_only_reads_and_those_that_ask_are_for_members() {
    let names = |role| list(role).iter().map(|tool| tool.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(Role::Viewer).len(), 6);
    assert_eq!(names(Role::Member)[6..], ["ask_video", "ask_all_videos"]);
    for tool in list(Role::Admin) {
        assert_eq!(tool.annotations.and_then(|hints| hints.read_only_hint), Some(true), "{}", tool.name);
        assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
    }
}
