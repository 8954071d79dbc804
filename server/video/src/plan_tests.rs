//! Tests of frame sampling against `Qwen3VLVideoProcessor.sample_frames` of transformers 5.19, and of its errors.

use super::*;
use crate::{FrameIndex, ProbeSummary, Timebase, VideoStream};

fn clip(times: Vec<f64>, fps: f64, constant_rate: bool) -> Probe {
    let count = times.len() as u64;
    let summary = ProbeSummary {
        container: "mov".into(),
        duration_s: count as f64 / fps,
        video: VideoStream {
            index: 0,
            codec: "h264".into(),
            pixel_format: "yuv420p".into(),
            width: 64,
            height: 64,
            coded_width: 64,
            coded_height: 64,
            rotation: 0,
            mirrored: false,
            fps,
            frame_count: count,
            constant_rate,
            transfer: None,
            interlaced: false,
            clock: Timebase { num: 1, den: 1000, first: 0, counted: false },
        },
        audio: None,
        creation_time: None,
        creation_source: None,
        location: None,
        camera: None,
        start_offset_s: 0.0,
        difference: None,
        warnings: Vec::new(),
    };
    Probe { summary, index: FrameIndex { frame_times: times, ..FrameIndex::default() } }
}

fn even(count: usize, fps: f64) -> Probe {
    clip((0..count).map(|i| i as f64 / fps).collect(), fps, true)
}

fn plan(probe: &Probe, sampling: &FrameSampling) -> Result<Plan, VideoError> {
    super::plan(probe, sampling, &SamplingBounds::default())
}

fn message(probe: &Probe, sampling: &FrameSampling) -> String {
    plan(probe, sampling).unwrap_err().to_string()
}

/// Frames, native fps, fps, num_frames; number of frames, the first eight, a hash of all of them
/// (h = (h · 1000003 + index) mod 2^61), as transformers gives them.
type Row = (usize, f64, Option<f64>, Option<usize>, usize, &'static [u64], u64);

#[test]
fn constant_rate_clips_get_the_frames_of_transformers() {
    let table: &[Row] = &[
        (24, 24.0, Some(2.0), None, 4, &[0, 8, 15, 23], 8000063000140),
        (120, 24.0, Some(2.0), None, 10, &[0, 13, 26, 40, 53, 66, 79, 93], 1749032129056576691),
        (300, 30.0, Some(2.0), None, 20, &[0, 16, 31, 47, 63, 79, 94, 110], 596329541965089340),
        (25, 10.0, Some(2.0), None, 5, &[0, 6, 12, 18, 24], 1388379981824612444),
        (9, 2.5, Some(2.0), None, 7, &[0, 1, 3, 4, 5, 7, 8], 512790283090051356),
        (1000, 30000.0 / 1001.0, Some(2.0), None, 66, &[0, 15, 31, 46, 61, 77, 92, 108], 1012693344990453715),
        (1, 25.0, Some(2.0), None, 1, &[0], 0),
        (3, 30.0, Some(2.0), None, 3, &[0, 1, 2], 1000005),
        (289, 30000.0 / 1001.0, Some(2.0), None, 19, &[0, 16, 32, 48, 64, 80, 96, 112], 2158071237456466640),
        (600, 60.0, Some(1.0), None, 10, &[0, 67, 133, 200, 266, 333, 399, 466], 223411459197623623),
        (600, 60.0, Some(0.5), None, 5, &[0, 150, 300, 449, 599], 121854407408901816),
        (50000, 30.0, Some(2.0), None, 768, &[0, 65, 130, 196, 261, 326, 391, 456], 1935551374232121920),
        (77, 25.0, Some(7.3), None, 22, &[0, 4, 7, 11, 14, 18, 22, 25], 1101547259312118478),
        (100, 25.0, None, Some(10), 10, &[0, 11, 22, 33, 44, 55, 66, 77], 125706464279184919),
        (132, 25.0, None, Some(5), 5, &[0, 33, 66, 98, 131], 718560872393286582),
        (300, 30000.0 / 1001.0, None, Some(64), 64, &[0, 5, 9, 14, 19, 24, 28, 33], 1311004383554742944),
        (10, 25.0, Some(30.0), None, 10, &[0, 1, 2, 3, 4, 5, 6, 7], 221049952135716261),
    ];
    for &(total, native, fps, num_frames, count, head, hash) in table {
        let sampling = FrameSampling { fps, num_frames, ..FrameSampling::default() };
        let plan = plan(&even(total, native), &sampling).unwrap();
        assert_eq!(plan.indices.len(), count, "{total} frames at {native}");
        assert_eq!(&plan.indices[..head.len()], head, "{total} frames at {native}");
        let hashed =
            plan.indices.iter().fold(0u128, |h, index| (h * 1_000_003 + u128::from(*index)) % (1 << 61));
        assert_eq!(hashed, u128::from(hash), "{total} frames at {native}");
        let times: Vec<f64> = plan.indices.iter().map(|index| *index as f64 / native).collect();
        assert_eq!(plan.times, times);
    }
}

#[test]
fn uneven_clips_are_sampled_by_time() {
    // 20 frames in the first second, then one frame every second up to 9 s.
    let times: Vec<f64> = (0..20).map(|i| f64::from(i) * 0.05).chain((1..10).map(f64::from)).collect();
    let mut probe = clip(times, 2.9, false);
    probe.summary.duration_s = 10.0;
    let chosen = plan(&probe, &FrameSampling { fps: Some(1.0), ..FrameSampling::default() }).unwrap();
    assert_eq!(chosen.times, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let chosen = plan(&probe, &FrameSampling { fps: Some(2.0), ..FrameSampling::default() }).unwrap();
    assert_eq!(chosen.indices.len(), 20, "the number is kept where the clip stands still");
    assert!(chosen.indices.is_sorted_by(|a, b| a < b), "{:?}", chosen.indices);
    let all = plan(&probe, &FrameSampling { num_frames: Some(100), ..FrameSampling::default() }).unwrap();
    assert_eq!(all.indices, (0..29).collect::<Vec<u64>>());
}

#[test]
fn a_range_is_a_clip_of_its_own_with_the_times_of_the_whole() {
    let probe = even(300, 30.0);
    let sampling = FrameSampling { start: Some(2.0), end: Some(4.0), ..FrameSampling::default() };
    let chosen = plan(&probe, &sampling).unwrap();
    assert_eq!(chosen.indices, [60, 80, 100, 120]);
    assert_eq!(chosen.times, [2.0, 80.0 / 30.0, 100.0 / 30.0, 4.0]);
    let between = FrameSampling { start: Some(2.01), end: Some(2.02), ..FrameSampling::default() };
    assert_eq!(plan(&probe, &between).unwrap().indices, [60], "the frame on show at that moment");
    let tail = FrameSampling { start: Some(9.99), ..FrameSampling::default() };
    assert_eq!(plan(&probe, &tail).unwrap().indices, [299]);
    let beyond = FrameSampling { start: Some(9.0), end: Some(99.0), ..FrameSampling::default() };
    assert_eq!(plan(&probe, &beyond).unwrap().indices.last(), Some(&299));
}

#[test]
fn settings_that_do_not_fit_say_what_would() {
    let probe = even(250, 25.0);
    let base = FrameSampling::default;
    let cases = [
        (
            FrameSampling { fps: Some(1.0), num_frames: Some(4), ..base() },
            "fps and num_frames exclude each other; give one of them",
        ),
        (FrameSampling { fps: Some(0.0), ..base() }, "fps is 0; a number above 0 would fit"),
        (FrameSampling { fps: Some(f64::NAN), ..base() }, "fps is NaN; a number above 0 would fit"),
        (FrameSampling { num_frames: Some(0), ..base() }, "num_frames is 0; 1 to 768 would fit"),
        (FrameSampling { num_frames: Some(769), ..base() }, "num_frames is 769; 1 to 768 would fit"),
        (FrameSampling { start: Some(10.0), ..base() }, "start is 10 s; the clip is 10.000 s long"),
        (FrameSampling { start: Some(-1.0), ..base() }, "start is -1 s; 0 to 10.000 s would fit"),
        (
            FrameSampling { start: Some(4.0), end: Some(4.0), ..base() },
            "end is 4 s and start is 4 s; the end has to be later",
        ),
    ];
    for (sampling, expected) in cases {
        assert_eq!(message(&probe, &sampling), expected);
    }
}

#[test]
fn absurd_rates_and_tiny_clips_stay_within_bounds() {
    let fast = FrameSampling { fps: Some(1e300), ..FrameSampling::default() };
    assert_eq!(plan(&even(2000, 30.0), &fast).unwrap().indices.len(), 768);
    let slow = FrameSampling { fps: Some(1e-300), ..FrameSampling::default() };
    assert_eq!(plan(&even(2000, 30.0), &slow).unwrap().indices.len(), 4);
    assert_eq!(plan(&even(1, 30.0), &fast).unwrap().indices, [0]);
    let mut one = clip(vec![0.0], 25.0, false);
    one.summary.duration_s = 0.04;
    assert_eq!(plan(&one, &FrameSampling::default()).unwrap().indices, [0]);
}
