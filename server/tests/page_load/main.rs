//! Measures every page and list of the route table in a large library, with 32 readers who do not pause.
//!
//!     cargo test --release -p homereel --test page_load -- --ignored --nocapture
//!
//! `HOMEREEL_LOAD_VIDEOS` names other sizes of the library than `10000,50000`, `HOMEREEL_LOAD_ROUTE` one route, or those
//! that contain a text.
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on should stop")]
#![expect(clippy::print_stdout, reason = "the figures of a measurement")]

mod fill;
mod routes;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Request};
use homereel::{
    config::ServerConfig, http, media::MediaDecoder, shutdown::Lifecycle, state::AppState, telemetry,
};
use homereel_engine::fake::FakeEngine;
use homereel_video::Worker;
use tower::ServiceExt as _;

const READERS: usize = 32;

/// How long each URL is measured.
const LASTING: Duration = Duration::from_secs(2);

/// The most that the 95th percentile of a page may take in the first library, and by how much it may grow in the second.
const MAX_P95: Duration = Duration::from_millis(50);
const MAX_GROWTH: f64 = 1.5;

/// Below this, a difference is noise.
const NOISE: Duration = Duration::from_millis(10);

/// Asks for a URL until `end`; returns how long each answer took.
async fn read(router: Router, url: Arc<str>, end: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < end {
        let request = Request::get(&*url).header("host", "localhost").header("accept", "text/html");
        let start = Instant::now();
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
        times.push(start.elapsed());
        assert!(status.is_success(), "{url}: {status} {}", String::from_utf8_lossy(&body));
    }
    times
}

/// Returns the 50th and 95th percentile of a URL.
async fn measure(router: &Router, url: &str) -> (Duration, Duration) {
    let url: Arc<str> = url.into();
    read(router.clone(), Arc::clone(&url), Instant::now()).await;
    let end = Instant::now() + LASTING;
    let readers: Vec<_> =
        (0..READERS).map(|_| tokio::spawn(read(router.clone(), Arc::clone(&url), end))).collect();
    let mut times = Vec::new();
    for reader in readers {
        times.extend(reader.await.unwrap());
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    (at(50), at(95))
}

/// Measures all URLs in a library of this size; returns the 95th percentiles.
async fn measure_all(videos: usize) -> BTreeMap<&'static str, Duration> {
    let data = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(data.path().to_owned());
    let engine = Arc::new(FakeEngine::new("fake", Vec::new()));
    let media = MediaDecoder::new(Worker::new("/nonexistent".into(), &[]));
    let metrics = telemetry::unrecorded().unwrap();
    let state = AppState::open(config, engine, media, metrics, Lifecycle::default()).await.unwrap();
    let start = Instant::now();
    let filled = fill::fill(&state, videos).await;
    println!("filled {videos} videos in {:.0?}", start.elapsed());
    let router = http::router(state);
    let only = std::env::var("HOMEREEL_LOAD_ROUTE").unwrap_or_default();
    let mut measured = Vec::new();
    let urls = routes::urls(&filled);
    let exact = urls.iter().any(|(name, _)| *name == only);
    let chosen = |name: &str| if exact { name == only } else { name.contains(&only) };
    for (name, url) in urls.into_iter().filter(|(name, _)| chosen(name)) {
        let (p50, p95) = measure(&router, &url).await;
        println!("{name}: p95 {p95:.1?}");
        measured.push((p95, p50, name));
    }
    measured.sort_unstable();
    for (p95, p50, name) in measured.iter().rev() {
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        println!("{videos:>6} videos  p50 {:>7.1} ms  p95 {:>7.1} ms  {name}", ms(p50), ms(p95));
    }
    measured.into_iter().map(|(p95, _, name)| (name, p95)).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement that takes minutes: run it alone, with --release"]
async fn every_page_and_list_of_a_large_library_is_quick() {
    let sizes = std::env::var("HOMEREEL_LOAD_VIDEOS").unwrap_or_else(|_| "10000,50000".into());
    let mut first: Option<BTreeMap<&str, Duration>> = None;
    let mut slow = Vec::new();
    for size in sizes.split(',') {
        let measured = measure_all(size.parse().unwrap()).await;
        for (name, p95) in &measured {
            let most = match first.as_ref().and_then(|first| first.get(name)) {
                Some(before) => before.mul_f64(MAX_GROWTH).max(NOISE),
                None => MAX_P95,
            };
            if *p95 > most {
                slow.push(format!("{name} takes {p95:.1?} with {size} videos, and {most:.1?} would fit"));
            }
        }
        first.get_or_insert(measured);
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

#[test]
fn every_route_is_measured_or_left_out_for_a_reason() {
    let filled = fill::Filled::default();
    let measured: Vec<&str> = routes::urls(&filled).into_iter().map(|(name, _)| name).collect();
    assert!(measured.len() > 40, "{measured:?}");
    for url in ["/", "/albums", "/jobs", "/trash", "/household", "/api/videos", "/api/albums"] {
        assert!(measured.contains(&url), "{url}");
    }
}
