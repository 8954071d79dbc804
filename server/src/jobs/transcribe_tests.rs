//! The job of a transcription with a transcriber that counts windows: stored, resumed, postponed, failed, and nothing to hear.

use futures_util::stream;
use homereel_engine::EngineError;
use homereel_library::{JobState, Lane, TranscriptState};
use homereel_video::{AudioStream, fixtures::summary};

use super::*;
use crate::{
    jobs::LEASE,
    speech::tests::{counting, voice},
    state::tests::state_with,
};

/// A video of 70 s with sound, or without, and the job that transcribes it.
async fn started(data: &std::path::Path, speech: SpeechService, has_sound: bool) -> (JobContext, Video, Job) {
    let (mut state, _engine) = state_with(data, Vec::new()).await;
    state.speech = Some(speech);
    let cx = state.job_context();
    let mut incoming = cx.library.incoming(None, 100).await.unwrap();
    incoming.write(b"bytes").await.unwrap();
    let mut probe = summary();
    probe.duration_s = 70.0;
    probe.audio =
        has_sound.then(|| AudioStream { index: 1, codec: "aac".into(), channels: 2, sample_rate: 48_000 });
    let video = incoming.seal().await.unwrap().commit("a.mp4", "video/mp4", &probe).await.unwrap().video;
    cx.library.queue_transcript(&video.id).await.unwrap();
    let job = cx.library.lease_job(Lane::Speech, LEASE, &[]).await.unwrap().unwrap();
    (cx, video, job)
}

/// Transcribes seconds of voice from `from_s` on.
async fn heard(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    from_s: f64,
    sound: Vec<Vec<f32>>,
) -> Result<(), Stop> {
    let speech = cx.speech.clone().unwrap();
    cx.library.begin_transcript(&video.id, speech.name()).await.unwrap();
    hear(cx, job, video, &speech, from_s, stream::iter(sound.into_iter().map(Ok))).await.map(|_| ())
}

#[tokio::test]
async fn what_is_heard_is_stored_window_by_window_with_its_position() {
    let data = tempfile::tempdir().unwrap();
    let (cx, video, job) = started(data.path(), counting(Vec::new()), true).await;
    let mut changes = cx.library.subscribe();
    heard(&cx, &job, &video, 0.0, voice(70)).await.unwrap();
    let lines = cx.library.transcript_lines(&video.id, 0, 10).await.unwrap();
    assert_eq!(lines[0].text, "number 0");
    assert!(lines.len() >= 3 && lines.last().unwrap().end > 60.0, "{lines:?}");
    let transcript = cx.library.transcript(&video.id).await.unwrap().unwrap();
    assert!((transcript.position - 70.0).abs() < 0.1, "{transcript:?}");
    let job = cx.library.job(&job.id).await.unwrap();
    assert_eq!((job.parts_done, job.parts), (70, 70));
    let mut shown = Vec::new();
    while let Ok(change) = changes.try_recv() {
        if let Change::Progress { stage: "listen", done, total, .. } = change {
            shown.push((done, total));
        }
    }
    assert!(shown.is_sorted() && shown.last() == Some(&(70, 70)), "{shown:?}");
}

#[tokio::test]
async fn a_server_that_is_away_postpones_the_job_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let speech = counting(Vec::new());
    let (cx, video, job) = started(data.path(), speech, true).await;
    heard(&cx, &job, &video, 0.0, voice(30)).await.unwrap();
    let before = cx.library.transcript(&video.id).await.unwrap().unwrap();
    assert!(before.position > 25.0);

    let away = counting(vec![EngineError::Unavailable { retry_after_s: 7 }]);
    let cx = JobContext { speech: Some(away), ..cx };
    let stopped = heard(&cx, &job, &video, before.position, voice(30)).await.unwrap_err();
    assert!(matches!(&stopped, Stop::Away(_, delay) if delay.as_secs() == 7), "{stopped:?}");
    assert_eq!(cx.library.transcript(&video.id).await.unwrap().unwrap().line_count, before.line_count);
    heard(&cx, &job, &video, before.position, voice(30)).await.unwrap();
    let lines = cx.library.transcript_lines(&video.id, 0, 10).await.unwrap();
    assert!(lines.last().unwrap().start >= before.position, "{lines:?}");
    assert!(lines.is_sorted_by(|a, b| a.end <= b.start), "{lines:?}");
}

#[tokio::test]
async fn a_model_that_fails_for_good_leaves_what_was_heard() {
    let data = tempfile::tempdir().unwrap();
    let broken = counting(vec![EngineError::invalid("language", "the model does not know klingon")]);
    let (cx, video, job) = started(data.path(), broken, true).await;
    let stopped = heard(&cx, &job, &video, 0.0, voice(30)).await.unwrap_err();
    assert!(matches!(&stopped, Stop::Fatal(message) if message.contains("klingon")), "{stopped:?}");
}

#[tokio::test]
async fn a_video_without_sound_has_an_empty_transcript_and_says_why() {
    let data = tempfile::tempdir().unwrap();
    let (cx, video, job) = started(data.path(), counting(Vec::new()), false).await;
    let ended = run(&cx, &job, &CancellationToken::new()).await.unwrap();
    let Ended::Done(warnings) = ended else { panic!("not done: {ended:?}") };
    assert_eq!(warnings, ["The video has no sound."]);
    let transcript = cx.library.transcript(&video.id).await.unwrap().unwrap();
    assert_eq!((transcript.state, transcript.line_count), (TranscriptState::Done, 0));
    assert_eq!(transcript.note.as_deref(), Some("The video has no sound."));
}

#[tokio::test]
async fn a_job_whose_last_attempt_fails_marks_the_transcript() {
    let data = tempfile::tempdir().unwrap();
    let (cx, video, job) = started(data.path(), counting(Vec::new()), true).await;
    // There is no video worker here.
    let job = Job { attempts: 4, ..job };
    let stopped = run(&cx, &job, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(stopped, Stop::Retry(_)), "{stopped:?}");
    let transcript = cx.library.transcript(&video.id).await.unwrap().unwrap();
    assert_eq!(transcript.state, TranscriptState::Failed);
    assert!(transcript.error.is_some());
    assert_eq!(cx.library.job(&job.id).await.unwrap().state, JobState::Running, "the runner stores its end");
}
