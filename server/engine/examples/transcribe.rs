//! Transcribes a WAV file and says how long it took: for measurements, and as an example of the interface.
//!
//!     cargo run --release -p homereel-engine --example transcribe -- DIRECTORY FILE.wav [--repeat N] [--language CODE]
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures_util::stream;
use homereel_engine::ModelSource;
use homereel_engine::speech::{self, SAMPLE_RATE, SpeechSource, TranscribeOptions};

/// Bytes of the header of a plain WAV file.
const HEADER: usize = 44;

/// Transcribe a WAV file (16 kHz, mono, 16 bits) with a Whisper checkpoint.
#[derive(Parser)]
struct Cli {
    /// Directory of the checkpoint
    model: PathBuf,
    /// The file
    file: PathBuf,
    /// Transcribe it this many times over, as one long sound
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Code of the language; detected by default
    #[arg(long)]
    language: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let bytes = std::fs::read(&cli.file).context("the file can't be read")?;
    ensure!(bytes.len() > HEADER && bytes.starts_with(b"RIFF"), "this is no WAV file");
    let rate = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
    ensure!(
        rate as usize == SAMPLE_RATE && (bytes[22], bytes[34]) == (1, 16),
        "16 kHz, mono, 16 bits would fit"
    );
    let samples: Vec<f32> = bytes[HEADER..]
        .chunks_exact(2)
        .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0)
        .collect();
    let seconds = (samples.len() * cli.repeat) as f64 / SAMPLE_RATE as f64;
    let speech = speech::open(SpeechSource::local(ModelSource::Dir(cli.model)))?;
    // Loading is not part of the time.
    speech.window(speech::WindowRequest { samples: vec![0.0; SAMPLE_RATE], language: None }).await?;
    let items = (0..cli.repeat).flat_map(|_| samples.chunks(SAMPLE_RATE).map(|chunk| Ok(chunk.to_vec())));
    let options = TranscribeOptions { language: cli.language, ..TranscribeOptions::default() };
    let start = Instant::now();
    speech
        .transcribe(stream::iter(items), &options, |progress| {
            for segment in progress.segments {
                let speech::Segment { start_s, end_s, text, confidence, .. } = segment;
                println!("{start_s:8.2} {end_s:8.2}  {confidence:.2}  {text}");
            }
        })
        .await?;
    let took = start.elapsed().as_secs_f64();
    println!("{seconds:.1} s of sound took {took:.2} s: {:.1} times faster than real time", seconds / took);
    Ok(())
}
