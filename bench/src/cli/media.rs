//! `homereel-bench media`: a folder of clips, a row for each. `homereel-bench sample`: one clip, timed.

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use homereel_bench::media::{self, Verdict};
use homereel_video::{DecodeRequest, Sampling, Worker, open, plan};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// How clips are sampled.
#[derive(Debug, clap::Args)]
struct Rate {
    /// Frames per second of video [default: 2, at least 4 and at most 768 frames].
    #[arg(long, conflicts_with = "num_frames")]
    fps: Option<f64>,
    /// Exactly so many frames.
    #[arg(long)]
    num_frames: Option<usize>,
}

impl Rate {
    fn sampling(&self) -> Sampling {
        Sampling { fps: self.fps, num_frames: self.num_frames, ..Sampling::default() }
    }
}

/// Flags of `media`.
#[derive(Debug, clap::Args)]
pub(crate) struct Media {
    /// The folder; folders in it are walked too.
    folder: PathBuf,
    #[command(flatten)]
    rate: Rate,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Prints a row for each clip, as they are done, and a summary. Fails when a clip did.
pub(crate) async fn media(job: &Media) -> anyhow::Result<ExitCode> {
    let worker = Worker::this_program()?;
    let files =
        media::files(&job.folder).with_context(|| format!("failed to read {}", job.folder.display()))?;
    anyhow::ensure!(!files.is_empty(), "{} holds no files", job.folder.display());
    let mut rows = Vec::with_capacity(files.len());
    for path in &files {
        rows.push(media::look(&worker, &job.folder, path, &job.rate.sampling()).await);
    }
    let mut stdout = std::io::stdout().lock();
    if job.json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else {
        write!(stdout, "{}", media::table(&rows))?;
    }
    let failed = rows.iter().any(|row| row.verdict == Verdict::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Flags of `sample`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sample {
    /// The clip.
    file: PathBuf,
    #[command(flatten)]
    rate: Rate,
    /// Pixels per row of the frames [default: the clip's].
    #[arg(long, requires = "height")]
    width: Option<u32>,
    /// Rows of the frames [default: the clip's].
    #[arg(long, requires = "width")]
    height: Option<u32>,
    /// Also write the frames, RGB8 one after the other, to this file.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Decode all packets from the beginning, leaping over none.
    #[arg(long)]
    whole: bool,
}

/// Samples one clip and prints one object: how long it took, which frames, and what the worker held.
pub(crate) async fn sample(job: &Sample) -> anyhow::Result<()> {
    let worker = Worker::this_program()?;
    let cancel = CancellationToken::new();
    let file = File::open(&job.file).with_context(|| format!("failed to open {}", job.file.display()))?;
    let began = Instant::now();
    let (clip, opened) = open(&worker, file, &cancel).await?;
    let probe_s = began.elapsed().as_secs_f64();
    let chosen = plan(&clip, &job.rate.sampling())?;
    let width = job.width.unwrap_or(clip.video.width);
    let height = job.height.unwrap_or(clip.video.height);
    let mut request = DecodeRequest::new(&clip, &chosen, width, height);
    if job.whole {
        request.access_points.clear();
    }
    let mut out = job.out.as_ref().map(File::create).transpose()?;
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
    reaped().await;
    writeln!(std::io::stdout().lock(), "{report}")?;
    Ok(())
}

/// Waits until no worker is left, but no longer than a second: whoever measures this program counts the processor time of
/// its children only once they have been waited for.
async fn reaped() {
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
