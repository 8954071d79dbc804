//! Tests of what requests that run side by side hold in memory, and of jobs that are paused for it.

use super::*;
use crate::{FinishReason, ToolChoice, ToolOptions};

/// Bytes of KV that [`question`] with 40 tokens of answer needs.
fn bytes_of_one() -> usize {
    let mut scheduler = scheduler(1);
    let _events = start(&mut scheduler, question(1, "what happens?", 40));
    scheduler.running[0].reserved() * scheduler.shared.model.kv_bytes_per_token()
}

#[test]
fn a_request_starts_when_its_memory_fits_and_a_job_takes_none_from_others() {
    let mut scheduler = scheduler_within(Limits { kv_cache_memory_bytes: 5 * bytes_of_one() / 2, ..LIMITS });
    let mut events = Vec::new();
    for grey in 0..6 {
        let mut request = question(40 * grey, "what happens?", 40);
        request.options.background = grey < 2;
        events.push(start(&mut scheduler, request));
    }
    let mut most = [0, 0];
    loop {
        let progress = scheduler.step();
        let started = |background: bool| {
            let of_kind = |s: &&Sequence| s.has_started() && s.is_background() == background;
            scheduler.running.iter().filter(of_kind).count()
        };
        most = [most[0].max(started(false)), most[1].max(started(true))];
        if progress == Progress::Idle {
            break;
        }
    }
    assert_eq!(most, [2, 2]);
    for (grey, events) in (0..6).zip(&mut events) {
        assert_eq!(answer(events).0, alone(question(40 * grey, "what happens?", 40)), "{grey}");
    }
    // A request that exceeds the budget runs alone.
    let mut scheduler = scheduler_within(Limits { kv_cache_memory_bytes: 1, ..LIMITS });
    let mut events = start(&mut scheduler, question(1, "what happens?", 5));
    run(&mut scheduler);
    assert_eq!(answer(&mut events).0.len(), 5);
}

#[test]
fn a_job_that_is_paused_at_any_point_goes_on_as_if_it_had_not_been() {
    let job = || {
        let mut request = question(10, "what happens?", 40);
        request.options.background = true;
        request
    };
    let want = alone(job());
    // A prefix cache of nothing means that all KV is computed again.
    for (cache, limits) in [(1 << 30, LIMITS), (0, Limits { max_num_batched_tokens: 16, ..LIMITS })] {
        for pause_after in [1, 2, 5, 7, 12, 30] {
            let mut scheduler = scheduler_within(limits);
            scheduler.shared.prefixes = PrefixCache::new(cache);
            let mut events = start(&mut scheduler, job());
            for step in 0..=pause_after {
                scheduler.step();
                if step == pause_after || step == 3 {
                    scheduler.running[0].pause(&mut scheduler.shared);
                }
            }
            run(&mut scheduler);
            let usage = usage(&mut events);
            assert_eq!(usage.0, want, "paused after step {pause_after}, cache of {cache}");
            assert_eq!(usage.1.completion_tokens, 40);
            assert!(usage.1.prompt_tokens < 100 && usage.1.cached_tokens == 0, "{usage:?}");
        }
    }
}

#[test]
fn a_job_that_is_paused_in_the_middle_of_a_call_goes_on_with_it() {
    let job = || {
        let mut request = question(10, "what happens?", 200);
        request.options.background = true;
        let parameters = serde_json::json!({
            "properties": { "color": { "enum": ["red", "blue"] } },
            "required": ["color"], "additionalProperties": false,
        });
        let function = serde_json::json!({ "name": "paint", "parameters": parameters });
        let tools = vec![serde_json::json!({ "type": "function", "function": function })];
        request.options.tools = Some(ToolOptions { tools, choice: ToolChoice::Required, parallel: false });
        request
    };
    let told = |pauses: &[usize]| {
        let mut scheduler = scheduler(1);
        let mut events = start(&mut scheduler, job());
        let mut steps = 0;
        while scheduler.step() != Progress::Idle {
            steps += 1;
            if pauses.contains(&steps) && !scheduler.running.is_empty() {
                scheduler.running[0].pause(&mut scheduler.shared);
            }
        }
        let (mut arguments, mut end) = (String::new(), None);
        while let Ok(event) = events.try_recv() {
            match event.unwrap() {
                GenerationEvent::Token { text, .. } => assert_eq!(text, ""),
                GenerationEvent::Delta(delta) => {
                    arguments += delta["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
                }
                GenerationEvent::Done(done) => end = Some((done.finish_reason, done.usage.completion_tokens)),
                GenerationEvent::Queued { .. } | GenerationEvent::Progress { .. } => {}
            }
        }
        (arguments, end.unwrap(), steps)
    };
    let (arguments, end, steps) = told(&[]);
    let color: serde_json::Value = serde_json::from_str(&arguments).unwrap();
    assert!(color["color"] == "red" || color["color"] == "blue", "{arguments}");
    assert_eq!(end.0, FinishReason::ToolCalls);
    for every in [5, 11] {
        let pauses: Vec<usize> = (1..steps).step_by(every).collect();
        let (paused, paused_end, _) = told(&pauses);
        assert_eq!((paused, paused_end), (arguments.clone(), end));
    }
}

#[test]
fn a_question_pauses_jobs_where_memory_is_short_and_the_counters_say_so() {
    let limits = Limits { kv_cache_memory_bytes: 5 * bytes_of_one() / 2, ..LIMITS };
    let mut scheduler = scheduler_within(limits);
    let mut jobs = [10, 20].map(|grey| {
        let mut request = question(grey, "what happens?", 40);
        request.options.background = true;
        start(&mut scheduler, request)
    });
    while !scheduler.running.iter().all(Sequence::decodes) {
        scheduler.step();
    }
    let status = scheduler.batch.status(3, limits);
    assert_eq!((status.num_requests_running, status.num_requests_waiting), (2, 3));
    assert!(status.kv_cache_usage_perc > 0.1 && status.kv_cache_usage_perc < 1.0, "{status:?}");
    let mut person = start(&mut scheduler, question(30, "what happens?", 40));
    scheduler.step();
    let status = scheduler.batch.status(0, limits);
    assert_eq!((status.num_requests_running, status.num_requests_waiting), (2, 1), "one job made room");
    assert_eq!(status.num_preemptions_total, 1);
    run(&mut scheduler);
    assert_eq!(answer(&mut person).0, alone(question(30, "what happens?", 40)));
    for (grey, job) in [10, 20].into_iter().zip(&mut jobs) {
        assert_eq!(answer(job).0, alone(question(grey, "what happens?", 40)));
    }
    let status = scheduler.batch.status(0, limits);
    assert_eq!((status.num_requests_running, status.kv_cache_bytes), (0, 0));
}

#[test]
fn hundreds_of_requests_of_every_kind_leave_nothing_behind() {
    let mut scheduler = scheduler_within(Limits { kv_cache_memory_bytes: 2 << 20, ..LIMITS });
    scheduler.shared.prefixes = PrefixCache::new(2 << 20);
    let mut open: Vec<Events> = Vec::new();
    for n in 0..400_usize {
        let text = if n.is_multiple_of(7) { "what happens? ".repeat(40) } else { "what happens?".into() };
        let mut request = question((n % 50) as u8, &text, 1 + n % 9);
        request.options.background = n.is_multiple_of(3);
        let events = start(&mut scheduler, request);
        // Some readers leave at once, some later, and some read only at the end.
        match n % 5 {
            0 => drop(events),
            _ => open.push(events),
        }
        while scheduler.takes() == Takes::Nothing || scheduler.running.len() > 12 {
            scheduler.step();
        }
        if n.is_multiple_of(11) && !open.is_empty() {
            open.swap_remove(n % open.len());
        }
    }
    run(&mut scheduler);
    assert!(scheduler.running.is_empty() && scheduler.ended.is_empty());
    assert!(open.iter_mut().all(|events| !answer(events).0.is_empty()));
    let status = scheduler.batch.status(0, scheduler.limits);
    assert_eq!((status.num_requests_running, status.kv_cache_bytes), (0, 0));
    assert!(scheduler.shared.prefixes.bytes() <= 2 << 20);
}
