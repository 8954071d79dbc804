//! Colour conversion: patches keep their RGB with every matrix, range and bit depth; HDR becomes plausible SDR; transparent
//! pixels become black.

use homereel_video::Frame;

use crate::clips::{Clips, colour, decode};

/// Seven patches side by side.
const PATCHES: [[u8; 3]; 7] = [
    [200, 60, 40],
    [40, 180, 60],
    [50, 70, 190],
    [230, 210, 60],
    [0, 0, 0],
    [128, 128, 128],
    [245, 245, 245],
];

/// Draws patches and turns them into what `filter` says.
fn patches(colours: &[[u8; 3]], filter: &str) -> String {
    let labels: String = (0..colours.len()).map(|i| format!("[p{i}]")).collect();
    let patches: String = colours
        .iter()
        .enumerate()
        .map(|(i, [r, g, b])| format!("color=0x{r:02x}{g:02x}{b:02x}:s=32x64:r=5:d=0.6,format=gbrp[p{i}];"))
        .collect();
    format!("{patches}{labels}hstack=inputs={},{filter}", colours.len())
}

/// The colours of `count` patches.
fn seen(frame: &Frame, count: usize) -> Vec<[u8; 3]> {
    (0..count).map(|i| colour(frame, (i as f64 + 0.5) / count as f64, 0.5)).collect()
}

#[tokio::test]
async fn every_matrix_range_and_format_gives_the_same_colours() {
    let clips = Clips::new();
    let ffv1 = "-c:v ffv1 -level 3";
    let cases = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le"]
        .map(|format| (format, "mkv", ffv1))
        .into_iter()
        .chain([
            ("yuv420p", "mp4", "-c:v libx264 -qp 4"),
            ("yuv422p10le", "mp4", "-c:v libx264 -qp 4"),
            ("yuv420p10le", "mp4", "-c:v libx265 -x265-params log-level=none:crf=4"),
            ("yuv444p", "webm", "-c:v libvpx-vp9 -deadline realtime -crf 4 -b:v 0"),
            ("yuv420p", "ts", "-c:v mpeg2video -q:v 1"),
        ]);
    for (format, container, codec) in cases {
        for (matrix, tags) in [
            ("bt601", "-colorspace smpte170m -color_primaries smpte170m -color_trc smpte170m"),
            ("bt709", "-colorspace bt709 -color_primaries bt709 -color_trc bt709"),
            ("bt2020", "-colorspace bt2020nc -color_primaries bt2020 -color_trc bt2020-10"),
            ("bt601", ""),
        ] {
            for range in ["tv", "pc"] {
                // MPEG-2 knows no full range, and what is not named is limited. Real codecs are tried with one
                // matrix: the point there is that they hand on what is named.
                let handed = codec == ffv1 || (matrix == "bt709" && (range == "tv" || container != "ts"));
                if !handed || (range == "pc" && tags.is_empty()) {
                    continue;
                }
                let filter = format!(
                    "scale=out_color_matrix={matrix}:out_range={range}:flags=accurate_rnd,format={format}"
                );
                let what = format!("{format} {container} {matrix} {range} {tags}");
                let options = format!("{codec} {tags} -color_range {range}");
                let path = clips.draw(&format!("patches.{container}"), &patches(&PATCHES, &filter), &options);
                let (frames, end) = decode(&path, &[1]).await.unwrap();
                assert_eq!((end.replaced, end.warnings), (0, vec![]), "{what}");
                let seen = seen(&frames[0], PATCHES.len());
                let worst =
                    seen.as_flattened().iter().zip(PATCHES.as_flattened()).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(worst.is_some_and(|off| off <= 3), "{what}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn hdr_becomes_sane_sdr() {
    let clips = Clips::new();
    // Greys by their codes, and a red, a green and a blue.
    let greys = |codes: [f64; 4]| codes.map(|code| [(code * 255.0).round() as u8; 3]);
    let hues = [[140, 70, 50], [70, 140, 60], [60, 70, 140]];
    for (transfer, codes) in [
        // 0, 20, 203 and 1000 cd/m².
        ("smpte2084", greys([0.0, 0.345, 0.58, 0.752])),
        ("arib-std-b67", greys([0.0, 0.328, 0.75, 1.0])),
    ] {
        let colours = [codes.as_slice(), &hues].concat();
        let filter = "scale=out_color_matrix=bt2020:out_range=tv:flags=accurate_rnd,format=yuv420p10le";
        for (name, codec) in [
            ("hdr.mp4", "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:crf=4"),
            ("hdr.webm", "-c:v libvpx-vp9 -profile:v 2 -deadline realtime -crf 4 -b:v 0"),
        ] {
            let tags =
                format!("-colorspace bt2020nc -color_primaries bt2020 -color_trc {transfer} -color_range tv");
            let path = clips.draw(name, &patches(&colours, filter), &format!("{codec} {tags}"));
            let (frames, end) = decode(&path, &[1]).await.unwrap();
            assert_eq!(end.warnings, Vec::<String>::new(), "{transfer} {name}");
            let seen = seen(&frames[0], colours.len());
            let what = format!("{transfer} {name}: {seen:?}");
            for grey in &seen[..4] {
                assert!(grey.iter().all(|value| value.abs_diff(grey[1]) <= 4), "{what}");
            }
            let level = |at: usize| seen[at][1];
            assert!(level(0) <= 2 && (80..=98).contains(&level(1)), "{what}");
            assert!((218..=238).contains(&level(2)) && level(3) >= 250, "{what}");
            for (channel, hue) in seen[4..].iter().enumerate() {
                let others = (0..3).filter(|other| *other != channel).map(|other| hue[other]);
                assert!(others.into_iter().all(|other| hue[channel] > other + 60), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_transparent_shows_black() {
    let clips = Clips::new();
    for (name, options) in [
        ("animation.mov", "-c:v qtrle -pix_fmt argb"),
        ("png.mov", "-c:v png -pix_fmt rgba"),
        ("prores.mov", "-c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le"),
        ("lossless.mkv", "-c:v ffv1 -pix_fmt yuva420p"),
    ] {
        let source = "color=white@0.0:s=64x64:r=5:d=0.6,format=rgba[a];color=0xff0000@0.5:s=64x64:r=5:d=0.6,\
                      format=rgba[b];color=0x00ff00:s=64x64:r=5:d=0.6,format=rgba[c];[a][b][c]hstack=inputs=3";
        let path = clips.draw(name, source, options);
        let (frames, _) = decode(&path, &[0, 2]).await.unwrap();
        for frame in &frames {
            let seen = seen(frame, 3);
            let expected = [[0, 0, 0], [128, 0, 0], [0, 255, 0]];
            let near =
                seen.as_flattened().iter().zip(expected.as_flattened()).all(|(a, b)| a.abs_diff(*b) <= 4);
            assert!(near, "{name}: {seen:?}");
        }
    }
}
