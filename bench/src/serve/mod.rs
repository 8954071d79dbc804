//! Load on an OpenAI-compatible server, and what came of it.
//!
//! [`dataset`] says what is asked, [`arrivals`] when, [`client`] sends and times one request, [`resources`] watches, and
//! [`result`] sums up, and [`schema`] says what a stored result holds. Knows nothing of command lines and files.

pub mod arrivals;
pub mod client;
pub mod dataset;
pub mod resources;
pub mod result;
pub mod schema;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use client::{Sampling, Taken, Target};
use dataset::Prompt;
use resources::Seen;

/// Requests in flight at once where no `--max-concurrency` bounds them.
const MAX_IN_FLIGHT: usize = 4096;

/// How the prompts are sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Requests a second; none sends them as soon as `max_concurrency` lets them.
    pub request_rate: Option<f64>,
    /// Shape of the gaps between them; 1 is Poisson's.
    pub burstiness: f64,
    /// Requests in flight at once, at most.
    pub max_concurrency: Option<usize>,
    /// Seed of the gaps.
    pub seed: u64,
}

/// A run, measured.
#[derive(Debug)]
pub struct Run {
    /// The requests that were sent, in the order in which they were due.
    pub taken: Vec<Taken>,
    /// From the first request's being due to the last answer's end, seconds.
    pub duration_s: f64,
    /// Most requests that were in flight at once.
    pub max_concurrent_requests: usize,
    /// What it cost.
    pub seen: Seen,
    /// Whether it was stopped before every request was sent and answered.
    pub interrupted: bool,
}

/// Asks the sanity question: a server that answers it falsely is not worth timing.
///
/// # Errors
/// When the answer fails, or does not hold the truth.
pub async fn check_sanity(target: &Target, prompt: &Prompt) -> anyhow::Result<String> {
    let sampling = Sampling { max_tokens: 40, ..Sampling::default() };
    let taken = target.send(target.body(prompt, &sampling).await?).await;
    if let Some(error) = taken.error {
        anyhow::bail!("the sanity question was not answered: {error}");
    }
    let truth = prompt.truth.as_deref().unwrap_or_default();
    ensure!(
        taken.text.to_lowercase().contains(&truth.to_lowercase()),
        "the server is not sane: '{}' about a clip of a {truth} object was answered '{}'; figures of a broken model \
         mean nothing (--no-sanity measures it all the same, and the result says so)",
        prompt.text,
        taken.text.trim()
    );
    Ok(taken.text.trim().to_owned())
}

/// Sends `prompts` as `load` says. Ends early, with what was measured so far, when `stop` is cancelled.
///
/// # Errors
/// When a prompt's clip can't be read.
pub async fn run(
    target: &Target,
    prompts: &[Prompt],
    sampling: &Sampling,
    load: &Load,
    server: Option<u32>,
    stop: &CancellationToken,
    told: impl Fn(&Taken),
) -> anyhow::Result<Run> {
    let due = arrivals::due(prompts.len(), load.request_rate, load.burstiness, load.seed);
    let slots = Arc::new(Semaphore::new(load.max_concurrency.unwrap_or(MAX_IN_FLIGHT)));
    let flights = Arc::new(Flights::default());
    let watch = resources::watch(server);
    let began = Instant::now();
    let mut under_way: JoinSet<(usize, Taken)> = JoinSet::new();
    let mut taken: Vec<Option<Taken>> = vec![None; prompts.len()];
    let mut keep = |(n, one): (usize, Taken)| {
        told(&one);
        taken[n] = Some(one);
    };
    let mut interrupted = false;
    for (n, (prompt, due)) in prompts.iter().zip(due).enumerate() {
        // Read and encoded before the request is due, at most one ahead: neither time nor memory of the run.
        let body = target.body(prompt, sampling).await?;
        let slot = tokio::select! {
            () = stop.cancelled() => { interrupted = true; break }
            slot = async {
                tokio::time::sleep_until((began + due).into()).await;
                slots.clone().acquire_owned().await
            } => slot?,
        };
        let (target, flights, stop, video_s) =
            (target.clone(), flights.clone(), stop.clone(), prompt.video_s);
        under_way.spawn(async move {
            let start_s = began.elapsed().as_secs_f64();
            let flight = flights.begin();
            let mut one = tokio::select! {
                one = target.send(body) => one,
                () = stop.cancelled() => Taken { error: Some(STOPPED.into()), ..Taken::default() },
            };
            drop((flight, slot));
            one.start_s = start_s;
            // In the closed loop a request is due when its turn comes.
            one.due_s = if due.is_zero() { start_s } else { due.as_secs_f64() };
            one.video_s = video_s;
            (n, one)
        });
        while let Some(done) = under_way.try_join_next() {
            keep(done?);
        }
    }
    while let Some(done) = under_way.join_next().await {
        keep(done?);
    }
    let seen = watch.end().await;
    interrupted |= stop.is_cancelled();
    let taken: Vec<Taken> =
        taken.into_iter().flatten().filter(|one| one.error.as_deref() != Some(STOPPED)).collect();
    let end = taken.iter().map(|one| one.start_s + one.latency_s).fold(0.0, f64::max);
    let first = taken.iter().map(|one| one.due_s).fold(f64::INFINITY, f64::min);
    Ok(Run {
        duration_s: if taken.is_empty() { 0.0 } else { end - first },
        taken,
        max_concurrent_requests: flights.most(),
        seen,
        interrupted,
    })
}

/// Marks a request that was let go of by Ctrl-C: it says nothing of the server.
const STOPPED: &str = "stopped by the user";

/// Counts requests in flight.
#[derive(Debug, Default)]
struct Flights {
    now: std::sync::atomic::AtomicUsize,
    most: std::sync::atomic::AtomicUsize,
}

struct Flight(Arc<Flights>);

impl Flights {
    fn begin(self: &Arc<Self>) -> Flight {
        use std::sync::atomic::Ordering::Relaxed;
        self.most.fetch_max(self.now.fetch_add(1, Relaxed) + 1, Relaxed);
        Flight(self.clone())
    }

    fn most(&self) -> usize {
        self.most.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Sends `count` requests one after another before the clock runs, so that pools, caches of code and clocks are warm.
/// Their content is not that of the run.
///
/// # Errors
/// When one of them fails: a run would fail too.
pub async fn warm_up(target: &Target, prompts: &[Prompt], sampling: &Sampling) -> anyhow::Result<()> {
    for prompt in prompts {
        let taken = target.send(target.body(prompt, sampling).await?).await;
        if let Some(error) = taken.error {
            anyhow::bail!("a warm-up request failed: {error}");
        }
    }
    Ok(())
}

/// Time that a request may be silent.
pub const SILENCE: Duration = Duration::from_secs(600);
