//! Tests with the demo model on the test's thread, without the queue and the engine's thread.

use std::sync::Arc;

use candle_core::{DType, Device};
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::candle::cache::{FeatureCache, PrefixCache, contents};
use crate::candle::constraint::Grammars;
use crate::candle::logit_rules::LogitRules;
use crate::candle::sink::EventSink;
use crate::qwen3vl::{
    ChatTemplate, Checkpoint, Model, Processor, ProcessorConfig, PromptBuilder, PromptWrapper, Tokenizer,
};
use crate::{
    ContentPart, GenerationEvent, GenerationOptions, Message, MessageRole, Request, RgbImage, Usage,
    VideoInput, demo,
};

type Events = Receiver<Result<GenerationEvent, EngineError>>;

const LIMITS: Limits =
    Limits { max_num_seqs: 8, kv_cache_memory_bytes: 1 << 30, max_num_batched_tokens: 512 };

fn scheduler(max_num_seqs: usize) -> Scheduler {
    scheduler_within(Limits { max_num_seqs, ..LIMITS })
}

fn scheduler_within(limits: Limits) -> Scheduler {
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
    let shared = Shared {
        model: Model::load(&checkpoint, &Device::Cpu, DType::F32).unwrap(),
        builder: Arc::new(builder),
        eos: Vec::new(),
        features: FeatureCache::new(1 << 20),
        prefixes: PrefixCache::new(1 << 30),
        max_num_batched_tokens: limits.max_num_batched_tokens,
    };
    Scheduler::new(shared, limits, Arc::default())
}

/// A question about a clip whose frames have the value `grey`.
fn question(grey: u8, text: &str, max_tokens: usize) -> Request {
    let frame = RgbImage::new(64, 64, vec![grey; 64 * 64 * 3].into());
    let clip = VideoInput {
        frames: vec![frame; 4],
        times: vec![0.0, 0.5, 1.0, 1.5],
        indices: vec![0, 1, 2, 3],
        native_fps: 2.0,
        total_frames: 4,
        duration_s: 2.0,
        key: None,
    };
    let content = vec![ContentPart::Video(clip), ContentPart::Text(text.into())];
    Request {
        messages: vec![Message::new(MessageRole::User, content)],
        options: GenerationOptions {
            max_tokens: Some(max_tokens),
            ignore_eos: true,
            ..GenerationOptions::default()
        },
    }
}

/// Starts a request.
fn start(scheduler: &mut Scheduler, request: Request) -> Events {
    let (sink, receiver) = EventSink::channel();
    let builder = &scheduler.shared.builder;
    let prepared = builder.build(&request).unwrap();
    let contents = contents(&prepared.media, builder.config.vision.merge_unit());
    let now = Instant::now();
    let (max_tokens, span) = (request.options.max_tokens.unwrap(), tracing::Span::none());
    let grammars = || {
        let json = demo::file("tokenizer.json").unwrap();
        Grammars::new(json, demo::tokenizer().id("<|im_end|>").unwrap()).unwrap()
    };
    let constraint =
        request.options.tools.as_ref().and_then(|_| grammars().constrain(&request.options).unwrap());
    scheduler.start(Generation {
        request,
        prepared,
        contents,
        constraint,
        rules: LogitRules::default(),
        max_tokens,
        sink,
        submitted: now,
        queued: now,
        span,
    });
    receiver
}

fn run(scheduler: &mut Scheduler) {
    while scheduler.step() != Progress::Idle {}
}

/// The ids of an answer, and the tokens of its prompt that were cached.
fn answer(events: &mut Events) -> (Vec<u32>, usize) {
    let (ids, usage) = usage(events);
    (ids, usage.cached_tokens)
}

/// The ids of an answer, and its counts.
fn usage(events: &mut Events) -> (Vec<u32>, Usage) {
    let (mut ids, mut usage) = (Vec::new(), None);
    while let Ok(event) = events.try_recv() {
        match event.unwrap() {
            GenerationEvent::Token { id, .. } => ids.extend(id),
            GenerationEvent::Done(done) => usage = Some(done.usage),
            _ => {}
        }
    }
    (ids, usage.expect("an end"))
}

/// The answer to a request that runs alone in a fresh scheduler.
fn alone(request: Request) -> Vec<u32> {
    let mut scheduler = scheduler(1);
    let mut events = start(&mut scheduler, request);
    run(&mut scheduler);
    answer(&mut events).0
}

#[test]
fn answers_in_a_batch_equal_those_of_a_request_alone() {
    let requests = || {
        (0..6u8).map(|n| {
            let mut request = question(40 * n, ["what happens?", "Describe it."][usize::from(n % 2)], 40);
            request.options.background = n == 4;
            request
        })
    };
    let mut scheduler = scheduler(8);
    let mut events = Vec::new();
    // They join while others decode, and leave at different times.
    for (n, mut request) in requests().enumerate() {
        request.options.max_tokens = Some(10 + 6 * n);
        events.push(start(&mut scheduler, request));
        for _ in 0..4 {
            scheduler.step();
        }
    }
    run(&mut scheduler);
    for (n, (request, events)) in requests().zip(&mut events).enumerate() {
        let (ids, _) = answer(events);
        assert_eq!(ids, alone(request)[..10 + 6 * n], "request {n}");
    }
}

#[test]
fn a_question_about_the_same_clip_copies_what_a_running_one_has_prefilled() {
    let mut scheduler = scheduler(8);
    let mut first = start(&mut scheduler, question(90, "what happens?", 200));
    while !scheduler.running[0].decodes() {
        scheduler.step();
    }
    let mut second = start(&mut scheduler, question(90, "Describe it.", 20));
    run(&mut scheduler);
    let (ids, cached) = answer(&mut second);
    assert!(cached > 16, "{cached}");
    assert_eq!(ids, alone(question(90, "Describe it.", 20)));
    assert_eq!(answer(&mut first).0, alone(question(90, "what happens?", 200)));
}

#[test]
fn a_reader_that_left_costs_no_vision_and_no_prefill() {
    let mut scheduler = scheduler(8);
    drop(start(&mut scheduler, question(90, "what happens?", 100)));
    assert_eq!(scheduler.step(), Progress::Idle);
    assert!(scheduler.shared.prefixes.is_empty(), "the text model ran");
}

#[test]
fn a_reader_that_leaves_during_the_answer_stops_it_and_nothing_else() {
    let mut scheduler = scheduler(8);
    let leaving = start(&mut scheduler, question(90, "what happens?", 4000));
    let mut staying = start(&mut scheduler, question(30, "what happens?", 50));
    while !scheduler.running.iter().all(Sequence::decodes) {
        scheduler.step();
    }
    let prompt = scheduler.running[0].keys().len();
    drop(leaving);
    run(&mut scheduler);
    assert_eq!(answer(&mut staying).0, alone(question(30, "what happens?", 50)));
    // Part of the answer was generated and cached.
    let kept = scheduler.shared.prefixes.longest();
    assert!((prompt..prompt + 2000).contains(&kept), "{kept} tokens, {prompt} of them prompt");
}

#[test]
fn a_reader_that_does_not_read_holds_up_only_its_own_answer() {
    let mut scheduler = scheduler(8);
    let mut unread = start(&mut scheduler, question(90, "what happens?", 600));
    let mut read = start(&mut scheduler, question(30, "what happens?", 40));
    while scheduler.step() == Progress::Busy {}
    assert_eq!(answer(&mut read).0.len(), 40);
    assert_eq!(scheduler.running.len(), 1, "the other one waits for its reader");
    let mut ids = Vec::new();
    loop {
        while let Ok(event) = unread.try_recv() {
            if let GenerationEvent::Token { id, .. } = event.unwrap() {
                ids.extend(id);
            }
        }
        if scheduler.step() == Progress::Idle && unread.is_empty() {
            break;
        }
    }
    assert_eq!(ids, alone_read(question(90, "what happens?", 600)));
}

/// As [`alone`], for an answer that exceeds the channel.
fn alone_read(request: Request) -> Vec<u32> {
    let mut scheduler = scheduler(1);
    let mut events = start(&mut scheduler, request);
    let mut ids = Vec::new();
    while scheduler.step() != Progress::Idle || !events.is_empty() {
        while let Ok(event) = events.try_recv() {
            if let GenerationEvent::Token { id, .. } = event.unwrap() {
                ids.extend(id);
            }
        }
    }
    ids
}

#[test]
fn the_shortest_prompt_goes_first() {
    let mut scheduler = scheduler(8);
    let mut long = start(&mut scheduler, question(10, &"what happens? ".repeat(60), 20));
    let mut short = start(&mut scheduler, question(20, "what happens?", 20));
    while !scheduler.running.iter().any(Sequence::decodes) {
        scheduler.step();
    }
    let decodes: Vec<bool> = scheduler.running.iter().map(Sequence::decodes).collect();
    assert_eq!(decodes, [false, true]);
    run(&mut scheduler);
    assert_eq!((answer(&mut long).0.len(), answer(&mut short).0.len()), (20, 20));
}

#[test]
fn jobs_rest_beside_others() {
    let mut scheduler = scheduler(8);
    let background = |mut request: Request| {
        request.options.background = true;
        request
    };
    let mut job = start(&mut scheduler, background(question(10, "what happens?", 60)));
    while !scheduler.running[0].decodes() {
        scheduler.step();
    }
    let before = scheduler.running[0].tokens();
    let mut person = start(&mut scheduler, question(20, "what happens?", 60));
    let mut steps = 0;
    while scheduler.interactive() > 0 {
        scheduler.step();
        steps += 1;
    }
    let during = scheduler.running[0].tokens() - before;
    assert!(during <= steps / BACKGROUND_EVERY + 1, "{during} tokens of the job in {steps} steps");
    assert!(during > 0, "the job starves");
    run(&mut scheduler);
    assert_eq!(answer(&mut job).0, alone(question(10, "what happens?", 60)));
    assert_eq!(answer(&mut person).0, alone(question(20, "what happens?", 60)));
}

#[test]
fn answers_to_one_prompt_share_its_vision_and_prefill() {
    let mut scheduler = scheduler(8);
    let mut all: Vec<_> = (0..4).map(|_| start(&mut scheduler, question(90, "what happens?", 20))).collect();
    run(&mut scheduler);
    let want = alone(question(90, "what happens?", 20));
    for (n, events) in all.iter_mut().enumerate() {
        let (ids, usage) = usage(events);
        assert_eq!(ids, want);
        // All but the last token of the prompt.
        assert_eq!(usage.cached_tokens, if n == 0 { 0 } else { usage.prompt_tokens - 1 }, "answer {n}");
    }
}

#[test]
fn a_request_that_waits_first_in_line_does_not_stop_the_work_that_it_waits_for() {
    // The second request waits for the first one's prefill, or for its memory.
    for (greys, kv_cache_memory_bytes) in [([90, 90], LIMITS.kv_cache_memory_bytes), ([30, 60], 1)] {
        let mut scheduler = scheduler_within(Limits { kv_cache_memory_bytes, ..LIMITS });
        let mut all = greys.map(|grey| start(&mut scheduler, question(grey, "what happens?", 10)));
        scheduler.running[0].begin(&mut scheduler.shared, None);
        scheduler.running[1].passed = MAX_PASSED;
        run(&mut scheduler);
        assert!(all.iter_mut().all(|events| answer(events).0.len() == 10));
    }
}

/// A request without a clip, for one token.
fn text(text: &str) -> Request {
    let message = Message::new(MessageRole::User, vec![ContentPart::Text(text.into())]);
    let options = GenerationOptions { max_tokens: Some(1), ignore_eos: true, ..GenerationOptions::default() };
    Request { messages: vec![message], options }
}

#[test]
fn a_long_prompt_goes_on_while_short_ones_arrive_and_does_not_hold_them_up() {
    let mut scheduler = scheduler(8);
    // One layer per slice.
    scheduler.slice = Duration::ZERO;
    let mut long = start(&mut scheduler, text(&"what happens then? ".repeat(400)));
    scheduler.step();
    let (mut shorts, mut most) = (0, 0);
    while scheduler.running.len() == 1 {
        let mut short = start(&mut scheduler, text(&format!("{shorts}?")));
        let mut steps = 0;
        // The long prompt may end before the short one.
        while short.try_recv().map_or(true, |event| !matches!(event, Ok(GenerationEvent::Token { .. }))) {
            scheduler.step();
            steps += 1;
        }
        (shorts, most) = (shorts + 1, most.max(steps));
        assert!(shorts < 1000, "the long prompt makes no progress");
        while scheduler.running.len() > 1 {
            scheduler.step();
        }
    }
    assert_eq!(answer(&mut long).0.len(), 1);
    // Its own layers, its start and end, and slices of the other one.
    let layers = scheduler.shared.model.config().text.num_hidden_layers;
    assert!(shorts > 8 && most <= layers + 4, "{shorts} short ones, one of which took {most} steps");
}

#[test]
fn a_full_batch_of_jobs_takes_a_question() {
    let mut scheduler = scheduler(2);
    assert_eq!(scheduler.takes(), Takes::All);
    let mut jobs = Vec::new();
    for grey in [10, 20] {
        let mut request = question(grey, "what happens?", 20);
        request.options.background = true;
        jobs.push(start(&mut scheduler, request));
    }
    assert_eq!(scheduler.takes(), Takes::Interactive);
    let _questions = [30, 40].map(|grey| start(&mut scheduler, question(grey, "what happens?", 20)));
    assert_eq!(scheduler.takes(), Takes::Nothing);
    run(&mut scheduler);
    assert!(jobs.iter_mut().all(|job| answer(job).0.len() == 20));
}

#[path = "scheduler_memory_tests.rs"]
mod memory;
