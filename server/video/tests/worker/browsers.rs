//! What browsers would show otherwise than the probe says is not served as it is.

use std::{fs, path::Path, process::Command};

use homereel_video::playable;

use crate::clips::{Clips, decode, number, numbered, probe, quarters};

/// Rewrites `from` with ffmpeg's options.
fn remux(clips: &Clips, from: &Path, before: &str, name: &str, after: &str) -> std::path::PathBuf {
    let path = clips.path(name);
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-bitexact"])
        .args(before.split_whitespace())
        .arg("-i")
        .arg(from)
        .args(after.split_whitespace())
        .arg(&path)
        .output()
        .unwrap();
    assert!(done.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&done.stderr));
    path
}

async fn refused(path: &Path, reason: &str) {
    let found = playable(&probe(path).await.unwrap()).unwrap_err();
    assert!(found.contains(reason), "{}: {found}", path.display());
}

#[tokio::test]
async fn a_file_that_browsers_show_at_other_times_is_transcoded() {
    let clips = Clips::new();
    let plain = clips.draw("plain.mp4", &numbered(10, 20), "-c:v libx264 -bf 0 -g 10");
    assert_eq!(playable(&probe(&plain).await.unwrap()), Ok("video/mp4"));
    let late = remux(&clips, &plain, "-itsoffset 5", "late.mp4", "-c copy");
    refused(&late, "its first picture is at 5.000 s").await;
    let live = remux(&clips, &plain, "", "live.mp4", "-c copy -movflags +frag_keyframe+empty_moov");
    refused(&live, "it is made of fragments").await;
    let cut = remux(&clips, &plain, "-ss 0.5", "cut.mp4", "-c copy");
    refused(&cut, "parts of it are not meant to be shown").await;
    let vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8";
    let whole = clips.draw("whole.webm", &quarters(64, 64, 10, 1.0), vp9);
    assert_eq!(playable(&probe(&whole).await.unwrap()), Ok("video/webm"));
    let recorded = clips.draw("live.webm", &quarters(64, 64, 10, 1.0), &format!("{vp9} -live 1"));
    refused(&recorded, "its header has no length").await;
}

#[tokio::test]
async fn a_file_of_which_browsers_play_another_stream_is_transcoded() {
    let clips = Clips::new();
    let source = format!("{}[out0];color=gray:s=64x64:r=10:d=2[out1]", numbered(10, 20));
    let second = "-map 0:v:1 -map 0:v:0 -c:v libx264 -disposition:v:0 0 -disposition:v:1 default";
    refused(&clips.draw("second.mp4", &source, second), "another of its streams of pictures").await;
    let source = format!("{}[out0];sine=f=440:d=2[out1];sine=f=880:d=2[out2]", numbered(10, 20));
    let tracks = "-map 0:v -map 0:a:0 -map 0:a:1 -c:v libx264 -c:a aac";
    let later = format!("{tracks} -disposition:a:0 0 -disposition:a:1 default");
    refused(&clips.draw("sound.mp4", &source, &later), "another of its streams of sound").await;
    assert_eq!(playable(&probe(&clips.draw("two.mp4", &source, tracks)).await.unwrap()), Ok("video/mp4"));
}

/// Removes the table of presentation times, as old phones wrote no such table.
fn forget_reordering(clips: &Clips, path: &Path) -> std::path::PathBuf {
    let mut bytes = fs::read(path).unwrap();
    for kind in [b"ctts", b"edts"] {
        let at = bytes.windows(4).position(|window| window == kind).unwrap();
        bytes[at..at + 4].copy_from_slice(b"free");
    }
    clips.write("forgotten.mp4", &bytes)
}

#[tokio::test]
async fn pictures_without_presentation_times_come_in_their_order() {
    let clips = Clips::new();
    for codec in ["libx264 -g 25", "mpeg4 -q:v 2"] {
        let whole = clips.draw("whole.mp4", &numbered(25, 50), &format!("-c:v {codec} -bf 2"));
        let path = forget_reordering(&clips, &whole);
        let clip = probe(&path).await.unwrap();
        assert_eq!((clip.duration_s, clip.video.frame_count), (2.0, 50), "{codec}");
        let all: Vec<u64> = (0..50).collect();
        let (frames, end) = decode(&path, &all).await.unwrap();
        assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), all, "{codec}");
        assert_eq!((end.replaced, end.warnings), (0, vec![]), "{codec}");
        assert!(playable(&clip).is_err());
    }
}

#[tokio::test]
async fn a_file_that_begins_in_the_middle_shows_its_first_whole_picture_first() {
    let clips = Clips::new();
    let whole = clips.draw("whole.ts", &numbered(25, 50), "-c:v libx264 -bf 2 -g 25 -sc_threshold 0");
    let bytes = fs::read(whole).unwrap();
    // The second packet of the second picture or later.
    let path = clips.write("middle.ts", &bytes[188 * 12..]);
    let clip = probe(&path).await.unwrap();
    assert_eq!((clip.video.frame_count, clip.duration_s), (25, 1.0), "{:?}", clip.warnings);
    let (frames, end) = decode(&path, &[0, 1, 24]).await.unwrap();
    assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [25, 26, 49]);
    assert_eq!(end.replaced, 0);
    let said = clip.warnings.iter().any(|one| one.contains("begins in the middle of a recording"));
    assert!(said, "{:?}", clip.warnings);
}
