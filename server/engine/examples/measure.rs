//! Measures the candle engine on a device and checks it against transformers. `scripts/gpu-check.sh` packs this
//! program for machines with a GPU; it needs neither ffmpeg nor a checkpoint of a published model.
//!
//! `distance` says what bf16 and each quantization cost in logits. `facts`, `parity` and `speed` each write one JSON file; `report` reads them, prints the table and exits with 1
//! where a check failed.
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

#[path = "measure/distance.rs"]
mod distance;
#[path = "measure/parity.rs"]
mod parity;
#[path = "measure/report.rs"]
mod report;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use candle_core::DType;
use clap::{Parser, Subcommand, ValueEnum};
use homereel_engine::measure::device::{self, Description, PeakMemory};
use homereel_engine::measure::network::{self, Sizes, Speed};
use homereel_engine::measure::roofline::{self, MatrixShape, WeightFormat};
use homereel_engine::qwen3vl::{Checkpoint, Model};
use homereel_engine::{DeviceKind, open_device};
use serde::{Deserialize, Serialize};

/// Measure the candle engine on a device and check it against transformers.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Describe the device and measure its copy bandwidth and matrix throughput
    Facts {
        #[command(flatten)]
        target: RunOptions,
        /// Use small arrays, for a test of this program
        #[arg(long)]
        tiny: bool,
    },
    /// Record logits and greedy tokens of a small checkpoint for every case of its golden file
    Parity {
        #[command(flatten)]
        target: RunOptions,
        /// Directory with `checkpoints/NAME` and `golden/NAME.json`
        #[arg(long)]
        dir: PathBuf,
        /// Name of the checkpoint
        name: String,
    },
    /// Time a model of random weights at the shape of a config.json
    Speed {
        #[command(flatten)]
        target: RunOptions,
        /// The config.json
        #[arg(long)]
        config: PathBuf,
        /// Measure short inputs, for a test of this program
        #[arg(long)]
        tiny: bool,
    },
    /// Compare the logits of bf16 and of each quantization with those of f32, on random weights
    Distance {
        /// The config.json
        #[arg(long)]
        config: PathBuf,
        /// The result, as JSON
        #[arg(long)]
        out: PathBuf,
    },
    /// Combine the results in a directory into one JSON file, and print a table
    Report {
        /// Directory of results
        dir: PathBuf,
        /// Directory with the config.json of each shape, as SHAPE.json
        #[arg(long)]
        shapes: PathBuf,
        /// The combined result
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
struct RunOptions {
    /// Device to run on
    #[arg(long, value_enum, default_value_t = On::Cpu)]
    device: On,
    /// Type of the weights
    #[arg(long, value_enum, default_value_t = Type::F32)]
    dtype: Type,
    /// The result, as JSON
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum On {
    Cpu,
    Cuda,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    F32,
    Bf16,
}

impl RunOptions {
    fn open(&self) -> anyhow::Result<candle_core::Device> {
        let kind = match self.device {
            On::Cpu => DeviceKind::Cpu,
            On::Cuda => DeviceKind::Cuda,
        };
        Ok(open_device(kind)?)
    }

    fn dtype(&self) -> DType {
        match self.dtype {
            Type::F32 => DType::F32,
            Type::Bf16 => DType::BF16,
        }
    }

    fn write(&self, result: &impl Serialize) -> anyhow::Result<()> {
        write(&self.out, result)
    }
}

/// The limits of the device.
#[derive(Serialize, Deserialize)]
struct DeviceFacts {
    device: Description,
    /// Bytes read and written by copies within the device's memory, in 10⁹ a second.
    copy_gbs: f64,
    /// Square matrix product in `dtype`, in 10¹² operations a second.
    matmul_tflops: f64,
    /// Type of the product.
    dtype: String,
}

fn main() -> std::process::ExitCode {
    match run(&Cli::parse().command) {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        // One line, without the backtrace that candle puts into its messages.
        Err(error) => {
            let message = format!("{error:#}");
            eprint_line(message.lines().next().unwrap_or_default());
            std::process::ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program that reports why it failed")]
fn eprint_line(message: &str) {
    eprintln!("error: {message}");
}

/// Returns whether every check passed.
fn run(command: &Command) -> anyhow::Result<bool> {
    match command {
        Command::Facts { target, tiny } => target.write(&facts(target, *tiny)?)?,
        Command::Parity { target, dir, name } => {
            target.write(&parity::record(&target.open()?, target.dtype(), dir, name)?)?;
        }
        Command::Speed { target, config, tiny } => target.write(&speed(target, config, *tiny)?)?,
        Command::Distance { config, out } => write(out, &distance::measure(&drawn(config)?)?)?,
        Command::Report { dir, shapes, out } => {
            let report = report::read(dir, shapes)?;
            write(out, &report)?;
            print!("{}", report.table());
            return Ok(report.passed());
        }
    }
    Ok(true)
}

fn write(file: &Path, result: &impl Serialize) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(result)?;
    json.push(b'\n');
    std::fs::write(file, json).with_context(|| format!("failed to write {}", file.display()))
}

fn facts(target: &RunOptions, tiny: bool) -> anyhow::Result<DeviceFacts> {
    let device = target.open()?;
    let (bytes, edge) = if tiny { (16 << 20, 512) } else { (1 << 30, 8192) };
    let shape = MatrixShape { rows: edge, inner: edge, columns: edge };
    let product = roofline::product(&device, shape, WeightFormat::Plain(target.dtype()))?;
    Ok(DeviceFacts {
        copy_gbs: roofline::copy_gbs(&device, bytes)?,
        matmul_tflops: product.gflops / 1e3,
        dtype: target.dtype().as_str().into(),
        device: device::describe(&device)?,
    })
}

/// The name of the shape in the file `config`.
fn shape(config: &Path) -> String {
    config.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Random weights at the shape of `config`.
fn drawn(config: &Path) -> anyhow::Result<Checkpoint> {
    let json = std::fs::read(config).with_context(|| config.display().to_string())?;
    Ok(Checkpoint::drawn(&shape(config), &json)?)
}

fn speed(target: &RunOptions, config: &Path, tiny: bool) -> anyhow::Result<Speed> {
    let device = target.open()?;
    let memory = PeakMemory::start(&device)?;
    let model = Model::load(&drawn(config)?, &device, target.dtype())?;
    let sizes = if tiny { Sizes::TINY } else { Sizes::FULL };
    let times = network::measure(&model, &sizes)?;
    Ok(Speed {
        engine: "homereel".into(),
        shape: shape(config),
        dtype: target.dtype().as_str().into(),
        sizes,
        times,
        peak_memory_bytes: memory.stop(),
    })
}
