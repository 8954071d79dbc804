//! Tests of cancellation: generate with the demo model on the test's thread, without the queue and the engine's thread.

use candle_core::{DType, Device};

use super::*;
use crate::qwen3vl::{
    ChatTemplate, Checkpoint, GenerationConfig, Processor, ProcessorConfig, PromptWrapper, Tokenizer,
};
use crate::{ContentPart, GenerationOptions, Message, MessageRole, RgbImage, VideoInput, demo};

fn builder() -> (PromptBuilder, Generator) {
    let read = |name: &str| demo::file(name).map(<[u8]>::to_vec);
    let config = read("config.json").unwrap();
    let checkpoint = Checkpoint::from_static("demo", &config, demo::WEIGHTS).unwrap();
    let builder = PromptBuilder {
        tokenizer: Tokenizer::from_json(&read("tokenizer.json").unwrap()).unwrap(),
        template: ChatTemplate::read(read).unwrap(),
        processor: Processor::new(ProcessorConfig::read(read).unwrap()),
        wrapper: PromptWrapper::V5,
        context: checkpoint.config.text.max_position_embeddings,
        config: checkpoint.config.clone(),
    };
    GenerationConfig::read(read).unwrap();
    let model = Model::load(&checkpoint, &Device::Cpu, DType::F32).unwrap();
    let features = FeatureCache::new(1 << 20);
    (builder, Generator { model, features, prefixes: PrefixCache::new(1 << 30) })
}

fn generation(builder: &PromptBuilder, sink: EventSink, max_tokens: usize) -> Generation {
    let frame = RgbImage::new(64, 64, vec![90; 64 * 64 * 3].into());
    let clip = VideoInput {
        frames: vec![frame; 4],
        times: vec![0.0, 0.5, 1.0, 1.5],
        indices: vec![0, 1, 2, 3],
        native_fps: 2.0,
        total_frames: 4,
        duration_s: 2.0,
        key: None,
    };
    let content = vec![ContentPart::Video(clip), ContentPart::Text("what happens?".into())];
    let request = Request {
        messages: vec![Message::new(MessageRole::User, content)],
        options: GenerationOptions {
            max_tokens: Some(max_tokens),
            ignore_eos: true,
            ..GenerationOptions::default()
        },
    };
    let prepared = builder.build(&request).unwrap();
    let now = Instant::now();
    let span = tracing::Span::none();
    Generation { request, prepared, constraint: None, max_tokens, sink, submitted: now, queued: now, span }
}

#[test]
fn a_reader_that_left_costs_no_vision_and_no_prefill() {
    let (builder, mut generator) = builder();
    let (sink, receiver) = EventSink::channel();
    drop(receiver);
    let generation = generation(&builder, sink, 100);
    let error = generator.answer(&generation, &builder, &[]).unwrap_err();
    assert!(matches!(error, EngineError::Cancelled), "{error}");
    assert!(generator.prefixes.is_empty(), "the text model ran");
}

#[test]
fn a_reader_that_leaves_during_the_answer_stops_it() {
    let (builder, mut generator) = builder();
    let (sink, mut receiver) = EventSink::channel();
    let generation = generation(&builder, sink, 4000);
    let reader =
        std::thread::Builder::new()
            .spawn(move || {
                while !matches!(receiver.blocking_recv(), Some(Ok(GenerationEvent::Token { .. })) | None) {}
            })
            .unwrap();
    let error = generator.answer(&generation, &builder, &[]).unwrap_err();
    reader.join().unwrap();
    assert!(matches!(error, EngineError::Cancelled), "{error}");
    // Part of the answer was generated and kept.
    let kept = generator.prefixes.longest();
    let prompt = generation.prepared.prompt.ids().len();
    assert!((prompt..prompt + 2000).contains(&kept), "{kept} tokens, {prompt} of them prompt");
}

#[test]
fn a_cancelled_request_leaves_a_model_that_answers_the_same() {
    let (builder, mut generator) = builder();
    let answer = |generator: &mut Generator| {
        let (sink, mut receiver) = EventSink::channel();
        let done = generator.answer(&generation(&builder, sink, 32), &builder, &[]).unwrap();
        let mut ids = Vec::new();
        while let Ok(Ok(event)) = receiver.try_recv() {
            if let GenerationEvent::Token { id, .. } = event {
                ids.extend(id);
            }
        }
        (ids, done.usage.cached_tokens)
    };
    let (want, cached) = answer(&mut generator);
    assert_eq!((want.len(), cached), (32, 0));
    let (sink, receiver) = EventSink::channel();
    drop(receiver);
    generator.answer(&generation(&builder, sink, 32), &builder, &[]).unwrap_err();
    let (got, cached) = answer(&mut generator);
    assert_eq!(got, want);
    assert!(cached > 0, "nothing was reused");
}
