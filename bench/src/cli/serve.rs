//! `homereel-bench serve`: a load, a table, and a result file.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::ValueEnum as _;
use homereel_bench::serve::result::{About, Objective, generator_bound, result};
use homereel_bench::serve::{self, Load, resources as machine};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::output;
use super::workload::{Dataset, Questions, bar};

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The server, with or without /v1
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    base_url: url::Url,
    #[command(flatten)]
    questions: Questions,
    /// Requests a second, or inf; several (1,2,4) are run one after another
    #[arg(long, default_value = "inf", value_delimiter = ',', value_parser = request_rate)]
    request_rate: Vec<Rate>,
    /// Shape of the gaps between requests: 1 is Poisson's, less is burstier
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    burstiness: f64,
    /// Requests in flight at once; several (1,4,16) are run one after another [default: no limit; 1 with a --preset,
    /// whose published figures are of one stream]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_concurrency: Vec<u32>,
    /// What a request must meet to count for goodput: ttft:MS, tpot:MS, e2el:MS
    #[arg(long, num_args = 1..)]
    goodput: Vec<Objective>,
    /// Percentiles to tell
    #[arg(long, default_value = "99", value_delimiter = ',', value_parser = percentile)]
    metric_percentiles: Vec<f64>,
    /// Write the result as JSON
    #[arg(long)]
    save_result: bool,
    /// Keep every request in the result
    #[arg(long)]
    save_detailed: bool,
    /// File of the result; in a sweep, a number is put before its ending [default: by label, load and time]
    #[arg(long)]
    result_filename: Option<PathBuf>,
    /// Name for tables
    #[arg(long)]
    label: Option<String>,
    /// Process of the server on this machine, to watch its memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Memory bandwidth of the server's machine in GB/s, with --active-gb: flags impossible figures
    #[arg(long, requires = "active_gb", value_parser = positive)]
    memory_bandwidth_gbs: Option<f64>,
    /// Weights that a token reads, in GB
    #[arg(long, requires = "memory_bandwidth_gbs", value_parser = positive)]
    active_gb: Option<f64>,
}

/// Requests a second; none is as fast as they go.
#[derive(Debug, Clone, Copy)]
struct Rate(Option<f64>);

/// Runs the load, or each of a sweep.
pub(crate) async fn serve(job: &Serve) -> anyhow::Result<()> {
    let target = job.questions.connect(&job.base_url).await?;
    let caps: Vec<Option<usize>> = if job.max_concurrency.is_empty() {
        vec![job.questions.preset.map(|_| 1)]
    } else {
        job.max_concurrency.iter().map(|&n| Some(n as usize)).collect()
    };
    let loads: Vec<(Option<f64>, Option<usize>)> =
        job.request_rate.iter().flat_map(|rate| caps.iter().map(|&cap| (rate.0, cap))).collect();
    let files: Vec<Option<PathBuf>> =
        loads.iter().enumerate().map(|(n, load)| job.file(n, loads.len(), *load, &target.model)).collect();
    for file in files.iter().flatten() {
        output::check_writable(file)?;
    }
    let stop = stop_on_ctrl_c();
    let mut sanity = None;
    for (n, ((request_rate, max_concurrency), file)) in loads.into_iter().zip(files).enumerate() {
        // A sweep's runs must not warm each other: each has content of its own.
        let mut questions = job.questions.clone();
        if let Some(seed) = &mut questions.seed {
            *seed += n as u64;
        }
        let ready = questions.ready(&target).await?;
        if n == 0 {
            sanity = questions.check(&target, &ready).await?;
        }
        serve::warm_up(&target, &ready.warmups, &ready.sampling).await?;
        let load = Load { request_rate, burstiness: job.burstiness, max_concurrency, seed: ready.seed };
        let about = About {
            base_url: target.base().to_owned(),
            model_id: target.model.clone(),
            dataset_name: match questions.dataset_name {
                Dataset::Drawn => "drawn",
                Dataset::Clips => "clips",
                Dataset::Random => "random",
                Dataset::Custom => "custom",
            }
            .into(),
            label: job.label.clone(),
            preset: questions
                .preset
                .and_then(|preset| Some(preset.to_possible_value()?.get_name().to_owned())),
            num_prompts: ready.prompts.len(),
            max_tokens: ready.sampling.max_tokens,
            repeated: questions.repeat || questions.questions_per_clip > 1,
            sanity: sanity.clone(),
            command: std::env::args().collect(),
            goodput: job.goodput.clone(),
            percentiles: job.metric_percentiles.clone(),
            roofline: job.memory_bandwidth_gbs.zip(job.active_gb).map(|(bw, gb)| (1e9 * bw, 1e9 * gb)),
            date: Timestamp::now(),
            machine: machine::describe(),
        };
        let bar = bar("requests", ready.prompts.len() as u64);
        let run = serve::run(&target, &ready.prompts, &ready.sampling, &load, job.server_pid, &stop, |_| {
            bar.inc(1)
        })
        .await;
        bar.finish_and_clear();
        let run = run?;
        let result = result(&about, &load, &run, job.save_detailed);
        // What was measured is shown before anything is said of the disk.
        let stored = file.as_ref().map_or(Ok(()), |file| output::write(file, &result));
        if generator_bound(&run, about.machine.cores) {
            bail!(
                "not reported: the load generator used {:.1} of {} cores and may be what was measured{}",
                run.seen.generator_cpu,
                about.machine.cores,
                file.map_or_else(String::new, |file| format!("; the raw result is in {}", file.display()))
            );
        }
        let mut out = std::io::stdout().lock();
        let rate = request_rate.map_or_else(|| "inf".into(), |rate| rate.to_string());
        let cap = max_concurrency.map_or_else(|| "none".into(), |cap| cap.to_string());
        writeln!(out, "== request rate {rate}, max concurrency {cap}, seed {} ==", ready.seed)?;
        write!(out, "{}", output::table(&result))?;
        stored?;
        if let Some(file) = &file {
            writeln!(out, "result: {}", file.display())?;
        }
        if run.interrupted {
            bail!("interrupted: {} of {} requests were measured", run.taken.len(), ready.prompts.len());
        }
        ensure!(
            run.taken.iter().any(|one| one.fault.is_none()),
            "no request was answered; the first failure: {}",
            run.taken.first().and_then(|one| one.error.as_deref()).unwrap_or("none was sent")
        );
    }
    Ok(())
}

impl Serve {
    /// Where the result of run `n` of `runs` goes, if it is kept.
    fn file(
        &self,
        n: usize,
        runs: usize,
        load: (Option<f64>, Option<usize>),
        model: &str,
    ) -> Option<PathBuf> {
        if !self.save_result && !self.save_detailed && self.result_filename.is_none() {
            return None;
        }
        let Some(named) = &self.result_filename else {
            let rate = load.0.map_or_else(|| "inf".into(), |rate| rate.to_string());
            let cap = load.1.map_or_else(String::new, |cap| format!("-concurrency{cap}"));
            let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
            let label = self.label.as_deref().unwrap_or("openai-chat");
            let model = model.rsplit('/').next().unwrap_or_default();
            return Some(PathBuf::from(format!("{label}-{rate}qps{cap}-{model}-{now}.json")));
        };
        if runs == 1 {
            return Some(named.clone());
        }
        let stem = named.file_stem().unwrap_or_default().to_string_lossy();
        let ending = named.extension().unwrap_or_default().to_string_lossy();
        Some(named.with_file_name(format!("{stem}-{}.{ending}", n + 1)))
    }
}

/// Ctrl-C ends the run and keeps what was measured; a second one ends the program.
pub(crate) fn stop_on_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopping.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    stop
}

fn request_rate(text: &str) -> Result<Rate, String> {
    if text == "inf" {
        return Ok(Rate(None));
    }
    let parsed = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    parsed
        .map(|rate| Rate(Some(rate)))
        .ok_or_else(|| format!("'{text}' is no rate; give requests a second above 0, or inf"))
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0);
    parsed.ok_or_else(|| format!("'{text}' is no number above 0"))
}

fn percentile(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|p| (0.0..=100.0).contains(p));
    parsed.ok_or_else(|| format!("'{text}' is no percentile; give 0 to 100"))
}
