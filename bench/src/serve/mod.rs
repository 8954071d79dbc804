//! Puts a load on an OpenAI-compatible server and measures the answers.
//!
//! [`dataset`] makes the prompts, [`arrivals`] the times at which they are due, [`client`] sends and times one request,
//! [`resources`] samples the machine, and [`result`] summarizes.

pub mod arrivals;
pub mod client;
pub mod dataset;
pub mod resources;
pub mod result;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::ensure;
use homereel_web::bench_result::{RequestRecord, ResourceUsage};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use client::{AnswerOptions, TargetServer};
use dataset::BenchPrompt;

/// Time without data after which a request fails.
pub const READ_TIMEOUT: Duration = Duration::from_secs(600);

/// Concurrent requests if `--max-concurrency` sets no limit.
const MAX_IN_FLIGHT: usize = 4096;

/// Error of a request that was cancelled by Ctrl-C. Such requests are not part of the measurement.
const CANCELLED: &str = "cancelled by the user";

/// How prompts are sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Requests per second. `None` sends each as soon as `max_concurrency` permits.
    pub request_rate: Option<f64>,
    /// Shape of the gaps between requests; 1 is a Poisson process.
    pub burstiness: f64,
    /// Limit of concurrent requests.
    pub max_concurrency: Option<usize>,
    /// Seed of the gaps.
    pub seed: u64,
}

/// The raw measurements of one run.
#[derive(Debug)]
pub struct Measurement {
    /// The requests that were sent, in the order in which they were due.
    pub records: Vec<RequestRecord>,
    /// Seconds from the first request's due time to the end of the last answer.
    pub duration_s: f64,
    /// Most requests that were in flight at the same time.
    pub max_concurrent_requests: usize,
    /// Resources that were used.
    pub resources: ResourceUsage,
    /// The run was stopped before all requests were answered.
    pub interrupted: bool,
}

/// Asks the sanity question: the speed of a server that answers it wrongly is meaningless.
///
/// # Errors
/// When the request fails, or the answer does not contain the expected one.
pub async fn check_sanity(target: &TargetServer, prompt: &BenchPrompt) -> anyhow::Result<String> {
    let options = AnswerOptions { max_tokens: 40, ..AnswerOptions::default() };
    let record = target.send(target.body(prompt, &options).await?).await;
    if let Some(error) = record.error {
        anyhow::bail!("the sanity question failed: {error}");
    }
    let expected = prompt.expected.as_deref().unwrap_or_default();
    ensure!(
        record.text.to_lowercase().contains(&expected.to_lowercase()),
        "the server answers wrongly: asked '{}' about a clip of a {expected} object, it answered '{}'; the speed of a broken \
         model is meaningless (--no-sanity skips this check, and the result records that)",
        prompt.text,
        record.text.trim()
    );
    Ok(record.text.trim().to_owned())
}

/// Sends `prompts` as `load` specifies, and calls `on_answer` for each answer. Returns early, with the requests that were
/// answered, when `stop` is cancelled. `server` is a process on this machine whose memory is sampled.
///
/// # Errors
/// When reading a prompt's clip fails.
pub async fn run(
    target: &TargetServer,
    prompts: &[BenchPrompt],
    options: &AnswerOptions,
    load: &Load,
    server: Option<u32>,
    stop: &CancellationToken,
    on_answer: impl Fn(&RequestRecord),
) -> anyhow::Result<Measurement> {
    let due = arrivals::due(prompts.len(), load.request_rate, load.burstiness, load.seed);
    let permits = Arc::new(Semaphore::new(load.max_concurrency.unwrap_or(MAX_IN_FLIGHT)));
    let in_flight = Arc::new(InFlight::default());
    let monitor = resources::monitor(server);
    let began = Instant::now();
    let mut tasks: JoinSet<(usize, RequestRecord)> = JoinSet::new();
    let mut records: Vec<Option<RequestRecord>> = vec![None; prompts.len()];
    let mut keep = |(n, record): (usize, RequestRecord)| {
        on_answer(&record);
        records[n] = Some(record);
    };
    let mut interrupted = false;
    for (n, (prompt, due)) in prompts.iter().zip(due).enumerate() {
        // Encoded before the request is due, one request ahead: it adds neither to the time nor much to the memory.
        let body = target.body(prompt, options).await?;
        let permit = tokio::select! {
            () = stop.cancelled() => { interrupted = true; break }
            permit = async {
                tokio::time::sleep_until((began + due).into()).await;
                permits.clone().acquire_owned().await
            } => permit?,
        };
        let (target, in_flight, stop, video_s) =
            (target.clone(), in_flight.clone(), stop.clone(), prompt.video_s);
        tasks.spawn(async move {
            let start_s = began.elapsed().as_secs_f64();
            let guard = in_flight.enter();
            let mut record = tokio::select! {
                record = target.send(body) => record,
                () = stop.cancelled() => RequestRecord { error: Some(CANCELLED.into()), ..RequestRecord::default() },
            };
            drop((guard, permit));
            record.start_s = start_s;
            // In a closed loop, a request is due when it is sent.
            record.due_s = if due.is_zero() { start_s } else { due.as_secs_f64() };
            record.video_s = video_s;
            (n, record)
        });
        while let Some(done) = tasks.try_join_next() {
            keep(done?);
        }
    }
    while let Some(done) = tasks.join_next().await {
        keep(done?);
    }
    let resources = monitor.finish().await;
    interrupted |= stop.is_cancelled();
    let records: Vec<RequestRecord> =
        records.into_iter().flatten().filter(|record| record.error.as_deref() != Some(CANCELLED)).collect();
    let end = records.iter().map(|record| record.start_s + record.latency_s).fold(0.0, f64::max);
    let first = records.iter().map(|record| record.due_s).fold(f64::INFINITY, f64::min);
    Ok(Measurement {
        duration_s: if records.is_empty() { 0.0 } else { end - first },
        records,
        max_concurrent_requests: in_flight.peak.load(Relaxed),
        resources,
        interrupted,
    })
}

/// Counts requests in flight.
#[derive(Debug, Default)]
struct InFlight {
    now: AtomicUsize,
    peak: AtomicUsize,
}

struct InFlightGuard(Arc<InFlight>);

impl InFlight {
    fn enter(self: &Arc<Self>) -> InFlightGuard {
        self.peak.fetch_max(self.now.fetch_add(1, Relaxed) + 1, Relaxed);
        InFlightGuard(self.clone())
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

/// Sends `prompts` one after the other before the measurement, so that connections, caches of code and clocks are warm. Their
/// content must differ from that of the run.
///
/// # Errors
/// When a request fails: the run would fail too.
pub async fn warm_up(
    target: &TargetServer,
    prompts: &[BenchPrompt],
    options: &AnswerOptions,
) -> anyhow::Result<()> {
    for prompt in prompts {
        let record = target.send(target.body(prompt, options).await?).await;
        if let Some(error) = record.error {
            anyhow::bail!("a warm-up request failed: {error}");
        }
    }
    Ok(())
}
