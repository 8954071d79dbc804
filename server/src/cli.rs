//! The command line: what can be typed, and which function answers. Exit codes: 0, 1 failed, 2 usage.

mod args;
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
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use self::args::{
    AskArgs, DataArgs, DoctorArgs, FramesArgs, GuardArgs, KeysCommand, ModelCommand, PasswordCommand,
    ServeArgs,
};
use crate::media::Source;

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
