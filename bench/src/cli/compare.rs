//! `homereel-bench compare`: servers asked in turns, or two result files.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use homereel_bench::compare::{MIN_PAIRS, Verdict, compare as verdict};
use homereel_bench::statistics::Figures;
use homereel_bench::serve::client::{Taken, Target};
use homereel_bench::serve::{self, resources as machine, schema};
use serde_json::{Map, Value, json};

use super::output;
use super::workload::{Questions, bar};
use super::serve::stop_on_ctrl_c;
use super::process_groups::{Floor, Group, turns};

/// Flags of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Two results of `serve --save-detailed`: A.json B.json
    #[arg(num_args = 2, conflicts_with_all = ["baseline", "candidate"])]
    results: Vec<PathBuf>,
    /// Server A, asked in turns with the candidates: URL, or NAME=URL
    #[arg(long, requires = "candidate", required_unless_present = "results")]
    baseline: Option<Named>,
    /// Server B: URL, or NAME=URL; once for each of several
    #[arg(long, requires = "baseline")]
    candidate: Vec<Named>,
    #[command(flatten)]
    questions: Questions,
    /// Milliseconds of rest before each question, so that what one server still does meets no other
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pause_ms: u64,
    /// Process group of a server on this machine, stopped while another is asked: NAME=ID, once for each of several
    #[arg(long, value_name = "NAME=ID", requires = "baseline")]
    server_group: Vec<Group>,
    /// Write the comparison as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
    /// Write the ratios as a Markdown table
    #[arg(long)]
    table: Option<PathBuf>,
}

/// A server with a name for tables.
#[derive(Debug, Clone)]
struct Named {
    name: Option<String>,
    url: url::Url,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_. ".contains(c))
        };
        let (name, url) = match text.split_once('=') {
            Some((name, url)) if plain(name) => (Some(name.to_owned()), url),
            _ => (None, text),
        };
        let url = url.parse().map_err(|error| format!("'{url}' is no URL: {error}"))?;
        Ok(Self { name, url })
    }
}

/// What one server did: its name, and its answers in the order of the questions.
struct Side {
    name: String,
    taken: Vec<Taken>,
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

/// Compares and prints a verdict for each measure of each candidate.
pub(crate) async fn compare(job: &Compare) -> anyhow::Result<()> {
    for file in job.result_filename.iter().chain(&job.table) {
        output::check_writable(file)?;
    }
    let sides = match (&job.baseline, job.results.as_slice()) {
        (Some(baseline), _) => interleaved(job, baseline).await?,
        (None, [a, b]) => stored(a, b)?,
        _ => bail!("give two result files, or --baseline URL --candidate URL"),
    };
    let (baseline, candidates) = sides.split_first().context("there is a baseline")?;
    let alone = candidates.len() == 1;
    let mut told = Map::new();
    let mut out = std::io::stdout().lock();
    for candidate in candidates {
        let mut measures = Map::new();
        for (name, measure) in MEASURES {
            let pairs: Vec<(f64, f64)> =
                baseline.taken.iter().zip(&candidate.taken).map(|(a, b)| (measure(a), measure(b))).collect();
            let of = if alone { String::new() } else { format!("{} ", candidate.name) };
            let Some(found): Option<Verdict> = verdict(&pairs) else {
                writeln!(
                    out,
                    "{of}{name}: {} pairs are too few to say anything; {MIN_PAIRS} is the least",
                    pairs.len()
                )?;
                continue;
            };
            writeln!(out, "{of}{name}: {}", found.told(&baseline.name, &candidate.name))?;
            measures.insert(name.into(), json!(found));
        }
        told.insert(candidate.name.clone(), Value::Object(measures));
    }
    if let Some(file) = &job.table {
        std::fs::write(file, table(&sides, &told)).with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &job.result_filename {
        let medians: Map<String, Value> =
            sides.iter().map(|side| (side.name.clone(), medians(side))).collect();
        let result = json!({
            "schema": "homereel-bench.compare/2", "baseline": baseline.name, "candidates": told,
            "median_ms": medians, "machine": machine::describe(),
            "command": std::env::args().collect::<Vec<_>>(),
        });
        output::write(file, &result)?;
    }
    Ok(())
}

/// Asks every server the same, one request at a time, in turns.
async fn interleaved(job: &Compare, baseline: &Named) -> anyhow::Result<Vec<Side>> {
    let questions = &job.questions;
    let servers: Vec<&Named> = std::iter::once(baseline).chain(&job.candidate).collect();
    let mut targets: Vec<Target> = Vec::with_capacity(servers.len());
    let mut sides: Vec<Side> = Vec::with_capacity(servers.len());
    for (n, server) in servers.iter().enumerate() {
        let name = match (&server.name, n, servers.len()) {
            (Some(name), ..) => name.clone(),
            (None, 0, _) => "A".into(),
            (None, _, 2) => "B".into(),
            _ => format!("B{n}"),
        };
        ensure!(sides.iter().all(|side| side.name != name), "two servers are called '{name}'");
        targets.push(questions.connect(&server.url).await.with_context(|| format!("server {name}"))?);
        sides.push(Side { name, taken: Vec::new() });
    }
    let ready = questions.ready(targets.first().context("there is a baseline")?).await?;
    for (target, side) in targets.iter().zip(&sides) {
        let prepare = async {
            questions.check(target, &ready).await?;
            serve::warm_up(target, &ready.warmups, &ready.sampling).await
        };
        prepare.await.with_context(|| format!("server {}", side.name))?;
    }
    if let Some(group) =
        job.server_group.iter().find(|group| sides.iter().all(|side| side.name != group.name))
    {
        bail!("--server-group: no server is called '{}'", group.name);
    }
    let floor = Floor::new(job.server_group.clone());
    let stop = stop_on_ctrl_c();
    let bar = bar("pairs", ready.prompts.len() as u64);
    'questions: for (n, prompt) in ready.prompts.iter().enumerate() {
        let mut row: Vec<Option<Taken>> = vec![None; targets.len()];
        for at in turns(n, targets.len()) {
            let body = targets[at].body(prompt, &ready.sampling).await?;
            let name = &sides[at].name;
            floor.give(name).with_context(|| format!("failed to stop all but {name}"))?;
            tokio::time::sleep(Duration::from_millis(job.pause_ms)).await;
            let one = tokio::select! {
                one = targets[at].send(body) => one,
                () = stop.cancelled() => break 'questions,
            };
            if let Some(error) = &one.error {
                bail!("server {} failed: {error}", sides[at].name);
            }
            row[at] = Some(one);
        }
        for (side, one) in sides.iter_mut().zip(row) {
            side.taken.extend(one);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(sides)
}

/// Reads two stored results, which must have been of the same requests.
fn stored(a: &Path, b: &Path) -> anyhow::Result<Vec<Side>> {
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
    let whole = a.into_iter().zip(b).filter(|(a, b)| a.fault.is_none() && b.fault.is_none());
    let (a, b) = whole.unzip();
    Ok(vec![Side { name: "A".into(), taken: a }, Side { name: "B".into(), taken: b }])
}

fn requests(file: &Path) -> anyhow::Result<Vec<Taken>> {
    let name = file.display();
    let bytes = std::fs::read(file).with_context(|| name.to_string())?;
    let mut result = schema::read(&bytes, &name.to_string())?;
    let requests = result["requests"].take();
    ensure!(requests.is_array(), "{name} has no requests; run with --save-detailed");
    serde_json::from_value(requests).with_context(|| format!("{name}: its requests are damaged"))
}

/// Median milliseconds of each measure, and tokens: those of this machine on this day.
fn medians(side: &Side) -> Value {
    let of = |values: Vec<f64>| Figures::of(&values, &[]).median;
    let mut out: Map<String, Value> = MEASURES
        .iter()
        .map(|(name, measure)| {
            ((*name).to_owned(), json!(of(side.taken.iter().map(|one| 1e3 * measure(one)).collect())))
        })
        .collect();
    let tokens = |of: fn(&Taken) -> u64| side.taken.iter().map(|one| of(one) as f64).collect::<Vec<f64>>();
    out.insert("prompt_tokens".into(), json!(of(tokens(|one| one.prompt_tokens))));
    out.insert("completion_tokens".into(), json!(of(tokens(|one| one.completion_tokens))));
    Value::Object(out)
}

/// One row for each server: its times, and how many times the baseline's they are.
fn table(sides: &[Side], told: &Map<String, Value>) -> String {
    let mut out = String::from(
        "| | prompt tokens | TTFT ms | TPOT ms | E2EL ms | TTFT ratio | TPOT ratio | E2EL ratio |\n|---|---|---|---|---|---|---|---|\n",
    );
    for side in sides {
        let medians = medians(side);
        let number = |name: &str| medians[name].as_f64().unwrap_or_default();
        let ratio = |name: &str| match told.get(&side.name) {
            None => "1".to_owned(),
            Some(found) => found[name]["ratio"].as_f64().map_or_else(
                || "–".into(),
                |ratio| {
                    let end = |n: usize| found[name]["interval"][n].as_f64().unwrap_or_default();
                    format!("{ratio:.2} [{:.2}, {:.2}]", end(0), end(1))
                },
            ),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.1} | {:.2} | {:.1} | {} | {} | {} |",
            side.name,
            number("prompt_tokens"),
            number("ttft"),
            number("tpot"),
            number("e2el"),
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
        let named: Named = "llama.cpp=http://127.0.0.1:1/?a=b".parse().unwrap();
        assert_eq!(
            (named.name.as_deref(), named.url.as_str()),
            (Some("llama.cpp"), "http://127.0.0.1:1/?a=b")
        );
        let plain: Named = "http://127.0.0.1:1/?a=b".parse().unwrap();
        assert_eq!(plain.name, None);
        assert!("x=y".parse::<Named>().unwrap_err().contains("'y' is no URL"));
    }
}
