//! Shows a folder of clips to the video worker, as an upload would, and tells what became of each: the frames that a
//! model would see at the times that were planned, or one clear error. Knows no server and no model.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use homereel_video::{
    DecodeRequest, End, Plan, Probe, ProbeSummary, Sampling, VideoError, VideoErrorKind, Worker, open, plan,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// Pixels along the longer side of a decoded frame.
const SIDE: f64 = 640.0;
/// How long an ended worker may take to be gone.
const GRACE: Duration = Duration::from_secs(5);

/// What became of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All frames, none replaced, at their times.
    Good,
    /// Frames at their times; some are stand-ins for broken ones.
    Replaced,
    /// One clear error that names what is wrong with the file.
    Refused,
    /// Something else: a fault of ours until it is shown to be none.
    Failed,
}

/// What was seen of one clip.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Path within the folder.
    pub file: String,
    /// Bytes.
    pub bytes: u64,
    /// What the probe found, without frame times and entries.
    pub probe: Option<ProbeSummary>,
    /// Frames that were planned.
    pub planned: usize,
    /// Frames that came.
    pub frames: usize,
    /// The largest distance between a frame's time and the planned one, seconds.
    pub off_s: f64,
    /// Warnings of probe and decoder.
    pub warnings: Vec<String>,
    /// Milliseconds of the probe, starting its worker included.
    pub probe_ms: f64,
    /// Milliseconds of decoding, starting its worker included.
    pub decode_ms: f64,
    /// Most memory that the decoding worker held, MiB.
    pub peak_mib: Option<f64>,
    /// The error, if there was one.
    pub error: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
}

/// Finds the files below `folder`, in order of their names.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Links are not followed: a folder may contain itself.
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Probes `path` and decodes the frames that `sampling` plans.
pub async fn look(worker: &Worker, folder: &Path, path: &Path, sampling: &Sampling) -> Row {
    let file = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let bytes = fs::metadata(path).map_or(0, |data| data.len());
    let mut row = Row {
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
        verdict: Verdict::Failed,
    };
    match watch(worker, path, sampling, &mut row).await {
        Ok(end) => row.verdict = judge(&row, &end),
        Err(error) => {
            row.verdict =
                if error.kind() == VideoErrorKind::BadVideo { Verdict::Refused } else { Verdict::Failed };
            row.error = Some(error.to_string());
        }
    }
    if !alone(GRACE).await {
        row.verdict = Verdict::Failed;
        row.error = Some("its worker is still there".into());
    }
    row
}

async fn watch(worker: &Worker, path: &Path, sampling: &Sampling, row: &mut Row) -> Result<End, VideoError> {
    let file = File::open(path)
        .map_err(|error| VideoError::NotAVideo { message: format!("it cannot be opened: {error}") })?;
    let cancel = CancellationToken::new();
    let began = Instant::now();
    let opened = open(worker, file, &cancel).await;
    row.probe_ms = began.elapsed().as_secs_f64() * 1e3;
    let (clip, opened) = opened?;
    row.warnings.clone_from(&clip.warnings);
    row.probe = Some(clip.summary.clone());
    let chosen = plan(&clip, sampling)?;
    row.planned = chosen.indices.len();
    let (width, height) = size(&clip);
    let began = Instant::now();
    let request = DecodeRequest::new(&clip, &chosen, width, height);
    let mut frames = opened.decode(request).await?;
    while let Some(frame) = frames.next().await? {
        let planned = shown_at(&clip, &chosen, row.frames);
        row.off_s = row.off_s.max((frame.pts_s - planned).abs());
        row.frames += 1;
    }
    row.decode_ms = began.elapsed().as_secs_f64() * 1e3;
    let end = frames.end().cloned().unwrap_or_default();
    row.warnings.extend(end.warnings.iter().cloned());
    row.peak_mib = (end.peak_memory > 0).then(|| end.peak_memory as f64 / (1 << 20) as f64);
    Ok(end)
}

/// The time of the `number`th planned frame, by the clip's own clock.
fn shown_at(clip: &Probe, chosen: &Plan, number: usize) -> f64 {
    let index = chosen.indices.get(number).and_then(|index| usize::try_from(*index).ok());
    index.and_then(|index| clip.index.frame_times.get(index)).copied().unwrap_or(f64::INFINITY)
}

/// The clip's proportions, the longer side at most [`SIDE`].
fn size(clip: &Probe) -> (u32, u32) {
    let (width, height) = (f64::from(clip.video.width), f64::from(clip.video.height));
    let scale = (SIDE / width.max(height)).min(1.0);
    let side = |length: f64| ((length * scale).round() as u32).max(1);
    (side(width), side(height))
}

/// Frames that are neither stand-ins nor all there within half a frame of their times are a fault.
fn judge(row: &Row, end: &End) -> Verdict {
    let half = row.probe.as_ref().map_or(0.0, |clip| 0.5 / clip.video.fps);
    if row.frames != row.planned || row.frames == 0 {
        Verdict::Failed
    } else if end.replaced > 0 {
        Verdict::Replaced
    } else if row.off_s > half {
        Verdict::Failed
    } else {
        Verdict::Good
    }
}

/// Waits until this process has no children any more.
async fn alone(limit: Duration) -> bool {
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

/// Writes the rows as a table of Markdown, and the summary.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| file | what it is | frames | off | probe | decode | peak | verdict | warnings, error |\n\
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
            word(row.verdict),
            cell(&words.join("; ")),
        ));
    }
    out + "\n" + &summary(rows) + "\n"
}

/// Counts the verdicts in one line.
#[must_use]
pub fn summary(rows: &[Row]) -> String {
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let frames: usize = rows.iter().map(|row| row.frames).sum();
    let ms: f64 = rows.iter().map(|row| row.probe_ms + row.decode_ms).sum();
    let peak = rows.iter().filter_map(|row| row.peak_mib).fold(0.0, f64::max);
    format!(
        "{} files: {} good, {} with frames replaced, {} refused, {} failed; {frames} frames in {:.1} s, at most \
         {peak:.0} MiB",
        rows.len(),
        count(Verdict::Good),
        count(Verdict::Replaced),
        count(Verdict::Refused),
        count(Verdict::Failed),
        ms / 1e3,
    )
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Replaced => "replaced",
        Verdict::Refused => "refused",
        Verdict::Failed => "FAILED",
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

/// Text within a cell: names may hold anything.
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
    fn folders_are_walked_in_order() {
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
