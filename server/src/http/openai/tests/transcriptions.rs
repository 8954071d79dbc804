//! `/v1/audio/transcriptions` without a decoder: what is refused, and with which error. The transcriptions themselves are in the
//! tests of the whole program.

use super::*;
use crate::speech::tests::counting;

/// A server that transcribes with the model `tiny`.
async fn listening(change: impl FnOnce(&mut ServerConfig)) -> App {
    let mut app = app_with(Vec::new(), change).await;
    app.state.speech = Some(counting(Vec::new()));
    app.router = http::router(app.state.clone());
    app
}

/// Posts a form with these fields, and a file unless that is empty.
async fn post(app: &App, fields: &[(&str, &str)], file: &str) -> (StatusCode, Value) {
    let mut body = String::new();
    for (name, value) in fields {
        body += &format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    if !file.is_empty() {
        let head = "content-disposition: form-data; name=\"file\"; filename=\"a.wav\"";
        body += &format!("--x\r\n{head}\r\ncontent-type: audio/wav\r\n\r\n{file}\r\n");
    }
    body += "--x--\r\n";
    let request = Request::post("/v1/audio/transcriptions");
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    let response = app.send(request.body(Body::from(body)).unwrap()).await;
    (response.status(), json_of(response).await)
}

#[tokio::test]
async fn a_server_that_does_not_transcribe_says_how_to_switch_it_on() {
    let app = app(Vec::new()).await;
    let (status, body) = post(&app, &[("model", "whisper-1")], "sound").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("speech_off")));
    assert!(body["error"]["message"].as_str().unwrap().contains("--speech-model"), "{body}");
}

#[tokio::test]
async fn fields_that_do_not_fit_are_refused_by_name() {
    let app = listening(|_| ()).await;
    for (field, value, param) in [
        ("model", "whisper-1", "model"),
        ("language", "klingon", "language"),
        ("response_format", "xml", "response_format"),
        ("temperature", "0.7", "temperature"),
        ("stream", "true", "stream"),
        ("timestamp_granularities[]", "word", "timestamp_granularities[]"),
        ("include[]", "logprobs", "include[]"),
    ] {
        let (status, body) = post(&app, &[(field, value)], "sound").await;
        assert!(status.is_client_error(), "{field}: {status}");
        assert_eq!(body["error"]["param"], param, "{body}");
        let expected = if field == "model" { "model_not_found" } else { "invalid_value" };
        assert_eq!(body["error"]["code"], expected, "{body}");
    }
    let (status, body) = post(&app, &[("model", "tiny")], "").await;
    assert_eq!((status, &body["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("file")));
    let (status, body) = post(&app, &[("a", "b"); 101], "sound").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_refused() {
    let app = listening(|config| config.max_body_bytes = 1000).await;
    let (status, body) = post(&app, &[], &"x".repeat(1001)).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
    assert!(body["error"]["message"].as_str().unwrap().contains("1000 bytes"), "{body}");
    assert_eq!(std::fs::read_dir(app.state.library.scratch_dir()).unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn it_takes_a_permit_of_requests() {
    let app = listening(|config| config.max_requests = 1).await;
    let permit = app.state.answers.admit().unwrap();
    let (status, body) = post(&app, &[], "sound").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("overloaded")));
    drop(permit);
    let (status, _) = post(&app, &[], "sound").await;
    // There is no video worker here.
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(app.state.answers.in_flight(), 0, "background jobs go on meanwhile");
}
