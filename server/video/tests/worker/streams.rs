//! Which streams of a file are shown and played, and films inside of photos.

use std::fs;

use homereel_video::{picture, playable, poster};
use tokio_util::sync::CancellationToken;

use crate::clips::{Clips, QUARTERS, assert_corners, decode, number, numbered, probe, quarters, worker};

/// Two sources of pictures, `[out0]` and `[out1]`.
fn two(first: &str, second: &str) -> String {
    format!("{first}[out0];{second}[out1]")
}

#[tokio::test]
async fn the_default_stream_of_pictures_is_shown() {
    let clips = Clips::new();
    let both = "-map 0:v:0 -map 0:v:1 -c:v libx264";
    let preview = two(&quarters(160, 120, 12, 2.0), "color=gray:s=64x48:r=60:d=2");
    let disabled = two(&quarters(160, 120, 10, 1.0), "color=purple:s=320x240:r=10:d=4");
    let shots = two(&quarters(64, 48, 30, 2.0), "color=gray:s=320x240:r=1:d=2");
    let still = two("color=gray:s=320x240:r=1:d=1", &quarters(160, 120, 10, 2.0));
    for (name, source, options, index) in [
        // Fewer pictures, but larger ones.
        ("preview.mp4", &preview, both.to_owned(), 0),
        ("preview.mkv", &preview, format!("{both} -disposition:v:0 default -disposition:v:1 0"), 0),
        // The disabled one is longer and larger.
        ("disabled.mov", &disabled, format!("{both} -disposition:v:0 default -disposition:v:1 0"), 0),
        ("second.mov", &disabled, format!("{both} -disposition:v:0 0 -disposition:v:1 default"), 1),
        // A few large pictures beside the film, all enabled.
        ("shots.mov", &shots, format!("{both} -disposition:v:0 default -disposition:v:1 default"), 0),
        // A single picture is no film, whatever is said of it.
        ("still.mp4", &still, format!("{both} -c:v:0 mjpeg -disposition:v:0 default -disposition:v:1 0"), 1),
    ] {
        let clip = probe(&clips.draw(name, source, &options)).await.unwrap();
        assert_eq!(clip.video.index, index, "{name}");
    }
}

#[tokio::test]
async fn the_first_sound_that_can_be_decoded_is_played_and_the_others_are_named() {
    let clips = Clips::new();
    let source = format!("{}[out0];sine=f=440:d=1[out1];sine=f=880:d=1[out2]", quarters(64, 64, 10, 1.0));
    let tracks = "-map 0:v -map 0:a:0 -map 0:a:1 -c:v libx264";
    let only = "-map 0:v -map 0:a:0 -c:v libx264 -c:a wavpack";
    let (played, none) = ("the one coded as aac is played", "the sound cannot be read");
    for (name, options, sound, note) in [
        ("first.mkv", format!("{tracks} -c:a:0 wavpack -c:a:1 aac"), Some((2, "aac")), Some(played)),
        ("second.mkv", format!("{tracks} -c:a:0 aac -c:a:1 wavpack"), Some((1, "aac")), Some(played)),
        (
            "default.mkv",
            format!("{tracks} -c:a:0 mp3 -c:a:1 aac -disposition:a:0 0 -disposition:a:1 default"),
            Some((2, "aac")),
            None,
        ),
        ("none.mkv", only.to_owned(), None, Some(none)),
    ] {
        let clip = probe(&clips.draw(name, &source, &options)).await.unwrap();
        let audio = clip.summary.audio.as_ref().map(|audio| (audio.index, audio.codec.as_str()));
        assert_eq!(audio, sound, "{name}");
        let warnings = clip.summary.warnings.join("; ");
        match note {
            Some(note) => {
                assert!(warnings.contains(note) && warnings.contains("wavpack"), "{name}: {warnings}")
            }
            None => assert_eq!(warnings, "", "{name}"),
        }
    }
}

#[tokio::test]
async fn the_poster_of_a_clip_with_a_long_black_leader_shows_a_picture() {
    let clips = Clips::new();
    let source = format!("{},fade=in:st=40:d=0.2", quarters(160, 120, 5, 44.0));
    let path = clips.draw("leader.mp4", &source, "-c:v libx264");
    let file = fs::File::open(&path).unwrap();
    let poster = poster(&worker(), file, 160, &CancellationToken::new()).await.unwrap();
    let shown = picture(&poster.full, 1 << 20).unwrap();
    let middle = &shown.rgb[(30 * 160 + 40) * 3..][..3];
    assert!(middle[0] > 200 && middle[2] < 60, "{middle:?}");
}

#[tokio::test]
async fn the_film_of_a_motion_photo_is_decoded() {
    let clips = Clips::new();
    let film = fs::read(clips.draw("film.mp4", &numbered(10, 20), "-c:v libx264 -crf 5")).unwrap();
    let still = fs::read(clips.draw("still.jpg", "testsrc2=s=640x480:d=1", "-frames:v 1")).unwrap();
    let length = u32::try_from(8 + film.len()).unwrap().to_be_bytes();
    let heic = b"\0\0\0\x14ftypheic\0\0\0\0mif1\0\0\0\x0cmetaabcd".as_slice();
    for (name, bytes) in [
        ("PXL_1.MP.jpg", [still.as_slice(), &film].concat()),
        ("samsung.jpg", [still.as_slice(), b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data", &film].concat()),
        ("samsung.heic", [heic, &length, b"mpvd", &film].concat()),
    ] {
        let path = clips.write(name, &bytes);
        let clip = probe(&path).await.unwrap();
        assert_eq!((clip.video.frame_count, clip.video.width), (20, 64), "{name}");
        assert!(playable(&clip).is_err(), "{name}: a browser would show the photo");
        let (frames, _) = decode(&path, &[0, 7, 19]).await.unwrap();
        let numbers: Vec<u64> = frames.iter().map(number).collect();
        assert_eq!(numbers, [0, 7, 19], "{name}");
    }
    let error = probe(&clips.write("photo.jpg", &still)).await.unwrap_err();
    assert!(error.to_string().contains("a JPEG picture"), "{error}");
    let row = fs::read(clips.draw("row.mjpeg", &numbered(25, 5), "-c:v mjpeg -q:v 2 -f mjpeg")).unwrap();
    assert_eq!(probe(&clips.write("row.mjpeg", &row)).await.unwrap().video.frame_count, 5);
}

#[tokio::test]
async fn codecs_of_tapes_editors_and_early_computers_are_read() {
    let clips = Clips::new();
    for (name, options) in [
        ("utvideo.avi", "-c:v utvideo -pix_fmt gbrp"),
        ("v210.mov", "-c:v v210"),
        ("r210.mov", "-c:v r210"),
        ("cineform.mov", "-c:v cfhd -quality film3+"),
        ("msvideo1.avi", "-c:v msvideo1"),
        ("jpeg2000.mov", "-c:v jpeg2000 -q:v 1"),
        ("zmbv.avi", "-c:v zmbv -pix_fmt bgr0"),
        ("screen.flv", "-c:v flashsv"),
    ] {
        let path = clips.draw(name, &quarters(128, 96, 10, 1.0), options);
        let (frames, end) = decode(&path, &[0, 9]).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((frames.len(), end.warnings.len()), (2, 0), "{name}: {:?}", end.warnings);
        for frame in &frames {
            assert_corners(frame, QUARTERS, name);
        }
    }
}
