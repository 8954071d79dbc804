//! Where a clip ends: at the end of the last of its own streams.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use homereel_video::{playable, rendition};
use tokio_util::sync::CancellationToken;

use crate::clips::{Clips, decode, number, numbered, probe, worker};

async fn rendered(clips: &Clips, path: &Path) -> PathBuf {
    let out = clips.path("rendition.mp4");
    let file = File::create(&out).unwrap();
    let cancel = CancellationToken::new();
    rendition(&worker(), File::open(path).unwrap(), None, file, 1 << 26, &cancel, |_, _| {}).await.unwrap();
    out
}

#[tokio::test]
async fn sound_that_outlasts_the_pictures_is_kept_to_its_end() {
    let clips = Clips::new();
    for (name, frames, seconds, options) in [
        ("long.avi", 30, 9.0, "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p -c:a pcm_s16le"),
        ("one.mp4", 1, 8.0, "-c:v mpeg4 -c:a aac"),
        ("ts.ts", 30, 6.0, "-c:v mpeg2video -q:v 2 -c:a mp2"),
        ("mkv.mkv", 30, 6.0, "-c:v libx264 -c:a libopus"),
        ("b.mp4", 30, 6.0, "-c:v libx264 -bf 3 -c:a aac"),
    ] {
        let source = format!("{}[out0];sine=r=48000:d={seconds}[out1]", numbered(10, frames));
        let path = clips.draw(name, &source, options);
        let clip = probe(&path).await.unwrap();
        assert!((clip.duration_s - seconds).abs() < 0.1, "{name}: {}", clip.duration_s);
        assert_eq!(clip.warnings, Vec::<String>::new(), "{name}");
        let out = rendered(&clips, &path).await;
        let made = probe(&out).await.unwrap();
        assert!((made.duration_s - seconds).abs() < 0.1, "{name}: {} in the rendition", made.duration_s);
        assert_eq!(made.video.frame_count, u64::from(frames), "{name}");
        assert_eq!((playable(&made), &made.warnings), (Ok("video/mp4"), &vec![]), "{name}");
        let all: Vec<u64> = (0..u64::from(frames)).collect();
        let (shown, _) = decode(&out, &all).await.unwrap();
        assert_eq!(shown.iter().map(number).collect::<Vec<_>>(), all, "{name}");
    }
}

#[tokio::test]
async fn the_last_picture_stays_as_long_as_the_file_says() {
    let clips = Clips::new();
    // Ten pictures a second, of which the last but one stays for ten seconds; exchanged for the last one.
    let source = format!("{},settb=1/1000,setpts='if(eq(N,11),110,N)*100'", numbered(10, 12));
    for (name, options) in [("stays.mp4", "-c:v libx264 -bf 0"), ("stays.mov", "-c:v mjpeg -q:v 2")] {
        let path = clips.draw(name, &source, &format!("-vsync passthrough {options}"));
        let mut bytes = fs::read(path).unwrap();
        let table = bytes.windows(4).position(|window| window == b"stts").unwrap() + 12;
        assert_eq!(bytes[table - 4..table], 3u32.to_be_bytes(), "{name}: three kinds of durations");
        let (before, last) = (table + 12, table + 20);
        let stays: [u8; 4] = bytes[before..before + 4].try_into().unwrap();
        bytes.copy_within(last..last + 4, before);
        bytes[last..last + 4].copy_from_slice(&stays);
        let clip = probe(&clips.write(name, &bytes)).await.unwrap();
        assert!((clip.duration_s - 11.1).abs() < 0.05, "{name}: {}", clip.duration_s);
        assert!((clip.index.frame_times[11] - 1.1).abs() < 0.01, "{name}");
    }
    let path = clips.draw("animated.gif", &numbered(10, 34), "");
    let mut bytes = fs::read(path).unwrap();
    let controls: Vec<usize> = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0x21, 0xf9, 0x04])
        .map(|(at, _)| at)
        .collect();
    assert_eq!(controls.len(), 34);
    let mut hundredths = 0;
    for (at, place) in controls.iter().enumerate() {
        let delay: u16 = if at == 33 { 1000 } else { [100, 50, 150][at % 3] };
        bytes[place + 4..place + 6].copy_from_slice(&delay.to_le_bytes());
        hundredths += u32::from(delay);
    }
    let clip = probe(&clips.write("delays.gif", &bytes)).await.unwrap();
    assert_eq!((clip.video.frame_count, clip.duration_s), (34, f64::from(hundredths) / 100.0));
    assert_eq!(clip.warnings, Vec::<String>::new());
}
