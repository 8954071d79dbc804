//! Decodes a directory of clips as an upload would be, and checks each: all planned frames arrive at their planned times, or
//! there is one clear error.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use homereel_video::{
    DecodeRequest, FrameSampling, FramesEnd, Plan, Probe, ProbeSummary, SamplingBounds, VideoError,
    VideoErrorKind, Worker, open, plan,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// Longer side of a decoded frame in pixels.
const LONGER_SIDE: f64 = 640.0;
/// Time that a worker may take to exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of checking a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipOutcome {
    /// All frames arrived at their times.
    Good,
    /// All frames arrived at their times, but some replace damaged ones.
    Replaced,
    /// The file was rejected with a clear error.
    Refused,
    /// Anything else, presumably a bug.
    Failed,
}

/// The check of one clip.
#[derive(Debug, Clone, Serialize)]
pub struct ClipCheck {
    /// Path within the directory.
    pub file: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Result of the probe, without frame times and random access points.
    pub probe: Option<ProbeSummary>,
    /// Number of planned frames.
    pub planned: usize,
    /// Number of decoded frames.
    pub frames: usize,
    /// Largest difference between the time of a frame and the planned one in seconds.
    pub off_s: f64,
    /// Warnings of the probe and the decoder.
    pub warnings: Vec<String>,
    /// Milliseconds of the probe, including the start of its worker.
    pub probe_ms: f64,
    /// Milliseconds of decoding, including the start of its worker.
    pub decode_ms: f64,
    /// Peak memory of the decoding worker in MiB.
    pub peak_mib: Option<f64>,
    /// The error.
    pub error: Option<String>,
    /// The result.
    #[serde(rename = "verdict")]
    pub outcome: ClipOutcome,
}

/// Returns the files below `directory`, recursively, sorted by path.
///
/// # Errors
/// When reading a directory fails.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Links are not followed: a directory may contain itself.
            match entry.file_type()? {
                kind if kind.is_dir() => directories.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Probes `path`, decodes the frames that `sampling` plans, and checks them.
pub async fn check(worker: &Worker, directory: &Path, path: &Path, sampling: &FrameSampling) -> ClipCheck {
    let file = path.strip_prefix(directory).unwrap_or(path).display().to_string();
    let bytes = fs::metadata(path).map_or(0, |data| data.len());
    let mut row = ClipCheck {
        file,
        bytes,
        probe: None,
        planned: 0,
        frames: 0,
        off_s: 0.0,
        warnings: Vec::new(),
        probe_ms: 0.0,
        decode_ms: 0.0,
        peak_mib: None,
        error: None,
        outcome: ClipOutcome::Failed,
    };
    match decode(worker, path, sampling, &mut row).await {
        Ok(end) => row.outcome = outcome(&row, &end),
        Err(error) => {
            row.outcome = if error.kind() == VideoErrorKind::BadVideo {
                ClipOutcome::Refused
            } else {
                ClipOutcome::Failed
            };
            row.error = Some(error.to_string());
        }
    }
    if !workers_exited(EXIT_TIMEOUT).await {
        row.outcome = ClipOutcome::Failed;
        row.error = Some("the worker did not exit".into());
    }
    row
}

async fn decode(
    worker: &Worker,
    path: &Path,
    sampling: &FrameSampling,
    row: &mut ClipCheck,
) -> Result<FramesEnd, VideoError> {
    let file = File::open(path)
        .map_err(|error| VideoError::NotAVideo { message: format!("failed to open it: {error}") })?;
    let cancel = CancellationToken::new();
    let began = Instant::now();
    let opened = open(worker, file, &cancel).await;
    row.probe_ms = began.elapsed().as_secs_f64() * 1e3;
    let (clip, opened) = opened?;
    row.warnings.clone_from(&clip.warnings);
    row.probe = Some(clip.summary.clone());
    let chosen = plan(&clip, sampling, &SamplingBounds::default())?;
    row.planned = chosen.indices.len();
    let (width, height) = size(&clip);
    let began = Instant::now();
    let request = DecodeRequest::new(&clip, &chosen, width, height);
    let mut frames = opened.decode(request).await?;
    while let Some(frame) = frames.next().await? {
        let planned = planned_time(&clip, &chosen, row.frames);
        row.off_s = row.off_s.max((frame.pts_s - planned).abs());
        row.frames += 1;
    }
    row.decode_ms = began.elapsed().as_secs_f64() * 1e3;
    let end = frames.end().cloned().unwrap_or_default();
    row.warnings.extend(end.warnings.iter().cloned());
    row.peak_mib = (end.peak_memory > 0).then(|| end.peak_memory as f64 / (1 << 20) as f64);
    Ok(end)
}

/// Returns the time of the `number`th planned frame on the clip's timeline.
fn planned_time(clip: &Probe, chosen: &Plan, number: usize) -> f64 {
    let index = chosen.indices.get(number).and_then(|index| usize::try_from(*index).ok());
    index.and_then(|index| clip.index.frame_times.get(index)).copied().unwrap_or(f64::INFINITY)
}

/// Returns the frame size: the clip's aspect ratio, the longer side at most [`LONGER_SIDE`].
fn size(clip: &Probe) -> (u32, u32) {
    let (width, height) = (f64::from(clip.video.width), f64::from(clip.video.height));
    let scale = (LONGER_SIDE / width.max(height)).min(1.0);
    let side = |length: f64| ((length * scale).round() as u32).max(1);
    (side(width), side(height))
}

/// All frames must arrive, and be within half a frame of their times unless they replace damaged ones.
fn outcome(row: &ClipCheck, end: &FramesEnd) -> ClipOutcome {
    let half = row.probe.as_ref().map_or(0.0, |clip| 0.5 / clip.video.fps);
    if row.frames != row.planned || row.frames == 0 {
        ClipOutcome::Failed
    } else if end.replaced > 0 {
        ClipOutcome::Replaced
    } else if row.off_s > half {
        ClipOutcome::Failed
    } else {
        ClipOutcome::Good
    }
}

/// Waits until this process has no child processes. Returns false after `limit`.
async fn workers_exited(limit: Duration) -> bool {
    let began = Instant::now();
    while children() > 0 {
        if began.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

fn children() -> usize {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.filter_map(Result::ok).map(|task| of(task).split_whitespace().count()).sum()
}

/// Returns the rows as a Markdown table, followed by the summary.
#[must_use]
pub fn table(rows: &[ClipCheck]) -> String {
    let mut out = String::from(
        "| file | format | frames | time off | probe | decode | peak | result | warnings, error |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |\n",
    );
    for row in rows {
        let kind = row.probe.as_ref().map_or_else(String::new, describe);
        let mut words = row.warnings.clone();
        words.extend(row.error.clone());
        let memory = row.peak_mib.map_or_else(String::new, |mib| format!("{mib:.0} MiB"));
        out.push_str(&format!(
            "| {} | {kind} | {}/{} | {:.0} ms | {:.0} ms | {:.0} ms | {memory} | {} | {} |\n",
            cell(&row.file),
            row.frames,
            row.planned,
            row.off_s * 1e3,
            row.probe_ms,
            row.decode_ms,
            name(row.outcome),
            cell(&words.join("; ")),
        ));
    }
    out + "\n" + &summary(rows) + "\n"
}

/// Counts the outcomes in one line.
#[must_use]
pub fn summary(rows: &[ClipCheck]) -> String {
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
    let frames: usize = rows.iter().map(|row| row.frames).sum();
    let ms: f64 = rows.iter().map(|row| row.probe_ms + row.decode_ms).sum();
    let peak = rows.iter().filter_map(|row| row.peak_mib).fold(0.0, f64::max);
    format!(
        "{} files: {} good, {} with frames replaced, {} rejected, {} failed; {frames} frames in {:.1} s, at most \
         {peak:.0} MiB",
        rows.len(),
        count(ClipOutcome::Good),
        count(ClipOutcome::Replaced),
        count(ClipOutcome::Refused),
        count(ClipOutcome::Failed),
        ms / 1e3,
    )
}

fn name(outcome: ClipOutcome) -> &'static str {
    match outcome {
        ClipOutcome::Good => "good",
        ClipOutcome::Replaced => "replaced",
        ClipOutcome::Refused => "rejected",
        ClipOutcome::Failed => "FAILED",
    }
}

fn describe(clip: &ProbeSummary) -> String {
    let video = &clip.video;
    let container = clip.container.split(',').next().unwrap_or_default();
    let turned = if video.rotation == 0 { String::new() } else { format!(" turned {}", video.rotation) };
    let mirrored = if video.mirrored { " mirrored" } else { "" };
    let rate = if video.constant_rate { "" } else { " uneven" };
    let curve = video.transfer.as_deref().filter(|curve| matches!(*curve, "smpte2084" | "arib-std-b67"));
    let hdr = curve.map_or_else(String::new, |curve| format!(" {curve}"));
    cell(&format!(
        "{container} {} {}{hdr} {}x{}{turned}{mirrored} {:.2} fps{rate} {:.2} s",
        video.codec, video.pixel_format, video.width, video.height, video.fps, clip.duration_s
    ))
}

/// Escapes text for a table cell: file names may contain anything.
fn cell(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_cell() {
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }

    #[test]
    fn directories_are_searched_in_order() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["b/2", "b/1", "a"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/loop")).unwrap();
        let names: Vec<String> = files(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["a", "b/1", "b/2"]);
    }
}
