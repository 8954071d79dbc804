//! Tests of [`super`] against a server that answers from a list.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use super::*;

/// Starts a server that answers each request with the next of `answers`; returns its address and the requests.
fn server(answers: Vec<(u16, &'static str)>) -> (Url, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    let (sender, requests) = mpsc::sync_channel(16);
    let serve = move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            sender.send(read_request(&mut stream)).unwrap();
            let retry = if status == 429 { "retry-after: 7\r\n" } else { "" };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{retry}\r\n",
                body.len()
            );
            stream.write_all((head + body).as_bytes()).unwrap();
        }
    };
    thread::Builder::new().name("stub".into()).spawn(serve).unwrap();
    (url, requests)
}

fn read_request(stream: &mut impl Read) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0u8; 65536]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let wanted = head.len() + 4 + length.unwrap().parse::<usize>().unwrap();
        if request.len() >= wanted || count == 0 {
            return text.into_owned();
        }
    }
}

fn client(url: &Url) -> RemoteSpeech {
    RemoteSpeech::new(url, "whisper".into(), Some("secret".into())).unwrap()
}

fn window(seconds: f64) -> WindowRequest {
    WindowRequest { samples: vec![0.0; (seconds * SAMPLE_RATE as f64) as usize], language: Some("en".into()) }
}

#[tokio::test]
async fn segments_of_a_server_are_read_and_judged() {
    let answer = r#"{"text": "all", "language": "English", "duration": 2.0, "segments": [
        {"id": 0, "start": 0.5, "end": 1.0, "text": " Hello.", "avg_logprob": -0.1, "no_speech_prob": 0.9, "compression_ratio": 1.0},
        {"id": 1, "start": 1.0, "end": 99.0, "text": " There.", "avg_logprob": -0.2},
        {"id": 2, "start": 1.5, "end": 2.0, "text": " Thanks.", "avg_logprob": -1.5, "no_speech_prob": 0.9},
        {"id": 3, "start": 1.6, "end": 2.0, "text": " la la la", "compression_ratio": 3.0}]}"#;
    let (url, requests) = server(vec![(200, answer)]);
    let text = client(&url).window(window(2.0)).await.unwrap();
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /v1/audio/transcriptions "), "{request}");
    for part in [
        "authorization: Bearer secret",
        "verbose_json",
        "name=\"language\"",
        "filename=\"window.wav\"",
        "WAVEfmt",
    ] {
        assert!(request.contains(part), "no {part} in {request}");
    }
    let got: Vec<_> = text.segments.iter().map(|s| (s.start_s, s.end_s, s.text.as_str())).collect();
    assert_eq!(got, [(0.5, 1.0, " Hello."), (1.0, 2.0, " There.")]);
    assert!((text.segments[0].confidence - (-0.1f32).exp()).abs() < 1e-6);
    assert_eq!((text.consumed_s, text.language.unwrap().code.as_str()), (2.0, "en"));
}

#[tokio::test]
async fn the_last_segment_of_a_full_window_is_left_to_the_next_one() {
    let answer = r#"{"text": "all", "segments": [{"start": 0.0, "end": 26.5, "text": "a"}, {"start": 26.5, "end": 29.9, "text": "b"}]}"#;
    let (url, _requests) = server(vec![(200, answer), (200, answer)]);
    let client = client(&url);
    let full = client.window(window(30.0)).await.unwrap();
    assert_eq!((full.segments.len(), full.consumed_s), (1, 26.5));
    let part = client.window(window(29.95)).await.unwrap();
    assert_eq!((part.segments.len(), part.consumed_s), (2, 29.95));
}

#[tokio::test]
async fn a_server_without_segments_is_asked_for_text_from_then_on() {
    let refusal = r#"{"error": {"message": "Currently do not support verbose_json"}}"#;
    let (url, requests) =
        server(vec![(400, refusal), (200, r#"{"text": "hi"}"#), (200, r#"{"text": "ho"}"#)]);
    let client = client(&url);
    for want in ["hi", "ho"] {
        let text = client.window(window(1.5)).await.unwrap();
        assert_eq!((text.segments.len(), text.segments[0].text.as_str(), text.consumed_s), (1, want, 1.5));
    }
    let formats: Vec<bool> =
        requests.iter().take(3).map(|request| request.contains("verbose_json")).collect();
    assert_eq!(formats, [true, false, false]);
}

#[tokio::test]
async fn errors_of_a_server_are_bounded_and_hide_its_words() {
    let secret = "no model at /root/secret";
    let (url, _requests) =
        server(vec![(429, secret), (503, secret), (500, secret), (422, "language tlh"), (200, "<html>")]);
    let client = client(&url);
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(client.window(window(0.1)).await.unwrap_err());
    }
    assert!(matches!(errors[0], EngineError::Overloaded { retry_after_s: 7, .. }));
    assert!(matches!(errors[1], EngineError::Unavailable { .. }));
    assert!(matches!(errors[2], EngineError::Failed(_)));
    assert!(matches!(errors[3], EngineError::Invalid { param: Some("language"), .. }));
    assert!(matches!(errors[4], EngineError::Failed(_)));
    assert!(errors.iter().all(|error| !error.to_string().contains("secret")), "{errors:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client(&format!("http://{free}").parse().unwrap()).window(window(0.1)).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
}
