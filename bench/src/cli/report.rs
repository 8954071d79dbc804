//! `homereel-bench report`: result files in, Markdown and plots out.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use homereel_bench::report::report as render;
use homereel_bench::serve::schema;

/// Flags of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// Results of `serve`
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// The Markdown file; plots are put beside it
    #[arg(long)]
    out: PathBuf,
}

/// Writes the report.
pub(crate) fn report(job: &Report) -> anyhow::Result<()> {
    let mut results = Vec::with_capacity(job.results.len());
    for file in &job.results {
        let name = file.display();
        let bytes = std::fs::read(file).with_context(|| name.to_string())?;
        let result = schema::read(&bytes, &name.to_string())?;
        let label = result["label"].as_str().map(str::to_owned);
        let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        results.push((label.unwrap_or_else(stem), result));
    }
    let stem = job.out.file_stem().unwrap_or_default().to_string_lossy();
    let (text, plots) = render(&results, &stem)?;
    for plot in plots {
        let file = job.out.with_file_name(&plot.file);
        std::fs::write(&file, plot.svg).with_context(|| file.display().to_string())?;
    }
    std::fs::write(&job.out, text).with_context(|| job.out.display().to_string())?;
    writeln!(std::io::stdout(), "{}", job.out.display())?;
    Ok(())
}
