//! Parts of clips: copied where that is possible, encoded otherwise.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use homereel_video::{Cut, Rendition, Span, VideoError, cut, rendition};
use tokio_util::sync::CancellationToken;

use crate::{
    clips::{Clips, QUARTERS, assert_corners, decode, number, numbered, probe, quarters, worker},
    decoding::set_matrix,
    derived::loudness,
};

const ROOM: u64 = 64 << 20;

/// Silence for a second, then a tone.
const TONE: &str = "aevalsrc='if(gte(t,1),sin(2*PI*440*t),0)':s=44100:d=2[out1]";

fn span(start_s: f64, end_s: f64) -> Span {
    Span { start_s, end_s }
}

async fn copied(clips: &Clips, path: &Path, span: Span) -> Result<PathBuf, VideoError> {
    let (order, out) = (Cut::of(&probe(path).await.unwrap(), span).unwrap(), clips.path("part.mp4"));
    let (file, to) = (File::open(path).unwrap(), File::create(&out).unwrap());
    cut(&worker(), file, order, to, ROOM, &CancellationToken::new()).await?;
    Ok(out)
}

async fn encoded(clips: &Clips, path: &Path, span: Span) -> (PathBuf, Rendition) {
    let out = clips.path("encoded.mp4");
    let (file, to, cancel) =
        (File::open(path).unwrap(), File::create(&out).unwrap(), CancellationToken::new());
    let made = rendition(&worker(), file, Some(span), to, ROOM, &cancel, |_, _| {}).await;
    (out, made.unwrap())
}

/// Asserts that `part` shows pictures 20 to 39 of the source, and the sound from 0.8 to 1.6 s.
async fn assert_part(part: &Path, name: &str) {
    let clip = probe(part).await.unwrap();
    assert_eq!(clip.video.frame_count, 20, "{name}: {:?}", clip.index.frame_times);
    assert!((clip.duration_s - 0.8).abs() < 0.03, "{name}: {}", clip.duration_s);
    let (frames, end) = decode(part, &[0, 1, 19]).await.unwrap();
    assert_eq!(
        (end.replaced, frames.iter().map(number).collect::<Vec<_>>()),
        (0, vec![20, 21, 39]),
        "{name}"
    );
    assert!(frames[2].pts_s > 0.7 && frames[2].pts_s < 0.8, "{name}: {}", frames[2].pts_s);
    let loud = loudness(part);
    assert!((7..=9).contains(&loud.len()), "{name}: {} tenths", loud.len());
    assert!(loud[0] < 0.05 && loud[3..7].iter().all(|level| *level > 0.2), "{name}: {loud:?}");
}

#[tokio::test]
async fn a_part_is_copied_from_the_key_frame_before_it_and_shows_no_more() {
    let clips = Clips::new();
    let source = format!("{}[out0];{TONE}", numbered(25, 50));
    for (name, options) in [
        ("phone.mp4", "-c:v libx264 -qp 4 -g 12 -bf 3 -c:a aac"),
        ("late.mp4", "-c:v libx264 -qp 4 -g 12 -bf 3 -c:a aac -output_ts_offset 3 -movflags faststart"),
        ("hevc.mov", "-c:v libx265 -x265-params log-level=none:crf=4:keyint=12 -tag:v hvc1 -c:a aac"),
        ("screen.mkv", "-c:v libx264 -qp 4 -g 12 -bf 0 -c:a aac"),
    ] {
        let path = clips.draw(name, &source, options);
        let part = copied(&clips, &path, span(0.8, 1.6)).await.unwrap();
        assert_part(&part, name).await;
        let codec = probe(&part).await.unwrap().video.codec.clone();
        assert_eq!(codec, probe(&path).await.unwrap().video.codec, "{name}");
    }
}

#[tokio::test]
async fn the_whole_clip_and_its_ends_can_be_copied() {
    let clips = Clips::new();
    let path = clips.draw("a.mp4", &numbered(25, 50), "-c:v libx264 -qp 4 -g 12 -bf 2");
    for (from, to, first, last, count) in
        [(0.0, 2.0, 0, 49, 50), (0.0, 0.1, 0, 2, 3), (1.9, 2.0, 47, 49, 3), (1.004, 1.12, 25, 27, 3)]
    {
        let part = copied(&clips, &path, span(from, to)).await.unwrap();
        let clip = probe(&part).await.unwrap();
        assert_eq!(clip.video.frame_count, count, "{from} to {to}");
        let (frames, _) = decode(&part, &[0, count - 1]).await.unwrap();
        assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [first, last], "{from} to {to}");
    }
}

#[tokio::test]
async fn a_part_of_an_upright_clip_is_upright() {
    let clips = Clips::new();
    let source = quarters(160, 96, 25, 2.0);
    let path = clips.draw("turned.mp4", &source, "-c:v libx264 -g 12");
    set_matrix(&path, [0, 1, -1, 0]);
    let whole = probe(&path).await.unwrap();
    assert_eq!((whole.video.width, whole.video.height), (96, 160));
    let part = copied(&clips, &path, span(0.5, 1.5)).await.unwrap();
    let clip = probe(&part).await.unwrap();
    assert_eq!((clip.video.width, clip.video.height, clip.video.rotation), (96, 160, whole.video.rotation));
    let (shown, _) = decode(&path, &[20]).await.unwrap();
    let (frames, _) = decode(&part, &[5]).await.unwrap();
    assert_corners(&frames[0], crate::clips::corners(&shown[0]), "copied");
    assert_ne!(crate::clips::corners(&shown[0]), QUARTERS, "it is turned");
}

#[tokio::test]
async fn what_cannot_be_copied_says_why_and_is_encoded() {
    let clips = Clips::new();
    let source = format!("{}[out0];{TONE}", numbered(25, 50));
    for (name, options, reason) in [
        ("old.avi", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p -c:a pcm_s16le", "does not hold such pictures"),
        ("camera.mov", "-c:v libx264 -qp 4 -g 12 -c:a pcm_s16le", "does not hold such sound"),
        (
            "web.webm",
            "-c:v libvpx-vp9 -deadline realtime -crf 4 -b:v 0 -c:a libopus",
            "does not hold such pictures",
        ),
    ] {
        let path = clips.draw(name, &source, options);
        let refused = Cut::of(&probe(&path).await.unwrap(), span(0.8, 1.6)).unwrap_err();
        assert!(refused.contains(reason), "{name}: {refused}");
        let (part, made) = encoded(&clips, &path, span(0.8, 1.6)).await;
        assert_eq!((made.frames, made.sound), (20, true), "{name}");
        assert_part(&part, name).await;
    }
}

#[tokio::test]
async fn a_part_without_a_key_frame_nearby_or_within_a_long_picture_is_not_copied() {
    let clips = Clips::new();
    let source = "color=gray:s=64x64:r=5:d=30";
    let path = clips.draw("rare.mp4", source, "-c:v libx264 -g 1000 -x264-params scenecut=0");
    let clip = probe(&path).await.unwrap();
    assert!(Cut::of(&clip, span(19.0, 20.0)).is_ok());
    assert_eq!(Cut::of(&clip, span(25.0, 26.0)), Err("no key frame is near"));

    // Pictures 0 to 9, a pause of two seconds, and the others.
    let source = format!("{},setpts='if(lt(N,10),N,N+50)/25/TB'", numbered(25, 20));
    let path = clips.draw("slides.mp4", &source, "-c:v libx264 -qp 4 -vsync vfr");
    let clip = probe(&path).await.unwrap();
    assert_eq!(clip.video.frame_count, 20);
    let refused = Cut::of(&clip, span(1.0, 2.6)).unwrap_err();
    assert!(refused.contains("stays long"), "{refused}");
    let (part, _) = encoded(&clips, &path, span(1.0, 2.6)).await;
    let (frames, _) = decode(&part, &[0, 1]).await.unwrap();
    assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [9, 10]);
    assert!((frames[1].pts_s - 1.4).abs() < 0.002, "{}", frames[1].pts_s);
}

#[tokio::test]
async fn a_damaged_index_is_an_error() {
    let clips = Clips::new();
    let path = clips.draw("a.mp4", &numbered(25, 50), "-c:v libx264 -g 12");
    let order = Cut::of(&probe(&path).await.unwrap(), span(1.0, 1.5)).unwrap();
    let other = clips.draw("b.mp4", &numbered(25, 50), "-c:v libx264 -g 50 -qp 1");
    let out = File::create(clips.path("part.mp4")).unwrap();
    let cancel = CancellationToken::new();
    let error = cut(&worker(), File::open(other).unwrap(), order, out, ROOM, &cancel).await.unwrap_err();
    assert!(error.to_string().contains("its key frame is not where the probe found it"), "{error}");
}
