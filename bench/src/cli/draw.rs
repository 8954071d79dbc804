//! `homereel-bench draw`: clips whose truth is known, into a folder.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use homereel_clips::{self as draw, Codec, Kind, Order};

/// Flags of `draw`.
#[derive(Debug, clap::Args)]
pub(crate) struct Draw {
    /// Folder for the clips; made if it is missing.
    #[arg(long)]
    out: PathBuf,
    /// Seed of the first clip; the next ones count up. Training never used 9000000 and above.
    #[arg(long, default_value_t = draw::FIRST_TEST_SEED)]
    seed: u64,
    /// Clips to draw.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// How to code them; by the seed if not given.
    #[arg(long)]
    codec: Option<Codec>,
    /// What is in them.
    #[arg(long, default_value = "any")]
    kind: Kind,
    /// Frame size, as 320x240, both even; by the seed if not given.
    #[arg(long, value_parser = size)]
    size: Option<(u32, u32)>,
    /// Length in seconds; by the seed (2 to 20) if not given.
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
}

/// Draws the clips and prints their paths.
pub(crate) fn draw_clips(job: &Draw) -> anyhow::Result<()> {
    std::fs::create_dir_all(&job.out).with_context(|| format!("failed to make {}", job.out.display()))?;
    let mut stdout = std::io::stdout().lock();
    for seed in job.seed..job.seed.saturating_add(job.count) {
        let order = Order {
            seed,
            kind: job.kind,
            codec: job.codec,
            size: job.size,
            duration_s: job.seconds,
            ..Order::seeded(seed)
        };
        let clip = draw::draw(order, &job.out)?;
        writeln!(stdout, "{}", clip.file.display())?;
    }
    Ok(())
}

/// Reads a frame size.
pub(super) fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed
        .filter(|(w, h)| [*w, *h].iter().all(|v: &u32| v.is_multiple_of(2) && (32..=4096).contains(v)))
        .ok_or_else(|| format!("'{text}' is no size; give WIDTHxHEIGHT, both even and 32 to 4096"))
}

/// Reads a length.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|s| (1.0..=600.0).contains(s));
    parsed.ok_or_else(|| format!("'{text}' is no length; give seconds, 1 to 600"))
}
