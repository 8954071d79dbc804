//! `homereel-bench probe`: what this machine could do at best.

use std::io::Write as _;
use std::path::PathBuf;

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use homereel_bench::serve::resources as machine;
use homereel_engine::measure::roofline::{self, Shape, Weights};
use homereel_engine::{DeviceKind, open_device};
use serde_json::json;

use super::output;

/// Tokens of the prefill that is measured.
const PREFILL: usize = 512;

/// Flags of `probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Probe {
    /// Measure the first CUDA device instead of the processor (in a program built with the cuda feature)
    #[arg(long)]
    cuda: bool,
    /// Width of the activations and of the result, as 2048x6144 (a 2-billion-parameter model's)
    #[arg(long, default_value = "2048x6144", value_parser = sides)]
    matrix: (usize, usize),
    /// Gigabytes of weights that a token of your model reads: tells the most tokens a second that memory allows
    #[arg(long, value_parser = super::serve::positive)]
    active_gb: Option<f64>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Measures, prints, and writes.
pub(crate) fn probe(job: &Probe) -> anyhow::Result<()> {
    if let Some(file) = &job.result_filename {
        output::check_writable(file)?;
    }
    let device = open_device(if job.cuda { DeviceKind::Cuda } else { DeviceKind::Cpu })?;
    let machine = machine::describe();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}, {} cores, {:.0} MiB of memory", machine.cpu, machine.cores, machine.memory_mib)?;
    let memory = roofline::memory();
    writeln!(out, "memory, read by all cores   {:>8.1} GB/s", memory.read_gbs)?;
    writeln!(out, "memory, STREAM triad        {:>8.1} GB/s", memory.triad_gbs)?;
    let plain = if job.cuda { DType::BF16 } else { DType::F32 };
    let (inner, columns) = job.matrix;
    let mut products = Vec::new();
    for weights in
        [Weights::Plain(plain), Weights::Quantized(GgmlDType::Q8_0), Weights::Quantized(GgmlDType::Q4K)]
    {
        let name = match weights {
            Weights::Plain(dtype) => dtype.as_str().to_owned(),
            Weights::Quantized(dtype) => format!("{dtype:?}").to_lowercase(),
        };
        for (kind, rows) in [("prefill", PREFILL), ("decode", 1)] {
            let got = roofline::product(&device, Shape { rows, inner, columns }, weights)?;
            writeln!(
                out,
                "{kind:<7} {name:<5} {rows:>4}x{inner}x{columns} {:>8.1} GFLOP/s {:>8.1} GB/s of weights",
                got.gflops, got.weights_gbs
            )?;
            products.push(json!({
                "kind": kind, "weights": name, "rows": rows, "inner": inner, "columns": columns,
                "gflops": got.gflops, "weights_gbs": got.weights_gbs,
            }));
        }
    }
    let ceiling = job.active_gb.map(|gb| memory.read_gbs / gb);
    if let (Some(gb), Some(ceiling)) = (job.active_gb, ceiling) {
        writeln!(out, "a token that reads {gb} GB of weights: at most {ceiling:.1} tokens/s, one by one")?;
    }
    if let Some(file) = &job.result_filename {
        let result = json!({
            "schema": "homereel-bench.probe/1", "machine": machine, "memory": memory, "products": products,
            "active_gb": job.active_gb, "max_tokens_per_s": ceiling,
        });
        output::write(file, &result)?;
    }
    Ok(())
}

fn sides(text: &str) -> Result<(usize, usize), String> {
    // A multiple of 256, as the blocks of quantized weights want it; 2^15 is wider than any model.
    let side =
        |text: &str| text.parse().ok().filter(|n: &usize| n.is_multiple_of(256) && (256..=32768).contains(n));
    let parsed = text.split_once('x').and_then(|(a, b)| Some((side(a)?, side(b)?)));
    parsed.ok_or_else(|| format!("'{text}' is no matrix; give multiples of 256 up to 32768, as 2048x6144"))
}
