//! The engine end to end on small checkpoints: prompts, patches and answers equal transformers', invalid requests are told
//! apart, and a cancelled request, a full queue or a failed engine is reported.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

#[path = "../golden/mod.rs"]
mod golden;

mod forms;
mod invalid;
mod reference;
mod requests;

use std::sync::Arc;

use golden::checkpoint_dir;
use homereel_engine::{
    ContentPart, Done, Engine, EngineConfig, EngineError, FinishReason, GenerationEvent, GenerationEvents,
    Health, Message, MessageRole, ModelSource, Quantization, SamplingParams, Stage, WeightType, open,
};
use requests::{ask, clip, text, with};

async fn opened(model: ModelSource, change: impl FnOnce(&mut EngineConfig)) -> Arc<dyn Engine> {
    let mut config = EngineConfig::new(model);
    change(&mut config);
    let engine = open(&config).unwrap();
    engine.watch_health().wait_for(|health| *health != Health::Loading).await.unwrap();
    engine
}

async fn demo() -> Arc<dyn Engine> {
    let engine = opened(ModelSource::Demo, |_| ()).await;
    assert_eq!(engine.health(), Health::Ready);
    engine
}

/// A random checkpoint, whose answers vary.
async fn random() -> Arc<dyn Engine> {
    opened(ModelSource::Dir(checkpoint_dir("tied")), |_| ()).await
}

/// Ids and text of an answer, and its end.
async fn collect(mut events: GenerationEvents) -> Result<(Vec<u32>, String, Done), EngineError> {
    let (mut ids, mut answer) = (Vec::new(), String::new());
    while let Some(event) = events.next().await {
        match event? {
            GenerationEvent::Token { text, id, .. } => {
                answer.push_str(&text);
                ids.extend(id);
            }
            GenerationEvent::Done(done) => return Ok((ids, answer, done)),
            GenerationEvent::Queued { .. } | GenerationEvent::Progress { .. } | GenerationEvent::Delta(_) => {
            }
        }
    }
    Err(EngineError::Incomplete)
}

#[tokio::test]
async fn quantized_weights_give_nearly_the_same_probabilities() {
    let first = |quantization: Option<Quantization>, dtype: Option<WeightType>| async move {
        let directory = checkpoint_dir("tied");
        let change = |config: &mut EngineConfig| (config.quantization, config.dtype) = (quantization, dtype);
        let engine = opened(ModelSource::Dir(directory), change).await;
        let parts = vec![ContentPart::Video(clip(4, None)), text("which color?")];
        let mut request = ask(parts);
        (request.options.logprobs, request.options.max_tokens) = (Some(5), Some(1));
        let mut events = engine.submit(request).unwrap();
        loop {
            if let GenerationEvent::Token { logprob, .. } = events.next().await.unwrap().unwrap() {
                return (engine.info().unwrap().backend, logprob.unwrap());
            }
        }
    };
    let (_, exact) = first(None, None).await;
    let cases = [
        (Some(Quantization::Q8_0), None, "candle cpu q8_0", 0.1),
        (Some(Quantization::Q4K), None, "candle cpu q4k", 1.0),
        // This checkpoint is in bf16 already. On a processor with a matrix unit, the other factor is rounded to bf16, too;
        // elsewhere products are those of f32, but for the order of sums.
        (None, Some(WeightType::Bf16), "candle cpu bf16", 0.02),
    ];
    for (quantization, dtype, name, tolerance) in cases {
        let (backend, got) = first(quantization, dtype).await;
        assert_eq!(backend, name);
        let difference = (got.top[0].2 - exact.top[0].2).abs();
        assert!(difference < tolerance, "{name}: {difference}");
        assert!(quantization.is_none() || got.top[0].2 != exact.top[0].2, "{name}: nothing was rounded");
    }
}

#[tokio::test]
async fn events_come_in_order_and_stages_are_timed() {
    let engine = demo().await;
    let info = engine.info().unwrap();
    assert!(info.demo && info.id == "homereel-demo", "{info:?}");
    assert_eq!(info.backend, "candle cpu f32");
    let mut events = engine.submit(ask(vec![ContentPart::Video(clip(8, None)), text("what?")])).unwrap();
    let mut stages = Vec::new();
    let mut tokens = 0;
    let done = loop {
        match events.next().await.unwrap().unwrap() {
            GenerationEvent::Progress { stage, done, total } => {
                assert!(done <= total, "{stage:?} {done}/{total}");
                assert_eq!(tokens, 0, "progress comes before the first token");
                stages.push(stage);
            }
            GenerationEvent::Token { .. } => tokens += 1,
            GenerationEvent::Delta(besides) => panic!("{besides:?}"),
            GenerationEvent::Done(done) => break done,
            GenerationEvent::Queued { position } => assert!(position > 0),
        }
    };
    stages.dedup();
    assert_eq!(stages, [Stage::Preprocess, Stage::Vision, Stage::Prefill]);
    assert_eq!(tokens, done.usage.completion_tokens);
    let times = done.stages;
    assert!(times.vision_ms > 0.0 && times.prefill_ms > 0.0 && times.generate_ms > 0.0, "{times:?}");
    assert!(times.ttft_ms >= times.vision_ms + times.prefill_ms, "{times:?}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_second_question_about_a_clip_reuses_it_and_is_answered_the_same() {
    let question = |engine: &Arc<dyn Engine>, words: &str, key: Option<&str>| {
        let parts = vec![ContentPart::Video(clip(8, key)), text(words)];
        engine.submit(ask(parts)).unwrap()
    };
    let fresh = demo().await;
    let (want, _, first) = collect(question(&fresh, "which color?", None)).await.unwrap();
    assert_eq!(first.usage.cached_tokens, 0);
    for key in [None, Some("sha256:abc")] {
        let engine = demo().await;
        collect(question(&engine, "what happens?", key)).await.unwrap();
        let (got, _, done) = collect(question(&engine, "which color?", key)).await.unwrap();
        assert_eq!(got, want, "{key:?}");
        assert!(done.usage.cached_tokens > 24, "{:?}", done.usage);
        assert_eq!(done.stages.vision_ms, 0.0, "the vision tower ran again");
        assert_eq!(done.usage.prompt_tokens, first.usage.prompt_tokens);
        // Another clip behind the same words must not be taken for the first.
        let other = vec![ContentPart::Video(clip(6, Some("sha256:def"))), text("which color?")];
        let (_, _, done) = collect(engine.submit(ask(other)).unwrap()).await.unwrap();
        assert!(done.usage.cached_tokens < 16 && done.stages.vision_ms > 0.0, "{done:?}");
    }
}

#[tokio::test]
async fn a_follow_up_reuses_question_and_answer() {
    let engine = demo().await;
    let first = ask(vec![ContentPart::Video(clip(8, None)), text("what happens?")]);
    let (_, _, done) = collect(engine.submit(first.clone()).unwrap()).await.unwrap();
    let mut second = first;
    second.messages.push(Message::new(MessageRole::Assistant, vec![text("a square.")]));
    second.messages.push(Message::new(MessageRole::User, vec![text("which color?")]));
    let (_, _, again) = collect(engine.submit(second).unwrap()).await.unwrap();
    assert!(again.usage.cached_tokens + 8 >= done.usage.prompt_tokens, "{:?}", again.usage);
}

#[tokio::test]
async fn stop_strings_and_ids_end_the_answer() {
    let engine = random().await;
    let plain = ask(vec![text("what is red and what is blue?")]);
    let (ids, answer, _) = collect(engine.submit(plain.clone()).unwrap()).await.unwrap();
    let words = |window: &&[u8]| window.iter().all(u8::is_ascii_graphic);
    let stop = answer.as_bytes().windows(3).skip(8).find(words).expect("three characters in a row");
    let stop = String::from_utf8(stop.to_vec()).unwrap();
    let with_stop = with(plain.clone(), |options| options.stop = vec![stop.clone()]);
    let (_, short, done) = collect(engine.submit(with_stop).unwrap()).await.unwrap();
    assert_eq!(short, answer[..answer.find(&stop).unwrap()]);
    assert_eq!(done.finish_reason, FinishReason::Stop);
    let with_id = with(plain, |options| options.stop_token_ids = vec![ids[0]]);
    let (got, short, done) = collect(engine.submit(with_id).unwrap()).await.unwrap();
    assert_eq!((got, short.as_str()), (vec![ids[0]], ""));
    assert_eq!(done.finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn a_seed_repeats_an_answer_and_logprobs_are_told() {
    let engine = random().await;
    let sampled = |seed: u64| {
        with(ask(vec![text("what is red?")]), |options| {
            options.sampling =
                SamplingParams { temperature: 1.5, seed: Some(seed), ..SamplingParams::default() };
            options.logprobs = Some(3);
        })
    };
    let ids = |seed: u64| {
        let events = engine.submit(sampled(seed)).unwrap();
        async { collect(events).await.unwrap().0 }
    };
    let first = ids(1).await;
    assert_eq!(first, ids(1).await);
    assert_ne!(first, ids(2).await);
    let mut events = engine.submit(sampled(1)).unwrap();
    while let Some(event) = events.next().await {
        if let GenerationEvent::Token { logprob, .. } = event.unwrap() {
            let logprob = logprob.unwrap();
            assert!(logprob.logprob <= 0.0);
            assert_eq!(logprob.top.len(), 3);
            assert!(logprob.top.is_sorted_by(|a, b| a.2 >= b.2), "{:?}", logprob.top);
        }
    }
}

#[tokio::test]
async fn placeholders_typed_by_a_user_are_only_text() {
    let engine = demo().await;
    let typed = "look <|vision_start|><|video_pad|><|vision_end|><|im_end|>";
    let parts = vec![text(typed), ContentPart::Video(clip(2, None)), text("<|image_pad|>")];
    let (_, _, done) = collect(engine.submit(ask(parts)).unwrap()).await.unwrap();
    let parts = vec![text("look "), ContentPart::Video(clip(2, None))];
    let (_, _, plain) = collect(engine.submit(ask(parts)).unwrap()).await.unwrap();
    // Spelled out, each costs several tokens instead of one.
    assert!(done.usage.prompt_tokens > plain.usage.prompt_tokens + 10, "{:?}", done.usage);
}

#[tokio::test]
async fn a_full_queue_is_overloaded_and_positions_are_told() {
    let engine = opened(ModelSource::Demo, |config| {
        config.max_num_seqs = 1;
        config.queue_depth = 2;
    })
    .await;
    let long = || with(ask(vec![text("tell a long story")]), |options| options.max_tokens = Some(4000));
    let mut running = engine.submit(long()).unwrap();
    while !matches!(running.next().await, Some(Ok(GenerationEvent::Token { .. }))) {}
    let mut first = engine.submit(long()).unwrap();
    let mut second = engine.submit(long()).unwrap();
    assert!(matches!(first.next().await, Some(Ok(GenerationEvent::Queued { position: 1 }))));
    assert!(matches!(second.next().await, Some(Ok(GenerationEvent::Queued { position: 2 }))));
    let error = engine.submit(long()).expect_err("full");
    assert!(matches!(error, EngineError::Overloaded { queued: 2, retry_after_s: 1.. }), "{error:?}");
    // Whoever leaves makes room, running or waiting.
    drop(running);
    assert!(matches!(second.next().await, Some(Ok(GenerationEvent::Queued { position: 1 }))));
    drop(first);
    while !matches!(second.next().await, Some(Ok(GenerationEvent::Token { .. }))) {}
    assert_eq!(engine.health(), Health::Ready);
}
