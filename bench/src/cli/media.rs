//! `homereel-bench media`: decodes a directory of clips, with a row for each. `homereel-bench sample`: times one clip.

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use homereel_bench::media::{self, ClipOutcome};
use homereel_video::{DecodeRequest, FrameSampling, SamplingBounds, Worker, open, plan};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Flags of frame sampling.
#[derive(Debug, clap::Args)]
struct FrameRateArgs {
    /// Frames per second of video [default: 2, at least 4 and at most 768 frames]
    #[arg(long, conflicts_with = "num_frames")]
    fps: Option<f64>,
    /// Exact number of frames
    #[arg(long)]
    num_frames: Option<usize>,
}

impl FrameRateArgs {
    fn sampling(&self) -> FrameSampling {
        FrameSampling { fps: self.fps, num_frames: self.num_frames, ..FrameSampling::default() }
    }
}

/// Flags of `media`.
#[derive(Debug, clap::Args)]
pub(crate) struct MediaArgs {
    /// The directory, searched recursively
    directory: PathBuf,
    #[command(flatten)]
    sampling: FrameRateArgs,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Prints a row for each clip and a summary. The exit status is a failure if a clip failed.
pub(crate) async fn media(args: &MediaArgs) -> anyhow::Result<ExitCode> {
    let worker = Worker::this_program()?;
    let directory = &args.directory;
    let files = media::files(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    anyhow::ensure!(!files.is_empty(), "{} contains no files", directory.display());
    let mut rows = Vec::with_capacity(files.len());
    for path in &files {
        rows.push(media::check(&worker, directory, path, &args.sampling.sampling()).await);
    }
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else {
        write!(stdout, "{}", media::table(&rows))?;
    }
    let failed = rows.iter().any(|row| row.outcome == ClipOutcome::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Flags of `sample`.
#[derive(Debug, clap::Args)]
pub(crate) struct SampleArgs {
    /// The clip
    file: PathBuf,
    #[command(flatten)]
    sampling: FrameRateArgs,
    /// Width of the frames in pixels [default: the clip's]
    #[arg(long, requires = "height")]
    width: Option<u32>,
    /// Height of the frames in pixels [default: the clip's]
    #[arg(long, requires = "width")]
    height: Option<u32>,
    /// Write the frames to this file, as consecutive RGB8 images
    #[arg(long)]
    out: Option<PathBuf>,
    /// Decode from the beginning, without seeking
    #[arg(long)]
    whole: bool,
}

/// Samples one clip and prints a JSON object: durations, frames, and the worker's memory.
pub(crate) async fn sample(args: &SampleArgs) -> anyhow::Result<()> {
    let worker = Worker::this_program()?;
    let cancel = CancellationToken::new();
    let file = File::open(&args.file).with_context(|| format!("failed to open {}", args.file.display()))?;
    let began = Instant::now();
    let (clip, opened) = open(&worker, file, &cancel).await?;
    let probe_s = began.elapsed().as_secs_f64();
    let chosen = plan(&clip, &args.sampling.sampling(), &SamplingBounds::default())?;
    let width = args.width.unwrap_or(clip.video.width);
    let height = args.height.unwrap_or(clip.video.height);
    let mut request = DecodeRequest::new(&clip, &chosen, width, height);
    if args.whole {
        request.access_points.clear();
    }
    let mut out = args.out.as_ref().map(File::create).transpose()?;
    let mut first_s = None;
    let mut frames = opened.decode(request).await?;
    while let Some(frame) = frames.next().await? {
        first_s.get_or_insert_with(|| began.elapsed().as_secs_f64());
        if let Some(out) = &mut out {
            out.write_all(&frame.rgb)?;
        }
    }
    let total_s = began.elapsed().as_secs_f64();
    let end = frames.end().cloned().unwrap_or_default();
    let report = json!({
        "total_s": total_s,
        "probe_s": probe_s,
        "first_frame_s": first_s,
        "frames": chosen.indices.len(),
        "indices": chosen.indices,
        "times": chosen.times,
        "width": width,
        "height": height,
        "worker_peak_bytes": end.peak_memory,
        "replaced": end.replaced,
        "warnings": end.warnings,
    });
    drop(frames);
    wait_for_workers().await;
    writeln!(std::io::stdout().lock(), "{report}")?;
    Ok(())
}

/// Waits up to a second until all workers have exited: the CPU time of a child process counts for this program only after it
/// was waited for.
async fn wait_for_workers() {
    let alive = || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .any(|ids| !ids.is_empty())
    };
    for _ in 0..200 {
        if !alive() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
