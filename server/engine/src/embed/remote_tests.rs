//! Tests of the client with a stub server: the texts of each request in order, and its answers in turn.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Answers requests by `answer`, which gets the body (`null` for GET) and returns status and body.
async fn stub(answer: impl Fn(Value) -> (u16, String) + Send + Sync + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { serve(stream, &*answer).await });
        }
    });
    url.parse().unwrap()
}

async fn serve(stream: TcpStream, answer: &(impl Fn(Value) -> (u16, String) + Sync)) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let (status, body) = answer(serde_json::from_slice(&body).unwrap_or_default());
        let head = format!("HTTP/1.1 {status} X\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.ok()?;
    }
}

/// Returns as many vectors as there are inputs: the length of the text, and 1.
fn lengths(body: &Value) -> String {
    let inputs = body["input"].as_array().unwrap().iter().enumerate();
    let vector = |(index, text): (usize, &Value)| json!({ "index": index, "object": "embedding", "embedding": [text.as_str().unwrap().chars().count(), 1.0] });
    json!({ "object": "list", "data": inputs.map(vector).collect::<Value>() }).to_string()
}

async fn embed(server: &Server, texts: &[&str]) -> Vectors {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    server.embed(texts, Purpose::Passage, &CancellationToken::new()).await
}

fn server(url: &Url) -> Server {
    Server::new(url, Some("m".into()), Prompts::default()).unwrap()
}

#[tokio::test]
async fn texts_are_sent_in_batches_with_their_prompts() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sizes = Arc::clone(&seen);
    let url = stub(move |body| {
        if body.is_null() {
            return (200, r#"{"data": [{"id": "e5"}, {"id": "other"}]}"#.into());
        }
        assert_eq!((&body["model"], &body["encoding_format"]), (&json!("e5"), &json!("float")));
        sizes.lock().unwrap().push(body["input"].as_array().unwrap().len());
        (200, lengths(&body))
    })
    .await;
    let prompts = Prompts { query: String::new(), passage: "p: ".into() };
    let server = Server::new(&url, None, prompts).unwrap();
    assert_eq!(server.identity(), None);
    let texts: Vec<String> = (0..150).map(|length| "x".repeat(length)).collect();
    let vectors = server.embed(texts, Purpose::Passage, &CancellationToken::new()).await.unwrap().vectors;
    assert!(vectors.iter().enumerate().all(|(length, vector)| vector[0] == length as f32 + 3.0));
    assert_eq!(*seen.lock().unwrap(), [64, 64, 22]);
    let identity = server.identity().unwrap();
    assert_eq!((identity.name.as_str(), identity.dimension), ("e5", 2));
    assert!(identity.model_id.contains("p: "), "{}", identity.model_id);
}

#[tokio::test]
async fn a_text_that_is_too_long_for_the_server_is_shortened_alone() {
    let url = stub(|body| {
        let inputs = body["input"].as_array().unwrap();
        match inputs.iter().any(|text| text.as_str().unwrap().len() > 1000) {
            true => (400, r#"{"error": {"message": "too many tokens"}}"#.into()),
            false => (200, lengths(&body)),
        }
    })
    .await;
    let server = server(&url);
    let long = "y".repeat(3000);
    let vectors = embed(&server, &["a", "bb", &long, "ccc"]).await.unwrap().vectors;
    assert_eq!(vectors.iter().map(|vector| vector[0]).collect::<Vec<_>>(), [1.0, 2.0, 750.0, 3.0]);
}

#[tokio::test]
async fn a_server_that_refuses_every_text_is_not_asked_for_ever() {
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let url = stub(move |_| {
        *counted.lock().unwrap() += 1;
        (422, "no".into())
    })
    .await;
    let error = embed(&server(&url), &["x"; 64]).await.unwrap_err();
    assert_eq!(error.to_string(), "model m: its server answers 422 to texts");
    assert!(*asked.lock().unwrap() <= RETRIES + 1);
}

#[tokio::test]
async fn another_dimension_is_refused_and_nothing_is_used() {
    let count = Arc::new(Mutex::new(0));
    let url = stub(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let vector: Vec<f32> = vec![1.0; if *count == 1 { 2 } else { 3 }];
        (200, json!({ "data": [{ "index": 0, "embedding": vector }] }).to_string())
    })
    .await;
    let server = server(&url);
    embed(&server, &["a"]).await.unwrap();
    let error = embed(&server, &["b"]).await.unwrap_err().to_string();
    assert_eq!(error, "model m: its server answers vectors of 3 numbers; 2 as before would fit");
    assert_eq!(server.identity().unwrap().dimension, 2);
}

#[tokio::test]
async fn what_a_server_does_wrong_is_said() {
    for (status, body, part) in [
        (200, r#"{"data": [{"index": 0, "embedding": [NaN]}]}"#, "not numbers"),
        (200, r#"{"data": []}"#, "0 vectors to 1 texts"),
        (200, "<html>", "no list of vectors"),
        (404, "secret", "answers 404"),
        (307, "", "answers 307"),
        (503, "busy", "try again in 7 s"),
        (429, "busy", "try again in 7 s"),
    ] {
        let url = stub(move |_| (status, body.to_owned())).await;
        let error = embed(&server(&url), &["a"]).await.unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("secret"), "{status}: {error}");
    }
    let nobody: Url = "http://127.0.0.1:1".parse().unwrap();
    let error = embed(&server(&nobody), &["a"]).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_when_the_reader_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (server, cancel) = (server(&url), CancellationToken::new());
    let asked = server.embed(vec!["a".into()], Purpose::Query, &cancel);
    let leave = async {
        let _connection = listener.accept().await.unwrap();
        cancel.cancel();
        std::future::pending::<()>().await;
    };
    let error = tokio::select! { answer = asked => answer.unwrap_err(), () = leave => unreachable!() };
    assert!(matches!(error, EngineError::Cancelled), "{error}");
}

#[test]
fn batches_have_limits() {
    let texts = ["a".repeat(200 << 10), "b".repeat(100 << 10), "c".into()];
    assert_eq!(batches(&texts).iter().map(|batch| batch.len()).collect::<Vec<_>>(), [1, 2]);
    assert!(batches(&[]).is_empty());
}
