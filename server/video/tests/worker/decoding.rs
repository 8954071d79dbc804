//! Decoding: the right frames, upright, in the right colours.

use std::{fs, path::Path};

use homereel_video::{DecodeRequest, FrameSampling, Plan, SamplingBounds, plan, poster};
use tokio_util::sync::CancellationToken;

use crate::clips::{
    Clips, QUARTERS, assert_corners, collect, decode, number, numbered, probe, quarters, sample, worker,
};

#[tokio::test]
async fn every_codec_shows_its_colours_where_they_are() {
    let clips = Clips::new();
    for (name, options) in [
        ("a.mp4", "-c:v libx264 -bf 2"),
        ("b.mp4", "-c:v libx265 -x265-params log-level=none -tag:v hvc1"),
        ("c.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("d.webm", "-c:v libvpx -auto-alt-ref 1 -lag-in-frames 10 -deadline realtime"),
        ("e.avi", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p"),
        ("f.avi", "-c:v mpeg4 -bf 2 -q:v 2"),
        ("g.ts", "-c:v mpeg2video -q:v 2"),
        ("h.mkv", "-c:v libx264 -pix_fmt yuv420p10le"),
        (
            "i.mp4",
            "-c:v libx264 -vf scale=out_color_matrix=bt709 -colorspace bt709 -color_primaries bt709 -color_trc bt709",
        ),
        ("j.mp4", "-c:v libx264 -vf scale=out_range=full -color_range pc"),
        ("k.mov", "-c:v libx264 -pix_fmt yuv444p"),
    ] {
        let path = clips.draw(name, &quarters(160, 96, 10, 2.0), options);
        let clip = probe(&path).await.unwrap();
        assert_eq!(clip.video.frame_count, 20, "{name}");
        let (frames, end) = decode(&path, &[0, 7, 19]).await.unwrap();
        assert_eq!((frames.len(), end.replaced), (3, 0), "{name} {end:?}");
        for frame in &frames {
            assert_corners(frame, QUARTERS, name);
        }
    }
}

/// Writes a display matrix into the track header of an MP4.
pub(crate) fn set_matrix(path: &Path, [a, b, c, d]: [i32; 4]) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(4).position(|window| window == b"tkhd").unwrap() + 44;
    let one = 1i32 << 16;
    let matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30];
    for (place, value) in bytes[at..].chunks_exact_mut(4).zip(matrix) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn every_rotation_and_mirror_is_put_upright() {
    let [red, green, blue, white] = QUARTERS;
    let clips = Clips::new();
    let path = clips.draw("turned.mp4", &quarters(160, 96, 10, 0.5), "-c:v libx264");
    for (matrix, rotation, mirrored, expected) in [
        ([1, 0, 0, 1], 0, false, [red, green, blue, white]),
        ([0, 1, -1, 0], 90, false, [blue, red, white, green]),
        ([-1, 0, 0, -1], 180, false, [white, blue, green, red]),
        ([0, -1, 1, 0], 270, false, [green, white, red, blue]),
        ([-1, 0, 0, 1], 0, true, [green, red, white, blue]),
        ([1, 0, 0, -1], 180, true, [blue, white, red, green]),
        ([0, 1, 1, 0], 90, true, [red, blue, green, white]),
        ([0, -1, -1, 0], 270, true, [white, green, blue, red]),
    ] {
        set_matrix(&path, matrix);
        let clip = probe(&path).await.unwrap();
        assert_eq!((clip.video.rotation, clip.video.mirrored), (rotation, mirrored), "{matrix:?}");
        let upright = if [0, 180].contains(&rotation) { (160, 96) } else { (96, 160) };
        assert_eq!((clip.video.width, clip.video.height), upright, "{matrix:?}");
        let (frames, _) = decode(&path, &[2]).await.unwrap();
        assert_corners(&frames[0], expected, &format!("{matrix:?}"));
    }
}

#[tokio::test]
async fn a_bogus_rotation_is_ignored_with_a_warning() {
    let clips = Clips::new();
    let path = clips.draw("slanted.mp4", &quarters(160, 96, 10, 0.5), "-c:v libx264");
    set_matrix(&path, [1, 1, -1, 1]);
    let clip = probe(&path).await.unwrap();
    assert_eq!((clip.video.width, clip.video.rotation), (160, 0));
    assert_eq!(clip.warnings, ["the rotation is no multiple of 90 degrees and is ignored"]);
}

#[tokio::test]
async fn odd_sizes_keep_every_pixel() {
    let clips = Clips::new();
    for (name, options) in
        [("odd.webm", "-c:v libvpx-vp9 -deadline realtime"), ("odd.mkv", "-c:v libx264 -pix_fmt yuv444p")]
    {
        let path = clips.draw(name, &quarters(161, 121, 10, 0.5), options);
        let (frames, _) = decode(&path, &[0, 4]).await.unwrap();
        assert_eq!((frames[0].width, frames[0].height), (161, 121));
        assert_corners(&frames[1], QUARTERS, name);
    }
}

#[tokio::test]
async fn the_frames_are_those_of_their_times() {
    let clips = Clips::new();
    for (name, options) in [
        ("b-frames.mp4", "-c:v libx264 -bf 3 -g 24"),
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=none:bframes=4"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -lag-in-frames 8 -auto-alt-ref 1"),
        ("mjpeg.avi", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p"),
        ("no-times.avi", "-c:v libx264 -bf 2"),
        ("no-times-4.avi", "-c:v mpeg4 -bf 2 -q:v 2"),
        ("mpeg2.ts", "-c:v mpeg2video -bf 2 -q:v 2"),
    ] {
        let path = clips.draw(name, &numbered(25, 50), options);
        let wanted = [0u64, 1, 2, 9, 24, 25, 37, 48, 49];
        let (frames, end) = decode(&path, &wanted).await.unwrap();
        let numbers: Vec<u64> = frames.iter().map(number).collect();
        assert_eq!(numbers, wanted, "{name}");
        assert_eq!((end.replaced, end.warnings), (0, vec![]), "{name}");
        for frame in &frames {
            assert!((frame.pts_s - frame.index as f64 / 25.0).abs() < 0.002, "{name} {}", frame.pts_s);
        }
        let all: Vec<u64> = (0..50).collect();
        let (frames, _) = decode(&path, &all).await.unwrap();
        assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), all, "{name}");
    }
}

#[tokio::test]
async fn an_uneven_clip_is_sampled_by_time() {
    let clips = Clips::new();
    // Frames 0 to 9, then every fifth.
    let source = format!("{},select='lt(n,10)+not(mod(n,5))'", numbered(25, 50));
    let path = clips.draw("uneven.mp4", &source, "-vsync vfr -c:v libx264 -bf 2");
    let clip = probe(&path).await.unwrap();
    assert!(!clip.video.constant_rate);
    assert_eq!(clip.video.frame_count, 18);
    let sampling = FrameSampling { fps: Some(2.5), ..FrameSampling::default() };
    let chosen = plan(&clip, &sampling, &SamplingBounds::default()).unwrap();
    let (frames, _) = decode(&path, &chosen.indices).await.unwrap();
    for (frame, time) in frames.iter().zip(&chosen.times) {
        assert_eq!(number(frame), (time * 25.0).round() as u64, "the picture at {time} s");
        assert!((frame.pts_s - time).abs() < 1e-9);
    }
    assert!(chosen.times.iter().any(|time| *time > 1.5), "{:?}", chosen.times);
}

#[tokio::test]
async fn an_edit_list_hides_what_it_says() {
    let clips = Clips::new();
    let whole = clips.draw("whole.mp4", &numbered(25, 50), "-c:v libx264 -bf 2 -g 50");
    let cut = clips.path("cut.mp4");
    let done = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-ss", "0.8", "-i"])
        .arg(&whole)
        .args(["-c", "copy"])
        .arg(&cut)
        .status()
        .unwrap();
    assert!(done.success());
    let clip = probe(&cut).await.unwrap();
    assert_eq!(clip.video.frame_count, 30);
    let (frames, _) = decode(&cut, &[0, 29]).await.unwrap();
    assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [20, 49]);
}

#[tokio::test]
async fn one_frame_and_less_than_a_second() {
    let clips = Clips::new();
    let one = clips.draw("one.mp4", &quarters(160, 96, 25, 1.0), "-frames:v 1 -c:v libx264");
    let (frames, _) = sample(&one).await.unwrap();
    assert_eq!(frames.len(), 1);
    assert_corners(&frames[0], QUARTERS, "one frame");
    let short = clips.draw("short.mp4", &numbered(25, 10), "-c:v libx264");
    let (frames, _) = sample(&short).await.unwrap();
    assert_eq!(frames.iter().map(number).collect::<Vec<_>>(), [0, 3, 6, 9]);
}

#[tokio::test]
async fn a_truncated_clip_gives_what_is_left_and_says_so() {
    let clips = Clips::new();
    let source = "testsrc2=s=320x240:r=25:d=4";
    let path = clips.draw("whole.mp4", source, "-c:v libx264 -movflags +faststart");
    let bytes = fs::read(&path).unwrap();
    let path = clips.write("truncated.mp4", &bytes[..bytes.len() * 6 / 10]);
    let clip = probe(&path).await.unwrap();
    assert!(!clip.warnings.is_empty());
    assert!((20..90).contains(&clip.video.frame_count), "{}", clip.video.frame_count);
    // The header's length is that of the whole clip.
    let lasts = clip.video.frame_count as f64 / 25.0;
    assert!((clip.duration_s - lasts).abs() < 0.2, "{} s instead of {lasts}", clip.duration_s);
    let (frames, _) = sample(&path).await.unwrap();
    assert!(frames.len() >= 2);
}

#[tokio::test]
async fn broken_frames_are_replaced_and_reported() {
    let clips = Clips::new();
    let path = clips.draw("broken.avi", &numbered(25, 50), "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p");
    let mut bytes = fs::read(&path).unwrap();
    let starts: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, w)| *w == [0xff, 0xd8, 0xff, 0xe0] || *w == [0xff, 0xd8, 0xff, 0xfe])
        .map(|(at, _)| at)
        .collect();
    assert_eq!(starts.len(), 50);
    bytes[starts[20]..starts[21] - 8].fill(0);
    let path = clips.write("broken.avi", &bytes);
    let (frames, end) = decode(&path, &[10, 20, 30]).await.unwrap();
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[1].index, 20);
    assert!(matches!(number(&frames[1]), 10 | 30), "{}", number(&frames[1]));
    assert_eq!(end.replaced, 1);
    assert_eq!(
        end.warnings,
        ["1 of 3 frames could not be decoded; their neighbours in time stand in for them"]
    );
}

#[tokio::test]
async fn frames_come_at_the_size_that_was_asked_for() {
    let clips = Clips::new();
    let path = clips.draw("resized.mp4", &quarters(320, 180, 10, 1.0), "-c:v libx264");
    let clip = probe(&path).await.unwrap();
    let chosen = Plan { indices: vec![0, 9], times: vec![0.0, 0.9] };
    let (frames, _) = collect(&path, DecodeRequest::new(&clip, &chosen, 96, 64)).await.unwrap();
    for frame in &frames {
        assert_eq!((frame.width, frame.height), (96, 64));
        assert_corners(frame, QUARTERS, "resized");
    }
    for (width, height) in [(0, 64), (64, 20000), (16000, 16000)] {
        let error = collect(&path, DecodeRequest::new(&clip, &chosen, width, height)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{width}x{height}")), "{error}");
    }
}

#[tokio::test]
async fn the_worker_that_probed_a_file_decodes_it_as_another_would() {
    let clips = Clips::new();
    let path = clips.draw("clip.mp4", &quarters(64, 48, 10, 2.0), "-c:v libx264");
    // One place: a second worker would wait for ever.
    let worker = worker().with_concurrency(1);
    let (clip, opened) =
        homereel_video::open(&worker, fs::File::open(&path).unwrap(), &CancellationToken::new())
            .await
            .unwrap();
    let plan = Plan { indices: vec![0, 7, 19], times: Vec::new() };
    let request = DecodeRequest::new(&clip, &plan, 64, 48);
    let mut stream = opened.decode(request.clone()).await.unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = stream.next().await.unwrap() {
        frames.push(frame);
    }
    drop(stream);
    assert_eq!(frames, crate::clips::collect_with(&worker, &path, request).await.unwrap().0);
    // One that is not asked to decode gives its place back.
    drop(
        homereel_video::open(&worker, fs::File::open(&path).unwrap(), &CancellationToken::new())
            .await
            .unwrap(),
    );
    homereel_video::probe(&worker, fs::File::open(&path).unwrap(), &CancellationToken::new()).await.unwrap();
}

#[tokio::test]
async fn a_poster_is_an_upright_jpeg_that_is_not_black() {
    let clips = Clips::new();
    let source = format!("{},fade=in:st=0.4:d=0.2", quarters(640, 360, 10, 2.0));
    let path = clips.draw("fade.mp4", &source, "-c:v libx264");
    let made = async |max_width| {
        poster(&worker(), fs::File::open(&path).unwrap(), max_width, &CancellationToken::new()).await.unwrap()
    };
    let wide = made(480).await;
    let narrow = made(160).await;
    let small = (&narrow.card, 160, 90);
    for (jpeg, width, height) in
        [(&wide.full, 480, 270), (&wide.card, 320, 180), (&narrow.full, 160, 90), small]
    {
        let picture = homereel_video::picture(jpeg, 1 << 20).unwrap();
        assert_eq!((picture.width, picture.height), (width, height));
        let middle = &picture.rgb[((height / 4 * width + width / 4) * 3) as usize..][..3];
        assert!(middle[0] > 200 && middle[2] < 60, "{middle:?}");
    }
}

#[tokio::test]
async fn a_large_file_takes_no_more_memory_than_a_small_one() {
    let clips = Clips::new();
    // Noise, which no codec makes small.
    let source = "testsrc2=s=640x360:r=25:d=24,noise=alls=100:allf=t";
    let path = clips.draw("large.avi", source, "-c:v mjpeg -q:v 1");
    let bytes = fs::metadata(&path).unwrap().len();
    assert!(bytes > 100 << 20, "{bytes} bytes");
    let (clip, opened) =
        homereel_video::open(&worker(), fs::File::open(&path).unwrap(), &CancellationToken::new())
            .await
            .unwrap();
    let plan = Plan { indices: vec![0, 300, 599], times: Vec::new() };
    let mut stream = opened.decode(DecodeRequest::new(&clip, &plan, 64, 36)).await.unwrap();
    while stream.next().await.unwrap().is_some() {}
    let peak = stream.end().unwrap().peak_memory;
    assert!((1 << 20..bytes).contains(&peak), "a file of {bytes} bytes took {peak}");
}
