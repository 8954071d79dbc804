//! Tests that seeking does not change the result: every clip is decoded with and without it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::{
    Plan, Probe, ffmpeg,
    scan::{self, Bounds},
};

const BOUNDS: Bounds = Bounds { max_pixels: 1 << 24, max_packets: 1 << 20 };
/// 20 s at 24 frames per second, in groups of two seconds.
const MOVING: &str = "-f lavfi -i testsrc2=s=160x96:r=24:d=20 -pix_fmt yuv420p -g 48";

fn ffmpeg_program(arguments: &str, path: &Path) -> PathBuf {
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .arg(path)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
    path.to_owned()
}

fn probe(path: &Path) -> Probe {
    ffmpeg::init(1 << 30).unwrap();
    scan::scan(File::open(path).unwrap(), BOUNDS).unwrap()
}

/// The times and pixels of `request`'s frames, and the report.
fn frames(path: &Path, request: &DecodeRequest, index_leap: i64) -> (Vec<(i64, Vec<u8>)>, DecodeReport) {
    frames_tuned(path, request, Tuning { index_leap, threads: 2 })
}

fn frames_tuned(path: &Path, request: &DecodeRequest, tuning: Tuning) -> (Vec<(i64, Vec<u8>)>, DecodeReport) {
    let mut frames = Vec::new();
    let file = File::open(path).unwrap();
    let report = decode_tuned(&file, request, BOUNDS.max_pixels, tuning, |_, ticks, rgb| {
        frames.push((ticks, rgb));
        true
    });
    (frames, report.unwrap())
}

/// Decodes the frames `indices` from the start, by reading over gaps, and by the index; returns the number of pictures
/// decoded in the first and the last case.
fn compared(path: &Path, probe: &Probe, indices: Vec<u64>) -> (u64, u64) {
    let name = path.file_name().unwrap().display();
    let plan = Plan { indices, times: Vec::new() };
    let request = DecodeRequest::new(probe, &plan, probe.video.width, probe.video.height);
    let whole = DecodeRequest { access_points: Vec::new(), ..request.clone() };
    let (expected, report) = frames(path, &whole, i64::MAX);
    assert_eq!(report.warnings, Vec::<String>::new(), "{name}");
    assert_eq!((expected.len(), report.replaced), (request.targets.len(), 0), "{name}");
    for (frame, target) in expected.iter().zip(&request.targets) {
        assert_eq!(frame.0, target.ticks, "{name}");
    }
    let mut least = 0;
    for index_leap in [i64::MAX, 0] {
        let (found, leapt) = frames(path, &request, index_leap);
        assert_eq!(leapt.warnings, Vec::<String>::new(), "{name}, index leaps above {index_leap}");
        assert!(found == expected, "{name}: other frames with index leaps above {index_leap}");
        least = leapt.decoded;
    }
    (report.decoded, least)
}

/// The first and last frames, and some at the ends and in the middle of groups.
fn sparse(probe: &Probe) -> Vec<u64> {
    let last = probe.video.frame_count - 1;
    let mut indices: Vec<u64> = [0, 1, 95, 96, 97, 143, 210, 300, 335, 336, 337, 338, 450, last]
        .into_iter()
        .filter(|i| *i <= last)
        .collect();
    indices.dedup();
    indices
}

#[test]
fn leaps_give_the_frames_of_the_whole_decoding() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("h264.mp4", "-c:v libx264 -preset veryfast -bf 3"),
        ("h264.mkv", "-c:v libx264 -preset veryfast -bf 3"),
        ("fragments.mp4", "-c:v libx264 -preset veryfast -bf 2 -movflags frag_keyframe+empty_moov"),
        ("h264.ts", "-c:v libx264 -preset veryfast -bf 3 -output_ts_offset 7"),
        ("h264.flv", "-c:v libx264 -preset veryfast -bf 2"),
        ("closed.mp4", "-c:v libx265 -preset veryfast -x265-params log-level=none:open-gop=0:bframes=3"),
        ("leading.mp4", "-c:v libx265 -preset veryfast -x265-params log-level=none:open-gop=1:bframes=4"),
        ("leading.mkv", "-c:v libx265 -preset veryfast -x265-params log-level=none:open-gop=1:bframes=4"),
        ("vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 10"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 8 -auto-alt-ref 1"),
        ("av1.mp4", "-c:v libaom-av1 -usage realtime -cpu-used 8"),
        ("mpeg4.mp4", "-c:v mpeg4 -bf 2 -q:v 4"),
        ("mpeg4.mkv", "-c:v mpeg4 -bf 2 -q:v 4"),
        ("mpeg2.mkv", "-c:v mpeg2video -bf 2 -q:v 4"),
        ("mpeg2.ts", "-c:v mpeg2video -bf 2 -q:v 4"),
        ("mpeg2.mpg", "-c:v mpeg2video -bf 2 -q:v 4"),
    ] {
        let path = ffmpeg_program(&format!("{MOVING} {options}"), &folder.path().join(name));
        let probe = probe(&path);
        assert_eq!(probe.video.frame_count, 480, "{name}");
        assert!(
            (9..=11).contains(&probe.index.access_points.len()),
            "{name}: {} entries",
            probe.index.access_points.len()
        );
        let (whole, leapt) = compared(&path, &probe, sparse(&probe));
        assert!(leapt * 4 < whole * 3, "{name}: {leapt} instead of {whole} pictures");
        // Frames close together need no seek.
        compared(&path, &probe, (0..480).step_by(9).collect());
        compared(&path, &probe, (0..480).collect());
    }
}

#[test]
fn odd_times_are_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let x264 = "-c:v libx264 -preset veryfast -bf 3";
    let plain = ffmpeg_program(&format!("{MOVING} {x264}"), &file("plain.mp4"));
    let plain = plain.display();
    let uneven = "-vf select='lt(n,100)+not(mod(n,3))' -vsync vfr";
    for (path, frames) in [
        (ffmpeg_program(&format!("{MOVING} {uneven} {x264}"), &file("uneven.mp4")), 226),
        (ffmpeg_program(&format!("{MOVING} {x264} -output_ts_offset 7"), &file("late.mp4")), 480),
        (ffmpeg_program(&format!("{MOVING} {x264} -output_ts_offset 7"), &file("late.mkv")), 480),
        (ffmpeg_program(&format!("-ss 3.3 -i {plain} -c copy"), &file("cut.mp4")), 400),
        (
            ffmpeg_program(
                &format!("-i {plain} -c copy -movflags negative_cts_offsets"),
                &file("negative.mp4"),
            ),
            480,
        ),
    ] {
        let name = path.file_name().unwrap().display();
        let probe = probe(&path);
        assert_eq!(probe.video.frame_count, frames, "{name}");
        assert!(probe.index.access_points.len() > 3, "{name}");
        let (whole, leapt) = compared(&path, &probe, sparse(&probe));
        assert!(leapt < whole, "{name}: {leapt} instead of {whole} pictures");
    }
}

#[test]
fn where_nothing_is_proven_nothing_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options, most) in [
        ("open.mp4", "-c:v libx264 -preset veryfast -bf 3 -x264-params open-gop=1:scenecut=0", 1),
        ("refresh.mp4", "-c:v libx264 -preset veryfast -x264-params intra-refresh=1", 1),
        ("packed.avi", "-c:v mpeg4 -bf 2 -q:v 4", 0),
        ("h264.avi", "-c:v libx264 -preset veryfast -bf 0", 0),
        ("mjpeg.mov", "-c:v mjpeg -q:v 4 -pix_fmt yuvj420p", 0),
        ("sorenson.flv", "-c:v flv -q:v 4", 0),
    ] {
        let path = ffmpeg_program(&format!("{MOVING} {options}"), &folder.path().join(name));
        let probe = probe(&path);
        assert!(
            probe.index.access_points.len() <= most,
            "{name}: {} entries",
            probe.index.access_points.len()
        );
        let (whole, leapt) = compared(&path, &probe, sparse(&probe));
        assert_eq!(whole, leapt, "{name}");
    }
}

/// A request for frames 10 and 300 of a clip in groups of 48.
fn two(folder: &Path) -> (PathBuf, DecodeRequest) {
    let options = format!("{MOVING} -c:v libx264 -preset veryfast -bf 2");
    let path = ffmpeg_program(&options, &folder.join("clip.mp4"));
    let plan = Plan { indices: vec![10, 300], times: Vec::new() };
    let request = DecodeRequest::new(&probe(&path), &plan, 160, 96);
    assert_eq!(request.access_points.len(), 2);
    (path, request)
}

#[test]
fn a_leap_that_goes_wrong_is_noticed_and_redone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, request) = two(folder.path());
    let (expected, _) =
        frames(&path, &DecodeRequest { access_points: Vec::new(), ..request.clone() }, i64::MAX);
    let (mut input, _) = scan::open(&File::open(&path).unwrap()).unwrap();
    let mut packets = Vec::new();
    let mut packet = ffmpeg_next::Packet::empty();
    while packet.read(&mut input).is_ok() {
        packets.push((
            packet.pts().unwrap(),
            packet.position() as i64,
            packet.size() as u64,
            packet.is_key(),
        ));
    }
    // Wrong access points: inter pictures, and one with a wrong position.
    let at = packets.iter().skip(290).position(|packet| !packet.3 && packet.2 > 400).unwrap() + 290;
    let (ticks, position, size, _) = packets[at];
    let inner = crate::RandomAccessPoint { packet: at as u64, ticks, position, size };
    let moved = crate::RandomAccessPoint { size: 1, ..request.access_points[1] };
    for (entry, index_leap, what) in
        [(inner, i64::MAX, "no key frame"), (inner, 0, "no key frame, by index"), (moved, i64::MAX, "moved")]
    {
        let mut request = request.clone();
        request.access_points[1] = entry;
        let (found, report) = frames(&path, &request, index_leap);
        assert!(found == expected, "{what}");
        let warning = "seeking gave damaged pictures, so the clip was decoded from its beginning";
        assert_eq!((report.warnings, report.replaced), (vec![warning.to_owned()], 0), "{what}");
    }
}

#[test]
fn an_index_that_lies_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, request) = two(folder.path());
    let (expected, _) = frames(&path, &request, i64::MAX);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|window| window == b"stss").unwrap() + 12;
    // All key frames but the first are declared 20 frames late.
    for entry in bytes[at + 4..at + 40].chunks_exact_mut(4) {
        let sample = u32::from_be_bytes(entry.try_into().unwrap()) + 20;
        entry.copy_from_slice(&sample.to_be_bytes());
    }
    let liar = folder.path().join("liar.mp4");
    fs::write(&liar, bytes).unwrap();
    let probe = probe(&liar);
    assert_eq!(probe.index.access_points.len(), 10, "entries are proven by their bits, not by flags");
    let plan = Plan { indices: vec![10, 300], times: Vec::new() };
    let (found, report) = frames(&liar, &DecodeRequest::new(&probe, &plan, 160, 96), 0);
    assert!(found == expected);
    assert_eq!((report.warnings, report.replaced), (vec![], 0));
}

#[test]
fn turning_after_the_resize_gives_the_bytes_of_turning_before() {
    for (width, height, to) in
        [(192, 108, (64, 32)), (108, 192, (64, 96)), (50, 37, (96, 64)), (333, 64, (32, 32))]
    {
        let noise: Vec<u8> =
            (0..width * height * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
        for (rotation, mirrored) in
            [0, 90, 180, 270].into_iter().flat_map(|turn| [(turn, false), (turn, true)])
        {
            let orientation = Orientation { rotation, mirrored };
            let turned = orientation.apply(noise.clone(), width as usize, height as usize);
            let before = resample(turned.into(), orientation.size(width, height), to, Axis::X).unwrap();
            let after = upright((&*noise).into(), (width, height), orientation, to).unwrap();
            assert!(before == after, "{width}x{height} by {rotation} degrees, mirrored: {mirrored}");
        }
    }
}

#[test]
fn what_nothing_refers_to_is_kept_from_the_decoder_without_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let half = "-c:v libx264 -bf 1 -b_strategy 0";
    for (name, options) in [
        ("plain.mp4", half),
        ("pyramid.mkv", "-c:v libx264 -bf 3 -b_strategy 0 -x264-params b-pyramid=normal"),
    ] {
        let path = ffmpeg_program(&format!("{MOVING} {options}"), &folder.path().join(name));
        let probe = probe(&path);
        let of = |indices: Vec<u64>| {
            let plan = Plan { indices, times: Vec::new() };
            let request = DecodeRequest::new(&probe, &plan, 160, 96);
            frames(&path, &DecodeRequest { access_points: Vec::new(), ..request }, i64::MAX)
        };
        let (all, whole) = of((0..480).collect());
        let (found, report) = of((0..480).step_by(31).collect());
        let expected: Vec<_> = all.into_iter().step_by(31).collect();
        assert!(found == expected, "{name}");
        assert_eq!((whole.decoded, report.warnings, report.replaced), (480, vec![], 0), "{name}");
        assert!(report.decoded < 320, "{name}: {} pictures were decoded", report.decoded);
    }
}

/// Makes the packets at `places` (from the end) of a file with lengths before its units unreadable.
fn break_packets(path: &Path, places: &[usize]) {
    let (mut input, _) = scan::open(&File::open(path).unwrap()).unwrap();
    let mut positions = Vec::new();
    let mut packet = ffmpeg_next::Packet::empty();
    while packet.read(&mut input).is_ok() {
        positions.push(packet.position());
    }
    let mut bytes = fs::read(path).unwrap();
    for place in places {
        let at = usize::try_from(positions[positions.len() - place]).unwrap();
        bytes[at..at + 4].fill(0xff);
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn errors_cost_the_same_pictures_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for (name, places) in
        [("last", &[1][..]), ("some", &[2, 5, 9, 200, 201]), ("many", &[3, 4, 5, 6, 7, 8, 11])]
    {
        let options = format!("{MOVING} -c:v libx264 -preset veryfast -bf 2 -slices 1");
        let path = ffmpeg_program(&options, &folder.path().join(format!("{name}.mp4")));
        let probe = probe(&path);
        break_packets(&path, places);
        for indices in [(0..480).collect::<Vec<u64>>(), (5..480).step_by(19).collect(), vec![470, 479]] {
            let plan = Plan { indices, times: Vec::new() };
            let request = DecodeRequest::new(&probe, &plan, 160, 96);
            let of = |threads| frames_tuned(&path, &request, Tuning { index_leap: 0, threads });
            let (expected, report) = of(1);
            assert!(report.replaced <= places.len() as u64, "{name}: {}", report.replaced);
            for threads in [2, 16] {
                let (found, same) = of(threads);
                let differ = |at: &usize| found[*at] != expected[*at];
                let differing: Vec<(usize, i64, i64)> = (0..found.len().min(expected.len()))
                    .filter(differ)
                    .map(|at| (at, found[at].0, expected[at].0))
                    .collect();
                assert_eq!(differing, [], "{name} with {threads} threads");
                assert_eq!((found.len(), same.replaced), (expected.len(), report.replaced), "{name}");
            }
        }
    }
}
