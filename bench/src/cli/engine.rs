//! `homereel-bench engine`: an engine in this process, without HTTP and decoder.

use std::io::Write as _;
use std::path::PathBuf;

use homereel_bench::engine;
use homereel_bench::serve::resources as machine;
use homereel_engine::flags::EngineFlags;
use homereel_engine::measure::load::{self, Shape};
use serde_json::json;

use super::workload::bar;
use super::{draw, output};

/// Flags of `engine`.
#[derive(Debug, clap::Args)]
pub(crate) struct Engine {
    #[command(flatten)]
    engine: EngineFlags,
    /// Frames of noise in each request; 0 is text alone
    #[arg(long, default_value_t = 8)]
    num_frames: usize,
    /// Size of the video, before the model's own rule
    #[arg(long, default_value = "320x256", value_parser = draw::size)]
    frame_size: (u32, u32),
    /// Words of the question
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    words: u32,
    /// Tokens of the answer
    #[arg(long, visible_alias = "max-tokens", default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    random_output_len: u32,
    /// Requests at once; several (1,2,4) are run one after another
    #[arg(long, default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_concurrency: Vec<u32>,
    /// Requests of each run
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    num_prompts: u32,
    /// Requests before the clock runs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    num_warmups: u32,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Measures, prints, and writes.
pub(crate) async fn engine(job: &Engine) -> anyhow::Result<()> {
    if let Some(file) = &job.result_filename {
        output::check_writable(file)?;
    }
    let config = job.engine.clone().resolve(EngineFlags::default(), 1)?;
    let engine = homereel_engine::open(&config)?;
    load::ready(engine.as_ref()).await?;
    let info = engine.info()?;
    let shape = Shape {
        num_frames: job.num_frames,
        frame_size: job.frame_size,
        words: job.words as usize,
        output_len: job.random_output_len as usize,
    };
    let mut seed = job.seed;
    if job.num_warmups > 0 {
        engine::measure(engine.as_ref(), &shape, 1, job.num_warmups as usize, seed).await?;
        seed += u64::from(job.num_warmups);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} on {}", info.id, info.backend)?;
    writeln!(
        out,
        "{:>11} {:>7} {:>10} {:>9} {:>11} {:>9} {:>9} {:>8} {:>12}",
        "concurrency",
        "prompt",
        "vision ms",
        "frames/s",
        "prefill ms",
        "tok/s",
        "TTFT ms",
        "TPOT ms",
        "output tok/s"
    )?;
    let bar = bar("loads", job.max_concurrency.len() as u64);
    let mut runs = Vec::new();
    for &concurrency in &job.max_concurrency {
        let count = job.num_prompts.max(concurrency) as usize;
        let got = engine::measure(engine.as_ref(), &shape, concurrency as usize, count, seed).await?;
        seed += count as u64;
        bar.inc(1);
        bar.suspend(|| {
            writeln!(
                out,
                "{:>11} {:>7} {:>10.1} {:>9.1} {:>11.1} {:>9.1} {:>9.1} {:>8.2} {:>12.1}",
                got.concurrency,
                got.prompt_tokens,
                got.vision_ms,
                got.frames_per_s,
                got.prefill_ms,
                got.prefill_tokens_per_s,
                got.ttft_ms,
                got.tpot_ms,
                got.output_throughput
            )
        })?;
        runs.push(got);
    }
    bar.finish_and_clear();
    if let Some(file) = &job.result_filename {
        let result = json!({
            "schema": "homereel-bench.engine/1", "model_id": info.id, "backend": info.backend, "shape": shape,
            "machine": machine::describe(), "runs": runs,
        });
        output::write(file, &result)?;
    }
    Ok(())
}
