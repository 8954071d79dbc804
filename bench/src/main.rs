//! The program `homereel-bench`: parses the command line and runs one command.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Homereel, or any OpenAI-compatible server, and draws the clips to measure with.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Draw synthetic clips with known content: SEED.mp4 or SEED.webm, and SEED.json
    Draw(cli::draw::DrawArgs),
    /// Put a load on a server and report latencies and throughput; the flags are those of `vllm bench serve`
    Serve(Box<cli::serve::BenchServeArgs>),
    /// Report whether one server is slower than another, by asking them in turns
    Compare(Box<cli::compare::CompareArgs>),
    /// Measure the engine in this process: vision tower, prefill, token generation, concurrent requests
    Engine(Box<cli::engine::EngineArgs>),
    /// Measure the latency of the dashboard's pages
    Page(cli::page::PageArgs),
    /// Measure honest clients while others hold connections: idle, half-sent, unread
    Stress(cli::stress::StressArgs),
    /// Measure how fast uploaded clips get their texts, beside an interactive question
    Ingest(Box<cli::ingest::IngestArgs>),
    /// Measure the limits of this machine: memory bandwidth and matrix multiplication
    Probe(cli::probe::ProbeArgs),
    /// Run a stub backend that answers at once, for `overhead`
    Instant(cli::overhead::InstantArgs),
    /// Measure what a server adds to its backend: latency, requests per second, memory
    Overhead(cli::overhead::OverheadArgs),
    /// Write a Markdown report with plots, or only a table, from results of `serve`
    Report(cli::report::ReportArgs),
    /// Decode every clip of a directory as an upload would be, and print a row for each
    Media(cli::media::MediaArgs),
    /// Sample one clip and print the time it took
    Sample(cli::media::SampleArgs),
    /// The sandboxed process in which ffmpeg runs
    #[command(hide = true)]
    VideoWorker,
}

fn main() -> anyhow::Result<ExitCode> {
    match run() {
        // The reader of standard output has closed it, as `head` does when it has enough.
        Err(error) if error.downcast_ref().is_some_and(is_closed) => Ok(ExitCode::SUCCESS),
        result => result,
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

fn run() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Draw(args) => cli::draw::draw(&args)?,
        Command::Serve(args) => runtime()?.block_on(cli::serve::serve(&args))?,
        Command::Compare(args) => runtime()?.block_on(cli::compare::compare(&args))?,
        Command::Engine(args) => runtime()?.block_on(cli::engine::engine(&args))?,
        Command::Page(args) => runtime()?.block_on(cli::page::page(&args))?,
        Command::Stress(args) => runtime()?.block_on(cli::stress::stress(&args))?,
        Command::Ingest(args) => runtime()?.block_on(cli::ingest::ingest(&args))?,
        Command::Probe(args) => cli::probe::probe(&args)?,
        Command::Instant(args) => runtime()?.block_on(cli::overhead::instant(&args))?,
        Command::Overhead(args) => runtime()?.block_on(cli::overhead::overhead(&args))?,
        Command::Report(args) => cli::report::report(&args)?,
        Command::Media(args) => return runtime()?.block_on(cli::media::media(&args)),
        Command::Sample(args) => runtime()?.block_on(cli::media::sample(&args))?,
        // Must not be preceded by any thread: the sandbox applies to the calling thread.
        Command::VideoWorker => return Ok(homereel_video::worker::main()),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
