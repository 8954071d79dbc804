//! `homereel-bench engine`: measures an engine in this process, without HTTP and video decoding.

use std::io::Write as _;
use std::path::PathBuf;

use homereel_bench::engine;
use homereel_bench::serve::resources;
use homereel_engine::flags::EngineFlags;
use homereel_engine::measure::load::{self, LoadShape};
use serde_json::json;

use super::output::{self, progress_bar};
use super::parsers::frame_size;

/// Flags of `engine`.
#[derive(Debug, clap::Args)]
pub(crate) struct EngineArgs {
    #[command(flatten)]
    engine: EngineFlags,
    /// Frames of noise in each request; 0 is text only
    #[arg(long, default_value_t = 8)]
    num_frames: usize,
    /// Size of the video, before the model's own resize
    #[arg(long, default_value = "320x256", value_parser = frame_size)]
    frame_size: (u32, u32),
    /// Length of the question in words
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    words: u32,
    /// Tokens per answer
    #[arg(long, visible_alias = "max-tokens", default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    random_output_len: u32,
    /// Concurrent requests; several (1,2,4) run one after the other
    #[arg(long, default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_concurrency: Vec<u32>,
    /// Requests per run
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    num_prompts: u32,
    /// Requests before the measurement
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    num_warmups: u32,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Measures, prints a table, and writes the result.
pub(crate) async fn engine(args: &EngineArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.result_filename {
        output::check_writable(file)?;
    }
    let config = args.engine.clone().resolve(EngineFlags::default(), 1)?;
    let engine = homereel_engine::open(&config)?;
    load::ready(engine.as_ref()).await?;
    let info = engine.info()?;
    let shape = LoadShape {
        num_frames: args.num_frames,
        frame_size: args.frame_size,
        words: args.words as usize,
        output_len: args.random_output_len as usize,
    };
    let mut seed = args.seed;
    if args.num_warmups > 0 {
        engine::measure(engine.as_ref(), &shape, 1, args.num_warmups as usize, seed).await?;
        seed += u64::from(args.num_warmups);
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
    let bar = progress_bar("runs", args.max_concurrency.len() as u64);
    let mut runs = Vec::new();
    for &concurrency in &args.max_concurrency {
        let count = args.num_prompts.max(concurrency) as usize;
        let run = engine::measure(engine.as_ref(), &shape, concurrency as usize, count, seed).await?;
        seed += count as u64;
        bar.inc(1);
        bar.suspend(|| {
            writeln!(
                out,
                "{:>11} {:>7} {:>10.1} {:>9.1} {:>11.1} {:>9.1} {:>9.1} {:>8.2} {:>12.1}",
                run.concurrency,
                run.prompt_tokens,
                run.vision_ms,
                run.frames_per_s,
                run.prefill_ms,
                run.prefill_tokens_per_s,
                run.ttft_ms,
                run.tpot_ms,
                run.output_throughput
            )
        })?;
        runs.push(run);
    }
    bar.finish_and_clear();
    if let Some(file) = &args.result_filename {
        let result = json!({
            "schema": "homereel-bench.engine/1", "model_id": info.id, "backend": info.backend, "shape": shape,
            "machine": resources::machine(), "runs": runs,
        });
        output::write(file, &result)?;
    }
    Ok(())
}
