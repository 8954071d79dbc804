//! `homereel-bench ingest`: measures how fast a server describes clips, or how fast a vLLM answers the same questions.

mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use homereel_bench::ingest::clips::{self, MediaFile};
use homereel_bench::ingest::direct;
use homereel_bench::ingest::server::Server;
use homereel_bench::ingest::{self, IngestLoad, MAX_CLIPS, QuestionLoad};
use homereel_bench::serve::client::TargetServer;
use homereel_bench::serve::{READ_TIMEOUT, dataset, resources};
use homereel_clips::FIRST_TEST_SEED;
use homereel_video::Worker;
use homereel_web::bench_result::ResourceUsage;
use serde::Serialize;
use serde_json::json;

use super::interrupt::cancel_on_ctrl_c;
use super::output::{self, progress_bar};
use super::parsers::{clip_seconds, positive};

/// Distances from `--seed` to the seeds of the long clip's pieces, and to that of the interactive question's clip.
const LONG_SEED: u64 = 500_000;
const QUESTION_SEED: u64 = 999_000;

/// Flags of `ingest`.
#[derive(Debug, clap::Args)]
pub(crate) struct IngestArgs {
    /// Address of the server. It needs an empty library and no other work
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    base_url: url::Url,
    /// Directory of clips [default: drawn clips]
    #[arg(long, conflicts_with_all = ["count", "seconds"])]
    directory: Option<PathBuf>,
    /// Number of drawn clips
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(0..=MAX_CLIPS as i64))]
    count: u32,
    /// Length of each in seconds
    #[arg(long, default_value_t = 10.0, value_parser = clip_seconds)]
    seconds: f64,
    /// Length in seconds of one more drawn clip; if it is longer than two windows, it is processed in windows
    #[arg(long, value_parser = long_seconds)]
    long_seconds: Option<f64>,
    /// Seed of the first drawn clip; another one gives clips that no cache has seen
    #[arg(long, default_value_t = FIRST_TEST_SEED, value_parser = clap::value_parser!(u64).range(..=1 << 60))]
    seed: u64,
    /// Interval of the interactive question in seconds; 0 asks none
    #[arg(long, default_value_t = 5.0, value_parser = interval)]
    question_every: f64,
    /// Seconds after which the measurement ends, whatever is missing
    #[arg(long, default_value_t = 14_400, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    timeout: u64,
    /// Name of an environment variable with the server's key
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Process of the server on this machine, to sample its memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
    /// Ask a vLLM the same questions, instead of giving clips to a server; it needs --trust-request-mm-kwargs
    #[arg(long, value_name = "URL")]
    direct: Option<url::Url>,
    /// Model of --direct [default: the first that it lists]
    #[arg(long, requires = "direct")]
    model: Option<String>,
    /// Windows about which --direct is asked at the same time
    #[arg(long, requires = "direct", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_concurrency: u32,
    /// Length of the windows of long clips for --direct, as the server's setting
    #[arg(long, default_value_t = 120.0, requires = "direct", value_parser = positive)]
    window_seconds: f64,
}

/// Makes the clips, measures, prints a table, and writes the result.
pub(crate) async fn ingest(args: &IngestArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.result_filename {
        output::check_writable(file)?;
    }
    let key = args.api_key_env.as_deref().map(|name| {
        std::env::var(name).with_context(|| format!("--api-key-env: {name} is not set in the environment"))
    });
    let key = key.transpose()?;
    let dir = tempfile::tempdir().context("failed to create a directory for clips")?;
    match &args.direct {
        Some(url) => ask_directly(args, url, key, dir.path()).await,
        None => give(args, key, dir.path()).await,
    }
}

/// Measures a Homereel server.
async fn give(args: &IngestArgs, key: Option<String>, dir: &Path) -> anyhow::Result<()> {
    let base = args.base_url.as_str();
    let server = Server::connect(base, key.clone()).await?;
    let target = TargetServer::connect(base, None, key, READ_TIMEOUT).await?;
    let clips = args.clips(dir).await?;
    let question = if args.question_every > 0.0 {
        let prompt = dataset::sanity(dir, args.seed + QUESTION_SEED).await?;
        Some(QuestionLoad { prompt, every: Duration::from_secs_f64(args.question_every) })
    } else {
        None
    };
    let load = IngestLoad { clips, question, limit: Duration::from_secs(args.timeout) };
    let stop = cancel_on_ctrl_c();
    let bar = progress_bar("clips with texts", load.clips.len() as u64);
    let monitor = resources::monitor(args.server_pid);
    let on_described = |count: usize| bar.set_position(count as u64);
    let run = ingest::measure(&server, &target, &load, &stop, on_described).await;
    let usage = monitor.finish().await;
    bar.finish_and_clear();
    let run = run?;
    let failure = run.failure.as_deref().or_else(|| run.beside.as_ref()?.failure.as_deref());
    print(&table::server(&run, &usage), failure)?;
    store(args, "server", &run, &usage)?;
    if run.interrupted {
        bail!("interrupted: {} of {} clips were described", run.described, run.clips);
    }
    check(run.described, run.clips, "clips have their texts", run.failure.as_deref())
}

/// Measures the peer.
async fn ask_directly(
    args: &IngestArgs,
    url: &url::Url,
    key: Option<String>,
    dir: &Path,
) -> anyhow::Result<()> {
    let target = TargetServer::connect(url.as_str(), args.model.as_deref(), key, READ_TIMEOUT).await?;
    let clips = args.clips(dir).await?;
    let windows = clips::windows(&clips, args.window_seconds, dir).await?;
    let stop = cancel_on_ctrl_c();
    let limit = stop.clone();
    let timeout = Duration::from_secs(args.timeout);
    let bar = progress_bar("windows", windows.len() as u64);
    let monitor = resources::monitor(args.server_pid);
    let measuring = direct::measure(&target, &windows, args.max_concurrency as usize, &stop, || bar.inc(1));
    tokio::pin!(measuring);
    let run = tokio::select! {
        run = &mut measuring => run,
        () = tokio::time::sleep(timeout) => {
            limit.cancel();
            measuring.await
        }
    };
    let usage = monitor.finish().await;
    bar.finish_and_clear();
    print(&table::direct(&run, &usage), run.failure.as_deref())?;
    store(args, "direct", &run, &usage)?;
    if run.interrupted {
        bail!("interrupted: {} of {} windows were asked about", run.windows_answered, run.windows);
    }
    check(run.windows_answered, run.windows, "windows have all answers", run.failure.as_deref())
}

impl IngestArgs {
    /// Draws the clips, or probes those of the directory.
    async fn clips(&self, dir: &Path) -> anyhow::Result<Vec<MediaFile>> {
        let mut clips = match &self.directory {
            Some(directory) => clips::directory(directory, &Worker::this_program()?).await?,
            None => {
                let bar = progress_bar("drawing clips", u64::from(self.count));
                let count = self.count as usize;
                let on_clip = |n: usize| bar.set_position(n as u64);
                let clips = clips::drawn(dir, count, self.seconds, self.seed, on_clip).await;
                bar.finish_and_clear();
                clips?
            }
        };
        if let Some(seconds) = self.long_seconds {
            let bar = progress_bar("drawing the long clip", clips::pieces(seconds) as u64);
            let on_piece = |n: usize| bar.set_position(n as u64);
            let long = clips::drawn_long(dir, seconds, self.seed + LONG_SEED, on_piece).await;
            bar.finish_and_clear();
            // The first, so that its many windows do not begin when all others are done.
            clips.insert(0, long?);
        }
        ensure!(!clips.is_empty(), "there are no clips; raise --count, or set --long-seconds");
        Ok(clips)
    }
}

fn print(table: &str, failure: Option<&str>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{table}")?;
    match failure {
        Some(failure) => writeln!(out, "first failure: {failure}"),
        None => Ok(()),
    }
}

/// Writes the result, if it is kept.
fn store(args: &IngestArgs, mode: &str, run: &impl Serialize, usage: &ResourceUsage) -> anyhow::Result<()> {
    let Some(file) = &args.result_filename else { return Ok(()) };
    let command: Vec<String> = std::env::args().collect();
    let result = json!({
        "schema": "homereel-bench.ingest/1", "mode": mode, "command": command, "machine": resources::machine(),
        "run": run, "seen": usage,
    });
    output::write(file, &result)
}

/// Fails if a part of the work was not done.
fn check(done: usize, all: usize, what: &str, failure: Option<&str>) -> anyhow::Result<()> {
    if done < all {
        bail!("only {done} of {all} {what}: {}", failure.unwrap_or("no failure was reported"));
    }
    Ok(())
}

/// Parses the length of a long clip.
fn long_seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|seconds| (60.0..=36_000.0).contains(seconds));
    parsed.ok_or_else(|| format!("'{text}' is not a length; 60 to 36000 seconds would fit"))
}

/// Parses an interval in seconds, or 0.
fn interval(text: &str) -> Result<f64, String> {
    let parsed =
        text.parse().ok().filter(|&seconds: &f64| seconds == 0.0 || (0.1..=3600.0).contains(&seconds));
    parsed.ok_or_else(|| format!("'{text}' is not an interval; 0, or 0.1 to 3600 seconds would fit"))
}
