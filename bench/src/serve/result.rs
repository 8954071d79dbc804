//! Summarizes the raw measurements of a run as a [`BenchResult`].
//!
//! Latencies of an open loop are counted from when a request was due, not from when a busy generator sent it.

mod objective;
mod warnings;

use std::collections::BTreeMap;

use homereel_web::bench_result::{
    BenchResult, CacheState, Dataset, FailureClass, FailureCount, Latencies, Machine, RequestRecord,
    RequestStages, SchemaVersion, StageMeans,
};
use jiff::Timestamp;

use super::{Load, Measurement};
use crate::statistics::{median, summarize};

pub use objective::{LatencyMetric, Objective};
pub use warnings::generator_bound;

/// The parts of a result that are not measured.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// Address of the server.
    pub base_url: String,
    /// The model that was asked.
    pub model_id: String,
    /// Source of the content.
    pub dataset: Dataset,
    /// Name of the run in tables.
    pub label: Option<String>,
    /// The preset that set the load.
    pub preset: Option<String>,
    /// Requests that the run was asked to send.
    pub num_prompts: usize,
    /// Limit of tokens per answer.
    pub max_tokens: usize,
    /// Content was sent more than once.
    pub repeated: bool,
    /// Answer to the sanity question, if it was asked.
    pub sanity_answer: Option<String>,
    /// Limits that a request must meet to count for goodput.
    pub goodput: Vec<Objective>,
    /// Percentiles to report.
    pub percentiles: Vec<f64>,
    /// Memory bandwidth of the server's machine in bytes per second, and bytes of weights read per token.
    pub roofline: Option<(f64, f64)>,
    /// The command, word by word.
    pub command: Vec<String>,
    /// Start of the run.
    pub date: Timestamp,
    /// The machine that sends the load.
    pub machine: Machine,
}

/// Returns the time from when a request was due to its first token.
fn ttft_ms(record: &RequestRecord) -> f64 {
    1e3 * (record.start_s - record.due_s + record.ttft_s)
}

/// Returns the time from when a request was due to its last token.
fn e2el_ms(record: &RequestRecord) -> f64 {
    1e3 * (record.start_s - record.due_s + record.latency_s)
}

/// Returns the time from when a request was due to when it was sent.
fn send_delay_ms(record: &RequestRecord) -> f64 {
    1e3 * (record.start_s - record.due_s)
}

/// Returns the time per token after the first, or `None` for an answer of one token.
#[must_use]
pub fn tpot_ms(record: &RequestRecord) -> Option<f64> {
    let later = record.completion_tokens.checked_sub(1).filter(|&later| later > 0)?;
    Some(1e3 * (record.latency_s - record.ttft_s) / later as f64)
}

/// Summarizes a run. `detailed` keeps every request.
#[must_use]
pub fn result(info: &RunInfo, load: &Load, measured: &Measurement, detailed: bool) -> BenchResult {
    let answered: Vec<&RequestRecord> =
        measured.records.iter().filter(|record| record.fault.is_none()).collect();
    let sum = |of: fn(&RequestRecord) -> f64| answered.iter().map(|record| of(record)).sum::<f64>();
    let per_s = |total: f64| if measured.duration_s > 0.0 { total / measured.duration_s } else { 0.0 };
    // A total of 0 means that the server does not report it, or that there is no video.
    let per_s_if_any = |total: f64| (total > 0.0).then(|| per_s(total));
    let (input, output) =
        (sum(|record| record.prompt_tokens as f64), sum(|record| record.completion_tokens as f64));
    let good = answered.iter().filter(|record| objective::meets(record, &info.goodput)).count();
    let with_video = answered.iter().filter(|record| record.video_s > 0.0).count();
    BenchResult {
        schema: SchemaVersion::V2,
        date: info.date.strftime("%Y%m%d-%H%M%S").to_string(),
        endpoint_type: "openai-chat".into(),
        backend: "openai-chat".into(),
        label: info.label.clone(),
        model_id: info.model_id.clone(),
        tokenizer_id: info.model_id.clone(),
        num_prompts: info.num_prompts,
        request_rate: load.request_rate.into(),
        burstiness: load.burstiness,
        max_concurrency: load.max_concurrency,
        duration: measured.duration_s,
        completed: answered.len(),
        failed: measured.records.len() - answered.len(),
        total_input_tokens: input,
        total_output_tokens: output,
        request_throughput: per_s(answered.len() as f64),
        request_goodput: (!info.goodput.is_empty()).then(|| per_s(good as f64)),
        input_throughput: per_s(input),
        output_throughput: per_s(output),
        total_token_throughput: per_s(input + output),
        max_output_tokens_per_s: busiest_second(&answered),
        max_concurrent_requests: measured.max_concurrent_requests,
        latencies: latencies(&answered, &info.percentiles),
        base_url: info.base_url.clone(),
        dataset_name: info.dataset,
        max_tokens: info.max_tokens,
        command: info.command.clone(),
        preset: info.preset.clone(),
        cache: if info.repeated { CacheState::Warm } else { CacheState::Cold },
        sanity_answer: info.sanity_answer.clone(),
        interrupted: measured.interrupted,
        cached_tokens: sum(|record| record.cached_tokens as f64),
        rtfx_video: per_s_if_any(sum(|record| record.video_s)),
        videos_per_s: per_s_if_any(with_video as f64),
        frames_sampled_per_s: per_s_if_any(sum(|record| record.frames as f64)),
        visual_tokens_per_s: per_s_if_any(sum(|record| record.visual_tokens as f64)),
        median_ttft_after_media_ms: ttft_after_media(&answered),
        stages_ms: stages(&answered),
        failures: failures(&measured.records),
        machine: info.machine.clone(),
        resources: measured.resources.clone(),
        warnings: warnings::warnings(info, load, measured, &answered),
        requests: detailed.then(|| measured.records.clone()),
    }
}

fn latencies(answered: &[&RequestRecord], percentiles: &[f64]) -> Latencies {
    let of = |metric: fn(&RequestRecord) -> f64| {
        let values: Vec<f64> = answered.iter().map(|record| metric(record)).collect();
        summarize(&values, percentiles)
    };
    let tpots: Vec<f64> = answered.iter().filter_map(|record| tpot_ms(record)).collect();
    let gaps: Vec<f64> = answered.iter().flat_map(|record| &record.itls_s).map(|gap| 1e3 * gap).collect();
    Latencies {
        ttft: of(ttft_ms),
        tpot: summarize(&tpots, percentiles),
        itl: summarize(&gaps, percentiles),
        e2el: of(e2el_ms),
        send_delay: of(send_delay_ms),
    }
}

/// Returns the most tokens that arrived in one second, counted as vLLM does: by the second in which each arrived.
fn busiest_second(answered: &[&RequestRecord]) -> f64 {
    let mut seconds: BTreeMap<u64, f64> = BTreeMap::new();
    for record in answered {
        // A chunk may contain several tokens: the answer's tokens are spread evenly over its chunks.
        let each = record.completion_tokens as f64 / (record.itls_s.len() + 1) as f64;
        let mut time_s = record.start_s + record.ttft_s;
        *seconds.entry(time_s as u64).or_default() += each;
        for gap in &record.itls_s {
            time_s += gap;
            *seconds.entry(time_s as u64).or_default() += each;
        }
    }
    seconds.into_values().fold(0.0, f64::max)
}

/// Returns the mean of each stage over the requests whose server reported stages.
fn stages(answered: &[&RequestRecord]) -> Option<StageMeans> {
    let reported: Vec<(&RequestRecord, RequestStages)> =
        answered.iter().filter_map(|record| Some((*record, record.stages_ms?))).collect();
    if reported.is_empty() {
        return None;
    }
    let count = reported.len() as f64;
    let mean = |stage: fn(&RequestStages) -> Option<f64>| {
        reported.iter().filter_map(|(_, stages)| stage(stages)).sum::<f64>() / count
    };
    let mut means = StageMeans {
        queue_ms: mean(|stages| stages.queue),
        probe_ms: mean(|stages| stages.probe),
        decode_ms: mean(|stages| stages.decode),
        preprocess_ms: mean(|stages| stages.preprocess),
        vision_ms: mean(|stages| stages.vision),
        prefill_ms: mean(|stages| stages.prefill),
        generate_ms: mean(|stages| stages.generate),
        other_ms: 0.0,
        e2el_ms: reported.iter().map(|(record, _)| 1e3 * record.latency_s).sum::<f64>() / count,
    };
    means.other_ms = means.e2el_ms - means.stages().iter().map(|(_, ms)| ms).sum::<f64>();
    Some(means)
}

/// Returns the median time from the decoded frames to the first token.
fn ttft_after_media(answered: &[&RequestRecord]) -> Option<f64> {
    let media = |record: &RequestRecord| {
        let stages = record.stages_ms?;
        Some(stages.probe? + stages.decode?)
    };
    let times: Vec<f64> =
        answered.iter().filter_map(|record| Some(1e3 * record.ttft_s - media(record)?)).collect();
    median(&times)
}

/// Counts failures by class.
fn failures(records: &[RequestRecord]) -> Vec<FailureCount> {
    let mut classes: BTreeMap<FailureClass, FailureCount> = BTreeMap::new();
    for record in records {
        if let Some(class) = record.fault {
            let first = || FailureCount { class, count: 0, first: record.error.clone().unwrap_or_default() };
            classes.entry(class).or_insert_with(first).count += 1;
        }
    }
    classes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use homereel_web::bench_result::ResourceUsage;

    use super::super::resources::machine;
    use super::*;

    fn record(due: f64, start: f64, ttft: f64, gaps: &[f64], tokens: u64) -> RequestRecord {
        RequestRecord {
            due_s: due,
            start_s: start,
            ttft_s: ttft,
            itls_s: gaps.to_vec(),
            latency_s: ttft + gaps.iter().sum::<f64>(),
            prompt_tokens: 10,
            completion_tokens: tokens,
            video_s: 4.0,
            ..RequestRecord::default()
        }
    }

    fn info() -> RunInfo {
        RunInfo {
            base_url: "http://x".into(),
            model_id: "m".into(),
            dataset: Dataset::Drawn,
            label: None,
            preset: None,
            num_prompts: 3,
            max_tokens: 8,
            repeated: false,
            sanity_answer: None,
            goodput: vec!["ttft:300".parse().unwrap(), "e2el:1000".parse().unwrap()],
            percentiles: vec![99.0],
            roofline: Some((100e9, 20e9)),
            command: vec!["homereel-bench".into(), "serve".into()],
            date: Timestamp::UNIX_EPOCH,
            machine: machine(),
        }
    }

    fn measurement(records: Vec<RequestRecord>) -> Measurement {
        Measurement {
            records,
            duration_s: 2.0,
            max_concurrent_requests: 2,
            resources: ResourceUsage::default(),
            interrupted: false,
        }
    }

    fn load() -> Load {
        Load { request_rate: Some(1.0), burstiness: 1.0, max_concurrency: None, seed: 0 }
    }

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-6, "{value}, not {expected}");
    }

    #[test]
    fn figures_follow_the_definitions_of_vllm() {
        let measured = measurement(vec![
            record(0.0, 0.0, 0.2, &[0.1, 0.1], 3),
            // Sent half a second late, which is part of the user's waiting time.
            record(1.0, 1.5, 0.2, &[0.1, 0.3], 5),
            RequestRecord {
                fault: Some(FailureClass::Overload),
                error: Some("429: wait".into()),
                ..RequestRecord::default()
            },
        ]);
        let out = result(&info(), &load(), &measured, true);
        assert_eq!((out.completed, out.failed), (2, 1));
        near(out.request_throughput, 1.0);
        near(out.output_throughput, 4.0);
        near(out.total_token_throughput, 14.0);
        near(out.rtfx_video.unwrap(), 4.0);
        let Latencies { ttft: Some(ttft), tpot: Some(tpot), itl: Some(itl), e2el: Some(e2el), .. } =
            out.latencies
        else {
            panic!("all latencies are measured: {:?}", out.latencies);
        };
        near(ttft.median, 450.0);
        near(e2el.mean, (400.0 + 1100.0) / 2.0);
        // (0.4 - 0.2) / 2 and (0.6 - 0.2) / 4
        near(tpot.mean, 100.0);
        // The gaps of all requests together.
        near(itl.median, 100.0);
        near(itl.mean, 150.0);
        // Only the first meets both objectives.
        near(out.request_goodput.unwrap(), 0.5);
        near(ttft.percentile(99.0).unwrap(), 200.0 + 0.99 * 500.0);
        assert_eq!(out.failures[0].class, FailureClass::Overload);
        let warnings = out.warnings.join("\n");
        assert!(warnings.contains("IMPOSSIBLE"), "100 ms per token, but 200 ms is the bound: {warnings}");
        assert!(warnings.contains("sent 250 ms after"), "{warnings}");
        assert_eq!(out.requests.as_ref().map(Vec::len), Some(3));
    }

    #[test]
    fn values_that_were_not_measured_are_none() {
        let one_token = RequestRecord { video_s: 0.0, ..record(0.0, 0.0, 0.2, &[], 1) };
        let out = result(&info(), &load(), &measurement(vec![one_token]), false);
        assert!(out.latencies.ttft.is_some() && out.latencies.tpot.is_none() && out.latencies.itl.is_none());
        assert_eq!((out.rtfx_video, out.frames_sampled_per_s, out.stages_ms), (None, None, None));
        let json = serde_json::to_value(&out).unwrap();
        assert!(json["median_tpot_ms"].is_null() && json["rtfx_video"].is_null(), "{json}");
        let nothing = result(&info(), &load(), &measurement(Vec::new()), false);
        assert_eq!(nothing.latencies, Latencies::default());
    }

    #[test]
    fn an_objective_is_named_and_positive() {
        assert_eq!("tpot:25.5".parse(), Ok(Objective { metric: LatencyMetric::Tpot, ms: 25.5 }));
        for bad in ["tpot", "tpot:0", "itl:5", "ttft:x"] {
            assert!(bad.parse::<Objective>().unwrap_err().contains(bad));
        }
    }
}
