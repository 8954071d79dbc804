//! `homereel frames`: writes the frames that a model would see as PNG files.

use std::{fs, path::Path};

use anyhow::Context as _;
use homereel_video::{DecodeRequest, Frame, SamplingBounds, Worker};
use image::{ImageFormat, RgbImage};
use serde_json::json;

use super::{FramesArgs, cancel_on_ctrl_c, progress::ProgressLine, source, terminal::warn};

/// Decodes and writes the frames, with one frame in memory at a time.
pub(super) async fn run(args: FramesArgs) -> anyhow::Result<()> {
    let worker = Worker::this_program()?.with_decoder(args.decoder);
    let file = source(&args.file)?;
    let cancel = cancel_on_ctrl_c();
    let progress = ProgressLine::start();
    let name = || args.file.display().to_string();
    progress.stage("probe", 0, 1);
    let (mut probe, opened) =
        homereel_video::open(&worker, file.open()?, &cancel).await.with_context(name)?;
    let plan = homereel_video::plan(&probe, &args.sampling.into(), &SamplingBounds::default())?;

    let (width, height) = size(&args, probe.video.width, probe.video.height);
    let request = DecodeRequest::new(&probe, &plan, width, height);
    let total = request.targets.len() as u64;
    fs::create_dir_all(&args.out).with_context(|| format!("failed to create {}", args.out.display()))?;
    let mut stream = opened.decode(request).await.with_context(name)?;
    let mut list = Vec::new();
    while let Some(frame) = stream.next().await.with_context(name)? {
        let file = format!("frame-{:07}.png", frame.index);
        list.push(json!({ "index": frame.index, "pts_s": frame.pts_s, "file": file }));
        let path = args.out.join(&file);
        tokio::task::spawn_blocking(move || write(frame, &path)).await??;
        progress.stage("decode", list.len() as u64, total);
    }
    let mut warnings = std::mem::take(&mut probe.summary.warnings);
    warnings.extend(stream.end().map(|end| end.warnings.clone()).unwrap_or_default());
    let told = json!({ "video": probe.summary, "frames": list, "warnings": warnings });
    let path = args.out.join("frames.json");
    fs::write(&path, serde_json::to_vec_pretty(&told)?)
        .with_context(|| format!("failed to write {}", path.display()))?;
    progress.clear();
    warnings.iter().for_each(|warning| warn(warning));
    Ok(())
}

/// Computes the missing side from the video's aspect ratio.
fn size(args: &FramesArgs, width: u32, height: u32) -> (u32, u32) {
    let scaled = |side: u32, given: u32, other: u32| {
        let exact = u64::from(side) * u64::from(given) / u64::from(other.max(1));
        u32::try_from(exact.clamp(1, 16384)).unwrap_or(16384)
    };
    match (args.width, args.height) {
        (Some(width), Some(height)) => (width, height),
        (Some(given), None) => (given, scaled(height, given, width)),
        (None, Some(given)) => (scaled(width, given, height), given),
        (None, None) => (width, height),
    }
}

fn write(frame: Frame, path: &Path) -> anyhow::Result<()> {
    let image = RgbImage::from_raw(frame.width, frame.height, frame.rgb.to_vec());
    let image = image.context("a frame has fewer bytes than its size requires")?;
    image
        .save_with_format(path, ImageFormat::Png)
        .with_context(|| format!("failed to write {}", path.display()))
}
