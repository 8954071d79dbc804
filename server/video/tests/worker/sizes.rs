//! The smallest and largest clips, and containers without times.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use homereel_video::{Limits, Plan, VideoError, open_picture};
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use tokio_util::sync::CancellationToken;

use crate::clips::{
    Clips, QUARTERS, assert_corners, collect, colour, decode, number, numbered, probe, quarters, sample,
    worker,
};

#[tokio::test]
async fn one_pixel_is_a_video() {
    let clips = Clips::new();
    for (name, options) in [("one.mkv", "-c:v ffv1"), ("one.mov", "-c:v png"), ("one.gif", "")] {
        let path = clips.draw(name, "color=0xff0000:s=1x1:r=5:d=0.6,format=rgb24", options);
        let clip = probe(&path).await.unwrap();
        assert_eq!((clip.video.width, clip.video.height, clip.video.frame_count), (1, 1, 3), "{name}");
        let (frames, end) = decode(&path, &[0, 2]).await.unwrap();
        assert_eq!((end.replaced, frames.len()), (0, 2), "{name}");
        let [r, g, b] = colour(&frames[1], 0.0, 0.0);
        assert!(r > 250 && g < 5 && b < 5, "{name}: {r} {g} {b}");
        // At a model's size too.
        let chosen = Plan { indices: vec![1], times: Vec::new() };
        let (frames, _) =
            collect(&path, homereel_video::DecodeRequest::new(&clip, &chosen, 32, 32)).await.unwrap();
        assert_eq!(frames[0].rgb.len(), 32 * 32 * 3);
    }
}

#[tokio::test]
async fn eight_k_is_decoded_within_bounds_and_more_is_refused_with_the_limit() {
    let clips = Clips::new();
    let path = clips.draw("8k.mp4", &quarters(8192, 4320, 24, 0.125), "-c:v libx264 -preset ultrafast");
    let clip = probe(&path).await.unwrap();
    let chosen = Plan { indices: vec![0, 2], times: Vec::new() };
    let (frames, end) =
        collect(&path, homereel_video::DecodeRequest::new(&clip, &chosen, 512, 270)).await.unwrap();
    frames.iter().for_each(|frame| assert_corners(frame, QUARTERS, "8K"));
    assert!(end.peak_memory > 0 && end.peak_memory < 1 << 30, "{} bytes", end.peak_memory);

    // Twice as many pixels: FFV1 codes them in no time.
    let path = clips.draw("larger.mkv", "color=red:s=8192x8192:r=5:d=0.2", "-c:v ffv1 -g 1");
    let error = probe(&path).await.unwrap_err();
    assert_eq!(error, VideoError::TooLarge { width: 8192, height: 8192, limit: 8192 * 4320 });
    assert_eq!(error.to_string(), "the frames are 8192x8192 pixels; 35389440 pixels per frame is the limit");
}

#[tokio::test]
async fn a_clip_that_says_nothing_of_its_length_is_measured() {
    let clips = Clips::new();
    for (name, format, options) in [
        // Written to a pipe, nothing can be filled in afterwards.
        ("recorded.webm", "webm", "-c:v libvpx -deadline realtime -cpu-used 8"),
        ("recorded.mkv", "matroska", "-c:v libx264 -bf 2"),
        ("recorded.flv", "flv", "-c:v libx264 -bf 2"),
        ("recorded.mp4", "mp4", "-c:v libx264 -bf 2 -movflags frag_keyframe+empty_moov"),
    ] {
        let done = Command::new("ffmpeg")
            .args(["-v", "error", "-bitexact", "-f", "lavfi", "-i", &numbered(25, 50)])
            .args(options.split_whitespace())
            .args(["-f", format, "pipe:1"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let path = clips.write(name, &done.stdout);
        let clip = probe(&path).await.unwrap();
        assert_eq!(clip.video.frame_count, 50, "{name}");
        assert!((clip.duration_s - 2.0).abs() < 0.05, "{name}: {} s", clip.duration_s);
        let (frames, _) = sample(&path).await.unwrap();
        let numbers: Vec<u64> = frames.iter().map(number).collect();
        assert_eq!(
            numbers.first().copied().zip(numbers.last().copied()),
            Some((0, 49)),
            "{name}: {numbers:?}"
        );
    }
}

#[tokio::test]
async fn a_length_that_is_a_lie_is_not_believed() {
    let clips = Clips::new();
    let path = clips.draw("honest.mp4", &numbered(25, 50), "-c:v libx264 -bf 2");
    let mut bytes = fs::read(path).unwrap();
    // Duration in mvhd, tkhd and mdhd: 39 hours each.
    for (kind, offset, scale) in [(b"mvhd", 20, 1000u32), (b"tkhd", 24, 1000), (b"mdhd", 20, 12_800)] {
        let at = bytes.windows(4).position(|window| window == kind).unwrap() + offset;
        bytes[at..at + 4].copy_from_slice(&(scale * 140_000).to_be_bytes());
    }
    let path = clips.write("liar.mp4", &bytes);
    let clip = probe(&path).await.unwrap();
    assert!((clip.duration_s - 2.0).abs() < 0.05, "{} s", clip.duration_s);
    let (frames, _) = sample(&path).await.unwrap();
    assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [0, 16, 33, 49]);
}

/// A file of 256 KiB whose colour profile unpacks to 256 MiB: it has to fit into the worker's memory, and costs this process
/// none.
#[tokio::test]
async fn a_picture_with_a_huge_colour_profile_costs_at_most_the_worker_s_memory() {
    const PROFILE: usize = 256 << 20;
    let clips = Clips::new();
    let mut png = Vec::new();
    let mut encoder = PngEncoder::new(&mut png);
    encoder.set_icc_profile(vec![0; PROFILE]).unwrap();
    encoder.write_image(&[1, 2, 3], 1, 1, ExtendedColorType::Rgb8).unwrap();
    assert!(png.len() < PROFILE / 500, "{} bytes", png.len());
    let bomb = clips.write("bomb.png", &png);
    let open = async |memory: u64, path: &Path| {
        let worker = worker().with_limits(Limits { memory, ..Limits::default() });
        let file = File::open(path).unwrap();
        open_picture(&worker, file, 1 << 26, &CancellationToken::new()).await.map(|picture| picture.width())
    };
    let error = open(128 << 20, &bomb).await.unwrap_err();
    assert!(!error.to_string().is_empty(), "{error}");
    assert_eq!(open(3 << 30, &bomb).await, Ok(1));
}
