//! A server of embeddings for tests: texts with words of one group have similar vectors.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use homereel_engine::embed::EmbedSource;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Words with one meaning.
const GROUPS: [&[&str]; 6] = [
    &["snow", "snowballs", "winter", "snowman"],
    &["children", "kids", "boys"],
    &["dog", "puppy"],
    &["sea", "beach", "waves"],
    &["cake", "birthday", "candles"],
    &["sings", "song", "music"],
];

/// Values for words of no group.
const OTHERS: usize = 26;

/// Numbers per vector.
pub(crate) const DIMENSION: usize = GROUPS.len() + OTHERS;

/// How the server misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    OtherDimension,
    NotANumber,
    Down,
}

/// The server.
pub(crate) struct EmbeddingStub {
    url: String,
    stub: Arc<Stub>,
}

struct Stub {
    fault: Mutex<Fault>,
    requests: AtomicUsize,
}

async fn models() -> Json<Value> {
    Json(json!({"data": [{"id": "stub/embed"}]}))
}

async fn embeddings(
    State(stub): State<Arc<Stub>>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    stub.requests.fetch_add(1, Ordering::Relaxed);
    let fault = *stub.fault.lock().unwrap();
    if fault == Fault::Down {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let texts = body["input"].as_array().unwrap();
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let mut vector: Vec<Value> =
                vector(text.as_str().unwrap()).into_iter().map(Value::from).collect();
            match fault {
                Fault::OtherDimension => vector.push(json!(0.5)),
                Fault::NotANumber => vector[0] = json!("NaN"),
                Fault::None | Fault::Down => {}
            }
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    Ok(Json(json!({
        "object": "list", "model": body["model"], "data": data,
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    })))
}

/// The vector of a text.
pub(crate) fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0f32; DIMENSION];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        match GROUPS.iter().position(|group| group.contains(&word)) {
            Some(group) => vector[group] += 1.0,
            None => {
                let hash = word.bytes().fold(7usize, |hash, byte| hash.wrapping_mul(31) ^ usize::from(byte));
                vector[GROUPS.len() + hash % OTHERS] += 0.2;
            }
        }
    }
    vector
}

impl EmbeddingStub {
    pub(crate) async fn start() -> Self {
        let stub = Arc::new(Stub { fault: Mutex::new(Fault::None), requests: AtomicUsize::new(0) });
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/embeddings", post(embeddings))
            .with_state(Arc::clone(&stub));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, stub }
    }

    pub(crate) fn source(&self) -> EmbedSource {
        EmbedSource::Server { url: self.url.parse().unwrap(), model: None }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.stub.fault.lock().unwrap() = fault;
    }

    /// Returns how many requests for vectors it got.
    pub(crate) fn requests(&self) -> usize {
        self.stub.requests.load(Ordering::Relaxed)
    }
}
