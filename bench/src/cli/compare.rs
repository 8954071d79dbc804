//! `homereel-bench compare`: two servers asked in turns, or two result files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use homereel_bench::compare::{MIN_PAIRS, Verdict, compare as verdict};
use homereel_bench::serve;
use homereel_bench::serve::client::Taken;
use homereel_bench::serve::result::SCHEMA;
use serde_json::{Value, json};

use super::output;
use super::questions::{Questions, bar};
use super::serve::stop_on_ctrl_c;

/// Flags of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Two results of `serve --save-detailed`: A.json B.json
    #[arg(num_args = 2, conflicts_with_all = ["baseline", "candidate"])]
    results: Vec<PathBuf>,
    /// Server A, asked in turns with server B
    #[arg(long, requires = "candidate", required_unless_present = "results")]
    baseline: Option<url::Url>,
    /// Server B
    #[arg(long, requires = "baseline")]
    candidate: Option<url::Url>,
    #[command(flatten)]
    questions: Questions,
    /// Write the comparison as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Reads a time in seconds from a request.
type Measure = fn(&Taken) -> f64;

/// What is compared: names, and how to get at them.
const MEASURES: [(&str, Measure); 3] = [
    ("e2el", |one| one.latency_s),
    ("ttft", |one| one.ttft_s),
    ("tpot", |one| match one.completion_tokens {
        0 | 1 => 0.0,
        tokens => (one.latency_s - one.ttft_s) / (tokens - 1) as f64,
    }),
];

/// Compares and prints a verdict for each measure.
pub(crate) async fn compare(job: &Compare) -> anyhow::Result<()> {
    if let Some(file) = &job.result_filename {
        output::check_writable(file)?;
    }
    let pairs = match (&job.baseline, &job.candidate, job.results.as_slice()) {
        (Some(a), Some(b), _) => interleaved(job, a, b).await?,
        (_, _, [a, b]) => stored(a, b)?,
        _ => bail!("give two result files, or --baseline URL --candidate URL"),
    };
    let mut told = serde_json::Map::new();
    let mut out = std::io::stdout().lock();
    for (name, measure) in MEASURES {
        let times: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (measure(a), measure(b))).collect();
        let Some(found): Option<Verdict> = verdict(&times) else {
            writeln!(
                out,
                "{name}: {} pairs are too few to say anything; {MIN_PAIRS} is the least",
                times.len()
            )?;
            continue;
        };
        writeln!(out, "{name}: {found}")?;
        told.insert(name.into(), json!(found));
    }
    if let Some(file) = &job.result_filename {
        told.insert("schema".into(), json!("homereel-bench.compare/1"));
        output::write(file, &Value::Object(told))?;
    }
    Ok(())
}

/// Asks both servers the same, one request at a time, in an order that changes from pair to pair: what drifts on the
/// machine meets both alike.
async fn interleaved(job: &Compare, a: &url::Url, b: &url::Url) -> anyhow::Result<Vec<(Taken, Taken)>> {
    let questions = &job.questions;
    let (a, b) = (questions.connect(a).await?, questions.connect(b).await?);
    let ready = questions.ready(&a).await?;
    for target in [&a, &b] {
        questions.check(target, &ready).await?;
        serve::warm_up(target, &ready.warmups, &ready.sampling).await?;
    }
    let stop = stop_on_ctrl_c();
    let bar = bar("pairs", ready.prompts.len() as u64);
    let mut pairs = Vec::with_capacity(ready.prompts.len());
    for (n, prompt) in ready.prompts.iter().enumerate() {
        let (for_a, for_b) = (a.body(prompt, &ready.sampling).await?, b.body(prompt, &ready.sampling).await?);
        let both = async {
            if n % 2 == 0 {
                let first = a.send(for_a).await;
                (first, b.send(for_b).await)
            } else {
                let first = b.send(for_b).await;
                (a.send(for_a).await, first)
            }
        };
        let pair = tokio::select! {
            pair = both => pair,
            () = stop.cancelled() => break,
        };
        for (name, one) in [("A", &pair.0), ("B", &pair.1)] {
            if let Some(error) = &one.error {
                bail!("server {name} failed: {error}");
            }
        }
        pairs.push(pair);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(pairs)
}

/// Pairs the requests of two stored results, which must have been the same requests.
fn stored(a: &Path, b: &Path) -> anyhow::Result<Vec<(Taken, Taken)>> {
    let (a, b) = (requests(a)?, requests(b)?);
    ensure!(
        a.len() == b.len(),
        "A has {} requests and B {}: they are not of the same load",
        a.len(),
        b.len()
    );
    #[expect(clippy::print_stderr, reason = "a caveat of what is printed beside it")]
    {
        eprintln!(
            "note: the two runs were not interleaved; what changed on the machine between them counts as a difference \
             (--baseline URL --candidate URL asks both in turns)"
        );
    }
    Ok(a.into_iter().zip(b).filter(|(a, b)| a.fault.is_none() && b.fault.is_none()).collect())
}

fn requests(file: &Path) -> anyhow::Result<Vec<Taken>> {
    let name = file.display();
    let bytes = std::fs::read(file).with_context(|| name.to_string())?;
    let mut result: Value = serde_json::from_slice(&bytes).with_context(|| format!("{name} is no JSON"))?;
    ensure!(
        result["schema"] == SCHEMA,
        "{name} is no result of this program (schema {}, not {SCHEMA})",
        result["schema"]
    );
    let requests = result["requests"].take();
    ensure!(requests.is_array(), "{name} has no requests; run with --save-detailed");
    serde_json::from_value(requests).with_context(|| format!("{name}: its requests are damaged"))
}
