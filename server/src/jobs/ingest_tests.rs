//! A description that waits for what is said: moments and tags come first, and the model is told the lines in the end.

use homereel_engine::{
    ContentPart, Done, FinishReason, GenerationEvent, StageTimes, Usage,
    fake::{FakeEngine, ScriptStep},
};
use homereel_library::NewLine;
use homereel_video::{AudioStream, ProbeSummary, fixtures::summary};

use super::*;
use crate::{speech::tests::counting, state::tests::state_with};

const ANSWER: &str = r#"{"description": "Two people talk.", "tags": ["talk"], "moments": [{"start": 0, "end": 2, "text": "They talk."}]}"#;

/// The text of the last question that the engine got.
fn last_prompt(engine: &FakeEngine) -> String {
    let requests = engine.requests();
    let parts = requests.last().unwrap().messages.iter().flat_map(|message| &message.content);
    parts.filter_map(|part| if let ContentPart::Text(text) = part { Some(&**text) } else { None }).collect()
}

#[tokio::test]
async fn a_description_waits_for_what_is_said_and_the_other_texts_do_not() {
    let done = Done {
        finish_reason: FinishReason::Stop,
        usage: Usage::default(),
        stages: StageTimes::default(),
        warnings: Vec::new(),
    };
    let script = vec![
        ScriptStep::Event(GenerationEvent::Token { text: ANSWER.into(), id: None, logprob: None }),
        ScriptStep::Event(GenerationEvent::Done(done)),
    ];
    let data = tempfile::tempdir().unwrap();
    let (mut state, engine) = state_with(data.path(), script).await;
    state.speech = Some(counting(Vec::new()));
    let cx = state.job_context();
    let mut incoming = cx.library.incoming(None, 100).await.unwrap();
    incoming.write(b"bytes").await.unwrap();
    let mut probe = summary();
    probe.audio = Some(AudioStream { index: 1, codec: "aac".into(), channels: 2, sample_rate: 48_000 });
    let video = incoming.seal().await.unwrap().commit("a.mp4", "video/mp4", &probe).await.unwrap().video;
    let job = cx.library.jobs_of(&video.id).await.unwrap().remove(0);
    let cancel = CancellationToken::new();
    let attempt = async || {
        let part = Some(Part::without_frames(&cx, 2.0).await);
        describe(&cx, &job, &video, &mut WholeVideo { part, ..WholeVideo::default() }, &cancel).await
    };

    attempt().await.unwrap();
    assert_eq!(engine.requests().len(), 2, "moments and tags");
    assert!(!last_prompt(&engine).contains("What is said"));
    let texts = cx.library.texts(&video.id).await.unwrap();
    assert!(texts.description.is_none() && texts.moments.is_some() && texts.tags.is_some());
    assert!(cx.library.job(&job.id).await.unwrap().awaits_speech);
    let next = next_step(&cx, &job, &video, Step::Playback, &WholeVideo::default()).await.unwrap();
    assert_eq!(next, Some(Step::Describe), "behind everything else");
    assert!(matches!(attempt().await, Err(Stop::Later(delay)) if delay == said::WAIT));
    assert_eq!(engine.requests().len(), 2, "nothing is asked meanwhile");

    cx.library.begin_transcript(&video.id, "tiny").await.unwrap();
    let text = "Look at the frog!".to_owned();
    let line = NewLine { start: 0.5, end: 1.5, text, language: None, confidence: 1.0 };
    cx.library.append_transcript(&video.id, &[line], 2.0, None).await.unwrap();
    attempt().await.unwrap();
    assert_eq!(engine.requests().len(), 3, "the description alone");
    assert!(last_prompt(&engine).contains("\n0:00.5 Look at the frog!\n"), "{}", last_prompt(&engine));
    assert!(!cx.library.job(&job.id).await.unwrap().awaits_speech);
    assert!(cx.library.texts(&video.id).await.unwrap().description.is_some());
    assert_eq!(next_step(&cx, &job, &video, Step::Playback, &WholeVideo::default()).await.unwrap(), None);

    // All is known from the start.
    attempt().await.unwrap();
    assert_eq!(engine.requests().len(), 4, "one question for all texts");
    assert!(last_prompt(&engine).contains("Look at the frog!"));
}

#[tokio::test]
async fn nothing_is_awaited_where_nothing_transcribes_or_there_is_no_sound() {
    let data = tempfile::tempdir().unwrap();
    let (mut state, _engine) = state_with(data.path(), Vec::new()).await;
    let silent = summary();
    let audio = AudioStream { index: 1, codec: "aac".into(), channels: 2, sample_rate: 48_000 };
    let spoken = ProbeSummary { audio: Some(audio), ..silent.clone() };
    let add = async |bytes: &[u8], probe: &ProbeSummary| {
        let mut incoming = state.library.incoming(None, 100).await.unwrap();
        incoming.write(bytes).await.unwrap();
        incoming.seal().await.unwrap().commit("a.mp4", "video/mp4", probe).await.unwrap().video
    };
    let (silent, spoken) = (add(b"silent", &silent).await, add(b"spoken", &spoken).await);
    let off = state.job_context();
    assert_eq!(said::said(&off, &spoken, (0.0, 2.0)).await.unwrap(), Said::Nothing);
    state.speech = Some(counting(Vec::new()));
    let cx = state.job_context();
    assert_eq!(said::said(&cx, &silent, (0.0, 2.0)).await.unwrap(), Said::Nothing);
    assert_eq!(said::said(&cx, &spoken, (0.0, 2.0)).await.unwrap(), Said::ToCome);
    let job = cx.library.jobs_of(&spoken.id).await.unwrap().remove(0);
    assert_eq!(job.kind, "speech", "it was queued");
    cx.library.cancel_job(&job.id).await.unwrap();
    assert_eq!(said::said(&cx, &spoken, (0.0, 2.0)).await.unwrap(), Said::Nothing);
}
