//! Measures search by meaning in a large library: 10,000 videos with 700,000 texts, whose vectors are random, and an embedding
//! server that answers at once. Without a model, the figures are those of the library and of the scan.
//!
//!     cargo test --release -p homereel --test search_load -- --ignored --nocapture
//!
//! `HOMEREEL_LOAD_BUSY` is the number of threads that compute meanwhile, as jobs do; 1 by default.
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on should stop")]
#![expect(clippy::print_stdout, reason = "the figures of a measurement")]

mod fill;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    routing::{get, post},
};
use homereel::{
    meaning::{Meaning, MeaningState},
    shutdown::Lifecycle,
};
use homereel_engine::embed::EmbedSource;
use homereel_library::{Filter, Library};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use fill::{DIMENSION, Random, VIDEOS, query};

/// Readers at once, and their pause between two searches.
const READERS: u64 = 8;
const PAUSE: Duration = Duration::from_secs(1);

/// How long readers who pause are measured, and those who do not.
const WITH_PAUSES: Duration = Duration::from_secs(30);
const WITHOUT: Duration = Duration::from_secs(10);

/// What the vectors may take in memory.
const MAX_INDEX_BYTES: usize = 320_000_000;

/// A server whose vectors are random.
async fn embedding_server() -> EmbedSource {
    async fn embeddings(Json(body): Json<Value>) -> Json<Value> {
        let texts = body["input"].as_array().unwrap();
        let data = texts.iter().enumerate().map(|(index, text)| {
            let seed = text
                .as_str()
                .unwrap()
                .bytes()
                .fold(7u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
            json!({"index": index, "embedding": Random::new(seed).vector()})
        });
        Json(json!({"data": data.collect::<Vec<_>>(), "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
    }
    let router = Router::new()
        .route("/v1/models", get(|| async { Json(json!({"data": [{"id": fill::MODEL}]})) }))
        .route("/v1/embeddings", post(embeddings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    EmbedSource::Server { url: url.parse().unwrap(), model: None }
}

/// Searches as one reader does, until `end`; returns how long each search took.
async fn read(library: Library, meaning: Meaning, seed: u64, end: Instant, pause: Duration) -> Vec<Duration> {
    let mut random = Random::new(seed);
    let mut times = Vec::new();
    // Readers do not come at the same time.
    tokio::time::sleep(pause * u32::try_from(seed % READERS).unwrap() / 8).await;
    while Instant::now() < end {
        let words = query(&mut random);
        let start = Instant::now();
        let nearby = meaning.near_query(&words, &Filter::default()).await.unwrap();
        assert_eq!(nearby.state, MeaningState::Used);
        assert!(!nearby.near.is_empty());
        let results = library.search_near(&words, &Filter::default(), &nearby.near, 12, 0).await.unwrap();
        times.push(start.elapsed());
        assert!(!results.found.is_empty());
        tokio::time::sleep(pause).await;
    }
    times
}

async fn measure(name: &str, library: &Library, meaning: &Meaning, lasting: Duration, pause: Duration) {
    let end = Instant::now() + lasting;
    let seed = if pause.is_zero() { 1000 } else { 2000 };
    let readers: Vec<_> = (0..READERS)
        .map(|reader| tokio::spawn(read(library.clone(), meaning.clone(), seed + reader, end, pause)))
        .collect();
    let mut times = Vec::new();
    for reader in readers {
        times.extend(reader.await.unwrap());
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "{name}: {} searches, {:.1} per second, p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
        times.len(),
        times.len() as f64 / lasting.as_secs_f64(),
        at(50),
        at(95),
        at(99),
    );
}

/// The most memory that this process had at once, in MB.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement that takes minutes: run it alone, with --release"]
async fn a_hybrid_search_in_a_large_library_is_quick() {
    let data = tempfile::tempdir().unwrap();
    let library = Library::open(data.path()).await.unwrap();
    let start = Instant::now();
    let texts = fill::fill(&library).await;
    println!("filled {VIDEOS} videos with {texts} texts of {DIMENSION} values in {:.0?}", start.elapsed());

    let before = peak_mb();
    let lifecycle = Lifecycle::default();
    let stop = lifecycle.hard().clone();
    let meaning = Meaning::open(Some(embedding_server().await), library.clone(), stop).unwrap();
    let start = Instant::now();
    meaning.embed_pending(lifecycle.soft()).await.unwrap();
    let progress = meaning.progress().unwrap();
    println!(
        "read the vectors in {:.1?}: {} bytes; the process had {before:.0} MB at most before, and {:.0} MB after",
        start.elapsed(),
        progress.index_bytes,
        peak_mb(),
    );
    assert_eq!((progress.counts.embedded, progress.counts.pending), (texts, 0));
    assert!(progress.index_bytes <= MAX_INDEX_BYTES, "{} bytes", progress.index_bytes);

    let busy = std::env::var("HOMEREEL_LOAD_BUSY").map_or(1, |threads| threads.parse().unwrap());
    let (done, work) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let jobs: Vec<_> = (0..busy)
        .map(|_| {
            let (done, work) = (Arc::clone(&done), Arc::clone(&work));
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    work.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    println!(
        "{busy} threads compute meanwhile, on {} processors",
        std::thread::available_parallelism().unwrap()
    );
    measure("8 readers who pause a second", &library, &meaning, WITH_PAUSES, PAUSE).await;
    measure("8 readers without pauses", &library, &meaning, WITHOUT, Duration::ZERO).await;
    done.store(true, Ordering::Relaxed);
    for job in jobs {
        job.join().unwrap();
    }
    println!("the process had {:.0} MB at most", peak_mb());
}
