//! Answers that nobody reads.

use homereel_engine::{
    Done, FinishReason, GenerationEvent, SamplingParams, StageTimes, Usage,
    fake::{FakeEngine, ScriptStep},
};
use homereel_video::Worker;

use super::*;

fn service(text: &str, tokens: usize) -> AnswerService {
    let token = GenerationEvent::Token { text: text.to_owned(), id: None, logprob: None };
    let done = GenerationEvent::Done(Done {
        finish_reason: FinishReason::Stop,
        usage: Usage::default(),
        stages: StageTimes::default(),
        warnings: Vec::new(),
    });
    let mut script = vec![ScriptStep::Event(token); tokens];
    script.push(ScriptStep::Event(done));
    let engine = Arc::new(FakeEngine::new("fake", script));
    AnswerService::new(engine, MediaDecoder::new(Worker::new("/nonexistent".into(), &[])), 1)
}

async fn ask(service: &AnswerService) -> AnswerStream {
    let question = Conversation::text("Count.", SamplingParams::default());
    service.ask(question, Priority::Interactive, &CancellationToken::new()).unwrap()
}

async fn read(mut stream: AnswerStream) -> (usize, bool) {
    let (mut tokens, mut failed) = (0, false);
    while let Some(event) = stream.next().await {
        match event {
            Ok(AskEvent::Token { .. }) => tokens += 1,
            Ok(_) => {}
            Err(_) => failed = true,
        }
    }
    (tokens, failed)
}

#[tokio::test]
async fn an_unread_answer_does_not_delay_the_next_one() {
    let service = service("word", 5000);
    let unread = ask(&service).await;
    // There is one permit: it is free although nobody read the answer.
    service.interactive_idle(Duration::MAX).await;
    assert_eq!(read(ask(&service).await).await, (5000, false));
    assert_eq!(read(unread).await, (5000, false));
}

#[tokio::test]
async fn an_unread_answer_of_any_size_is_bounded() {
    let service = service(&"x".repeat(64 << 10), 1000);
    let unread = ask(&service).await;
    service.interactive_idle(Duration::MAX).await;
    let (tokens, failed) = read(unread).await;
    assert!(failed && tokens * (64 << 10) <= WAITING_BYTES, "{tokens}");
}
