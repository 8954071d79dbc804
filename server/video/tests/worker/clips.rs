//! Test clips made by the ffmpeg program, and shorthands for probing and decoding them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use homereel_video::{
    DecodeRequest, Frame, FrameSampling, FramesEnd, Plan, Probe, SamplingBounds, VideoError, Worker,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Red, green, blue and white quarters (top left, top right, bottom left, bottom right).
pub(crate) const QUARTERS: [[u8; 3]; 4] = [[254, 0, 0], [0, 255, 0], [0, 0, 254], [255, 255, 255]];

pub(crate) struct Clips(TempDir);

impl Clips {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs ffmpeg on the filter graph `source` with output options `options`.
    pub(crate) fn draw(&self, name: &str, source: &str, options: &str) -> PathBuf {
        let path = self.path(name);
        let done = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-bitexact", "-f", "lavfi", "-i", source])
            .args(options.split_whitespace())
            .arg(&path)
            .output()
            .unwrap();
        assert!(done.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&done.stderr));
        path
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// A source of four coloured quarters.
pub(crate) fn quarters(width: u32, height: u32, rate: u32, seconds: f64) -> String {
    let (w, h) = (width / 2, height / 2);
    let (rest_w, rest_h) = (width - w, height - h);
    format!(
        "color=red:s={width}x{height}:r={rate}:d={seconds},format=yuv444p,\
         drawbox=x={w}:y=0:w={rest_w}:h={h}:c=lime:t=fill,\
         drawbox=x=0:y={h}:w={w}:h={rest_h}:c=blue:t=fill,\
         drawbox=x={w}:y={h}:w={rest_w}:h={rest_h}:c=white:t=fill,format=yuv420p"
    )
}

/// A grey source whose level tells the number of the frame; see [`number`].
pub(crate) fn numbered(rate: u32, frames: u32) -> String {
    let seconds = f64::from(frames) / f64::from(rate);
    format!("color=black:s=64x64:r={rate}:d={seconds},geq=lum='16+N*4':cb=128:cr=128,format=yuv420p")
}

/// Reads the number that [`numbered`] drew into a frame.
pub(crate) fn number(frame: &Frame) -> u64 {
    let middle = frame.rgb[frame.rgb.len() / 6 * 3];
    (f64::from(middle) * 219.0 / 255.0 / 4.0).round() as u64
}

pub(crate) fn worker() -> Worker {
    worker_as(&[])
}

pub(crate) fn worker_as(args: &[&str]) -> Worker {
    Worker::new(env!("CARGO_BIN_EXE_homereel-video-worker").into(), args)
}

pub(crate) async fn probe(path: &Path) -> Result<Probe, VideoError> {
    homereel_video::probe(&worker(), File::open(path).unwrap(), &CancellationToken::new()).await
}

/// Decodes the frames `indices` at the clip's own size.
pub(crate) async fn decode(path: &Path, indices: &[u64]) -> Result<(Vec<Frame>, FramesEnd), VideoError> {
    let clip = probe(path).await?;
    let plan = Plan { indices: indices.to_vec(), times: Vec::new() };
    let request = DecodeRequest::new(&clip, &plan, clip.video.width, clip.video.height);
    collect(path, request).await
}

pub(crate) async fn collect(
    path: &Path,
    request: DecodeRequest,
) -> Result<(Vec<Frame>, FramesEnd), VideoError> {
    collect_with(&worker(), path, request).await
}

pub(crate) async fn collect_with(
    worker: &Worker,
    path: &Path,
    request: DecodeRequest,
) -> Result<(Vec<Frame>, FramesEnd), VideoError> {
    let file = File::open(path).unwrap();
    let mut stream = homereel_video::decode(worker, file, request, &CancellationToken::new()).await?;
    let mut frames = Vec::new();
    while let Some(frame) = stream.next().await? {
        assert_eq!(frame.rgb.len(), frame.width as usize * frame.height as usize * 3);
        frames.push(frame);
    }
    Ok((frames, stream.end().unwrap().clone()))
}

/// Probes, plans with the default rate and decodes.
pub(crate) async fn sample(path: &Path) -> Result<(Vec<Frame>, FramesEnd), VideoError> {
    let clip = probe(path).await?;
    let plan = homereel_video::plan(&clip, &FrameSampling::default(), &SamplingBounds::default())?;
    decode(path, &plan.indices).await
}

/// Returns the colour at a point given in fractions of width and height.
pub(crate) fn colour(frame: &Frame, x: f64, y: f64) -> [u8; 3] {
    let column = (x * f64::from(frame.width)) as usize;
    let row = (y * f64::from(frame.height)) as usize;
    let at = (row * frame.width as usize + column) * 3;
    frame.rgb[at..at + 3].try_into().unwrap()
}

/// The colours in the middle of the four quarters.
pub(crate) fn corners(frame: &Frame) -> [[u8; 3]; 4] {
    [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)].map(|(x, y)| colour(frame, x, y))
}

pub(crate) fn assert_corners(frame: &Frame, expected: [[u8; 3]; 4], what: &str) {
    let found = corners(frame);
    let near = found.as_flattened().iter().zip(expected.as_flattened()).all(|(a, b)| a.abs_diff(*b) <= 10);
    assert!(near, "{what}: {found:?} instead of {expected:?}");
}
