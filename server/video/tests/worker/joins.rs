//! Recordings joined in one file: every picture once, in the order of the file, on one timeline.

use std::{fs::File, path::Path};

use homereel_video::{DecodeRequest, Plan};
use tokio_util::sync::CancellationToken;

use crate::{
    clips::{Clips, collect, probe, worker},
    coded::{Recording, coded_number, joined},
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

/// Asserts that a file shows `pictures` (number and time) and nothing else.
pub(crate) async fn assert_shows(path: &Path, pictures: &[(u32, f64)], what: &str) {
    let file = || File::open(path).unwrap();
    let (clip, opened) =
        homereel_video::open(&worker(), file(), &CancellationToken::new()).await.expect(what);
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
        numbers.push(coded_number(&frame));
    }
    let expected: Vec<Option<u32>> = pictures.iter().map(|&(number, _)| Some(number)).collect();
    assert_eq!(numbers, expected, "{what}");
    let end = stream.end().unwrap();
    assert_eq!((end.replaced, &end.warnings), (0, &vec![]), "{what}");
    // Some alone, which packets before them may be left out for.
    let (frames, _) = collect(path, request((2..times.len() as u64).step_by(17).collect())).await.unwrap();
    for frame in &frames {
        let (number, time) = pictures[frame.index as usize];
        assert_eq!(coded_number(frame), Some(number), "{what}: picture {} alone", frame.index);
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
            let path = joined(&clips, name, &recordings);
            let what = format!("{name}, sound: {sound}");
            assert_shows(&path, &in_order(&recordings), &what).await;
            let clip = probe(&path).await.unwrap();
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
    assert_shows(&joined(&clips, "gap.ts", &both), &pictures, "gap.ts").await;
    // Matroska's clock cannot leap: pictures may be rare.
    let recording = Recording { count: 4, rate: 1, ..both[0].clone() };
    let slow = "-vf setpts=N*1000/TB -vsync passthrough -c:v ffv1";
    let path = Recording { options: slow.into(), ..recording }.write(&clips, "rare.mkv");
    assert_shows(&path, &[(1, 0.0), (2, 1000.0), (3, 2000.0), (4, 3000.0)], "rare.mkv").await;
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
        let path = joined(&clips, name, &recordings);
        let (out, made) = made(&clips, &path, 1 << 26).await.unwrap();
        assert_eq!(
            (made.frames, made.sound, made.warnings),
            (50 * starts.len() as u64, true, vec![]),
            "{name}"
        );
        assert_shows(&out, &in_order(&recordings), name).await;
        let loud: Vec<bool> = loudness(&out).into_iter().map(|level| level > 0.02).collect();
        assert!(loud.len() >= 20 * starts.len() - 2, "{name}: {loud:?}");
        for (tenth, &loud) in loud.iter().enumerate().filter(|(tenth, _)| (2..8).contains(&(tenth % 10))) {
            assert_eq!(loud, tenth / 10 % 2 == 0, "{name}: after {tenth} tenths of a second");
        }
    }
}
