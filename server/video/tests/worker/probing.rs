//! Probing: facts, timelines, and errors.

use homereel_video::{VideoError, VideoErrorKind};

use crate::clips::{Clips, numbered, probe, quarters};

#[tokio::test]
async fn a_plain_clip_is_described() {
    let clips = Clips::new();
    let path = clips.draw(
        "plain.mp4",
        &quarters(160, 96, 30, 2.0),
        "-c:v libx264 -bf 2 -metadata creation_time=2021-06-05T04:03:02Z -metadata location=+48.85+002.29/",
    );
    let clip = probe(&path).await.unwrap();
    assert_eq!((clip.video.codec.as_str(), clip.video.pixel_format.as_str()), ("h264", "yuv420p"));
    assert!(clip.container.contains("mp4"), "{}", clip.container);
    assert_eq!((clip.video.width, clip.video.height, clip.video.rotation), (160, 96, 0));
    assert_eq!((clip.video.fps, clip.video.frame_count, clip.video.constant_rate), (30.0, 60, true));
    assert_eq!((clip.duration_s, clip.index.frame_times.len()), (2.0, 60));
    assert!((clip.index.frame_times[59] - 59.0 / 30.0).abs() < 1e-6);
    assert_eq!(clip.creation_time.as_deref(), Some("2021-06-05T04:03:02Z"));
    assert!(clip.location.is_some_and(|place| (place.latitude - 48.85).abs() < 1e-3));
    assert_eq!((clip.summary.audio, clip.summary.warnings), (None, vec![]));
}

#[tokio::test]
async fn pixels_that_are_not_square_give_the_size_that_a_person_sees() {
    let clips = Clips::new();
    let source = format!("{},setsar=2/1", quarters(80, 96, 10, 0.5));
    let clip = probe(&clips.draw("sar.mp4", &source, "-c:v libx264")).await.unwrap();
    assert_eq!((clip.video.coded_width, clip.video.coded_height), (80, 96));
    assert_eq!((clip.video.width, clip.video.height), (160, 96));
}

#[tokio::test]
async fn times_start_at_the_first_frame_and_the_offset_is_kept() {
    let clips = Clips::new();
    let path = clips.draw("late.ts", &numbered(25, 20), "-c:v libx264 -output_ts_offset 7 -muxdelay 0");
    let clip = probe(&path).await.unwrap();
    assert_eq!((clip.index.frame_times[0], clip.video.frame_count), (0.0, 20));
    assert!((7.0..8.0).contains(&clip.start_offset_s), "{}", clip.start_offset_s);
}

#[tokio::test]
async fn sound_beside_the_film_is_named() {
    let clips = Clips::new();
    let path = clips.draw(
        "sound.mp4",
        &quarters(64, 64, 10, 1.0),
        "-f lavfi -i sine=r=48000:d=1 -map 0 -map 0 -c:v libx264",
    );
    assert!(probe(&path).await.is_ok_and(|clip| clip.audio.is_none()));
    let path =
        clips.draw("with.mkv", "sine=r=48000:d=1[out0];color=red:s=64x64:d=1[out1]", "-c:v libx264 -c:a aac");
    let clip = probe(&path).await.unwrap();
    assert!(
        clip.summary.audio.is_some_and(|audio| (audio.codec.as_str(), audio.sample_rate) == ("aac", 48000))
    );
}

#[tokio::test]
async fn files_that_are_no_video_get_an_error_that_says_what_they_are() {
    let clips = Clips::new();
    let sound = clips.draw("sound.m4a", "sine=d=1", "-c:a aac");
    let whole = clips.draw("whole.mp4", &quarters(64, 64, 10, 1.0), "-c:v libx264");
    let bytes = std::fs::read(whole).unwrap();
    let picture = clips.draw("picture.png", "color=red:s=8x8", "-frames:v 1");
    let noise: Vec<u8> = (0..9000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let playlist = "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n";
    let cases = [
        (clips.write("empty.mp4", b""), "not a video: the file is empty"),
        (clips.write("text.mp4", b"this is no clip\n"), "not a video: a text file"),
        (clips.write("list.mp4", playlist.as_bytes()), "not a video: a playlist"),
        (clips.write("noise.mp4", &noise), "not a video: no container that this build reads"),
        (
            clips.write("cut.mp4", &bytes[..bytes.len() / 3]),
            "not a video: no container that this build reads",
        ),
        (picture, "not a video: a PNG picture"),
        (sound, "no video stream: the file holds sound (aac)"),
    ];
    for (path, expected) in cases {
        let error = probe(&path).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.kind(), VideoErrorKind::BadVideo);
    }
}

#[tokio::test]
async fn a_playlist_in_disguise_opens_no_other_file() {
    let clips = Clips::new();
    let real = clips.draw("real.mp4", &quarters(64, 64, 10, 1.0), "-c:v libx264");
    let concat = format!("ffconcat version 1.0\nfile {}\n\u{1}", real.display());
    let error = probe(&clips.write("concat.mp4", concat.as_bytes())).await.unwrap_err();
    assert!(matches!(error, VideoError::NotAVideo { .. }), "{error}");
}

#[tokio::test]
async fn frames_too_wide_are_refused_with_the_limit() {
    let clips = Clips::new();
    let path = clips.draw("wide.mp4", "color=red:s=10000x32:r=5:d=0.4", "-c:v libx264 -preset ultrafast");
    let error = probe(&path).await.unwrap_err();
    assert_eq!(error.to_string(), "the frames are 10000x32 pixels; 8192 pixels per side is the limit");
}

#[tokio::test]
async fn a_codec_without_a_decoder_is_named() {
    let clips = Clips::new();
    let path = clips.draw("known.mp4", &quarters(64, 64, 10, 0.5), "-c:v libx264");
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(4).rposition(|window| window == b"avc1").unwrap();
    bytes[at..at + 4].copy_from_slice(b"xyz1");
    let error = probe(&clips.write("unknown.mp4", &bytes)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read this kind of video yet: no decoder for xyz1");
}
