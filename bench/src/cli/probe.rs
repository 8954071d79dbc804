//! `homereel-bench probe`: measures the limits of this machine, memory bandwidth and matrix products.

use std::io::Write as _;
use std::path::PathBuf;

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use homereel_bench::report::{Bandwidth, MatrixProduct, ProbeResult};
use homereel_bench::serve::resources;
use homereel_engine::measure::roofline::{self, MatrixShape, WeightFormat};
use homereel_engine::{DeviceKind, open_device};

use super::output;
use super::parsers::positive;

/// Tokens of the measured prefill.
const PREFILL: usize = 512;

/// Flags of `probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProbeArgs {
    /// Measure the first CUDA device instead of the processor (needs a build with the feature cuda)
    #[arg(long)]
    cuda: bool,
    /// Width of the activations and of the product, such as 2048x6144 (a model with 2 billion parameters)
    #[arg(long, default_value = "2048x6144", value_parser = sides)]
    matrix: (usize, usize),
    /// Gigabytes of weights that a token of your model reads: prints the bound of tokens per second
    #[arg(long, value_parser = positive)]
    active_gb: Option<f64>,
    /// Write the result as JSON
    #[arg(long)]
    result_filename: Option<PathBuf>,
}

/// Measures, prints, and writes the result.
pub(crate) fn probe(args: &ProbeArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.result_filename {
        output::check_writable(file)?;
    }
    let device = open_device(if args.cuda { DeviceKind::Cuda } else { DeviceKind::Cpu })?;
    let machine = resources::machine();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}, {} cores, {:.0} MiB of memory", machine.cpu, machine.cores, machine.memory_mib)?;
    let memory = roofline::memory();
    writeln!(out, "memory, read by all cores   {:>8.1} GB/s", memory.read_gbs)?;
    writeln!(out, "memory, STREAM triad        {:>8.1} GB/s", memory.triad_gbs)?;
    let plain = if args.cuda { DType::BF16 } else { DType::F32 };
    let (inner, columns) = args.matrix;
    let mut products = Vec::new();
    for weights in [
        WeightFormat::Plain(plain),
        WeightFormat::Quantized(GgmlDType::Q8_0),
        WeightFormat::Quantized(GgmlDType::Q4K),
    ] {
        let name = match weights {
            WeightFormat::Plain(dtype) => dtype.as_str().to_owned(),
            WeightFormat::Quantized(dtype) => format!("{dtype:?}").to_lowercase(),
        };
        for (kind, rows) in [("prefill", PREFILL), ("decode", 1)] {
            let speed = roofline::product(&device, MatrixShape { rows, inner, columns }, weights)?;
            writeln!(
                out,
                "{kind:<7} {name:<5} {rows:>4}x{inner}x{columns} {:>8.1} GFLOP/s {:>8.1} GB/s of weights",
                speed.gflops, speed.weights_gbs
            )?;
            products.push(MatrixProduct {
                kind: kind.to_owned(),
                weights: name.clone(),
                rows,
                inner,
                columns,
                gflops: speed.gflops,
                weights_gbs: speed.weights_gbs,
            });
        }
    }
    let ceiling = args.active_gb.map(|gb| memory.read_gbs / gb);
    if let (Some(gb), Some(ceiling)) = (args.active_gb, ceiling) {
        writeln!(out, "at most {ceiling:.1} tokens/s for one stream, if a token reads {gb} GB of weights")?;
    }
    if let Some(file) = &args.result_filename {
        let result = ProbeResult {
            schema: ProbeResult::SCHEMA.to_owned(),
            machine,
            memory: Bandwidth { read_gbs: memory.read_gbs, triad_gbs: memory.triad_gbs },
            products,
            active_gb: args.active_gb,
            max_tokens_per_s: ceiling,
        };
        output::write(file, &result)?;
    }
    Ok(())
}

fn sides(text: &str) -> Result<(usize, usize), String> {
    // The blocks of quantized weights need a multiple of 256; 2^15 is wider than any model.
    let side =
        |text: &str| text.parse().ok().filter(|n: &usize| n.is_multiple_of(256) && (256..=32768).contains(n));
    let parsed = text.split_once('x').and_then(|(a, b)| Some((side(a)?, side(b)?)));
    parsed.ok_or_else(|| {
        format!("'{text}' is not a matrix size; multiples of 256 up to 32768, such as 2048x6144, would fit")
    })
}
