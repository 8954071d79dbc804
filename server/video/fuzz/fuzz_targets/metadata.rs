//! Fuzzes tags and file names: dates, places and cameras are plausible or absent.
#![no_main]

use homereel_video::{FrameIndex, Probe, ProbeSummary, Timebase, VideoStream, fuzz};
use libfuzzer_sys::{arbitrary::Arbitrary, fuzz_target};

/// Keys that mean something.
const KEYS: [&str; 15] = [
    "com.apple.quicktime.creationdate",
    "creation_time",
    "date",
    "date_recorded",
    "com.samsung.android.utc_offset",
    "firmware",
    "com.apple.quicktime.location.ISO6709",
    "location",
    "location-eng",
    "com.apple.quicktime.make",
    "com.apple.quicktime.model",
    "make",
    "model",
    "com.android.manufacturer",
    "com.android.model",
];

#[derive(Debug, Arbitrary)]
struct MetadataInput {
    tags: Vec<(u8, String)>,
    name: String,
    modified_s: u64,
}

fuzz_target!(|input: MetadataInput| {
    let key = |key: u8| KEYS[usize::from(key) % KEYS.len()].to_owned();
    let tags: Vec<(String, String)> = input.tags.into_iter().map(|(k, value)| (key(k), value)).collect();
    fuzz::tags(&tags, &input.name, input.modified_s, probe());
});

fn probe() -> Probe {
    let summary = ProbeSummary {
        container: "mov".into(),
        duration_s: 1.0,
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
            fps: 1.0,
            frame_count: 1,
            constant_rate: true,
            transfer: None,
            interlaced: false,
            clock: Timebase { num: 1, den: 1, first: 0, counted: false },
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
    Probe { summary, index: FrameIndex { frame_times: vec![0.0], access_points: Vec::new(), ..FrameIndex::default() } }
}
