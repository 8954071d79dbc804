//! Tests of the processor. The tables were made with transformers 5.19's own `smart_resize`.

use bytes::Bytes;

use super::*;

fn processor() -> Processor {
    let image = br#"{"size":{"shortest_edge":65536,"longest_edge":16777216},"patch_size":16,"merge_size":2,
        "temporal_patch_size":2,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5]}"#;
    let video = br#"{"size":{"shortest_edge":4096,"longest_edge":25165824},"patch_size":16,"merge_size":2,
        "temporal_patch_size":2,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5]}"#;
    let config = ProcessorConfig::read(|file| match file {
        "preprocessor_config.json" => Some(image.to_vec()),
        "video_preprocessor_config.json" => Some(video.to_vec()),
        _ => None,
    });
    Processor::new(config.unwrap())
}

fn frame(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> RgbImage {
    let rgb = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y));
    RgbImage::new(width, height, rgb.collect::<Vec<u8>>().into())
}

fn clip(frames: Vec<RgbImage>) -> VideoInput {
    let times = (0..frames.len()).map(|i| i as f64 * 0.5).collect();
    let indices = (0..frames.len() as u64).collect();
    let total_frames = frames.len() as u64;
    VideoInput { frames, times, indices, native_fps: 2.0, total_frames, duration_s: 1.0, key: None }
}

#[test]
fn image_sizes_equal_the_reference() {
    let table = [
        ((1280, 720), Some((1280, 704))), // 720 / 32 = 22.5: half to even
        ((720, 1280), Some((704, 1280))),
        ((1920, 1080), Some((1920, 1088))),
        ((640, 480), Some((640, 480))),
        ((33, 33), Some((256, 256))),
        ((100, 100), Some((256, 256))),
        ((10000, 50), Some((9984, 64))),
        ((5000, 5000), Some((4096, 4096))),
        ((48, 9600), Some((64, 9600))),
        ((16, 16), Some((256, 256))),
        ((336, 80), Some((544, 128))),
        ((7680, 4320), Some((5440, 3072))),
        ((6600, 33), Some((6592, 32))),
        ((10000, 49), None),
        ((0, 49), None),
    ];
    for ((width, height), want) in table {
        assert_eq!(processor().image_size(width, height).ok(), want, "{width}x{height}");
    }
}

#[test]
fn video_sizes_equal_the_reference_and_are_accepted_back() {
    let table = [
        ((20, 1280, 720), Some((1280, 704))),
        ((20, 1920, 1080), Some((1472, 832))),
        ((120, 1280, 720), Some((608, 320))),
        ((768, 1920, 1080), Some((224, 128))),
        ((4, 640, 480), Some((640, 480))),
        ((2, 16, 16), Some((64, 64))),
        ((4, 20, 64), Some((32, 96))),
        ((3, 720, 1280), Some((704, 1280))),
        ((5, 720, 720), Some((704, 704))),
        ((7, 4000, 3000), Some((2176, 1632))),
        ((2, 10000, 50), Some((9984, 64))),
        ((768, 6400, 32), Some((2560, 32))),
        ((4, 33, 6601), None),
        ((9, 31, 31), Some((32, 32))),
        ((5, 32, 32), Some((32, 32))),
        ((3, 48, 80), Some((64, 64))),
        ((0, 640, 480), None),
        ((1, 640, 480), Some((640, 480))), // one frame counts as two
    ];
    let processor = processor();
    for ((frames, width, height), want) in table {
        let got = processor.video_size(frames, width, height, VideoBudget::Full).ok();
        assert_eq!(got, want, "{frames} of {width}x{height}");
        if let Some((width, height)) = got {
            let frame = RgbImage::new(width, height, Bytes::new());
            assert!(
                processor
                    .video_budget(frames, VideoBudget::Full)
                    .admits(&processor.config.video.patch, &frame),
                "{frames} of {width}x{height} come back"
            );
        }
    }
}

/// Computed with transformers 5.19, `Qwen3VLVideoProcessor.resize` with `cap_pixels_per_frame=True`.
#[test]
fn capped_sizes_equal_the_reference_and_fit_the_full_budget() {
    let table = [
        ((20, 1280, 720), (1152, 640)),
        ((20, 1920, 1080), (1152, 640)),
        ((12, 1920, 1080), (1152, 640)),
        ((6, 3840, 2160), (1152, 640)),
        ((120, 1280, 720), (608, 320)),
        ((768, 1920, 1080), (224, 128)),
        ((4, 640, 480), (640, 480)),
        ((240, 1920, 1080), (416, 224)),
        ((7, 4000, 3000), (1024, 768)),
        ((2, 1920, 1080), (1152, 640)),
        ((16, 1080, 1920), (640, 1152)),
    ];
    let processor = processor();
    for ((frames, width, height), want) in table {
        let got = processor.video_size(frames, width, height, VideoBudget::Capped).unwrap();
        assert_eq!(got, want, "{frames} of {width}x{height}");
        let frame = RgbImage::new(got.0, got.1, Bytes::new());
        let full = processor.video_budget(frames, VideoBudget::Full);
        assert!(full.admits(&processor.config.video.patch, &frame), "{frames} of {width}x{height} come back");
    }
}

#[test]
fn a_cap_never_raises_the_budget() {
    let mut processor = processor();
    // As the demo model: the minimum of 260 frames exceeds the budget of a video.
    processor.config.video.patch.max_pixels = 368_640.0;
    let size = |budget| processor.video_size(260, 640, 480, budget).unwrap();
    assert_eq!(size(VideoBudget::Full), (32, 32));
    assert_eq!(size(VideoBudget::Capped), (32, 32));
}

#[test]
fn a_frame_of_another_size_is_refused_with_both_sizes() {
    let error = processor().video_grid(&clip(vec![frame(640, 470, |_, _| [0; 3])])).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("640x470") && message.contains("640x480"), "{message}");
    let mixed = clip(vec![frame(64, 64, |_, _| [0; 3]), frame(96, 64, |_, _| [0; 3])]);
    let message = processor().video_grid(&mixed).unwrap_err().to_string();
    assert!(message.contains("96x64") && message.contains("64x64"), "{message}");
}

#[test]
fn a_frame_with_missing_bytes_is_refused() {
    let short = RgbImage::new(64, 64, Bytes::from_static(b"abc"));
    let message = processor().video_grid(&clip(vec![short])).unwrap_err().to_string();
    assert!(message.contains("3 bytes") && message.contains("12288"), "{message}");
}

#[test]
fn patch_rows_are_in_merge_order_and_channels_come_first() {
    let processor = processor();
    // Red tells the column, green the row, blue the frame.
    let frames = (0..3u8).map(|t| frame(64, 64, move |x, y| [x as u8, y as u8, t])).collect();
    let clip = clip(frames);
    let grid = processor.video_grid(&clip).unwrap();
    assert_eq!(grid, Grid { t: 2, h: 4, w: 4 });
    let visual = processor.video_patches(&clip);
    assert_eq!(visual.grid, [2, 4, 4]);
    let rows: Vec<&[f32]> = visual.pixels.chunks(1536).collect();
    assert_eq!((rows.len(), rows[31].len()), (32, 1536));
    let value = |byte: u8| (f32::from(byte) - 127.5) / 127.5;
    // Row 1 is right of row 0; row 2 below row 0; row 4 starts the next merge block.
    for (row, x0, y0) in [(0, 0, 0), (1, 16, 0), (2, 0, 16), (3, 16, 16), (4, 32, 0), (8, 0, 32)] {
        let at = |c: usize, t: usize, y: usize, x: usize| rows[row][((c * 2 + t) * 16 + y) * 16 + x];
        assert_eq!(at(0, 0, 3, 5), value(x0 + 5), "row {row}");
        assert_eq!(at(1, 1, 3, 5), value(y0 + 3), "row {row}");
        assert_eq!((at(2, 0, 0, 0), at(2, 1, 0, 0)), (value(0), value(1)), "row {row}");
    }
    for groups in [0..1, 1..2, 0..2] {
        let rows = groups.start * 16 * 1536..groups.end * 16 * 1536;
        assert!(
            processor.video_group_patches(&clip, groups.clone()).pixels == visual.pixels[rows],
            "{groups:?}"
        );
        assert!(visual.groups(groups.clone()) == processor.video_group_patches(&clip, groups).pixels);
    }
    // The third frame is repeated to fill its group.
    assert_eq!((rows[16][2 * 512], rows[16][2 * 512 + 256]), (value(2), value(2)));
}

#[test]
fn normalisation_is_the_fused_form_for_every_byte() {
    for (byte, value) in processor().config.image.tables()[0].iter().enumerate() {
        assert_eq!(*value, (byte as f32 - 127.5) / 127.5, "byte {byte}");
    }
}

#[test]
fn group_times_are_means_and_an_odd_last_frame_stands_alone() {
    assert_eq!(processor().group_times(&[0.0, 0.5, 1.0, 1.5, 2.0]), [0.25, 1.25, 2.0]);
}

#[test]
fn a_missing_file_is_named() {
    let error = ProcessorConfig::read(|_| None).unwrap_err();
    assert!(error.contains("preprocessor_config.json is missing"), "{error}");
}
