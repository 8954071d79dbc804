//! `homereel-bench serve`: puts a load on a server, prints a table, and writes the result.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::ValueEnum as _;
use homereel_bench::serve::client::TargetServer;
use homereel_bench::serve::result::{Objective, RunInfo, generator_bound, result};
use homereel_bench::serve::{self, Load, Measurement, resources};
use homereel_web::bench_result::BenchResult;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::interrupt::cancel_on_ctrl_c;
use super::output::{self, progress_bar};
use super::parsers::{percentile, positive};
use super::workload::{Workload, WorkloadArgs};

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchServeArgs {
    /// Address of the server, with or without /v1
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    base_url: url::Url,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Requests per second, or inf; several (1,2,4) run one after the other
    #[arg(long, default_value = "inf", value_delimiter = ',', value_parser = request_rate)]
    request_rate: Vec<RateFlag>,
    /// Shape of the gaps between requests: 1 is a Poisson process, less is burstier
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    burstiness: f64,
    /// Limit of concurrent requests; several (1,4,16) run one after the other [default: no limit; 1 with a --preset,
    /// whose published figures are of one stream]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_concurrency: Vec<u32>,
    /// Limits that a request must meet to count for goodput: ttft:MS, tpot:MS, e2el:MS
    #[arg(long, num_args = 1..)]
    goodput: Vec<Objective>,
    /// Percentiles to report
    #[arg(long, default_value = "99", value_delimiter = ',', value_parser = percentile)]
    metric_percentiles: Vec<f64>,
    /// Write the result as JSON
    #[arg(long)]
    save_result: bool,
    /// Write the result as JSON, with every request
    #[arg(long)]
    save_detailed: bool,
    /// File for the result; a sweep inserts a number before the extension [default: from label, load and time]
    #[arg(long)]
    result_filename: Option<PathBuf>,
    /// Name for tables
    #[arg(long)]
    label: Option<String>,
    /// Process of the server on this machine, to sample its memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Memory bandwidth of the server's machine in GB/s; with --active-gb, impossible figures are flagged
    #[arg(long, requires = "active_gb", value_parser = positive)]
    memory_bandwidth_gbs: Option<f64>,
    /// Weights that a token reads, in GB
    #[arg(long, requires = "memory_bandwidth_gbs", value_parser = positive)]
    active_gb: Option<f64>,
}

/// Value of `--request-rate`. `None` is `inf`.
#[derive(Debug, Clone, Copy)]
struct RateFlag(Option<f64>);

/// One run of a sweep.
struct Run {
    request_rate: Option<f64>,
    max_concurrency: Option<usize>,
    file: Option<PathBuf>,
}

/// Runs the load, or every load of a sweep.
pub(crate) async fn serve(args: &BenchServeArgs) -> anyhow::Result<()> {
    let target = args.workload.connect(&args.base_url).await?;
    let runs = args.runs(&target.model);
    for file in runs.iter().filter_map(|run| run.file.as_ref()) {
        output::check_writable(file)?;
    }
    let stop = cancel_on_ctrl_c();
    let mut sanity_answer = None;
    for (n, run) in runs.into_iter().enumerate() {
        // The runs of a sweep have different content, so that one does not warm the caches of the next.
        let mut workload_args = args.workload.clone();
        if let Some(seed) = &mut workload_args.seed {
            *seed += n as u64;
        }
        let workload = workload_args.prepare(&target).await?;
        if n == 0 {
            sanity_answer = workload_args.check_sanity(&target, &workload).await?;
        }
        serve::warm_up(&target, &workload.warmups, &workload.options).await?;
        let info = args.info(&workload_args, &workload, &target, sanity_answer.clone());
        args.measure(&run, &info, &workload, &target, &stop).await?;
    }
    Ok(())
}

impl BenchServeArgs {
    /// Returns the combinations of rate and concurrency.
    fn runs(&self, model: &str) -> Vec<Run> {
        let limits: Vec<Option<usize>> = if self.max_concurrency.is_empty() {
            vec![self.workload.preset.map(|_| 1)]
        } else {
            self.max_concurrency.iter().map(|&n| Some(n as usize)).collect()
        };
        let count = self.request_rate.len() * limits.len();
        let loads = self.request_rate.iter().flat_map(|rate| limits.iter().map(|&limit| (rate.0, limit)));
        let run = |(n, (request_rate, max_concurrency))| Run {
            request_rate,
            max_concurrency,
            file: self.file(n, count, request_rate, max_concurrency, model),
        };
        loads.enumerate().map(run).collect()
    }

    fn info(
        &self,
        workload_args: &WorkloadArgs,
        workload: &Workload,
        target: &TargetServer,
        sanity_answer: Option<String>,
    ) -> RunInfo {
        let preset = workload_args.preset.and_then(|preset| preset.to_possible_value());
        RunInfo {
            base_url: target.base().to_owned(),
            model_id: target.model.clone(),
            dataset: workload_args.dataset_name,
            label: self.label.clone(),
            preset: preset.map(|value| value.get_name().to_owned()),
            num_prompts: workload.prompts.len(),
            max_tokens: workload.options.max_tokens,
            repeated: workload_args.repeat || workload_args.questions_per_clip > 1,
            sanity_answer,
            command: std::env::args().collect(),
            goodput: self.goodput.clone(),
            percentiles: self.metric_percentiles.clone(),
            roofline: self.memory_bandwidth_gbs.zip(self.active_gb).map(|(gbs, gb)| (1e9 * gbs, 1e9 * gb)),
            date: Timestamp::now(),
            machine: resources::machine(),
        }
    }

    /// Measures one run, prints its table, and writes its result.
    async fn measure(
        &self,
        run: &Run,
        info: &RunInfo,
        workload: &Workload,
        target: &TargetServer,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let load = Load {
            request_rate: run.request_rate,
            burstiness: self.burstiness,
            max_concurrency: run.max_concurrency,
            seed: workload.seed,
        };
        let bar = progress_bar("requests", workload.prompts.len() as u64);
        let on_answer = |_: &_| bar.inc(1);
        let (prompts, options) = (&workload.prompts, &workload.options);
        let measured = serve::run(target, prompts, options, &load, self.server_pid, stop, on_answer).await;
        bar.finish_and_clear();
        let measured = measured?;
        let result = result(info, &load, &measured, self.save_detailed);
        // An error of the disk is reported after the table, so that the measurement is not lost.
        let stored = run.file.as_ref().map_or(Ok(()), |file| output::write(file, &result));
        if generator_bound(&measured, info.machine.cores) {
            bail!(
                "the result is not reported: the load generator used {:.1} of {} cores and may be the bottleneck{}",
                measured.resources.generator_cpu,
                info.machine.cores,
                run.file
                    .as_ref()
                    .map_or_else(String::new, |file| format!("; the raw result is {}", file.display()))
            );
        }
        print(run, &result, workload.seed)?;
        stored?;
        if let Some(file) = &run.file {
            writeln!(std::io::stdout(), "result: {}", file.display())?;
        }
        check_complete(&measured, prompts.len())
    }

    /// Returns the file for run `n` of `runs`, if results are kept.
    fn file(
        &self,
        n: usize,
        runs: usize,
        request_rate: Option<f64>,
        max_concurrency: Option<usize>,
        model: &str,
    ) -> Option<PathBuf> {
        if !self.save_result && !self.save_detailed && self.result_filename.is_none() {
            return None;
        }
        let Some(named) = &self.result_filename else {
            let rate = request_rate.map_or_else(|| "inf".into(), |rate| rate.to_string());
            let limit = max_concurrency.map_or_else(String::new, |limit| format!("-concurrency{limit}"));
            let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
            let label = self.label.as_deref().unwrap_or("openai-chat");
            let model = model.rsplit('/').next().unwrap_or_default();
            return Some(PathBuf::from(format!("{label}-{rate}qps{limit}-{model}-{now}.json")));
        };
        if runs == 1 {
            return Some(named.clone());
        }
        let stem = named.file_stem().unwrap_or_default().to_string_lossy();
        let extension = named.extension().unwrap_or_default().to_string_lossy();
        Some(named.with_file_name(format!("{stem}-{}.{extension}", n + 1)))
    }
}

fn print(run: &Run, result: &BenchResult, seed: u64) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let rate = run.request_rate.map_or_else(|| "inf".into(), |rate| rate.to_string());
    let limit = run.max_concurrency.map_or_else(|| "none".into(), |limit| limit.to_string());
    writeln!(out, "== request rate {rate}, max concurrency {limit}, seed {seed} ==")?;
    write!(out, "{}", output::table(result))
}

fn check_complete(measured: &Measurement, prompts: usize) -> anyhow::Result<()> {
    if measured.interrupted {
        bail!("interrupted: {} of {prompts} requests were measured", measured.records.len());
    }
    ensure!(
        measured.records.iter().any(|record| record.fault.is_none()),
        "no request was answered; the first failure: {}",
        measured.records.first().and_then(|record| record.error.as_deref()).unwrap_or("no request was sent")
    );
    Ok(())
}

fn request_rate(text: &str) -> Result<RateFlag, String> {
    if text == "inf" {
        return Ok(RateFlag(None));
    }
    let rate = positive(text).map_err(|_| {
        format!("'{text}' is not a rate; a number of requests per second above 0, or inf, would fit")
    })?;
    Ok(RateFlag(Some(rate)))
}
