//! Sample values for the tests of crates that store or plan from probes.

use crate::info::{FrameIndex, Probe, ProbeSummary, Timebase, VideoStream};

/// Returns the facts of a clip of 20 frames.
#[must_use]
pub fn summary() -> ProbeSummary {
    ProbeSummary {
        container: "mp4".into(),
        duration_s: 2.0,
        video: VideoStream {
            index: 0,
            codec: "h264".into(),
            pixel_format: "yuv420p".into(),
            width: 320,
            height: 240,
            coded_width: 320,
            coded_height: 240,
            rotation: 0,
            mirrored: false,
            fps: 10.0,
            frame_count: 20,
            constant_rate: true,
            transfer: None,
            interlaced: false,
            clock: Timebase { num: 1, den: 10, first: 0, counted: false },
        },
        audio: None,
        creation_time: None,
        creation_source: None,
        location: None,
        camera: None,
        start_offset_s: 0.0,
        difference: None,
        warnings: Vec::new(),
    }
}

/// Returns the probe of the same clip.
#[must_use]
pub fn probe() -> Probe {
    let frame_times = (0..20).map(|frame| f64::from(frame) / 10.0).collect();
    Probe { summary: summary(), index: FrameIndex { frame_times, ..FrameIndex::default() } }
}
