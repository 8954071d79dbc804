//! Sound as samples for speech recognition: true times, any format, any beginning.

use std::{fs::File, path::Path};

use homereel_clips::recordings::{Recording, joined};
use homereel_video::{SPEECH_RATE, SampleStream, VideoError, VideoErrorKind, samples_of, sound_of};
use tokio_util::sync::CancellationToken;

use crate::clips::{Clips, numbered, worker};

/// Reads the sound of `path` from `from_s` on.
async fn read(path: &Path, from_s: f64) -> Result<Vec<f32>, VideoError> {
    let file = File::open(path).unwrap();
    collected(samples_of(&worker(), file, from_s, &CancellationToken::new()).await?).await
}

async fn collected(mut stream: SampleStream) -> Result<Vec<f32>, VideoError> {
    let mut samples = Vec::new();
    while let Some(block) = stream.next().await? {
        assert!(!block.is_empty() && block.len() <= SPEECH_RATE as usize);
        samples.extend(block);
    }
    Ok(samples)
}

/// Whether there is sound, for each twentieth of a second.
fn heard(samples: &[f32]) -> Vec<bool> {
    let loudest = |part: &[f32]| part.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    samples.chunks(SPEECH_RATE as usize / 20).map(|part| loudest(part) > 0.05).collect()
}

/// Asserts that there is sound from `start` to `end` seconds and none elsewhere.
fn assert_heard(samples: &[f32], (start, end): (f64, f64), what: &str) {
    for (at, heard) in heard(samples).into_iter().enumerate() {
        let (from, to) = (at as f64 / 20.0, (at + 1) as f64 / 20.0);
        if from > start + 0.05 && to < end - 0.05 {
            assert!(heard, "{what}: nothing at {from}");
        } else if to < start - 0.05 || from > end + 0.05 {
            assert!(!heard, "{what}: something at {from}");
        }
    }
}

#[tokio::test]
async fn sound_of_any_format_comes_at_its_time() {
    let clips = Clips::new();
    for (name, rate, channels, options) in [
        ("phone.mp4", 44_100, 1, "-c:v libx264 -c:a aac"),
        ("surround.mkv", 48_000, 6, "-c:v libx264 -c:a ac3"),
        ("studio.mkv", 192_000, 2, "-c:v ffv1 -c:a flac"),
        ("old.avi", 8000, 1, "-c:v mjpeg -pix_fmt yuvj420p -c:a adpcm_ms"),
        ("camcorder.ts", 48_000, 2, "-c:v libx264 -c:a mp2 -output_ts_offset 30"),
        ("edited.mov", 48_000, 2, "-c:v libx264 -c:a pcm_s16le -output_ts_offset 3"),
    ] {
        // A tone from one second to two.
        let tone = vec!["if(between(t,1,2),0.5*sin(2*PI*440*t),0)"; channels].join("|");
        let source = format!("{}[out0];aevalsrc='{tone}':s={rate}:d=3[out1]", numbered(10, 30));
        let path = clips.draw(name, &source, options);
        let samples = read(&path, 0.0).await.unwrap();
        let seconds = samples.len() as f64 / f64::from(SPEECH_RATE);
        assert!((seconds - 3.0).abs() < 0.15, "{name}: {seconds} s");
        assert!(heard(&samples).iter().any(|heard| *heard), "{name}: silence");
        assert_heard(&samples, (1.0, 2.0), name);
        // The same from a later second on.
        let rest = read(&path, 1.5).await.unwrap();
        assert_eq!(rest, samples[SPEECH_RATE as usize * 3 / 2..], "{name}");
    }
}

#[tokio::test]
async fn late_sound_is_preceded_by_silence_and_joined_recordings_follow_each_other() {
    let clips = Clips::new();
    let late = "sine=f=440:d=1,volume=8,asetpts=PTS+1.7/TB[out1]";
    let source = format!("{}[out0];{late}", numbered(10, 30));
    let path = clips.draw("late.mkv", &source, "-c:v ffv1 -c:a flac");
    assert_heard(&read(&path, 0.0).await.unwrap(), (1.7, 2.7), "late");

    let options = "-c:v libx264 -c:a mp2 -af volume='if(lt(t,1),4,0)':eval=frame".to_owned();
    let part = Recording { first: 1, count: 50, rate: 25, start: 1.0, sound: true, options };
    let path = joined(clips.dir(), "joined.ts", &[part.clone(), part]).unwrap();
    let samples = read(&path, 0.0).await.unwrap();
    let seconds = SPEECH_RATE as usize;
    assert_heard(&samples[..2 * seconds], (0.0, 1.0), "the first recording");
    assert_heard(&samples[2 * seconds..], (0.0, 1.0), "the second recording");
}

#[tokio::test]
async fn a_video_without_sound_says_so() {
    let clips = Clips::new();
    let path = clips.draw("silent.mp4", &numbered(10, 10), "-c:v libx264");
    let error = read(&path, 0.0).await.unwrap_err();
    assert!(matches!(error, VideoError::NoSound { .. }), "{error}");
    assert_eq!(error.kind(), VideoErrorKind::BadVideo);
    // Behind the end there is nothing, which is no error.
    let source = format!("{}[out0];sine=d=1[out1]", numbered(10, 10));
    let path = clips.draw("short.mp4", &source, "-c:v libx264 -c:a aac");
    assert_eq!(read(&path, 60.0).await.unwrap(), Vec::<f32>::new());
}

/// Reads the sound of a file that may be no video.
async fn any(path: &Path) -> Result<Vec<f32>, VideoError> {
    let file = File::open(path).unwrap();
    collected(sound_of(&worker(), file, &CancellationToken::new()).await?).await
}

#[tokio::test]
async fn sound_alone_is_read_where_it_is_asked_for_and_nowhere_else() {
    let clips = Clips::new();
    for (name, rate, options) in [
        ("a.mp3", 44_100, "-c:a libmp3lame"),
        ("a.wav", 48_000, "-c:a pcm_s16le"),
        ("a.flac", 192_000, "-c:a flac"),
        ("a.m4a", 44_100, "-c:a aac"),
        ("a.aac", 44_100, "-c:a aac"),
        ("a.ogg", 48_000, "-c:a libvorbis"),
        ("a.webm", 48_000, "-c:a libopus"),
        ("a.mka", 48_000, "-c:a ac3"),
        ("a.aiff", 22_050, "-c:a pcm_s16be"),
    ] {
        let tone = "if(between(t,1,2),0.5*sin(2*PI*440*t),0)";
        let path = clips.draw(name, &format!("aevalsrc='{tone}':s={rate}:d=3"), options);
        let samples = any(&path).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let seconds = samples.len() as f64 / f64::from(SPEECH_RATE);
        assert!((seconds - 3.0).abs() < 0.15, "{name}: {seconds} s");
        assert_heard(&samples, (1.0, 2.0), name);
        let error = read(&path, 0.0).await.unwrap_err();
        assert_eq!(error.kind(), VideoErrorKind::BadVideo, "{name} is no video: {error}");
    }
}

#[tokio::test]
async fn sound_of_a_video_is_the_same_either_way_and_other_files_are_refused() {
    let clips = Clips::new();
    let source = format!("{}[out0];sine=d=1,volume=8,asetpts=PTS+1.5/TB[out1]", numbered(10, 30));
    let path = clips.draw("late.mkv", &source, "-c:v ffv1 -c:a flac");
    assert_eq!(any(&path).await.unwrap(), read(&path, 0.0).await.unwrap());
    let silent = clips.draw("silent.mp4", &numbered(10, 10), "-c:v libx264");
    let text = clips.dir().join("letter.mp3");
    std::fs::write(&text, "not sound at all, but a letter\n").unwrap();
    let picture = clips.dir().join("picture.wav");
    std::fs::write(&picture, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    for path in [silent, text, picture] {
        let error = any(&path).await.unwrap_err();
        assert!(matches!(error, VideoError::NoSound { .. }), "{}: {error}", path.display());
    }
}
