//! The `homereel-bench` program: draws clips whose truth is known, loads servers with them, compares two, and looks at
//! how folders of clips are decoded.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Homereel (or any OpenAI-compatible server), and draws what it measures with.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Draw synthetic clips with their truth: SEED.mp4 or SEED.webm, and SEED.json
    Draw(cli::draw::Draw),
    /// Put a load on a server and tell its latencies and throughput; the flags are those of `vllm bench serve`
    Serve(Box<cli::serve::Serve>),
    /// Tell whether one of two servers is slower, by asking both in turns
    Compare(Box<cli::compare::Compare>),
    /// Measure the engine in this process: vision tower, prefill, tokens, several requests at once
    Engine(Box<cli::engine::Engine>),
    /// Measure how fast the dashboard's pages answer
    Page(cli::page::Page),
    /// Measure what this machine could do at best: memory and multiplications
    Probe(cli::probe::Probe),
    /// Run an upstream that answers at once, for `overhead`
    Instant(cli::overhead::Instant),
    /// Measure what a server adds to its upstream: latency, requests a second, memory
    Overhead(cli::overhead::Overhead),
    /// Write a Markdown report of results, with plots
    Report(cli::report::Report),
    /// Decode every clip of a folder as an upload would be, and print a row for each
    Media(cli::media::Media),
    /// Sample one clip and print how long it took
    Sample(cli::media::Sample),
    /// The jailed process in which ffmpeg runs
    #[command(hide = true)]
    VideoWorker,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Job::Draw(job) => cli::draw::draw_clips(&job)?,
        Job::Serve(job) => runtime()?.block_on(cli::serve::serve(&job))?,
        Job::Compare(job) => runtime()?.block_on(cli::compare::compare(&job))?,
        Job::Engine(job) => runtime()?.block_on(cli::engine::engine(&job))?,
        Job::Page(job) => runtime()?.block_on(cli::page::page(&job))?,
        Job::Probe(job) => cli::probe::probe(&job)?,
        Job::Instant(job) => runtime()?.block_on(cli::overhead::instant(&job))?,
        Job::Overhead(job) => runtime()?.block_on(cli::overhead::overhead(&job))?,
        Job::Report(job) => cli::report::report(&job)?,
        Job::Media(job) => return runtime()?.block_on(cli::media::media(&job)),
        Job::Sample(job) => runtime()?.block_on(cli::media::sample(&job))?,
        // Before any thread is started.
        Job::VideoWorker => return Ok(homereel_video::worker::main()),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
