//! Interlaced pictures, and pictures that change their size within a clip.

use std::fs;

use homereel_video::Frame;

use crate::clips::{Clips, QUARTERS, assert_corners, decode, probe, quarters};

/// Bars of 48 pixels that move 6 pixels to the left from field to field, 50 fields a second.
const BARS: &str = "color=black:s=352x288:r=50:d=1,geq=lum='if(lt(mod(X+N*6,96),48),200,40)':cb=128:cr=128,\
                    format=yuv420p";

/// How many pixels in a thousand show another bar than that of `field`, edges aside.
fn wrong(frame: &Frame, field: usize) -> usize {
    let (mut wrong, mut all) = (0, 0);
    for y in 0..frame.height as usize {
        for x in 0..frame.width as usize {
            let phase = (x + field * 6) % 48;
            if !(3..45).contains(&phase) {
                continue;
            }
            let white = (x + field * 6) % 96 < 48;
            let value = frame.rgb[(y * frame.width as usize + x) * 3];
            wrong += usize::from((value > 128) != white);
            all += 1;
        }
    }
    wrong * 1000 / all
}

#[tokio::test]
async fn interlaced_frames_show_one_moment() {
    let clips = Clips::new();
    for (name, scan, options) in [
        ("tff.mkv", "tff", "-c:v mpeg2video -flags +ilme+ildct -top 1 -q:v 2"),
        ("tff.ts", "tff", "-c:v libx264 -flags +ilme+ildct -x264-params tff=1 -top 1 -crf 12"),
        ("bff.mp4", "bff", "-c:v libx264 -flags +ilme+ildct -x264-params bff=1 -crf 12 -pix_fmt yuv422p10le"),
        ("tff.mov", "tff", "-c:v prores_ks -flags +ildct -top 1"),
    ] {
        let source = format!("{BARS},interlace=scan={scan}:lowpass=off");
        let path = clips.draw(name, &source, options);
        let clip = probe(&path).await.unwrap();
        assert_eq!((clip.video.frame_count, clip.video.fps), (25, 25.0), "{name}");
        let (frames, end) = decode(&path, &[0, 3, 12, 24]).await.unwrap();
        assert_eq!((end.replaced, end.warnings), (0, vec![]), "{name}");
        for frame in &frames {
            let field = 2 * frame.index as usize;
            assert!(wrong(frame, field) <= 5, "{name}, frame {}: {} ‰", frame.index, wrong(frame, field));
        }
    }
    // The test can fail: woven frames of the same bars are wrong in many places.
    let path = clips.draw("woven.mkv", &format!("{BARS},interlace=lowpass=off,setfield=prog"), "-c:v ffv1");
    let (frames, _) = decode(&path, &[3]).await.unwrap();
    assert!(wrong(&frames[0], 6) > 30, "{} ‰", wrong(&frames[0], 6));
}

#[tokio::test]
async fn film_in_an_interlaced_wrapping_keeps_every_line() {
    let clips = Clips::new();
    let source = "testsrc2=s=352x288:r=25:d=0.4";
    let plain = clips.draw("plain.mp4", source, "-c:v libx264 -qp 0 -pix_fmt yuv420p");
    let wrapped = "-c:v libx264 -qp 0 -pix_fmt yuv420p -flags +ilme+ildct -x264-params tff=1";
    let wrapped = clips.draw("wrapped.mp4", source, wrapped);
    let (expected, _) = decode(&plain, &[0, 5]).await.unwrap();
    let (found, _) = decode(&wrapped, &[0, 5]).await.unwrap();
    for (expected, found) in expected.iter().zip(&found) {
        let differ = expected.rgb.iter().zip(&found.rgb).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        // Chroma of interlaced and progressive 4:2:0 is the same here; only blocks of fine stripes may suffer.
        assert!(differ * 50 < expected.rgb.len(), "{differ} of {} bytes differ", expected.rgb.len());
    }
}

#[tokio::test]
async fn a_change_of_size_in_mid_stream_is_followed() {
    let clips = Clips::new();
    let options = "-c:v libx264 -bf 0 -g 10 -muxdelay 0";
    let first = clips.draw("first.ts", &quarters(160, 96, 10, 1.0), options);
    let options = format!("{options} -output_ts_offset 1");
    let second = clips.draw("second.ts", &quarters(96, 128, 10, 1.0), &options);
    let bytes = [fs::read(first).unwrap(), fs::read(second).unwrap()].concat();
    let path = clips.write("both.ts", &bytes);
    let clip = probe(&path).await.unwrap();
    assert_eq!((clip.video.frame_count, clip.index.access_points.len()), (20, 0), "{:?}", clip.warnings);
    let (frames, end) = decode(&path, &[0, 9, 10, 19]).await.unwrap();
    assert_eq!(end.replaced, 0, "{:?}", end.warnings);
    for frame in &frames {
        assert_eq!((frame.width, frame.height), (160, 96));
        assert_corners(frame, QUARTERS, &format!("frame {}", frame.index));
    }
}
