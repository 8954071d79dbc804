//! What `/system` lists about the model, the work, the machine and the versions, with advice about problems. Names are messages.

use homereel_engine::{BatchStatus, Health, ReplicaState, ReplicaStatus};
use homereel_library::{EmbeddingCounts, JobState};
use homereel_web::{Words, format, views::Fact};

use crate::{
    http::error::Failure,
    machine::{Gpu, MachineStatus},
    meaning::MeaningProgress,
    state::AppState,
};

/// Share of available memory below which the page warns.
const SHORT: f64 = 0.08;

/// The model, and what is in its queue.
pub(super) fn model(words: &Words, state: &AppState, advice: &mut Vec<String>) -> Vec<Fact> {
    let engine = state.answers.engine();
    let fact = |name, value: String| Fact { name, value };
    let health = match engine.health() {
        Health::Ready => words.t("system-ready"),
        Health::Loading => words.t("system-loading"),
        Health::Failed(reason) => {
            advice.push(words.t("advice-no-model"));
            words.with("system-failed", &[("reason", &reason)])
        }
    };
    let mut facts = vec![fact("system-state", health)];
    if let Some(batch) = engine.batch() {
        facts.push(fact("system-queue", queue(words, &batch)));
        let (size, share) = (format::size(batch.kv_cache_bytes as u64), percent(batch.kv_cache_usage_perc));
        let used = words.with("system-of-budget", &[("size", &size), ("share", &share)]);
        facts.push(fact("system-kv-cache", used));
    }
    if let Ok(info) = engine.info() {
        facts.push(fact("system-model", info.id));
        facts.push(fact("system-backend", info.backend));
        facts.push(fact("system-context", words.n("system-tokens", info.max_model_len as u64)));
        let rate = info.frame_rate;
        facts.push(fact(
            "system-frames",
            words.with(
                "system-frame-rate",
                &[
                    ("fps", &rate.fps.to_string()),
                    ("least", &rate.min_frames.to_string()),
                    ("most", &rate.max_frames.to_string()),
                ],
            ),
        ));
        if info.demo {
            advice.push(words.t("advice-demo"));
        }
    }
    facts
}

fn queue(words: &Words, batch: &BatchStatus) -> String {
    let text = words.with(
        "system-batch",
        &[
            ("running", &batch.num_requests_running.to_string()),
            ("most", &batch.max_num_seqs.to_string()),
            ("waiting", &batch.num_requests_waiting.to_string()),
            ("size", &batch.batch_size.to_string()),
        ],
    );
    match batch.num_preemptions_total {
        0 => text,
        times => format!("{text} {}", words.n("system-preempted", times)),
    }
}

/// Writes a share of 1 in percent.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The state of a vLLM replica and the metrics that it reports.
pub(super) fn replica(words: &Words, server: &ReplicaStatus) -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    let word = match server.state {
        ReplicaState::Loading => "replica-loading",
        ReplicaState::Ready => "system-ready",
        ReplicaState::Draining => "replica-draining",
        ReplicaState::Gone => "replica-gone",
        ReplicaState::Unfit => "replica-unfit",
    };
    let reason = server.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let carries = if server.takes_media_io_kwargs { "replica-frames" } else { "replica-files" };
    let mut facts = vec![
        fact("system-address", server.url.clone()),
        fact("system-state", format!("{}{reason}", words.t(word))),
        fact("system-clips-are-sent", words.t(carries)),
        fact("system-requests-in-flight", format!("{} / {}", server.in_flight, server.max_requests)),
        fact(
            "system-requests",
            words.with(
                "replica-requests",
                &[
                    ("total", &server.requests_total.to_string()),
                    ("failed", &server.failures_total.to_string()),
                    ("elsewhere", &server.failovers_total.to_string()),
                ],
            ),
        ),
    ];
    let Some(told) = server.metrics else { return facts };
    let share = |hits: f64, queries: f64| match queries {
        queries if queries > 0.0 => words.with(
            "replica-hits",
            &[("share", &format!("{:.0} %", 100.0 * hits / queries)), ("count", &format!("{queries:.0}"))],
        ),
        _ => words.t("replica-no-lookups"),
    };
    facts.extend([
        fact(
            "system-queue",
            words.with(
                "replica-queue",
                &[
                    ("running", &told.num_requests_running.to_string()),
                    ("waiting", &told.num_requests_waiting.to_string()),
                ],
            ),
        ),
        fact("system-kv-cache", percent(told.kv_cache_usage_perc)),
        fact(
            "system-prefix-cache-hits",
            share(told.prefix_cache_hits_total, told.prefix_cache_queries_total),
        ),
        fact("system-media-cache-hits", share(told.mm_cache_hits_total, told.mm_cache_queries_total)),
    ]);
    facts
}

/// Questions and jobs.
pub(super) async fn work(words: &Words, state: &AppState) -> Result<Vec<Fact>, Failure> {
    let counts = state.library.job_counts().await?;
    let number = |wanted: JobState| counts.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, n)| *n);
    let fact = |name, value: String| Fact { name, value };
    let paused = state.library.jobs_paused().await?;
    let mut facts = vec![
        fact(
            "system-questions-in-progress",
            format!("{} / {}", state.answers.in_flight(), state.config.get().max_requests),
        ),
        fact("system-jobs-running", number(JobState::Running).to_string()),
        fact(
            "system-jobs-waiting",
            match paused {
                true => words.n("system-waiting-paused", number(JobState::Queued)),
                false => number(JobState::Queued).to_string(),
            },
        ),
        fact("system-with-the-model", format!("{} / {}", state.slots.used(), state.slots.limit())),
        fact("system-decoded-ahead", state.slots.decoding().to_string()),
        fact("system-jobs-failed", number(JobState::Failed).to_string()),
        fact("system-jobs-done", number(JobState::Done).to_string()),
    ];
    facts.extend(
        state.meaning.progress().map(|progress| fact("system-search-by-meaning", embedded(words, &progress))),
    );
    Ok(facts)
}

/// How far the embedding of the library's texts is.
fn embedded(words: &Words, progress: &MeaningProgress) -> String {
    let EmbeddingCounts { embedded, pending } = progress.counts;
    let (done, all) = (embedded.to_string(), (embedded + pending).to_string());
    let text = words.with("system-embedded", &[("done", &done), ("all", &all)]);
    [Some(text), progress.model.clone(), progress.problem.clone()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" · ")
}

/// Averages over all answers since the start, from the same numbers as `/metrics`.
pub(super) fn speed(words: &Words, metrics: &str) -> Vec<Fact> {
    let value = |name: &str| {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<f64>().ok())
    };
    let mut facts = Vec::new();
    let tokens = value("vllm:generation_tokens_total");
    let seconds = value("vllm:request_decode_time_seconds_sum");
    if let (Some(tokens), Some(seconds)) = (tokens, seconds.filter(|&seconds| seconds > 0.0)) {
        facts.push(Fact { name: "chart-tokens", value: format!("{:.1}", tokens / seconds) });
    }
    let mut mean = |name: &'static str, metric: &str, labels: &str| {
        let sum = value(&format!("{metric}_sum{labels}"));
        let count = value(&format!("{metric}_count{labels}")).filter(|&count| count > 0.0);
        if let (Some(sum), Some(count)) = (sum, count) {
            facts.push(Fact {
                name,
                value: words.with(
                    "system-average",
                    &[("time", &format!("{:.2} s", sum / count)), ("count", &count.to_string())],
                ),
            });
        }
    };
    mean("chart-ttft", "vllm:time_to_first_token_seconds", "");
    for (name, stage) in [
        ("stage-mean-queue", "queue"),
        ("stage-mean-decode", "decode"),
        ("stage-mean-vision", "vision"),
        ("stage-mean-prefill", "prefill"),
        ("stage-mean-generate", "generate"),
    ] {
        mean(name, "homereel_stage_seconds", &format!("{{stage=\"{stage}\"}}"));
    }
    facts
}

/// Processor, memory and GPUs.
pub(super) fn hardware(words: &Words, machine: &MachineStatus, advice: &mut Vec<String>) -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    let mut facts = Vec::new();
    let cores = words.n("system-cores", machine.cores as u64);
    let cpu = machine.cpu.iter().cloned().chain([cores]).collect::<Vec<_>>().join(", ");
    facts.push(fact("system-cpu", cpu));
    if let Some(load) = machine.load_1m {
        facts.push(fact("system-load", words.with("system-last-minute", &[("load", &format!("{load:.2}"))])));
    }
    if let (Some(all), Some(free)) = (machine.memory_bytes, machine.memory_available_bytes) {
        let unified = machine.gpus.iter().any(Gpu::unified);
        let key = if unified { "system-memory-shared" } else { "system-available" };
        facts.push(fact(
            "system-memory",
            words.with(key, &[("free", &format::size(free)), ("all", &format::size(all))]),
        ));
        if (free as f64) < SHORT * all as f64 {
            advice.push(words.with("advice-memory", &[("free", &format::size(free))]));
        }
    }
    if let Some(bytes) = machine.resident_bytes {
        facts.push(fact("system-homereel-itself", format::size(bytes)));
    }
    for gpu in &machine.gpus {
        facts.push(fact("system-gpu", gpu_words(words, gpu)));
    }
    if machine.gpus.is_empty() {
        facts.push(fact("system-gpu", words.t("system-no-gpu")));
    }
    if let Some(seconds) = machine.uptime_s {
        facts.push(fact("system-uptime", format::duration(seconds)));
    }
    facts
}

fn gpu_words(words: &Words, gpu: &Gpu) -> String {
    let mut parts = vec![gpu.name.clone()];
    parts
        .extend(gpu.utilization.map(|busy| words.with("system-busy", &[("share", &format!("{busy:.0} %"))])));
    match (gpu.memory_used_bytes, gpu.memory_bytes) {
        (Some(used), Some(all)) => {
            let sizes = [("used", format::size(used)), ("all", format::size(all))];
            parts.push(
                words.with("system-used-of", &sizes.each_ref().map(|(name, size)| (*name, size.as_str()))),
            );
        }
        _ => parts.push(words.t("system-shares-memory")),
    }
    parts.extend(gpu.temperature_c.map(|degrees| format!("{degrees:.0} °C")));
    parts.extend(gpu.power_w.map(|watts| format!("{watts:.0} W")));
    parts.join(", ")
}

/// Versions of what decoding and the model depend on.
pub(super) async fn versions(
    words: &Words,
    state: &AppState,
    machine: &MachineStatus,
    advice: &mut Vec<String>,
) -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    let mut facts = vec![fact("system-homereel", env!("CARGO_PKG_VERSION").into())];
    let (codec, series) = homereel_video::libavcodec();
    let series = series.map_or_else(String::new, |series| format!(" (FFmpeg {series})"));
    facts.push(fact("system-libavcodec", format!("{codec}{series}")));
    // Only a distribution's changelog says which vulnerabilities it has fixed, so the page does not claim
    // more.
    facts.push(fact("system-ffmpeg-vulnerabilities", words.t("system-ffmpeg-notice")));
    match state.answers.media().sandbox(state.lifecycle.hard()).await {
        Ok(sandbox) => {
            let missing = sandbox.missing();
            let text = match missing.is_empty() {
                true => words.t("system-sandbox-complete"),
                false => words.with("system-sandbox-incomplete", &[("missing", &missing.join("; "))]),
            };
            facts.push(fact("system-decoder-sandbox", text));
        }
        Err(error) => {
            tracing::warn!(%error, "failed to start a video worker; no video can be decoded until one starts");
            advice.push(words.t("advice-worker"));
        }
    }
    facts.extend(machine.kernel.clone().map(|kernel| fact("system-linux", kernel)));
    facts.extend(
        machine
            .gpus
            .iter()
            .find_map(|gpu| gpu.driver.clone())
            .map(|driver| fact("system-nvidia-driver", driver)),
    );
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_read_from_the_metrics_and_left_out_where_there_is_none() {
        let text = "# TYPE x\nvllm:generation_tokens_total 100\nvllm:request_decode_time_seconds_sum 4\n\
                    homereel_stage_seconds_sum{stage=\"vision\"} 3\nhomereel_stage_seconds_count{stage=\"vision\"} 2\n";
        let facts: Vec<(&str, String)> =
            speed(Words::english(), text).into_iter().map(|fact| (fact.name, fact.value)).collect();
        assert_eq!(
            facts,
            [
                ("chart-tokens", "25.0".to_owned()),
                ("stage-mean-vision", "1.50 s average (2 answers)".to_owned())
            ]
        );
        assert!(speed(Words::english(), "").is_empty());
    }

    #[test]
    fn the_queue_counts_questions_and_jobs_and_says_when_jobs_were_paused() {
        let batch = BatchStatus {
            num_requests_running: 9,
            num_requests_waiting: 2,
            batch_size: 5,
            max_num_seqs: 8,
            ..BatchStatus::default()
        };
        let words = "9 running (at most 8 questions and 8 of jobs), 2 waiting, 5 in the last decoding step.";
        assert_eq!(queue(Words::english(), &batch), words);
        let paused = queue(Words::english(), &BatchStatus { num_preemptions_total: 1, ..batch });
        assert!(paused.ends_with("Jobs were paused once for memory."), "{paused}");
    }

    #[test]
    fn a_gpu_without_memory_of_its_own_says_so() {
        let gpu = Gpu { name: "GB10".into(), power_w: Some(12.4), ..Gpu::default() };
        assert_eq!(gpu_words(Words::english(), &gpu), "GB10, shares the system's memory, 12 W");
    }
}
