//! Recordings joined in one file: every picture once, in the order of the file, on one timeline.

use std::fs::File;

use homereel_clips::recordings::{DrawnFile, Recording, joined, number_in};
use homereel_video::{DecodeRequest, Frame, Plan};
use tokio_util::sync::CancellationToken;

use crate::{
    clips::{Clips, collect, probe, worker},
    derived::{loudness, made},
};

/// Recordings of two seconds whose clocks begin at `starts`.
fn recordings(starts: &[f64], sound: bool, options: &str) -> Vec<Recording> {
    (0..)
        .zip(starts)
        .map(|(at, &start)| Recording {
            first: 1000 * at + 1,
            count: 50,
            rate: 25,
            start,
            sound,
            options: options.into(),
        })
        .collect()
}

fn number(frame: &Frame) -> Option<u32> {
    number_in(&frame.rgb, frame.width, frame.height)
}

/// Asserts that a file shows its pictures and nothing else.
pub(crate) async fn assert_shows(DrawnFile { path, pictures, how: what }: &DrawnFile) {
    let file = File::open(path).unwrap();
    let (clip, opened) = homereel_video::open(&worker(), file, &CancellationToken::new()).await.expect(what);
    let times = &clip.index.frame_times;
    assert_eq!(times.len(), pictures.len(), "{what}: {:?}", clip.warnings);
    for (at, (found, (_, time))) in times.iter().zip(pictures).enumerate() {
        assert!((found - time).abs() < 0.02, "{what}: picture {at} at {found} instead of {time}");
    }
    let request = |indices: Vec<u64>| {
        let plan = Plan { indices, times: Vec::new() };
        DecodeRequest::new(&clip, &plan, clip.video.width, clip.video.height)
    };
    let mut stream = opened.decode(request((0..times.len() as u64).collect())).await.unwrap();
    let mut numbers = Vec::new();
    while let Some(frame) = stream.next().await.unwrap() {
        numbers.push(number(&frame));
    }
    let expected: Vec<Option<u32>> = pictures.iter().map(|&(number, _)| Some(number)).collect();
    assert_eq!(numbers, expected, "{what}");
    let end = stream.end().unwrap();
    assert_eq!((end.replaced, &end.warnings), (0, &vec![]), "{what}");
    // Some alone, which packets before them may be left out for.
    let (frames, _) = collect(path, request((2..times.len() as u64).step_by(17).collect())).await.unwrap();
    for frame in &frames {
        let (expected, time) = pictures[frame.index as usize];
        assert_eq!(number(frame), Some(expected), "{what}: picture {} alone", frame.index);
        assert!((frame.pts_s - time).abs() < 0.02, "{what}: picture {} at {}", frame.index, frame.pts_s);
    }
}

/// The pictures of `recordings` laid one after the other.
fn in_order(recordings: &[Recording]) -> Vec<(u32, f64)> {
    let mut begin = 0.0;
    let mut pictures = Vec::new();
    for recording in recordings {
        let time = |at: u32| begin + f64::from(at) / f64::from(recording.rate);
        pictures.extend((0..recording.count).map(|at| (recording.first + at, time(at))));
        begin += recording.seconds();
    }
    pictures
}

const X264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 25 -c:a mp2";
const MPEG2: &str = "-c:v mpeg2video -q:v 2 -bf 2 -c:a ac3";

#[tokio::test]
async fn recordings_joined_are_shown_one_after_the_other() {
    let clips = Clips::new();
    for (name, starts, options) in [
        ("restart.mts", &[0.0, 0.0][..], format!("{X264} -mpegts_m2ts_mode 1")),
        ("leap.ts", &[0.0, 72_000.0], X264.into()),
        ("back.ts", &[20.0, 1.0, 15.0], X264.into()),
        ("overlap.ts", &[1.0, 2.5, 1.5], X264.into()),
        ("overlap.vob", &[1.0, 2.96, 3.5], format!("{MPEG2} -f vob")),
        ("cells.vob", &[0.0, 0.0, 0.0, 0.0], format!("{MPEG2} -f vob")),
        // ffmpeg reads no third one.
        ("restart.mkv", &[0.0, 0.0], X264.into()),
        ("intra.mkv", &[0.0, 0.0], "-c:v ffv1 -c:a flac".into()),
    ] {
        for sound in [true, false] {
            let recordings = recordings(starts, sound, &options);
            let path = joined(clips.dir(), name, &recordings).unwrap();
            let what = format!("{name}, sound: {sound}");
            let file = DrawnFile { path, pictures: in_order(&recordings), how: what.clone() };
            assert_shows(&file).await;
            let clip = probe(&file.path).await.unwrap();
            let count = starts.len();
            let seconds = 2.0 * count as f64;
            assert!((clip.duration_s - seconds).abs() < 0.1, "{what}: {} s", clip.duration_s);
            let warning = format!("the file is made of {count} recordings");
            assert!(clip.warnings.iter().any(|one| one.starts_with(&warning)), "{what}: {:?}", clip.warnings);
        }
    }
}

#[tokio::test]
async fn gaps_that_a_clock_explains_stay() {
    let clips = Clips::new();
    let both = recordings(&[1.0, 6.0], false, X264);
    let mut pictures = in_order(&both);
    pictures[50..].iter_mut().for_each(|(_, time)| *time += 3.0);
    let path = joined(clips.dir(), "gap.ts", &both).unwrap();
    assert_shows(&DrawnFile { path, pictures, how: "gap.ts".into() }).await;
    // Matroska's clock cannot leap: pictures may be rare.
    let recording = Recording { count: 4, rate: 1, ..both[0].clone() };
    let slow = "-vf setpts=N*1000/TB -vsync passthrough -c:v ffv1";
    let path = Recording { options: slow.into(), ..recording }.write(clips.dir(), "rare.mkv").unwrap();
    let pictures = vec![(1, 0.0), (2, 1000.0), (3, 2000.0), (4, 3000.0)];
    assert_shows(&DrawnFile { path, pictures, how: "rare.mkv".into() }).await;
}

#[tokio::test]
async fn sound_stays_with_the_pictures_of_its_recording() {
    let clips = Clips::new();
    for (name, starts, options) in [
        ("restart.mts", &[1.0, 1.0, 1.0][..], format!("{X264} -mpegts_m2ts_mode 1")),
        ("leap.ts", &[20.0, 72_000.0, 1.0], X264.into()),
        ("cells.vob", &[1.0, 1.0, 1.0], format!("{MPEG2} -f vob")),
        ("overlap.vob", &[1.0, 2.5, 3.5], format!("{MPEG2} -f vob")),
        ("restart.mkv", &[1.0, 1.0], X264.into()),
    ] {
        // A second of sound, and a second of silence.
        let silence = "-af volume='if(lt(t,1),1,0)':eval=frame";
        let recordings = recordings(starts, true, &format!("{options} {silence}"));
        let path = joined(clips.dir(), name, &recordings).unwrap();
        let (out, made) = made(&clips, &path, 1 << 26).await.unwrap();
        assert_eq!(
            (made.frames, made.sound, made.warnings),
            (50 * starts.len() as u64, true, vec![]),
            "{name}"
        );
        let pictures = in_order(&recordings);
        assert_shows(&DrawnFile { path: out.clone(), pictures, how: name.into() }).await;
        let loud: Vec<bool> = loudness(&out).into_iter().map(|level| level > 0.02).collect();
        assert!(loud.len() >= 20 * starts.len() - 2, "{name}: {loud:?}");
        for (tenth, &loud) in loud.iter().enumerate().filter(|(tenth, _)| (2..8).contains(&(tenth % 10))) {
            assert_eq!(loud, tenth / 10 % 2 == 0, "{name}: after {tenth} tenths of a second");
        }
    }
}

#[tokio::test]
async fn parts_that_are_not_shown_are_warned_of() {
    let clips = Clips::new();
    let both = recordings(&[1.0, 1.0], false, X264);
    // A player reads the first film only, and so do we.
    let film = |options: &str| Recording { options: options.into(), start: 0.0, ..both[0].clone() };
    let last = Recording { first: 1001, ..film("-c:v libx264") };
    for options in ["-c:v libx264", "-c:v libx264 -movflags +faststart"] {
        let path = joined(clips.dir(), "two.mp4", &[film(options), last.clone()]).unwrap();
        let clip = probe(&path).await.unwrap();
        assert_eq!(clip.index.frame_times.len(), 50, "{options}");
        let warning = "the file holds 2 films, one behind the other; only the first is shown";
        assert_eq!(clip.warnings, [warning], "{options}");
    }
    // Fragments, each with the film's beginning, belong together.
    let path =
        film("-c:v libx264 -g 10 -movflags frag_keyframe+empty_moov").write(clips.dir(), "live.mp4").unwrap();
    assert_eq!(probe(&path).await.unwrap().warnings, Vec::<String>::new());

    // A recording of another kind has a stream of its own, early in the file or late.
    let other = Recording { options: "-c:v mpeg2video -streamid 0:500".into(), ..both[1].clone() };
    for long in [false, true] {
        let first = Recording { count: if long { 3000 } else { 50 }, ..both[0].clone() };
        let noise = if long {
            " -b:v 4M -minrate 4M -maxrate 4M -bufsize 1M -x264opts nal-hrd=cbr:filler"
        } else {
            ""
        };
        let first = Recording { options: format!("{X264}{noise}"), ..first };
        let path = joined(clips.dir(), "kinds.ts", &[first.clone(), other.clone()]).unwrap();
        let clip = probe(&path).await.unwrap();
        assert_eq!(clip.index.frame_times.len(), first.count as usize, "long: {long}");
        let warning = "a part of the file with 50 pictures of another kind (mpeg2video) is not shown";
        assert!(clip.warnings.iter().any(|one| one == warning), "long: {long}: {:?}", clip.warnings);
    }
}
