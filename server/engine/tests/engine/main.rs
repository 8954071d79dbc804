//! The engine end to end on small checkpoints: prompts, patches and answers equal transformers', invalid requests are told
//! apart, and a cancelled request, a full queue or a failed engine is reported.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

#[path = "../golden/mod.rs"]
mod golden;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use golden::{Case, Drawn, Golden, checkpoint_dir, parity_dir};
use homereel_engine::qwen3vl::{
    ChatTemplate, Checkpoint, Processor, ProcessorConfig, PromptBuilder, PromptMedia, Tokenizer,
};
use homereel_engine::{
    ContentPart, DeviceKind, Done, Engine, EngineConfig, EngineError, EngineErrorKind, FinishReason,
    GenerationEvent, GenerationEvents, GenerationOptions, Health, Message, MessageRole, ModelSource,
    PromptWrapper, Quantization, Request, RgbImage, SamplingParams, Stage, VideoInput, WeightType, open,
};
use serde_json::Value;

const CHECKPOINTS: [&str; 7] = ["tied", "untied", "wide-heads", "vision72", "moe", "v457", "demo"];

fn read(directory: &Path) -> impl Fn(&str) -> Option<Vec<u8>> + Copy + '_ {
    move |name| std::fs::read(directory.join(name)).ok()
}

fn builder(directory: &Path, wrapper: PromptWrapper) -> Result<PromptBuilder> {
    let files = read(directory);
    let config = Checkpoint::from_dir("test", directory)?.config;
    Ok(PromptBuilder {
        tokenizer: Tokenizer::from_json(&files("tokenizer.json").context("tokenizer")?)
            .map_err(anyhow::Error::msg)?,
        template: ChatTemplate::read(files).map_err(anyhow::Error::msg)?,
        processor: Processor::new(ProcessorConfig::read(files).map_err(anyhow::Error::msg)?),
        context: config.text.max_position_embeddings,
        wrapper,
        config,
    })
}

/// The request of a golden case, its frames drawn anew.
fn request_of(case: &Case) -> Request {
    let mut drawn = case.visuals().into_iter();
    let messages = case.record["messages"].as_array().unwrap();
    let messages = messages.iter().map(|message| {
        let content = match &message["content"] {
            Value::String(text) => vec![ContentPart::Text(text.clone())],
            parts => parts.as_array().unwrap().iter().map(|part| part_of(part, &mut drawn)).collect(),
        };
        let role = match message["role"].as_str().unwrap() {
            "system" => MessageRole::System,
            "assistant" => MessageRole::Assistant,
            _ => MessageRole::User,
        };
        Message::new(role, content)
    });
    request(messages.collect())
}

fn part_of(part: &Value, drawn: &mut impl Iterator<Item = Drawn>) -> ContentPart {
    if part["type"] == "text" {
        return ContentPart::Text(part["text"].as_str().unwrap().to_owned());
    }
    let drawn = drawn.next().unwrap();
    let (width, height) = (drawn.width as u32, drawn.height as u32);
    let mut frames: Vec<RgbImage> =
        drawn.frames.into_iter().map(|rgb| RgbImage::new(width, height, rgb.into())).collect();
    if !drawn.is_video {
        return ContentPart::Image(frames.remove(0));
    }
    let fps = part["native_fps"].as_f64().unwrap();
    let indices: Vec<u64> =
        part["indices"].as_array().unwrap().iter().map(|index| index.as_u64().unwrap()).collect();
    let times: Vec<f64> = indices.iter().map(|&index| index as f64 / fps).collect();
    let total_frames = indices.last().unwrap() + 1;
    let duration_s = total_frames as f64 / fps;
    ContentPart::Video(VideoInput {
        frames,
        times,
        indices,
        native_fps: fps,
        total_frames,
        duration_s,
        key: None,
    })
}

fn request(messages: Vec<Message>) -> Request {
    Request {
        messages,
        options: GenerationOptions { max_tokens: Some(64), ignore_eos: true, ..GenerationOptions::default() },
    }
}

fn with(mut request: Request, change: impl FnOnce(&mut GenerationOptions)) -> Request {
    change(&mut request.options);
    request
}

fn ask(parts: Vec<ContentPart>) -> Request {
    request(vec![Message::new(MessageRole::User, parts)])
}

fn text(text: &str) -> ContentPart {
    ContentPart::Text(text.to_owned())
}

/// A clip of plain frames with a square that moves, at a size that the demo model takes as it is.
fn clip(frames: usize, key: Option<&str>) -> VideoInput {
    let draw = |t: usize| {
        let pixel = move |i: usize| {
            let (x, y) = (i % 96, i / 96);
            let inside = (10 + 4 * t..40 + 4 * t).contains(&x) && (20..50).contains(&y);
            if inside { [220, 30, 30] } else { [20, 20, 120] }
        };
        let rgb: Vec<u8> = (0..96 * 64).flat_map(pixel).collect();
        RgbImage::new(96, 64, rgb.into())
    };
    VideoInput {
        frames: (0..frames).map(draw).collect(),
        times: (0..frames).map(|t| t as f64 / 2.0).collect(),
        indices: (0..frames as u64).collect(),
        native_fps: 2.0,
        total_frames: frames as u64,
        duration_s: frames as f64 / 2.0,
        key: key.map(str::to_owned),
    }
}

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

#[test]
fn prompts_and_pixels_equal_the_reference() -> Result<()> {
    for name in CHECKPOINTS {
        let builder = builder(&checkpoint_dir(name), PromptWrapper::V5)?;
        builder.check().map_err(anyhow::Error::msg)?;
        for case in &Golden::read(name)?.cases {
            let what = format!("{name}/{}", case.name);
            let prepared = builder.build(&request_of(case)).context(what.clone())?;
            assert_eq!(prepared.prompt.ids(), case.numbers("input_ids"), "{what}: input_ids");
            let (_, positions) = case.tensor("positions");
            let axes = prepared.prompt.positions().axes().concat();
            assert_eq!(axes.iter().map(|&p| p as f32).collect::<Vec<_>>(), positions, "{what}");
            assert_eq!(case.record["rope_delta"], prepared.prompt.positions().delta(), "{what}");
            for (kind, is_video) in [("image", false), ("video", true)] {
                let of_kind = prepared
                    .media
                    .iter()
                    .filter(|(media, _)| matches!(media, PromptMedia::Video(_)) == is_video);
                let grids: Vec<[usize; 3]> = of_kind.map(|(_, grid)| (*grid).into()).collect();
                assert_eq!(grids, case.grids(kind), "{what}: {kind} grids");
            }
            let vision = &builder.config.vision;
            for (drawn, (media, _)) in case.visuals().iter().zip(&prepared.media) {
                let (bytes, grid) = drawn.patch_bytes(
                    vision.patch_size,
                    vision.spatial_merge_size,
                    vision.temporal_patch_size,
                );
                let visual = match media {
                    PromptMedia::Image(image) => builder.processor.image_patches(image),
                    PromptMedia::Video(clip) => builder.processor.video_patches(clip),
                };
                assert_eq!(visual.grid, grid, "{what}");
                let want: Vec<f32> = bytes.iter().map(|&byte| (f32::from(byte) - 127.5) / 127.5).collect();
                assert!(visual.pixels == want, "{what}: pixel values differ");
            }
        }
    }
    Ok(())
}

#[test]
fn sizes_equal_the_reference() -> Result<()> {
    let rules: Value = serde_json::from_slice(&std::fs::read(parity_dir().join("golden/rules.json"))?)?;
    let file = |shortest: u64, longest: u64| {
        format!(
            r#"{{"size": {{"shortest_edge": {shortest}, "longest_edge": {longest}}}, "patch_size": 16,
            "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5]}}"#
        )
    };
    let config = ProcessorConfig::read(|name| match name {
        "preprocessor_config.json" => Some(file(65_536, 16_777_216).into_bytes()),
        "video_preprocessor_config.json" => Some(file(4096, 25_165_824).into_bytes()),
        _ => None,
    });
    let processor = Processor::new(config.map_err(anyhow::Error::msg)?);
    let rows = |key: &str| rules[key]["rows"].as_array().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_u64().map(|n| n as u32);
    let size = |width: &Value, height: &Value| Some((number(width)?, number(height)?));
    assert!(rows("image_sizes").len() >= 8 && rows("video_sizes").len() >= 63);
    for row in rows("image_sizes") {
        let got = processor.image_size(number(&row[1]).unwrap(), number(&row[0]).unwrap()).ok();
        assert_eq!(got, size(&row[3], &row[2]), "{row}");
    }
    for row in rows("video_sizes") {
        let frames = row[0].as_u64().unwrap() as usize;
        let got = processor.video_size(frames, number(&row[2]).unwrap(), number(&row[1]).unwrap());
        assert_eq!(got.ok(), size(&row[4], &row[3]), "{row}");
    }
    Ok(())
}

#[test]
fn prompts_of_457_have_no_outer_wrapper() -> Result<()> {
    let directory = checkpoint_dir("demo");
    let (old, new) = (builder(&directory, PromptWrapper::V4_57)?, builder(&directory, PromptWrapper::V5)?);
    let request = ask(vec![text("see "), ContentPart::Video(clip(4, None)), text(" end")]);
    let ids =
        |builder: &PromptBuilder| -> Result<Vec<u32>> { Ok(builder.build(&request)?.prompt.ids().to_vec()) };
    let (old_ids, new_ids) = (ids(&old)?, ids(&new)?);
    let count = |ids: &[u32], token: u32| ids.iter().filter(|id| **id == token).count();
    let (start, end) = (old.config.vision_start_token_id, old.config.vision_end_token_id);
    assert_eq!((count(&new_ids, start), count(&new_ids, end)), (3, 3));
    assert_eq!((count(&old_ids, start), count(&old_ids, end)), (2, 2));
    // The timestamp is tokenised together with the text before it.
    let before = old.tokenizer.encode("user\nsee <0.2 seconds>").map_err(anyhow::Error::msg)?;
    assert!(old_ids.windows(before.len()).any(|window| window == before), "{old_ids:?}");
    Ok(())
}

#[tokio::test]
async fn answers_equal_the_reference_for_64_tokens() -> Result<()> {
    for name in CHECKPOINTS {
        let engine = opened(ModelSource::Dir(checkpoint_dir(name)), |_| ()).await;
        assert_eq!(engine.health(), Health::Ready, "{name}");
        for case in &Golden::read(name)?.cases {
            let what = format!("{name}/{}", case.name);
            let (ids, _, done) = collect(engine.submit(request_of(case))?).await?;
            assert_eq!(ids, case.numbers("greedy"), "{what}");
            assert_eq!(done.usage.prompt_tokens, case.numbers("input_ids").len(), "{what}");
            assert_eq!(done.usage.completion_tokens, 64, "{what}");
            assert_eq!(done.finish_reason, FinishReason::Length, "{what}");
        }
    }
    Ok(())
}

/// One setting put into a configuration.
type ConfigChange = fn(&mut EngineConfig);

#[tokio::test]
async fn settings_that_cannot_be_are_told() {
    let cases: [(ConfigChange, &str); 3] = [
        (|config| config.max_model_len = Some(1 << 30), "--max-model-len is 1073741824"),
        (|config| config.dtype = Some(WeightType::Bf16), "--dtype bf16 runs on cuda only"),
        #[cfg(not(feature = "cuda"))]
        (|config| config.device = DeviceKind::Cuda, "needs a build with the cuda feature"),
        #[cfg(feature = "cuda")]
        (|config| config.max_model_len = Some(0), "--max-model-len is 0"),
    ];
    for (change, part) in cases {
        let engine = opened(ModelSource::Demo, change).await;
        let Health::Failed(why) = engine.health() else { panic!("{part:?}: it was loaded") };
        assert!(why.contains(part), "{part:?} is not in {why:?}");
    }
}

#[tokio::test]
async fn quantized_weights_give_nearly_the_same_probabilities() {
    let first = |quantization: Option<Quantization>| async move {
        let directory = checkpoint_dir("tied");
        let change = |config: &mut EngineConfig| config.quantization = quantization;
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
    let (_, exact) = first(None).await;
    for (quantization, name, tolerance) in
        [(Quantization::Q8_0, "candle cpu q8_0", 0.1), (Quantization::Q4K, "candle cpu q4k", 1.0)]
    {
        let (backend, got) = first(Some(quantization)).await;
        assert_eq!(backend, name);
        let difference = (got.top[0].2 - exact.top[0].2).abs();
        assert!(difference < tolerance, "{name}: {difference}");
        assert!(got.top[0].2 != exact.top[0].2, "{name}: nothing was quantized");
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
async fn bad_requests_are_told_apart_and_the_next_one_works() {
    let engine = demo().await;
    let video = || ContentPart::Video(clip(2, None));
    let context = engine.info().unwrap().max_model_len;
    let wrong_size = RgbImage::new(100, 64, vec![0; 100 * 64 * 3].into());
    let sampling = |change: fn(&mut SamplingParams)| {
        with(ask(vec![text("hi")]), |options| change(&mut options.sampling))
    };
    let changed = |change: fn(&mut GenerationOptions)| with(ask(vec![text("hi")]), change);
    let cases: Vec<(Request, &[&str])> = vec![
        (request(Vec::new()), &["messages is empty"]),
        (ask((0..1000).map(|_| video()).collect()), &["1000 videos", "16 would fit"]),
        (ask(vec![ContentPart::Video(clip(0, None))]), &["0 frames"]),
        (ask(vec![ContentPart::Image(wrong_size)]), &["100x64", "96x64"]),
        (ask(vec![text(&"word ".repeat(context))]), &["context holds", "would fit"]),
        (ask(vec![text(&"x".repeat(40 * context))]), &["context holds", "shorter"]),
        (sampling(|s| s.temperature = -1.0), &["temperature is -1"]),
        (sampling(|s| s.top_p = 2.0), &["top_p is 2"]),
        (changed(|options| options.max_tokens = Some(0)), &["max_tokens is 0"]),
        (changed(|options| options.logprobs = Some(99)), &["top_logprobs is 99", "20"]),
        (changed(|options| options.stop = vec![String::new()]), &["stop"]),
    ];
    for (request, parts) in cases {
        let error = engine.submit(request).expect_err(parts[0]);
        let message = error.to_string();
        assert_eq!(error.kind(), EngineErrorKind::Invalid, "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    let (ids, _, _) = collect(engine.submit(ask(vec![video(), text("hi")])).unwrap()).await.unwrap();
    assert_eq!(ids.len(), 64);
}

#[tokio::test]
async fn a_hint_on_frames_fits() {
    let engine = opened(ModelSource::Demo, |config| config.max_model_len = Some(256)).await;
    let asked = |frames| engine.submit(ask(vec![ContentPart::Video(clip(frames, None)), text("hi")]));
    let message = asked(40).expect_err("too long").to_string();
    let frames: usize = message
        .split_once("--num-frames ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{message}"));
    assert!((4..40).contains(&frames), "{message}");
    collect(asked(frames).unwrap()).await.unwrap();
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
    let engine = opened(ModelSource::Demo, |config| config.queue_depth = 2).await;
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

#[tokio::test]
async fn models_that_do_not_load_say_what_is_wrong() {
    let scratch = |name: &str| {
        let path = std::env::temp_dir().join(format!("homereel-engine-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        for file in std::fs::read_dir(checkpoint_dir("v457")).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, path.join(file.file_name().unwrap())).unwrap();
        }
        path
    };
    let remove = |path: &Path, name: &str| std::fs::remove_file(path.join(name)).unwrap();
    let shard = std::fs::read_dir(checkpoint_dir("v457"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .find(|name| name.ends_with(".safetensors"))
        .unwrap();
    let broken = |name: &str, break_it: &dyn Fn(&Path)| -> PathBuf {
        let path = scratch(name);
        break_it(&path);
        path
    };
    let cases: Vec<(PathBuf, &str)> = vec![
        ("/nowhere/at/all".into(), "no such directory"),
        (broken("shard", &|path| remove(path, &shard)), &shard),
        (broken("tokenizer", &|path| remove(path, "tokenizer.json")), "tokenizer.json is missing"),
        (
            broken("type", &|path| {
                std::fs::write(path.join("config.json"), r#"{"model_type": "llama"}"#).unwrap()
            }),
            "llama",
        ),
        (
            broken("video", &|path| remove(path, "video_preprocessor_config.json")),
            "video_preprocessor_config.json is missing",
        ),
    ];
    for (path, part) in cases {
        let engine = opened(ModelSource::Dir(path.clone()), |_| ()).await;
        let Health::Failed(why) = engine.health() else { panic!("{path:?} was loaded") };
        assert!(why.contains(part), "{part:?} is not in {why:?}");
        let error = engine.info().unwrap_err();
        assert!(error.to_string().contains(part) && error.kind() == EngineErrorKind::Failed, "{error}");
        assert!(engine.submit(ask(vec![text("hi")])).is_err());
        let _ = std::fs::remove_dir_all(path);
    }
}
