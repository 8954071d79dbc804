//! `homereel-bench compare`: asks several servers in turns, or reads two result files, and reports which is slower.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use homereel_bench::compare::{Comparison, MIN_PAIRS, compare as compare_pairs};
use homereel_bench::serve::client::TargetServer;
use homereel_bench::serve::result::tpot_ms;
use homereel_bench::serve::{self, resources};
use homereel_bench::statistics::median;
use homereel_web::bench_result::{Machine, RequestRecord};
use homereel_web::format::number_or_dash;
use serde::Serialize;

use super::interrupt::cancel_on_ctrl_c;
use super::output::{self, progress_bar};
use super::process_groups::{ExclusiveGroups, ServerGroup};
use super::report::read_result;
use super::williams_design;
use super::workload::WorkloadArgs;

/// Flags of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Two results of `serve --save-detailed`: A.json B.json
    #[arg(num_args = 2, conflicts_with_all = ["baseline", "candidate"])]
    results: Vec<PathBuf>,
    /// Server A, asked in turns with the candidates: URL, or NAME=URL
    #[arg(long, requires = "candidate", required_unless_present = "results")]
    baseline: Option<NamedUrl>,
    /// Server B: URL, or NAME=URL; may be repeated
    #[arg(long, requires = "baseline")]
    candidate: Vec<NamedUrl>,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Pause before each question in milliseconds, so that the work that one server finishes does not disturb the next
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pause_ms: u64,
    /// Process group of a server on this machine, stopped while another is asked: NAME=ID; may be repeated
    #[arg(long, value_name = "NAME=ID", requires = "baseline")]
    server_group: Vec<ServerGroup>,
    /// Write the comparison as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
    /// Write the ratios as a Markdown table
    #[arg(long)]
    table: Option<PathBuf>,
}

/// A server's URL, with a name for tables.
#[derive(Debug, Clone)]
struct NamedUrl {
    name: Option<String>,
    url: url::Url,
}

impl FromStr for NamedUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_. ".contains(c))
        };
        let (name, url) = match text.split_once('=') {
            Some((name, url)) if plain(name) => (Some(name.to_owned()), url),
            _ => (None, text),
        };
        let url = url.parse().map_err(|error| format!("'{url}' is not a URL: {error}"))?;
        Ok(Self { name, url })
    }
}

/// A server and its answers, in the order of the questions.
struct Answers {
    server: String,
    records: Vec<RequestRecord>,
}

/// Returns milliseconds of a request, if it has them.
type MetricFn = fn(&RequestRecord) -> Option<f64>;

/// The compared metrics.
const METRICS: [(&str, MetricFn); 3] = [
    ("e2el", |record| Some(1e3 * record.latency_s)),
    ("ttft", |record| Some(1e3 * record.ttft_s)),
    ("tpot", tpot_ms),
];

/// Comparisons of one candidate with the baseline, by metric.
type Comparisons = BTreeMap<&'static str, Comparison>;

/// The result file of `compare`.
#[derive(Debug, Serialize)]
struct CompareResult<'a> {
    schema: &'static str,
    baseline: &'a str,
    candidates: &'a BTreeMap<String, Comparisons>,
    median_ms: BTreeMap<&'a str, Medians>,
    machine: Machine,
    command: Vec<String>,
}

/// Medians of one server: milliseconds and tokens.
#[derive(Debug, Clone, Copy, Serialize)]
struct Medians {
    e2el: Option<f64>,
    ttft: Option<f64>,
    tpot: Option<f64>,
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
}

/// Compares, and prints a line for each metric of each candidate.
pub(crate) async fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    for file in args.result_filename.iter().chain(&args.table) {
        output::check_writable(file)?;
    }
    let answers = match (&args.baseline, args.results.as_slice()) {
        (Some(baseline), _) => ask_in_turns(args, baseline).await?,
        (None, [a, b]) => stored(a, b)?,
        _ => bail!("nothing to compare; two result files, or --baseline URL --candidate URL, would fit"),
    };
    let (baseline, candidates) = answers.split_first().context("there is a baseline")?;
    let mut found = BTreeMap::new();
    for candidate in candidates {
        let prefix = if candidates.len() == 1 { String::new() } else { format!("{} ", candidate.server) };
        found.insert(candidate.server.clone(), compare_with(baseline, candidate, &prefix)?);
    }
    if let Some(file) = &args.table {
        std::fs::write(file, table(&answers, &found)).with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &args.result_filename {
        let result = CompareResult {
            schema: "homereel-bench.compare/2",
            baseline: &baseline.server,
            candidates: &found,
            median_ms: answers.iter().map(|one| (one.server.as_str(), medians(one))).collect(),
            machine: resources::machine(),
            command: std::env::args().collect(),
        };
        output::write(file, &result)?;
    }
    Ok(())
}

fn compare_with(baseline: &Answers, candidate: &Answers, prefix: &str) -> anyhow::Result<Comparisons> {
    let mut out = std::io::stdout().lock();
    let mut comparisons = Comparisons::new();
    for (name, metric) in METRICS {
        let records = baseline.records.iter().zip(&candidate.records);
        let pairs: Vec<(f64, f64)> = records.filter_map(|(a, b)| metric(a).zip(metric(b))).collect();
        let Some(comparison) = compare_pairs(&pairs) else {
            writeln!(
                out,
                "{prefix}{name}: {} pairs are too few; at least {MIN_PAIRS} would fit",
                pairs.len()
            )?;
            continue;
        };
        writeln!(out, "{prefix}{name}: {}", comparison.describe(&baseline.server, &candidate.server))?;
        comparisons.insert(name, comparison);
    }
    Ok(comparisons)
}

/// Asks every server the same questions, one request at a time, in turns.
async fn ask_in_turns(args: &CompareArgs, baseline: &NamedUrl) -> anyhow::Result<Vec<Answers>> {
    let workload_args = &args.workload;
    let servers: Vec<&NamedUrl> = std::iter::once(baseline).chain(&args.candidate).collect();
    let mut targets: Vec<TargetServer> = Vec::with_capacity(servers.len());
    let mut answers: Vec<Answers> = Vec::with_capacity(servers.len());
    for (n, server) in servers.iter().enumerate() {
        let name = match (&server.name, n, servers.len()) {
            (Some(name), ..) => name.clone(),
            (None, 0, _) => "A".into(),
            (None, _, 2) => "B".into(),
            _ => format!("B{n}"),
        };
        ensure!(answers.iter().all(|one| one.server != name), "two servers are called '{name}'");
        targets.push(workload_args.connect(&server.url).await.with_context(|| format!("server {name}"))?);
        answers.push(Answers { server: name, records: Vec::new() });
    }
    let workload = workload_args.prepare(targets.first().context("there is a baseline")?).await?;
    for (target, one) in targets.iter().zip(&answers) {
        let prepare = async {
            workload_args.check_sanity(target, &workload).await?;
            serve::warm_up(target, &workload.warmups, &workload.options).await
        };
        prepare.await.with_context(|| format!("server {}", one.server))?;
    }
    let unknown = |group: &&ServerGroup| answers.iter().all(|one| one.server != group.name);
    if let Some(group) = args.server_group.iter().find(unknown) {
        bail!("--server-group: no server is called '{}'", group.name);
    }
    let groups = ExclusiveGroups::new(args.server_group.clone());
    let stop = cancel_on_ctrl_c();
    let bar = progress_bar("pairs", workload.prompts.len() as u64);
    'questions: for (n, prompt) in workload.prompts.iter().enumerate() {
        let mut row: Vec<Option<RequestRecord>> = vec![None; targets.len()];
        for index in williams_design::order(n, targets.len()) {
            let body = targets[index].body(prompt, &workload.options).await?;
            let name = &answers[index].server;
            groups.run_only(name).with_context(|| format!("failed to stop the servers other than {name}"))?;
            tokio::time::sleep(Duration::from_millis(args.pause_ms)).await;
            let record = tokio::select! {
                record = targets[index].send(body) => record,
                () = stop.cancelled() => break 'questions,
            };
            if let Some(error) = &record.error {
                bail!("server {name} failed: {error}");
            }
            row[index] = Some(record);
        }
        for (one, record) in answers.iter_mut().zip(row) {
            one.records.extend(record);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(answers)
}

/// Reads two result files, which must be of the same requests.
fn stored(a: &Path, b: &Path) -> anyhow::Result<Vec<Answers>> {
    let (a, b) = (requests(a)?, requests(b)?);
    ensure!(
        a.len() == b.len(),
        "A has {} requests and B has {}; two results of the same load would fit",
        a.len(),
        b.len()
    );
    #[expect(clippy::print_stderr, reason = "a caveat about the output on stdout")]
    {
        eprintln!(
            "note: the two runs were not interleaved, so a change of the machine between them counts as a difference \
             (--baseline URL --candidate URL asks both in turns)"
        );
    }
    let answered = a.into_iter().zip(b).filter(|(a, b)| a.fault.is_none() && b.fault.is_none());
    let (a, b) = answered.unzip();
    Ok(vec![Answers { server: "A".into(), records: a }, Answers { server: "B".into(), records: b }])
}

fn requests(file: &Path) -> anyhow::Result<Vec<RequestRecord>> {
    let requests = read_result(file)?.requests;
    requests.with_context(|| format!("{} has no requests; run with --save-detailed", file.display()))
}

fn medians(answers: &Answers) -> Medians {
    let of = |metric: MetricFn| median(&answers.records.iter().filter_map(metric).collect::<Vec<f64>>());
    Medians {
        e2el: of(|record| Some(1e3 * record.latency_s)),
        ttft: of(|record| Some(1e3 * record.ttft_s)),
        tpot: of(tpot_ms),
        prompt_tokens: of(|record| Some(record.prompt_tokens as f64)),
        completion_tokens: of(|record| Some(record.completion_tokens as f64)),
    }
}

/// Returns a Markdown table with one row per server: its medians, and their ratios to the baseline's.
fn table(answers: &[Answers], found: &BTreeMap<String, Comparisons>) -> String {
    let mut out = String::from(
        "| | prompt tokens | TTFT ms | TPOT ms | E2EL ms | TTFT ratio | TPOT ratio | E2EL ratio |\n|---|---|---|---|---|---|---|---|\n",
    );
    for one in answers {
        let medians = medians(one);
        let ratio = |name: &str| match found.get(&one.server).map(|comparisons| comparisons.get(name)) {
            // The baseline.
            None => "1".to_owned(),
            Some(None) => "–".to_owned(),
            Some(Some(Comparison { ratio, interval: (low, high), .. })) => {
                format!("{ratio:.2} [{low:.2}, {high:.2}]")
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            one.server,
            number_or_dash(medians.prompt_tokens, 0),
            number_or_dash(medians.ttft, 1),
            number_or_dash(medians.tpot, 2),
            number_or_dash(medians.e2el, 1),
            ratio("ttft"),
            ratio("tpot"),
            ratio("e2el"),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_have_a_name() {
        let named: NamedUrl = "llama.cpp=http://127.0.0.1:1/?a=b".parse().unwrap();
        assert_eq!(
            (named.name.as_deref(), named.url.as_str()),
            (Some("llama.cpp"), "http://127.0.0.1:1/?a=b")
        );
        let plain: NamedUrl = "http://127.0.0.1:1/?a=b".parse().unwrap();
        assert_eq!(plain.name, None);
        assert!("x=y".parse::<NamedUrl>().unwrap_err().contains("'y' is not a URL"));
    }

    #[test]
    fn a_metric_without_values_is_a_dash() {
        let one_token =
            RequestRecord { ttft_s: 0.1, latency_s: 0.1, completion_tokens: 1, ..Default::default() };
        let answers =
            ["A", "B"].map(|name| Answers { server: name.into(), records: vec![one_token.clone(); 20] });
        let found = BTreeMap::from([("B".to_owned(), compare_with(&answers[0], &answers[1], "").unwrap())]);
        let table = table(&answers, &found);
        assert!(
            table.ends_with("| B | 0 | 100.0 | – | 100.0 | 1.00 [1.00, 1.00] | – | 1.00 [1.00, 1.00] |\n"),
            "{table}"
        );
    }
}
