//! The command line: subcommands, dispatch and exit codes (0 success, 1 failure, 2 usage error).

mod args;
mod ask;
mod backup;
mod check;
mod completions;
mod doctor;
mod frames;
mod guard;
mod keys;
mod mcp;
mod model;
mod notes;
mod outcome;
mod password;
mod probe;
mod progress;
mod remote;
mod reread;
mod serve;
mod terminal;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use self::args::{
    AskArgs, CheckArgs, DataArgs, DoctorArgs, FramesArgs, GuardArgs, KeysCommand, ModelCommand,
    PasswordCommand, ServeArgs,
};
use crate::{media::Source, printable};

/// Ask your home videos anything, on your own machine
#[derive(Debug, Parser)]
#[command(name = "homereel", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: web pages, library, and OpenAI-compatible API
    Serve {
        #[command(flatten)]
        serve: ServeArgs,
        /// Check the settings, the certificate, the library's directory, the password and the model, and start nothing
        #[arg(long)]
        check: bool,
    },
    /// Ask a question about a video and print the answer
    Ask(AskArgs),
    /// Check that a running server answers a question about a short clip correctly
    Check(CheckArgs),
    /// Show the streams, duration and metadata of a video file
    Probe {
        /// Video file
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write the frames that the model would see as PNG files, and their times as frames.json
    Frames(FramesArgs),
    /// Download, list and inspect models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Check this machine for everything the server needs, and suggest fixes
    Doctor(DoctorArgs),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Set the household's password
    #[command(subcommand)]
    Password(PasswordCommand),
    /// Print the log of deploys and memory guard actions on this machine
    Notes(DataArgs),
    /// Stop model services before memory runs out (run by homereel-guard.service)
    Guard(GuardArgs),
    /// Have a running server describe all videos again that another model than its present one described
    Reread {
        /// Address of the server, such as http://127.0.0.1:8080; HOMEREEL_API_KEY may hold its API key
        url: url::Url,
    },
    /// Let an assistant that speaks the Model Context Protocol on stdin and stdout use a running server
    Mcp {
        /// Address of the server; HOMEREEL_API_KEY may hold its API key
        #[arg(default_value = "http://127.0.0.1:8080")]
        url: url::Url,
    },
    /// Back up the database to a new file, with a list of the original videos; works while the server runs
    Backup {
        /// Backup file to create
        file: PathBuf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Replace the library's database with a backup; stop the server first
    Restore {
        /// Backup file
        file: PathBuf,
        /// Also restore the API keys of the backup, including those that were revoked since
        #[arg(long)]
        keep_keys: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Export all videos and their descriptions to a new directory of ordinary files
    Export {
        /// Directory to create
        out: PathBuf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Print a shell completion script
    Completions {
        /// Shell to generate the script for
        shell: clap_complete::Shell,
    },
    /// Write the man pages to a directory (for packaging)
    #[command(hide = true)]
    Man {
        /// Directory, created if missing
        out: PathBuf,
    },
    /// Decode one file in a sandbox (started by the other commands)
    #[command(hide = true)]
    VideoWorker,
}

impl Command {
    /// Returns whether the files that the command creates belong to the library, which is private. Other commands create files
    /// for the caller.
    fn writes_the_library(&self) -> bool {
        matches!(
            self,
            Self::Serve { check: false, .. }
                | Self::Keys(_)
                | Self::Password(_)
                | Self::Guard(_)
                | Self::Backup { .. }
                | Self::Restore { .. }
        )
    }
}

/// A usage error: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct UsageError(anyhow::Error);

/// Runs the program and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let text = error.render().to_string();
        if printable::lines(&text) == text {
            error.exit();
        }
        // A file name on the command line, such as one that `*` matched, can hold anything.
        terminal::explain(&text);
        std::process::exit(error.exit_code())
    });
    if matches!(cli.command, Command::VideoWorker) {
        // Before any runtime starts: the sandbox does not apply to threads that already exist.
        return homereel_video::worker::main();
    }
    if cli.command.writes_the_library() {
        // Also of what SQLite and libraries create, whatever the caller's umask is.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("failed to start")),
    };
    let result = runtime.block_on(run(cli.command));
    // Does not wait for blocking threads whose results nobody needs.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<terminal::OutputClosed>() {
        return ExitCode::SUCCESS;
    }
    terminal::error(&format!("{error:#}"));
    if error.is::<UsageError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { serve, check } => serve::run(serve, check).await,
        Command::Ask(args) => {
            log_quietly();
            ask::run(args).await
        }
        Command::Check(args) => {
            log_quietly();
            check::run(args).await
        }
        Command::Probe { file, json } => {
            log_quietly();
            probe::run(&file, json).await
        }
        Command::Frames(args) => {
            log_quietly();
            frames::run(args).await
        }
        Command::Model(command) => {
            log_quietly();
            model::run(command).await
        }
        Command::Doctor(args) => {
            log_quietly();
            doctor::run(args).await
        }
        Command::Keys(command) => {
            log_quietly();
            keys::run(command).await
        }
        Command::Password(command) => {
            log_quietly();
            password::run(command).await
        }
        Command::Notes(data) => notes::run(data),
        Command::Guard(args) => {
            crate::telemetry::log("info");
            guard::run(args).await
        }
        Command::Reread { url } => {
            log_quietly();
            reread::run(&url).await
        }
        Command::Mcp { url } => {
            log_quietly();
            mcp::run(url).await
        }
        Command::Backup { file, data } => {
            log_quietly();
            backup::back_up(data, &file).await
        }
        Command::Restore { file, keep_keys, data } => {
            log_quietly();
            backup::bring_back(data, &file, keep_keys).await
        }
        Command::Export { out, data } => {
            log_quietly();
            backup::export(data, &out).await
        }
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { out } => completions::man_pages(&out),
        // Handled by `main`.
        Command::VideoWorker => Ok(()),
    }
}

fn log_quietly() {
    // `failed` reports errors. The only log line worth showing is that the requested hardware decoder is missing; RUST_LOG
    // shows the rest.
    crate::telemetry::log("off,homereel_video::chip=warn");
}

/// Returns the caller's file as a source, after a check for the common mistakes.
fn source(file: &Path) -> anyhow::Result<Source> {
    let name = || file.display().to_string();
    let metadata = fs::metadata(file).with_context(name)?;
    ensure!(metadata.is_file(), "{}: not a regular file", file.display());
    ensure!(metadata.len() > 0, "{}: not a video: the file is empty (0 bytes)", file.display());
    Ok(Source::file(file.to_owned(), None))
}

/// Returns a token that the first Ctrl-C cancels. The second Ctrl-C ends the process.
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
