//! The command line: what can be typed, and which function answers. Exit codes: 0, 1 failed, 2 usage.

mod ask;
mod backup;
mod doctor;
mod frames;
mod guard;
mod keys;
mod model;
mod notes;
mod password;
mod probe;
mod progress;
mod remote;
mod serve;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Role,
    config::{self, Decoder, EngineFlags, ServerFlags},
    media::{FrameSampling, Source},
};

/// Asks a home's videos questions, on this machine.
#[derive(Debug, Parser)]
#[command(name = "homereel", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve pages, the library and the OpenAI-compatible endpoint
    Serve(ServeArgs),
    /// Ask a question about a video; the answer goes to standard output
    Ask(AskArgs),
    /// Tell what is in a video file
    Probe {
        /// The video
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write the frames that a model would see as PNG files, with frames.json
    Frames(FramesArgs),
    /// Download, list and describe models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Tell what this machine has, what is missing, and how to mend it
    Doctor(DoctorArgs),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Set the household's password
    #[command(subcommand)]
    Password(PasswordCommand),
    /// Show the notes that deploys and the memory guard keep of this machine
    Notes(DataArgs),
    /// Stop the model before memory runs out (homereel-guard.service runs this)
    Guard(GuardArgs),
    /// Copy the database to a new file, also while a server runs; the originals are listed beside it
    Backup {
        /// The copy
        file: PathBuf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Make a copy the library's database again; the server must not run
    Restore {
        /// A copy made by backup
        file: PathBuf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Write all videos with their texts into a new directory, as files that need no Homereel
    Export {
        /// The directory
        out: PathBuf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Decode one file (this program calls itself)
    #[command(hide = true)]
    VideoWorker,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    engine: EngineFlags,
    /// TOML file with [server] and [engine]; environment and flags go first
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct AskArgs {
    /// The video
    file: PathBuf,
    /// The question
    question: String,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Tokens of the answer at most
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// 0 always takes the likeliest word; more is more varied [default: the model's]
    #[arg(long, value_name = "T", value_parser = temperature)]
    temperature: Option<f64>,
    /// The same seed gives the same answer
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object: answer, usage, model, stages_ms, media
    #[arg(long)]
    json: bool,
    /// What decodes the video
    #[arg(long, env = "HOMEREEL_DECODER", default_value = "auto")]
    decoder: Decoder,
    /// Ask a running server (http://HOST:PORT) instead of loading a model here; an API key that it wants is taken from
    /// HOMEREEL_API_KEY
    #[arg(long, value_name = "URL", env = "HOMEREEL_SERVER")]
    server: Option<url::Url>,
    #[command(flatten)]
    engine: EngineFlags,
    /// TOML file with [engine]; environment and flags go first
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct FramesArgs {
    /// The video
    file: PathBuf,
    /// Directory to write to; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Pixels per row [default: the clip's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    width: Option<u32>,
    /// Rows [default: the clip's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    height: Option<u32>,
    /// What decodes the video
    #[arg(long, env = "HOMEREEL_DECODER", default_value = "auto")]
    decoder: Decoder,
}

#[derive(Debug, Clone, Copy, Args)]
struct SamplingArgs {
    /// Frames per second of video [default: the model's]
    #[arg(long, value_name = "F", conflicts_with = "num_frames")]
    fps: Option<f64>,
    /// Exactly so many frames
    #[arg(long, value_name = "N")]
    num_frames: Option<usize>,
    /// From this second on
    #[arg(long, value_name = "S")]
    start: Option<f64>,
    /// Up to this second
    #[arg(long, value_name = "S")]
    end: Option<f64>,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Download a model of the Hugging Face hub and check it
    Pull {
        /// owner/name, optionally with @revision
        id: String,
    },
    /// List the models on this machine
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Describe a model
    Info {
        /// "demo", a directory or a hub id
        model: String,
    },
}

#[derive(Debug, Args)]
struct DataArgs {
    /// Directory of the library [default: ~/.local/share/homereel]
    #[arg(long, env = "HOMEREEL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// TOML file that may name it
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DataArgs {
    fn resolve(self) -> anyhow::Result<PathBuf> {
        Ok(config::data(self.data, self.config.as_ref()).map_err(Usage)?)
    }
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and print it, once
    Add {
        /// What it is for, such as "phone"
        name: String,
        /// viewer watches, member also adds and asks, admin also deletes
        #[arg(long, value_enum, default_value = "member")]
        role: Role,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List the keys, without their secrets
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Make a key worthless
    Revoke {
        /// Name or id
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Subcommand)]
enum PasswordCommand {
    /// Print a link; whoever opens it first sets the password
    Link {
        /// Address that the server listens on, if it is another than the settings say
        #[arg(long, env = "HOMEREEL_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Set the password to a line of standard input; everybody has to log in again
    Set {
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
struct GuardArgs {
    /// Stop the units when less than this is available
    #[arg(long, value_name = "MIB", required_unless_present = "wait_mib")]
    floor_mib: Option<u64>,
    /// Units to stop; patterns as systemctl takes them
    #[arg(long, value_name = "UNIT", default_value = "homereel-vllm@*.service")]
    unit: Vec<String>,
    /// Start them again, once an hour at most, when this has been available for a minute
    #[arg(long, value_name = "MIB")]
    restart_mib: Option<u64>,
    /// File to note each stop in
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// Count what this control group may still take, too (for containers)
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Guard nothing: only wait until this much is available (before a model starts)
    #[arg(long, value_name = "MIB", conflicts_with = "floor_mib")]
    wait_mib: Option<u64>,
    /// Wait so long at most
    #[arg(long, value_name = "S", default_value_t = 180)]
    timeout_s: u64,
}

/// An error of what was typed: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Usage(anyhow::Error);

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::VideoWorker) {
        // Before any runtime: the worker locks itself in, which threads would escape.
        return homereel_video::worker::main();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("failed to start")),
    };
    let result = runtime.block_on(run(cli.command));
    // Threads that still compute for nobody must not hold the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // A closed standard error leaves only the exit code.
    let _ = writeln!(io::stderr(), "error: {error:#}");
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Ask(args) => {
            quietly();
            ask::run(args).await
        }
        Command::Probe { file, json } => {
            quietly();
            probe::run(&file, json).await
        }
        Command::Frames(args) => {
            quietly();
            frames::run(args).await
        }
        Command::Model(command) => {
            quietly();
            model::run(command).await
        }
        Command::Doctor(args) => {
            quietly();
            doctor::run(args).await
        }
        Command::Keys(command) => {
            quietly();
            keys::run(command).await
        }
        Command::Password(command) => {
            quietly();
            password::run(command).await
        }
        Command::Notes(data) => notes::run(data),
        Command::Guard(args) => {
            crate::telemetry::log("info");
            guard::run(args).await
        }
        Command::Backup { file, data } => {
            quietly();
            backup::back_up(data, &file).await
        }
        Command::Restore { file, data } => {
            quietly();
            backup::bring_back(data, &file).await
        }
        Command::Export { out, data } => {
            quietly();
            backup::export(data, &out).await
        }
        // Answered by `main`.
        Command::VideoWorker => Ok(()),
    }
}

fn quietly() {
    // Errors are told once, by `failed`, and who asked for a decoder chip hears that there is none; RUST_LOG shows the rest.
    crate::telemetry::log("off,homereel_video::chip=warn");
}

/// Names a file of the caller's as a source, after the mistakes that are best told by name.
fn source(file: &Path) -> anyhow::Result<Source> {
    let name = || file.display().to_string();
    let metadata = fs::metadata(file).with_context(name)?;
    ensure!(metadata.is_file(), "{}: not a regular file", file.display());
    ensure!(metadata.len() > 0, "{}: not a video: the file is empty (0 bytes)", file.display());
    Ok(Source::file(file.to_owned(), None))
}

/// Is cancelled by the first Ctrl-C; the second ends the process.
fn cancel_on_ctrl_c() -> CancellationToken {
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            token.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(1);
        }
    });
    cancel
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 2 would fit".into()),
    }
}

impl From<SamplingArgs> for FrameSampling {
    fn from(SamplingArgs { fps, num_frames, start, end }: SamplingArgs) -> Self {
        Self { fps, num_frames, start, end }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
