//! Fuzzes frame sampling with arbitrary packet times and requests: a valid plan, or an error.
#![no_main]

use homereel_video::{
    FrameIndex, FrameSampling, Probe, ProbeSummary, RandomAccessPoint, SamplingBounds, Timebase, VideoStream, fuzz,
};
use libfuzzer_sys::{arbitrary::Arbitrary, fuzz_target};

#[derive(Debug, Arbitrary)]
struct PlanInput {
    packets: Vec<(Option<i64>, i64)>,
    tick: (i32, i32),
    rates: [(i32, i32); 2],
    times: Vec<f64>,
    entries: Vec<(i64, u64)>,
    clock: (i32, i32, i64, bool),
    fps: f64,
    duration_s: f64,
    constant_rate: bool,
    sampling: (Option<f64>, Option<usize>, Option<f64>, Option<f64>),
    default_fps: f64,
    frames: (usize, usize),
}

fuzz_target!(|input: PlanInput| {
    fuzz::times(&input.packets, input.tick, &input.rates);
    let probe = probe(&input);
    let (fps, num_frames, start, end) = input.sampling;
    let (min_frames, max_frames) = input.frames;
    let sampling = FrameSampling { fps, num_frames, start, end };
    let bounds = SamplingBounds { default_fps: input.default_fps, min_frames, max_frames };
    if let Some(probe) = fuzz::believed(probe, input.times) {
        fuzz::planned(&probe, &sampling, &bounds);
        fuzz::planned(&probe, &FrameSampling::default(), &SamplingBounds::default());
    }
});

fn probe(input: &PlanInput) -> Probe {
    let (num, den, first, counted) = input.clock;
    let mut entries: Vec<RandomAccessPoint> =
        input.entries.iter().map(|&(ticks, packet)| RandomAccessPoint { packet, ticks, position: -1, size: 1 }).collect();
    entries.sort_unstable_by_key(|entry| entry.ticks);
    let summary = ProbeSummary {
        container: "mov".into(),
        duration_s: input.duration_s,
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
            fps: input.fps,
            frame_count: 0,
            constant_rate: input.constant_rate,
            transfer: None,
            interlaced: false,
            clock: Timebase { num, den, first, counted },
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
    Probe { summary, index: FrameIndex { frame_times: Vec::new(), access_points: entries, ..FrameIndex::default() } }
}
