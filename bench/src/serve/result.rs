//! The result of a run as JSON: the fields of `vllm bench serve`, and ours beside them.
//!
//! Latencies of an open loop count from when a request was due, not from when a busy generator came to send it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::client::{Fault, Taken};
use super::resources::Described;
use super::{Load, Run};
use crate::statistics::Figures;

/// Version of the fields; a reader refuses what it does not know.
pub const SCHEMA: &str = "homereel-bench.serve/2";

/// Share of the machine's cores above which the generator itself may have been what was measured.
const BUSY: f64 = 0.7;
/// Share of the median latency by which the median request may be sent late.
const LATE: f64 = 0.1;

/// An objective that a request meets or misses, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// What it is about.
    pub measure: Measure,
    /// At most so many milliseconds.
    pub ms: f64,
}

/// What is measured of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Time to the first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// End to end.
    E2el,
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, ms) = text.split_once(':')?;
            let measure = match name {
                "ttft" => Measure::Ttft,
                "tpot" => Measure::Tpot,
                "e2el" => Measure::E2el,
                _ => return None,
            };
            Some(Self { measure, ms: ms.parse().ok().filter(|&ms| ms > 0.0)? })
        };
        parse().ok_or_else(|| format!("'{text}' is no objective; give ttft:MS, tpot:MS or e2el:MS"))
    }
}

/// What a result says of its run besides what was measured.
#[derive(Debug, Clone)]
pub struct About {
    /// Address of the server.
    pub base_url: String,
    /// The model that was asked.
    pub model_id: String,
    /// `drawn`, `clips` or `random`.
    pub dataset_name: String,
    /// A name for tables.
    pub label: Option<String>,
    /// The shape of published figures that was asked for.
    pub preset: Option<String>,
    /// Requests that were wanted.
    pub num_prompts: usize,
    /// Tokens of an answer, at most.
    pub max_tokens: usize,
    /// Whether content was sent more than once.
    pub repeated: bool,
    /// What the sanity question was answered, if it was asked.
    pub sanity: Option<String>,
    /// What a request must meet to count for goodput.
    pub goodput: Vec<Objective>,
    /// Percentiles to tell.
    pub percentiles: Vec<f64>,
    /// Memory bandwidth of the server's machine, bytes per second, and bytes that a token reads.
    pub roofline: Option<(f64, f64)>,
    /// The command that made it, word by word.
    pub command: Vec<String>,
    /// When it began.
    pub date: Timestamp,
    /// The machine that it ran on.
    pub machine: Described,
}

/// Milliseconds from when a request was due to its first token.
fn ttft_ms(one: &Taken) -> f64 {
    1e3 * (one.start_s - one.due_s + one.ttft_s)
}

/// Milliseconds from when a request was due to its last token.
#[must_use]
pub fn e2el_ms(one: &Taken) -> f64 {
    1e3 * (one.start_s - one.due_s + one.latency_s)
}

/// Milliseconds per token after the first.
fn tpot_ms(one: &Taken) -> Option<f64> {
    let later = one.completion_tokens.checked_sub(1).filter(|&later| later > 0)?;
    Some(1e3 * (one.latency_s - one.ttft_s) / later as f64)
}

fn meets(one: &Taken, goals: &[Objective]) -> bool {
    goals.iter().all(|goal| {
        let ms = match goal.measure {
            Measure::Ttft => ttft_ms(one),
            Measure::Tpot => tpot_ms(one).unwrap_or_default(),
            Measure::E2el => e2el_ms(one),
        };
        ms <= goal.ms
    })
}

/// Sums a run up. `detailed` keeps every request.
#[must_use]
pub fn result(about: &About, load: &Load, run: &Run, detailed: bool) -> Value {
    let good: Vec<&Taken> = run.taken.iter().filter(|one| one.fault.is_none()).collect();
    let sum = |of: &dyn Fn(&Taken) -> f64| good.iter().map(|one| of(one)).sum::<f64>();
    let per_s = |total: f64| if run.duration_s > 0.0 { total / run.duration_s } else { 0.0 };
    let (input, output) = (sum(&|one| one.prompt_tokens as f64), sum(&|one| one.completion_tokens as f64));
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.into(), value);
    put("schema", json!(SCHEMA));
    put("date", json!(about.date.strftime("%Y%m%d-%H%M%S").to_string()));
    put("endpoint_type", json!("openai-chat"));
    put("backend", json!("openai-chat"));
    put("label", json!(about.label));
    put("model_id", json!(about.model_id));
    put("tokenizer_id", json!(about.model_id));
    put("num_prompts", json!(about.num_prompts));
    put("request_rate", load.request_rate.map_or(json!("inf"), |rate| json!(rate)));
    put("burstiness", json!(load.burstiness));
    put("max_concurrency", json!(load.max_concurrency));
    put("duration", json!(run.duration_s));
    put("completed", json!(good.len()));
    put("failed", json!(run.taken.len() - good.len()));
    put("total_input_tokens", json!(input));
    put("total_output_tokens", json!(output));
    put("request_throughput", json!(per_s(good.len() as f64)));
    let met = good.iter().filter(|one| meets(one, &about.goodput)).count();
    put("request_goodput", if about.goodput.is_empty() { Value::Null } else { json!(per_s(met as f64)) });
    put("input_throughput", json!(per_s(input)));
    put("output_throughput", json!(per_s(output)));
    put("total_token_throughput", json!(per_s(input + output)));
    put("max_output_tokens_per_s", json!(busiest_second(&good)));
    put("max_concurrent_requests", json!(run.max_concurrent_requests));
    let pooled: Vec<f64> = good.iter().flat_map(|one| &one.itls_s).map(|gap| 1e3 * gap).collect();
    let of = |measure: &dyn Fn(&Taken) -> f64| good.iter().map(|one| measure(one)).collect::<Vec<f64>>();
    for (name, values) in [
        ("ttft_ms", of(&ttft_ms)),
        ("tpot_ms", good.iter().filter_map(|one| tpot_ms(one)).collect()),
        ("itl_ms", pooled),
        ("e2el_ms", of(&e2el_ms)),
        ("send_delay_ms", of(&|one| 1e3 * (one.start_s - one.due_s))),
    ] {
        let figures = Figures::of(&values, &about.percentiles);
        put(&format!("mean_{name}"), json!(figures.mean));
        put(&format!("median_{name}"), json!(figures.median));
        put(&format!("std_{name}"), json!(figures.std));
        for (p, value) in figures.percentiles {
            put(&format!("p{p}_{name}"), json!(value));
        }
    }
    put("base_url", json!(about.base_url));
    put("dataset_name", json!(about.dataset_name));
    put("max_tokens", json!(about.max_tokens));
    put("command", json!(about.command));
    put("preset", json!(about.preset));
    put("cache", json!(if about.repeated { "warm" } else { "cold" }));
    put("sanity_answer", json!(about.sanity));
    put("interrupted", json!(run.interrupted));
    put("cached_tokens", json!(sum(&|one| one.cached_tokens as f64)));
    put("rtfx_video", json!(per_s(sum(&|one| one.video_s))));
    put("videos_per_s", json!(per_s(good.iter().filter(|one| one.video_s > 0.0).count() as f64)));
    put("frames_sampled_per_s", json!(per_s(sum(&|one| one.frames as f64))));
    let visual = sum(&|one| one.visual_tokens as f64);
    put("visual_tokens_per_s", if visual > 0.0 { json!(per_s(visual)) } else { Value::Null });
    put("median_ttft_after_media_ms", ttft_after_media(&good));
    put("stages_ms", stages(&good));
    put("failures", failures(&run.taken));
    put("machine", json!(about.machine));
    put("seen", json!(run.seen));
    put("warnings", json!(warnings(about, load, run, &good)));
    if detailed {
        put("requests", json!(run.taken));
    }
    Value::Object(out)
}

/// The most tokens that came in one second, as vLLM counts them: by the second in which each came.
fn busiest_second(good: &[&Taken]) -> f64 {
    let mut seconds: BTreeMap<u64, f64> = BTreeMap::new();
    for one in good {
        // A chunk may hold several tokens: the answer's tokens are spread over its chunks.
        let each = one.completion_tokens as f64 / (one.itls_s.len() + 1) as f64;
        let mut at = one.start_s + one.ttft_s;
        *seconds.entry(at as u64).or_default() += each;
        for gap in &one.itls_s {
            at += gap;
            *seconds.entry(at as u64).or_default() += each;
        }
    }
    seconds.into_values().fold(0.0, f64::max)
}

/// Mean milliseconds of each stage that the server told, and `other_ms`: what of the end-to-end time no stage explains.
fn stages(good: &[&Taken]) -> Value {
    let told: Vec<&Taken> = good.iter().filter(|one| one.stages_ms.is_object()).copied().collect();
    if told.is_empty() {
        return Value::Null;
    }
    let count = told.len() as f64;
    let mut means = Map::new();
    let mut explained = 0.0;
    for name in ["queue", "probe", "decode", "preprocess", "vision", "prefill", "generate"] {
        let mean = told.iter().filter_map(|one| one.stages_ms[name].as_f64()).sum::<f64>() / count;
        explained += mean;
        means.insert(format!("{name}_ms"), json!(mean));
    }
    let whole = told.iter().map(|one| 1e3 * one.latency_s).sum::<f64>() / count;
    means.insert("other_ms".into(), json!(whole - explained));
    means.insert("e2el_ms".into(), json!(whole));
    Value::Object(means)
}

/// Median milliseconds from when the frames were ready to the first token, for comparison with servers whose clock starts
/// after they fetched and decoded; null where no stages are told.
fn ttft_after_media(good: &[&Taken]) -> Value {
    let media = |one: &Taken| -> Option<f64> {
        let stage = |name: &str| one.stages_ms[name].as_f64();
        Some(stage("probe")? + stage("decode")?)
    };
    let times: Vec<f64> = good.iter().filter_map(|one| Some(1e3 * one.ttft_s - media(one)?)).collect();
    if times.is_empty() { Value::Null } else { json!(Figures::of(&times, &[]).median) }
}

/// Failures by class: how many, and the first one's words.
fn failures(taken: &[Taken]) -> Value {
    let mut classes: BTreeMap<Fault, (usize, &str)> = BTreeMap::new();
    for one in taken {
        if let Some(fault) = one.fault {
            classes.entry(fault).or_insert((0, one.error.as_deref().unwrap_or_default())).0 += 1;
        }
    }
    classes
        .into_iter()
        .map(|(fault, (count, first))| json!({ "class": fault, "count": count, "first": first }))
        .collect()
}

/// What makes a figure untrue, or no figure at all.
fn warnings(about: &About, load: &Load, run: &Run, good: &[&Taken]) -> Vec<String> {
    let mut out = Vec::new();
    let cores = about.machine.cores as f64;
    if run.seen.generator_cpu > BUSY * cores {
        out.push(format!(
            "the load generator used {:.1} of {cores} cores: it may have been the bottleneck; run it on another machine",
            run.seen.generator_cpu
        ));
    }
    let late: Vec<f64> = good.iter().map(|one| 1e3 * (one.start_s - one.due_s)).collect();
    let whole: Vec<f64> = good.iter().map(|one| e2el_ms(one)).collect();
    let (late, whole) = (Figures::of(&late, &[]).median, Figures::of(&whole, &[]).median);
    if load.request_rate.is_some() && late > LATE * whole {
        out.push(format!(
            "the median request was sent {late:.0} ms after it was due (median latency {whole:.0} ms, which includes it): \
             the rate is more than the server, or --max-concurrency, lets through"
        ));
    }
    if let Some((bandwidth, bytes)) = about.roofline {
        let least = 1e3 * bytes / bandwidth;
        let tpots: Vec<f64> = good.iter().filter_map(|one| tpot_ms(one)).collect();
        let median = Figures::of(&tpots, &[]).median;
        if !tpots.is_empty() && median < least {
            out.push(format!(
                "IMPOSSIBLE: {median:.2} ms per token, but reading {:.2} GB of weights at {:.0} GB/s takes {least:.2} ms: \
                 tokens were not generated one by one, or the figures of the machine are wrong",
                bytes / 1e9,
                bandwidth / 1e9
            ));
        }
    }
    let cached: u64 = good.iter().map(|one| one.cached_tokens).sum();
    if !about.repeated && cached > 0 {
        out.push(format!("{cached} prompt tokens came from the server's cache in a run of unseen content"));
    }
    out
}

/// Tells whether a result must not be reported as one of the server: the generator was the bottleneck.
#[must_use]
pub fn generator_bound(run: &Run, cores: usize) -> bool {
    run.seen.generator_cpu > BUSY * cores as f64
}

#[cfg(test)]
mod tests {
    use super::super::resources::{Seen, describe};
    use super::*;

    fn taken(due: f64, start: f64, ttft: f64, gaps: &[f64], tokens: u64) -> Taken {
        Taken {
            due_s: due,
            start_s: start,
            ttft_s: ttft,
            itls_s: gaps.to_vec(),
            latency_s: ttft + gaps.iter().sum::<f64>(),
            prompt_tokens: 10,
            completion_tokens: tokens,
            video_s: 4.0,
            ..Taken::default()
        }
    }

    fn about() -> About {
        About {
            base_url: "http://x".into(),
            model_id: "m".into(),
            dataset_name: "drawn".into(),
            label: None,
            preset: None,
            num_prompts: 3,
            max_tokens: 8,
            repeated: false,
            sanity: None,
            goodput: vec!["ttft:300".parse().unwrap(), "e2el:1000".parse().unwrap()],
            percentiles: vec![99.0],
            roofline: Some((100e9, 20e9)),
            command: vec!["homereel-bench".into(), "serve".into()],
            date: Timestamp::UNIX_EPOCH,
            machine: describe(),
        }
    }

    #[test]
    fn figures_follow_the_definitions_of_vllm() {
        let run = Run {
            taken: vec![
                taken(0.0, 0.0, 0.2, &[0.1, 0.1], 3),
                // Sent half a second late: that is part of what its user waited.
                taken(1.0, 1.5, 0.2, &[0.1, 0.3], 5),
                Taken { fault: Some(Fault::Overload), error: Some("429: wait".into()), ..Taken::default() },
            ],
            duration_s: 2.0,
            max_concurrent_requests: 2,
            seen: Seen::default(),
            interrupted: false,
        };
        let load = Load { request_rate: Some(1.0), burstiness: 1.0, max_concurrency: None, seed: 0 };
        let out = result(&about(), &load, &run, true);
        let near = |name: &str, value: f64| {
            let got = out[name].as_f64().unwrap_or(f64::NAN);
            assert!((got - value).abs() < 1e-6, "{name} = {got}, not {value}");
        };
        near("completed", 2.0);
        near("failed", 1.0);
        near("request_throughput", 1.0);
        near("output_throughput", 4.0);
        near("total_token_throughput", 14.0);
        near("rtfx_video", 4.0);
        near("median_ttft_ms", 450.0);
        near("mean_e2el_ms", (400.0 + 1100.0) / 2.0);
        // (0.4 - 0.2) / 2 and (0.6 - 0.2) / 4
        near("mean_tpot_ms", 100.0);
        // All gaps of all requests in one list.
        near("median_itl_ms", 100.0);
        near("mean_itl_ms", 150.0);
        // Only the first meets both objectives.
        near("request_goodput", 0.5);
        near("p99_ttft_ms", 200.0 + 0.99 * 500.0);
        assert_eq!(out["failures"][0]["class"], "overload");
        let warned = out["warnings"].to_string();
        assert!(warned.contains("IMPOSSIBLE"), "100 ms a token, but 200 ms is the least: {warned}");
        assert!(warned.contains("sent 250 ms after"), "{warned}");
        assert_eq!(out["schema"], SCHEMA);
        assert_eq!(out["requests"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn an_objective_is_named_and_positive() {
        assert_eq!("tpot:25.5".parse(), Ok(Objective { measure: Measure::Tpot, ms: 25.5 }));
        for bad in ["tpot", "tpot:0", "itl:5", "ttft:x"] {
            assert!(bad.parse::<Objective>().unwrap_err().contains(bad));
        }
    }
}
