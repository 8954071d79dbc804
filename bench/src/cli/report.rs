//! `homereel-bench report`: turns result files into Markdown: a report with plots, a table of engines, or a comparison with
//! `vllm bench serve`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use homereel_bench::report::{Appendix, VllmBenchResult, compare_clients, engine_table, report as render};
use homereel_web::bench_result::BenchResult;
use serde::de::DeserializeOwned;

/// Flags of `report`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("output").args(["out", "table"]).required(true).multiple(true))]
pub(crate) struct ReportArgs {
    /// Results of `serve`
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// Write a report to this Markdown file, and its plots beside it
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write a table of engines to this Markdown file; with --vllm-bench, the comparison. "-" is standard output
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Results of `vllm bench serve` for the same load, one per result of ours: compare the medians in the table, and fail if
    /// throughput, TTFT or TPOT differ by more than 5 %
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "table")]
    vllm_bench: Vec<PathBuf>,
    /// Result of `probe`: adds the limits of the machine to the report
    #[arg(long, value_name = "FILE", requires = "out")]
    probe: Option<PathBuf>,
    /// Results of `ingest`: adds how fast clips were described to the report
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "out")]
    ingest: Vec<PathBuf>,
    /// Run that is missing or incomplete, for the report; may be repeated
    #[arg(long, value_name = "TEXT", requires = "out")]
    left_out: Vec<String>,
}

/// Writes the report, the table, or both.
pub(crate) fn report(args: &ReportArgs) -> anyhow::Result<()> {
    let mut results = Vec::with_capacity(args.results.len());
    for file in &args.results {
        let result = read_result(file)?;
        results.push((result.label.clone().unwrap_or_else(|| stem(file)), result));
    }
    if let Some(out) = &args.out {
        let probe = args.probe.as_ref().map(|file| read_json(file)).transpose()?;
        let ingest = args.ingest.iter().map(|file| Ok((stem(file), read_json(file)?)));
        let ingest = ingest.collect::<anyhow::Result<Vec<_>>>()?;
        let appendix = Appendix { probe, ingest, left_out: args.left_out.clone() };
        write_report(&results, &appendix, out)?;
    }
    let Some(table) = &args.table else { return Ok(()) };
    if args.vllm_bench.is_empty() {
        return write_text(table, &engine_table(&results));
    }
    let ours: Vec<BenchResult> = results.into_iter().map(|(_, result)| result).collect();
    let vllm = args
        .vllm_bench
        .iter()
        .map(|file| read_json(file))
        .collect::<anyhow::Result<Vec<VllmBenchResult>>>()?;
    let comparison = compare_clients(&ours, &vllm);
    write_text(table, &comparison.table)?;
    if !comparison.differing.is_empty() {
        bail!("the clients differ by more than 5 % in {}", comparison.differing.join(", "));
    }
    Ok(())
}

/// Names a result by its file.
fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn write_report(results: &[(String, BenchResult)], appendix: &Appendix, out: &Path) -> anyhow::Result<()> {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let (text, plots) = render(results, appendix, &stem)?;
    for plot in plots {
        write_text(&out.with_file_name(&plot.file), &plot.svg)?;
    }
    write_text(out, &text)?;
    writeln!(std::io::stdout(), "{}", out.display())?;
    Ok(())
}

fn write_text(file: &Path, text: &str) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return Ok(std::io::stdout().write_all(text.as_bytes())?);
    }
    std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

/// Reads a result of `serve`.
pub(super) fn read_result(file: &Path) -> anyhow::Result<BenchResult> {
    BenchResult::parse(&read(file)?).with_context(|| file.display().to_string())
}

fn read_json<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    serde_json::from_slice(&read(file)?).with_context(|| file.display().to_string())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}
