//! `homereel probe`: prints the facts about a video file.

use std::path::Path;

use anyhow::Context as _;
use homereel_video::{DateSource, Probe, Worker, capture_date};
use jiff::Timestamp;

use super::{
    cancel_on_ctrl_c, source,
    terminal::{print, print_lines, warn},
};

/// Prints one fact per line, or one JSON object that also has the time of every frame.
pub(super) async fn run(file: &Path, json: bool) -> anyhow::Result<()> {
    let worker = Worker::this_program()?;
    let open = source(file)?.open()?;
    let probe = homereel_video::probe(&worker, open, &cancel_on_ctrl_c()).await;
    let probe = probe.with_context(|| file.display().to_string())?;
    if json {
        return print(&serde_json::to_string(&probe)?);
    }
    print_lines(facts(&probe, file))?;
    probe.warnings.iter().for_each(|warning| warn(warning));
    Ok(())
}

fn facts(probe: &Probe, file: &Path) -> Vec<String> {
    let video = &probe.video;
    let mut lines = vec![
        format!("container  {}", probe.container),
        format!("duration   {:.3} s", probe.duration_s),
        format!(
            "video      {} {}x{}, {} frames, {:.3} frames/s{}",
            video.codec,
            video.width,
            video.height,
            video.frame_count,
            video.fps,
            if video.constant_rate { "" } else { " (variable rate)" }
        ),
    ];
    if video.rotation != 0 || video.mirrored {
        let mirrored = if video.mirrored { ", mirrored" } else { "" };
        lines.push(format!("turned     {}° clockwise{mirrored}", video.rotation));
    }
    match &probe.audio {
        Some(audio) => lines.push(format!(
            "audio      {}, {} channels, {} Hz",
            audio.codec, audio.channels, audio.sample_rate
        )),
        None => lines.push("audio      none".into()),
    }
    lines.extend(taken(probe, file));
    lines.extend(probe.camera.as_ref().map(|camera| format!("camera     {camera}")));
    lines.extend(
        probe
            .location
            .as_ref()
            .map(|place| format!("place      {:.5}, {:.5}", place.latitude, place.longitude)),
    );
    lines
}

/// When it was taken, as the library would say if the file were added now.
fn taken(probe: &Probe, file: &Path) -> Option<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let modified = modified.and_then(|time| Timestamp::try_from(time).ok());
    let date = capture_date(Some(&probe.summary), &name, modified, Timestamp::now())?;
    let guess = match date.source {
        DateSource::FileName => " (guessed from the name)",
        DateSource::FileTime => " (guessed from the time of the file)",
        DateSource::Camera | DateSource::Container | DateSource::Person => "",
    };
    Some(format!("taken      {}{guess}", date.time))
}
