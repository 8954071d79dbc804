//! Files that are encrypted or damaged: what can be shown is shown at its time, and the rest is named.

use std::fs;

use homereel_video::VideoErrorKind;

use crate::clips::{Clips, decode, number, numbered, probe, quarters};

#[tokio::test]
async fn encrypted_files_are_named_instead_of_decoded_as_noise() {
    let clips = Clips::new();
    let key = "76a6c65c5ea762046bd749a2e632ccbb";
    let cenc =
        format!("-c:v libx264 -encryption_scheme cenc-aes-ctr -encryption_key {key} -encryption_kid {key}");
    let common = clips.draw("common.mp4", &quarters(64, 64, 10, 1.0), &cenc);

    let open = clips.draw("open.ts", "testsrc2=s=320x240:r=25:d=2", "-c:v libx264 -qp 10");
    let mut bytes = fs::read(&open).unwrap();
    for packet in bytes.chunks_exact_mut(188).filter(|packet| packet[1] & 0x1f == 1 && packet[2] == 0) {
        packet[3] |= 0x80;
    }
    let broadcast = clips.write("broadcast.ts", &bytes);

    for (path, scheme) in [(common, "common encryption"), (broadcast, "conditional access of a broadcaster")]
    {
        let error = probe(&path).await.unwrap_err();
        let expected = format!(
            "the video is encrypted ({scheme}), so it cannot be decoded; a copy without protection would fit"
        );
        assert_eq!((error.to_string(), error.kind()), (expected, VideoErrorKind::BadVideo));
    }
    probe(&open).await.unwrap();
}

#[tokio::test]
async fn a_film_of_damaged_pictures_is_shown_at_its_times() {
    let clips = Clips::new();
    let whole = clips.draw("whole.avi", &numbered(10, 50), "-c:v mpeg4 -g 5 -q:v 2");
    // Some bytes of each picture are wrong, as on a scratched disc.
    let mut bytes = fs::read(&whole).unwrap();
    let places: Vec<usize> = (0..bytes.len() - 48).filter(|&at| bytes[at..].starts_with(b"00dc")).collect();
    for at in places {
        let size = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        if (40..1 << 20).contains(&size) && at + 8 + size <= bytes.len() {
            bytes[at + 8 + size - 9..at + 8 + size - 4].fill(0xff);
        }
    }
    let damaged = clips.write("damaged.avi", &bytes);
    let wanted: Vec<u64> = (0..50).step_by(7).collect();
    let (frames, end) = decode(&damaged, &wanted).await.unwrap();
    assert!(end.warnings.iter().any(|text| text.contains("damaged")), "{:?}", end.warnings);
    for (frame, index) in frames.iter().zip(&wanted) {
        assert!((frame.pts_s - *index as f64 / 10.0).abs() <= 1.0, "{index}: {}", frame.pts_s);
        assert!(number(frame).abs_diff(*index) <= 10, "{index}: {}", number(frame));
    }
}

#[tokio::test]
async fn where_seeking_changes_pictures_there_is_no_seek() {
    let clips = Clips::new();
    for (name, format) in [("444.mp4", "yuv444p"), ("422.mp4", "yuv422p"), ("10.mkv", "yuv420p10le")] {
        let options = format!("-c:v libx264 -preset veryfast -g 10 -bf 2 -pix_fmt {format}");
        let path = clips.draw(name, &numbered(10, 50), &options);
        let points = probe(&path).await.unwrap().index.access_points.len();
        assert_eq!(points == 0, format == "yuv444p", "{name}: {points} random access points");
        let (frames, end) = decode(&path, &[5, 33, 48]).await.unwrap();
        assert_eq!((end.replaced, end.warnings), (0, vec![]), "{name}");
        assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [5, 33, 48], "{name}");
    }
}
