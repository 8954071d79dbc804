//! Tests the endpoint with a scripted engine, without sockets.

mod requests;
mod response_input;
mod responses;
mod transcriptions;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    response::Response,
};
use futures_util::StreamExt;
use homereel_engine::{
    Done, EngineError, FinishReason, GenerationEvent, Health, Stage, StageTimes, TokenLogprob, Usage,
    fake::{FakeEngine, ScriptStep as Step},
};
use homereel_video::Worker;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    config::ServerConfig, http, media::MediaDecoder, shutdown::Lifecycle, state::AppState, telemetry,
};

struct App {
    router: Router,
    state: AppState,
    engine: Arc<FakeEngine>,
    _data: tempfile::TempDir,
}

fn token(text: &str) -> Step {
    let logprob = TokenLogprob { logprob: -0.5, top: vec![(text.to_owned(), Some(7), -0.5)] };
    Step::Event(GenerationEvent::Token { text: text.to_owned(), id: Some(7), logprob: Some(logprob) })
}

fn done() -> Step {
    Step::Event(GenerationEvent::Done(Done {
        finish_reason: FinishReason::Stop,
        usage: Usage { prompt_tokens: 12, completion_tokens: 3, cached_tokens: 4 },
        stages: StageTimes { prefill_ms: 2.0, ..StageTimes::default() },
        warnings: vec!["a warning".into()],
    }))
}

fn script() -> Vec<Step> {
    let stage = GenerationEvent::Progress { stage: Stage::Prefill, done: 1, total: 2 };
    vec![Step::Event(stage), token("Re"), token(""), token("d."), done()]
}

async fn app(script: Vec<Step>) -> App {
    app_with(script, |_| ()).await
}

async fn app_with(script: Vec<Step>, change: impl FnOnce(&mut ServerConfig)) -> App {
    let data = tempfile::tempdir().unwrap();
    let engine = Arc::new(FakeEngine::new("fake", script));
    let mut config = ServerConfig::new(data.path().to_owned());
    change(&mut config);
    let media = MediaDecoder::new(Worker::new("/nonexistent".into(), &[]));
    let state =
        AppState::open(config, engine.clone(), media, telemetry::unrecorded().unwrap(), Lifecycle::default());
    let state = state.await.unwrap();
    App { router: http::router(state.clone()), state, engine, _data: data }
}

impl App {
    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn post(&self, body: impl Into<Body>) -> Response {
        self.post_to("/v1/chat/completions", body).await
    }

    async fn post_to(&self, url: &str, body: impl Into<Body>) -> Response {
        let request = Request::post(url).header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn chat(&self, body: &Value) -> (StatusCode, Value) {
        let response = self.post(body.to_string()).await;
        (response.status(), json_of(response).await)
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

async fn text_of(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

async fn json_of(response: Response) -> Value {
    let text = text_of(response).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn question(extra: Value) -> Value {
    let mut body = json!({ "model": "fake", "messages": [{ "role": "user", "content": "what colour?" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_question_is_answered_whole() {
    let app = app(script()).await;
    let (status, told) = app.chat(&question(json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    assert_eq!(told["object"], "chat.completion");
    assert_eq!(
        told["choices"][0]["message"],
        json!({ "role": "assistant", "content": "Red.", "refusal": null })
    );
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    assert_eq!(told["usage"]["total_tokens"], 15);
    assert_eq!(told["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(told["homereel"]["stages_ms"]["prefill"], 2.0);
    assert_eq!(told["homereel"]["warnings"], json!(["a warning"]));
}

#[tokio::test]
async fn a_stream_has_role_deltas_finish_usage_and_done() {
    let app = app(script()).await;
    let body = question(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let response = app.post(body.to_string()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = text_of(response).await;
    assert!(text.contains(": prefill 1/2\n"), "{text}");
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, chunks) = data.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Red.");
    let [finish, usage] = &chunks[chunks.len() - 2..] else { panic!("too few chunks") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert!(chunks[1]["usage"].is_null());
}

#[tokio::test]
async fn logprobs_have_openai_s_shape() {
    let app = app(script()).await;
    let (_, told) = app.chat(&question(json!({ "logprobs": true, "top_logprobs": 1 }))).await;
    let first = &told["choices"][0]["logprobs"]["content"][0];
    assert_eq!(first["token"], "Re");
    assert_eq!(first["logprob"], -0.5);
    assert_eq!(first["bytes"], json!([82, 101]));
    assert_eq!(first["top_logprobs"][0]["token"], "Re");
    assert_eq!(app.engine.requests()[0].options.logprobs, Some(1));
}

#[tokio::test]
async fn settings_reach_the_engine() {
    let app = app(script()).await;
    let (status, told) = app
        .chat(&question(json!({
            "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1,
            "presence_penalty": 0.2, "frequency_penalty": 0.3, "seed": 7, "max_completion_tokens": 9,
            "stop": "x", "stop_token_ids": [3], "ignore_eos": true, "user": "me", "store": false,
            "min_tokens": 2.0, "logit_bias": { "5": -100 }, "allowed_token_ids": [1], "bad_words": ["no"],
            "include_stop_str_in_output": true, "temperatur": 1,
        })))
        .await;
    assert_eq!(status, StatusCode::OK, "{told}");
    assert_eq!(
        told["homereel"]["warnings"],
        json!([
            "the parameter temperatur is unknown and has no effect",
            "user has no effect: requests are told apart by their API key",
            "a warning",
        ])
    );
    let request = app.engine.requests().remove(0);
    let sampling = &request.options.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p), (0.5, 0.9, 5, 0.1));
    assert_eq!((sampling.repetition_penalty, sampling.presence_penalty), (1.1, 0.2));
    assert_eq!((sampling.frequency_penalty, sampling.seed), (0.3, Some(7)));
    assert_eq!(
        (request.options.max_tokens, request.options.stop, request.options.stop_token_ids),
        (Some(9), vec!["x".into()], vec![3])
    );
    assert!(request.options.ignore_eos && request.options.include_stop_str_in_output);
    assert_eq!((request.options.min_tokens, request.options.logit_bias), (2, vec![(5, -100.0)]));
    assert_eq!(
        (request.options.allowed_token_ids, request.options.bad_words),
        (Some(vec![1]), vec!["no".into()])
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_named() {
    let app = app(script()).await;
    let part = |part: Value| json!({ "messages": [{ "role": "user", "content": [part] }] });
    let video = |url: &str| part(json!({ "type": "video_url", "video_url": { "url": url } }));
    let many = vec![json!({ "type": "video_url", "video_url": { "url": "homereel:x" } }); 1000];
    for (body, status, param, word) in [
        (json!({ "temperature": "hot" }), 400, "temperature", "temperature"),
        (json!({ "temperature": 9 }), 400, "temperature", "9"),
        (json!({ "top_p": 1.5 }), 400, "top_p", "1.5"),
        (json!({ "max_tokens": 0 }), 400, "max_tokens", "-1 for no limit"),
        (json!({ "max_tokens": 2.5 }), 400, "max_tokens", "2.5"),
        (json!({ "n": 17 }), 400, "n", "17"),
        (json!({ "n": 0 }), 400, "n", "16"),
        (json!({ "tools": [{}] }), 400, "tools[0].type", "function"),
        (json!({ "tools": [{ "type": "function" }] }), 400, "tools[0].function.name", "missing"),
        (json!({ "tools": "x" }), 400, "tools", "array"),
        (json!({ "tool_choice": "required" }), 400, "tool_choice", "tools"),
        (json!({ "tool_choice": "perhaps" }), 400, "tool_choice", "auto"),
        (json!({ "functions": [{}] }), 400, "functions", "tools"),
        (json!({ "modalities": ["audio"] }), 400, "modalities", "text"),
        (json!({ "chat_template": "x" }), 400, "chat_template", "server"),
        (json!({ "logit_bias": { "x": 1 } }), 400, "logit_bias", "ids"),
        (json!({ "min_tokens": -1 }), 400, "min_tokens", "-1"),
        (
            json!({ "structured_outputs": { "regex": "a", "choice": ["a"] } }),
            400,
            "structured_outputs",
            "several",
        ),
        (
            json!({ "guided_regex": "a", "response_format": { "type": "json_object" } }),
            400,
            "guided_regex",
            "exclude",
        ),
        (
            json!({ "continue_final_message": true, "add_generation_prompt": true }),
            400,
            "add_generation_prompt",
            "exclude",
        ),
        (json!({ "response_format": { "type": "yaml" } }), 400, "response_format", "yaml"),
        (json!({ "response_format": { "type": "json_schema" } }), 400, "response_format", "schema"),
        (json!({ "top_logprobs": 2 }), 400, "top_logprobs", "logprobs"),
        (json!({ "stop": vec!["x"; 17] }), 400, "stop", "16"),
        (
            json!({ "media_io_kwargs": { "video": { "fps": 1, "num_frames": 2 } } }),
            400,
            "media_io_kwargs",
            "fps",
        ),
        (json!({ "model": "gpt-9" }), 404, "model", "gpt-9"),
        (json!({ "messages": [] }), 400, "messages", "messages"),
        (json!({ "messages": "x" }), 400, "messages", "messages"),
        (json!({ "messages": [{ "role": "king", "content": "x" }] }), 400, "messages[0].role", "king"),
        (json!({ "messages": [{ "role": "user" }] }), 400, "messages[0].content", "content"),
        (part(json!({ "type": "smell" })), 400, "messages[0].content[0].type", "smell"),
        (part(json!({ "type": "input_audio" })), 400, "messages[0].content[0].type", "sound"),
        (part(json!({ "type": "video", "video": [] })), 400, "messages[0].content[0].video", "0 frames"),
        (part(json!({ "type": "file" })), 400, "messages[0].content[0]", "URL"),
        (part(json!({ "type": "file", "file": {} })), 400, "messages[0].content[0].file", "url"),
        (part(json!(1)), 400, "messages[0].content[0]", "a part"),
        (video("homereel:nope"), 404, "messages[0].content[0].video_url", "nope"),
        (video("https://example.org/x.mp4"), 400, "messages[0].content[0].video_url", "https"),
        (json!({ "messages": [{ "role": "user", "content": many }] }), 400, "messages", "1000"),
    ] {
        let (given, told) = app.chat(&question(body.clone())).await;
        assert_eq!(given.as_u16(), status, "{told}");
        assert_eq!(told["error"]["param"], param, "{told}");
        assert!(told["error"]["message"].as_str().unwrap().contains(word), "{told}");
        assert!(told["error"]["type"].is_string() && told["error"]["code"].is_string(), "{told}");
    }
    for body in ["{", "[]", "null", "", "{\"model\": \"fake\"}", "{} x"] {
        let response = app.post(body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert!(json_of(response).await["error"]["message"].is_string(), "{body}");
    }
    assert!(app.engine.requests().is_empty());
}

#[tokio::test]
async fn a_body_past_the_limit_answers_413() {
    let app = app_with(script(), |config| config.max_body_bytes = 1000).await;
    let (status, told) = app.chat(&question(json!({ "user": "x".repeat(1000) }))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("homereel:ID"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_done() {
    let app = app(vec![token("Re"), Step::Vanish]).await;
    let (status, told) = app.chat(&question(json!({}))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{told}");
    let text = text_of(app.post(question(json!({ "stream": true })).to_string()).await).await;
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_refusal_of_the_engine_keeps_its_class() {
    let refusal =
        EngineError::ContextLength { prompt_tokens: 9, context: 8, hint: "use fewer frames".into() };
    let app = app(vec![Step::Fail(refusal)]).await;
    let (status, told) = app.chat(&question(json!({}))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(told["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn a_reader_who_leaves_stops_the_engine() {
    let app = app(vec![token("Re"), Step::Wait(Duration::from_secs(3600)), done()]).await;
    let mut left = app.engine.left();
    let response = app.post(question(json!({ "stream": true })).to_string()).await;
    let mut body = response.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: "), "{first:?}");
    drop(body);
    left.wait_for(|count| *count == 1).await.unwrap();
    assert_eq!(app.state.answers.in_flight(), 0);
}

#[tokio::test]
async fn too_many_at_once_are_told_when_to_come_back() {
    let app = app_with(vec![Step::Wait(Duration::from_secs(3600))], |config| config.max_requests = 1).await;
    let body = question(json!({ "stream": true })).to_string();
    let first = app.post(body.clone()).await;
    assert_eq!(first.status(), StatusCode::OK);
    let second = app.post(body).await;
    assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(second.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn probes_tell_loading_ready_and_draining() {
    let app = app(script()).await;
    assert_eq!(app.get("/readyz").await.status(), StatusCode::OK);
    app.engine.set_health(Health::Loading);
    assert_eq!(app.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (status, _) = app.chat(&question(json!({}))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    app.engine.set_health(Health::Ready);
    app.state.lifecycle.drain();
    assert_eq!(app.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(app.get("/healthz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn other_sites_pages_are_kept_out() {
    let app = app(script()).await;
    let post = || Request::post("/v1/chat/completions").header("host", "127.0.0.1:80");
    let body = || Body::from(question(json!({})).to_string());
    for (name, value, status) in [
        ("origin", "https://evil.example", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://127.0.0.1:80", StatusCode::OK),
        ("sec-fetch-site", "same-origin", StatusCode::OK),
    ] {
        let response = app.send(post().header(name, value).body(body()).unwrap()).await;
        assert_eq!(response.status(), status, "{name}: {value}");
    }
    let rebound = Request::get("/v1/models").header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(app.send(rebound).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_security_headers() {
    let app = app(script()).await;
    let request = Request::get("/v1/nothing").header("x-request-id", "abc-1").body(Body::empty()).unwrap();
    let response = app.send(request).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["x-request-id"], "abc-1");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(
        response.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'")
    );
    let told = json_of(response).await;
    assert_eq!(told["error"]["code"], "not_found");
    let problem = app.get("/api/jobs/x/cancel").await;
    assert_eq!(problem.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
    let made = app.get("/healthz").await;
    assert_eq!(made.headers()["x-request-id"].len(), 32);
}

#[tokio::test]
async fn models_lists_the_one_that_is_loaded() {
    let app = app(script()).await;
    let told = json_of(app.get("/v1/models").await).await;
    assert_eq!(told["data"][0]["id"], "fake");
    assert_eq!(app.get("/v1/models/fake").await.status(), StatusCode::OK);
    assert_eq!(app.get("/v1/models/a/b").await.status(), StatusCode::NOT_FOUND);
}
