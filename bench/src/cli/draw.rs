//! `homereel-bench draw`: draws clips with known content into a directory.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use homereel_clips::{ClipSpec, Codec, FIRST_TEST_SEED, SceneKind};

use super::parsers::{clip_seconds, frame_size};

/// Flags of `draw`.
#[derive(Debug, clap::Args)]
pub(crate) struct DrawArgs {
    /// Directory for the clips; created if it is missing
    #[arg(long)]
    out: PathBuf,
    /// Seed of the first clip; the following ones count up. Seeds from 9000000 on were never used in training
    #[arg(long, default_value_t = FIRST_TEST_SEED)]
    seed: u64,
    /// Number of clips
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Codec and container [default: by the seed]
    #[arg(long)]
    codec: Option<Codec>,
    /// Content
    #[arg(long, default_value = "any")]
    kind: SceneKind,
    /// Frame size, such as 320x240, both even [default: by the seed]
    #[arg(long, value_parser = frame_size)]
    size: Option<(u32, u32)>,
    /// Length in seconds [default: 2 to 20, by the seed]
    #[arg(long, value_parser = clip_seconds)]
    seconds: Option<f64>,
}

/// Draws the clips and prints their paths.
pub(crate) fn draw(args: &DrawArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("failed to create the directory {}", args.out.display()))?;
    let mut stdout = std::io::stdout().lock();
    for seed in args.seed..args.seed.saturating_add(args.count) {
        let order = ClipSpec {
            seed,
            kind: args.kind,
            codec: args.codec,
            size: args.size,
            duration_s: args.seconds,
            ..ClipSpec::seeded(seed)
        };
        let clip = homereel_clips::draw(order, &args.out)?;
        writeln!(stdout, "{}", clip.file.display())?;
    }
    Ok(())
}
