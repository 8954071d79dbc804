//! Scrub sprites and renditions for browsers.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use homereel_video::{Frame, Rendition, VideoError, VideoErrorKind, picture, playable, rendition, sprites};
use tokio_util::sync::CancellationToken;

use crate::clips::{Clips, QUARTERS, assert_corners, decode, number, numbered, probe, quarters, worker};

/// Room for any rendition here.
const ROOM: u64 = 64 << 20;

/// Makes the rendition of `path`.
pub(crate) async fn made(clips: &Clips, path: &Path, room: u64) -> Result<(PathBuf, Rendition), VideoError> {
    let out = clips.path("rendition.mp4");
    let file = File::create(&out).unwrap();
    let mut told = Vec::new();
    let cancel = CancellationToken::new();
    let progress = |done, total| told.push((done, total));
    let made = rendition(&worker(), File::open(path).unwrap(), None, file, room, &cancel, progress).await?;
    assert_eq!(told.last(), Some(&(made.frames, made.frames)), "the last progress is the end");
    Ok((out, made))
}

/// The kinds of boxes in a file, in order.
fn boxes(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut kinds) = (0, Vec::new());
    while let Some(head) = bytes.get(at..at + 8) {
        kinds.push(String::from_utf8_lossy(&head[4..]).into_owned());
        let size = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        at += if size == 1 {
            u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap()) as usize
        } else {
            size.max(8)
        };
    }
    assert_eq!(at, bytes.len(), "{kinds:?}");
    kinds
}

/// The loudness of each tenth of a second of a file's sound, as ffmpeg decodes it.
pub(crate) fn loudness(path: &Path) -> Vec<f64> {
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-f", "f32le", "-ac", "1", "-ar", "8000", "-"])
        .output()
        .unwrap();
    assert!(done.status.success());
    let samples: Vec<f64> =
        done.stdout.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
    samples
        .chunks(800)
        .map(|tenth| (tenth.iter().map(|s| s * s).sum::<f64>() / tenth.len() as f64).sqrt())
        .collect()
}

#[tokio::test]
async fn a_rendition_plays_in_browsers_and_shows_the_same_frames_at_the_same_times() {
    let clips = Clips::new();
    let sound = "sine=f=440:r=44100:d=2[a];[a]anull[out1]";
    for (name, options, audio) in [
        ("camcorder.ts", "-c:v mpeg2video -q:v 2 -bf 2 -c:a mp2 -output_ts_offset 5", true),
        (
            "web.webm",
            "-c:v libaom-av1 -usage realtime -cpu-used 8 -crf 10 -b:v 0 -c:a libopus -ar 48000",
            true,
        ),
        ("old.avi", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p -c:a pcm_s16le", true),
        ("phone.mov", "-c:v libx265 -x265-params log-level=none:crf=8 -tag:v hvc1 -an", false),
    ] {
        let source = format!("{}[out0];{sound}", numbered(25, 50));
        let path = clips.draw(name, &source, options);
        let original = probe(&path).await.unwrap();
        assert!(playable(&original).is_err(), "{name}");
        let (out, made) = made(&clips, &path, ROOM).await.unwrap();
        assert_eq!((made.width, made.height, made.frames, made.sound), (64, 64, 50, audio), "{name}");
        assert_eq!(made.warnings, Vec::<String>::new(), "{name}");
        let kinds = boxes(&out);
        let place = |kind: &str| kinds.iter().position(|one| one == kind);
        assert!(place("moov") < place("mdat") && place("moov").is_some(), "{name}: {kinds:?}");
        let clip = probe(&out).await.unwrap();
        assert_eq!(playable(&clip), Ok("video/mp4"), "{name}");
        assert_eq!(clip.warnings, Vec::<String>::new(), "{name}");
        assert_eq!(clip.video.frame_count, 50, "{name}");
        let (frames, end) = decode(&out, &[0, 1, 24, 49]).await.unwrap();
        assert_eq!(
            (end.replaced, frames.iter().map(number).collect::<Vec<_>>()),
            (0, vec![0, 1, 24, 49]),
            "{name}"
        );
        for frame in &frames {
            assert!((frame.pts_s - frame.index as f64 / 25.0).abs() < 0.002, "{name}: {}", frame.pts_s);
        }
        if audio {
            let loud = loudness(&out);
            assert!((18..=21).contains(&loud.len()), "{name}: {} tenths", loud.len());
            assert!(loud[1..18].iter().all(|level| *level > 0.05), "{name}: {loud:?}");
        }
    }
}

#[tokio::test]
async fn players_can_begin_at_every_key_frame_of_a_rendition() {
    let clips = Clips::new();
    // Six groups of two seconds, and cuts, at which x264 begins groups as well.
    let source = "testsrc2=s=160x96:r=10:d=12,hue=h='90*floor(t/3)'";
    let path = clips.draw("long.mkv", source, "-c:v libx264 -preset ultrafast");
    let (out, _) = made(&clips, &path, ROOM).await.unwrap();
    let whole = probe(&out).await.unwrap();
    assert_eq!(whole.video.frame_count, 120);
    assert!(whole.index.access_points.len() >= 6, "{} entries", whole.index.access_points.len());
    let keys = key_frames(&out);
    assert_eq!(keys, whole.index.access_points.len(), "key frames at which a decoder may not begin");
}

/// Counts the packets that the container calls key frames.
fn key_frames(path: &Path) -> usize {
    let options = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(options).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| line.starts_with('K')).count()
}

#[tokio::test]
async fn sound_stays_where_it_was() {
    let clips = Clips::new();
    // Silence for a second, then a tone for a second, at a rate that AAC does not know; and sound that begins late.
    let tone = "aevalsrc='if(gte(t,1),sin(2*PI*440*t),0)':s=96000:d=2[out1]";
    let path =
        clips.draw("late.mkv", &format!("{}[out0];{tone}", numbered(25, 50)), "-c:v ffv1 -c:a pcm_s24le");
    let (out, _) = made(&clips, &path, ROOM).await.unwrap();
    let loud = loudness(&out);
    assert!(loud[..9].iter().all(|level| *level < 0.02), "{loud:?}");
    assert!(loud[11..19].iter().all(|level| *level > 0.2), "{loud:?}");

    let shifted = "sine=f=440:d=1,volume=8,asetpts=PTS+0.7/TB[out1]";
    let path =
        clips.draw("shifted.mkv", &format!("{}[out0];{shifted}", numbered(25, 50)), "-c:v ffv1 -c:a flac");
    let (out, _) = made(&clips, &path, ROOM).await.unwrap();
    let loud = loudness(&out);
    assert!(loud[..6].iter().all(|level| *level < 0.02), "{loud:?}");
    assert!(loud[8..16].iter().all(|level| *level > 0.05), "{loud:?}");
}

#[tokio::test]
async fn a_rendition_is_upright_small_enough_and_sdr() {
    let clips = Clips::new();
    // Portrait by its matrix, larger than a screen, and of a size that the codec does not know.
    let path = clips.draw("large.mkv", &quarters(2560, 1440, 10, 0.3), "-c:v libx264 -preset ultrafast");
    let (out, made_) = made(&clips, &path, ROOM).await.unwrap();
    assert_eq!((made_.width, made_.height), (1920, 1080));
    let (frames, _) = decode(&out, &[2]).await.unwrap();
    assert_corners(&frames[0], QUARTERS, "large");
    let path = clips.draw("odd.mkv", &quarters(161, 121, 10, 0.5), "-c:v ffv1 -pix_fmt yuv444p");
    let (_, made_) = made(&clips, &path, ROOM).await.unwrap();
    assert_eq!((made_.width, made_.height), (162, 122));

    let tags = "-colorspace bt2020nc -color_primaries bt2020 -color_trc arib-std-b67 -color_range tv";
    let source = "color=0xbfbfbf:s=64x64:r=10:d=0.5,format=yuv420p10le";
    let path = clips.draw(
        "hlg.mp4",
        source,
        &format!("-c:v libx265 -x265-params log-level=none -tag:v hvc1 {tags}"),
    );
    let reason = playable(&probe(&path).await.unwrap()).unwrap_err();
    assert!(reason.contains("hevc"), "{reason}");
    let (out, _) = made(&clips, &path, ROOM).await.unwrap();
    let clip = probe(&out).await.unwrap();
    assert_eq!(
        (clip.video.transfer.as_deref(), clip.video.pixel_format.as_str()),
        (Some("bt709"), "yuv420p")
    );
    let (before, _) = decode(&path, &[1]).await.unwrap();
    let (after, _) = decode(&out, &[1]).await.unwrap();
    let middle = |frame: &Frame| frame.rgb[frame.rgb.len() / 2];
    assert!(
        middle(&before[0]).abs_diff(middle(&after[0])) <= 3,
        "{} {}",
        middle(&before[0]),
        middle(&after[0])
    );
}

#[tokio::test]
async fn a_fast_clip_is_thinned_and_a_broken_one_is_whole_again() {
    let clips = Clips::new();
    let path = clips.draw("slow-motion.mov", &numbered(120, 60), "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p");
    let (_, made_) = made(&clips, &path, ROOM).await.unwrap();
    assert_eq!(made_.frames, 30);

    let whole = clips.draw("whole.ts", "testsrc2=s=320x240:r=25:d=2", "-c:v mpeg2video -q:v 3 -g 12");
    let mut bytes = fs::read(whole).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3000].fill(0x55);
    let path = clips.write("broken.ts", &bytes);
    let (out, made_) = made(&clips, &path, ROOM).await.unwrap();
    assert!(made_.frames >= 40, "{made_:?}");
    let clip = probe(&out).await.unwrap();
    assert_eq!((clip.video.frame_count, clip.summary.warnings), (made_.frames, vec![]));
}

#[tokio::test]
async fn a_rendition_that_does_not_fit_or_is_of_no_video_is_an_error() {
    let clips = Clips::new();
    let path = clips.draw("noise.avi", "testsrc2=s=320x240:r=25:d=2", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p");
    let error = made(&clips, &path, 10_000).await.unwrap_err();
    assert!(error.to_string().contains("a rendition of more than 10000 bytes"), "{error}");
    let error = made(&clips, &clips.write("none.avi", b"no video at all"), ROOM).await.unwrap_err();
    assert_eq!(error.kind(), VideoErrorKind::BadVideo);
}

#[tokio::test]
async fn what_browsers_play_is_left_alone() {
    let clips = Clips::new();
    for (name, options, expected) in [
        ("a.mp4", "-c:v libx264 -pix_fmt yuv420p", Ok("video/mp4")),
        ("b.webm", "-c:v libvpx-vp9 -deadline realtime", Ok("video/webm")),
        (
            "c.mkv",
            "-c:v libx264 -pix_fmt yuv420p",
            Err("browsers don't play files of the kind matroska,webm"),
        ),
        ("d.mp4", "-c:v libx264 -pix_fmt yuv422p", Err("not every browser shows pixels of the kind yuv422p")),
        ("e.mp4", "-c:v mpeg4", Err("not every browser plays pictures coded as mpeg4")),
        (
            "f.mp4",
            "-c:v libx264 -pix_fmt yuv420p -flags +ilme+ildct -x264-params tff=1 -top 1",
            Err("it is interlaced"),
        ),
    ] {
        let path = clips.draw(name, &quarters(160, 96, 25, 1.0), options);
        let found = playable(&probe(&path).await.unwrap());
        assert_eq!(found.as_ref().map(|mime| *mime).map_err(String::as_str), expected, "{name}");
    }
}

#[tokio::test]
async fn sprites_show_every_tenth_second() {
    let clips = Clips::new();
    // 607 s: 61 pictures; the level tells tens of seconds.
    let source = "color=black:s=320x180:r=1:d=607,geq=lum='16+floor(T/10)*3':cb=128:cr=128,format=yuv420p";
    for (name, options, slack) in [
        ("long.mp4", "-c:v libx264 -preset ultrafast -g 4", 1),
        // No entry nearby: the frames themselves.
        ("groups.mp4", "-c:v libx264 -preset ultrafast -g 1000 -x264-params scenecut=0", 0),
    ] {
        let path = clips.draw(name, source, options);
        let mut told = Vec::new();
        let cancel = CancellationToken::new();
        let progress = |done, total| told.push((done, total));
        let (layout, sheets) =
            sprites(&worker(), File::open(&path).unwrap(), &cancel, progress).await.unwrap();
        assert_eq!((layout.count, layout.columns, layout.rows, sheets.len()), (61, 10, 7, 1), "{name}");
        assert_eq!((layout.interval_s, layout.width, layout.height), (10.0, 320, 180), "{name}");
        assert_eq!(told, [(61, 61)], "{name}");
        let sheet = picture(&sheets[0], 1 << 24).unwrap();
        assert_eq!((sheet.width, sheet.height), (3200, 1260), "{name}");
        for place in 0..61u32 {
            let (x, y) = (place % 10 * 320 + 160, place / 10 * 180 + 90);
            let value = sheet.rgb[((y * sheet.width + x) * 3) as usize];
            let tens = (f64::from(value) * 219.0 / 255.0 / 3.0).round() as i64;
            assert!((tens - i64::from(place)).abs() <= slack, "{name}, picture {place} is of second {tens}0");
        }
        let vtt = layout.web_vtt(|sheet| format!("sprites/{sheet}.jpg"));
        assert!(vtt.ends_with("00:10:00.000 --> 00:10:07.000\nsprites/0.jpg#xywh=0,1080,320,180\n"), "{vtt}");
    }
}

#[tokio::test]
async fn a_short_clip_has_sprites_every_half_second_and_a_longer_one_sixty() {
    let clips = Clips::new();
    let cancel = CancellationToken::new();
    for (seconds, count, interval) in [(6, 12, 0.5), (90, 60, 1.5)] {
        let source =
            format!("color=black:s=64x64:r=2:d={seconds},geq=lum='16+N':cb=128:cr=128,format=yuv420p");
        let path = clips.draw("short.mp4", &source, "-c:v libx264 -qp 2");
        let (layout, sheets) =
            sprites(&worker(), File::open(&path).unwrap(), &cancel, |_, _| {}).await.unwrap();
        assert_eq!((layout.count, layout.interval_s, sheets.len()), (count, interval, 1));
        let sheet = picture(&sheets[0], 1 << 24).unwrap();
        for place in 0..u32::try_from(count).unwrap() {
            let (x, y) = (place % 10 * layout.width + 32, place / 10 * layout.height + 32);
            let value = sheet.rgb[((y * sheet.width + x) * 3) as usize];
            let frame = (f64::from(value) * 219.0 / 255.0).round();
            let expected = (f64::from(place) * interval * 2.0).round();
            assert!((frame - expected).abs() <= 1.0, "picture {place} of {seconds} s shows frame {frame}");
        }
    }
}

#[tokio::test]
async fn sprites_of_a_short_upright_clip_are_one_picture() {
    let clips = Clips::new();
    let path = clips.draw("tall.webm", &quarters(180, 640, 10, 0.4), "-c:v libvpx-vp9 -deadline realtime");
    let cancel = CancellationToken::new();
    let (layout, sheets) = sprites(&worker(), File::open(&path).unwrap(), &cancel, |_, _| {}).await.unwrap();
    assert_eq!((layout.count, layout.width, layout.height, sheets.len()), (1, 180, 640, 1));
    assert_eq!(picture(&sheets[0], 1 << 24).unwrap().width, 180);
    let none = clips.write("none.mp4", b"");
    let error = sprites(&worker(), File::open(none).unwrap(), &cancel, |_, _| {}).await.unwrap_err();
    assert_eq!(error.kind(), VideoErrorKind::BadVideo);
}
