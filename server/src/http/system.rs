//! `/system`: the server's state for the operator, with advice about problems.

use axum::response::Response;
use homereel_engine::{BatchStatus, Health, ReplicaState, ReplicaStatus};
use homereel_library::{EmbeddingCounts, JobState, Role, now_ms};
use homereel_web::{
    Words, format,
    pages::SystemPage,
    views::{Fact, FactList, JobView},
};

pub(super) mod charts;

use super::{
    error::Failure,
    extract::Query,
    html::{self, PageContext},
    trash, views,
};
use crate::{
    machine::{self, Gpu, MachineStatus},
    meaning::MeaningProgress,
    samples::Span,
    state::AppState,
};
use charts::SpanQuery;

/// Number of running jobs that are shown.
const RUNNING: u32 = 8;

/// Share of available memory below which the page warns.
const SHORT: f64 = 0.08;

/// `GET /system`
pub(super) async fn page(cx: PageContext, Query(query): Query<SpanQuery>) -> Response {
    html::or_error(&cx, show(&cx, &query).await)
}

async fn show(cx: &PageContext, query: &SpanQuery) -> Result<Response, Failure> {
    let span = query.parsed()?;
    let machine = machine::look().await;
    let storage = cx.state.library.storage().await?;
    let mut advice = Vec::new();
    let model = model(&cx.state, &mut advice);
    let work = work(&cx.state).await?;
    let speed = speed(&cx.state.metrics.render());
    let hardware = hardware(&machine, &mut advice);
    if storage.free_bytes < 10_000_000_000 {
        advice
            .push(format!("{} are free: empty the trash, or add a disk.", format::size(storage.free_bytes)));
    }
    let fact = |name, value: String| Fact { name, value };
    let mut disk = vec![
        fact(
            "Videos",
            format!(
                "{} in {}",
                format::size(storage.videos_bytes),
                format::count(cx.state.library.video_count().await?, "video")
            ),
        ),
        fact("Trash", format::size(storage.trash_bytes)),
        fact("Unfinished uploads", format::size(storage.uploads_bytes)),
        fact("Files of /v1/files", format::size(storage.files_bytes)),
        fact("Media of kept responses", format::size(storage.responses_bytes)),
        fact("Free", format!("{} of {}", format::size(storage.free_bytes), format::size(storage.disk_bytes))),
        fact("Kept free for the system", format::size(storage.reserve_bytes)),
    ];
    // Paths on the machine are shown to admins only.
    if cx.user.has(Role::Admin) {
        disk.push(fact("Directory", cx.state.config.get().data.display().to_string()));
    }
    let lists = [
        ("Model", model),
        ("Work", work),
        ("Speed", speed),
        ("Machine", hardware),
        ("Disk", disk),
        ("Versions", versions(&cx.state, &machine, &mut advice).await),
    ];
    let servers = cx.state.answers.engine().replicas();
    let servers = servers.iter().map(|server| ("vLLM server", replica(server)));
    let lists = lists
        .into_iter()
        .chain(servers)
        .map(|(title, facts)| FactList { title, facts })
        .filter(|list| !list.facts.is_empty())
        .collect();
    html::render(&SystemPage {
        // Without scripts, the page follows by reloading.
        shell: html::shell(cx, &cx.words.t("system"), "system", true),
        spans: spans(cx.words, span),
        live: span == Span::default(),
        charts: charts::charts(cx.words, &cx.state, span),
        spent: charts::time_spent(cx.words, &cx.state.answers.activity().stages()),
        now_running: running(cx).await?,
        jobs: jobs_words(cx).await?,
        advice,
        lists,
        now: views::time(now_ms()),
        storage: trash::storage_words(&storage),
    })
}

/// Text and URL of each span, and whether it is `chosen`.
fn spans(words: &Words, chosen: Span) -> Vec<(String, String, bool)> {
    let link = |(span, name): (Span, &str)| {
        let url = if span == Span::default() { "/system".to_owned() } else { format!("/system?span={name}") };
        (words.t(&format!("span-{name}")), url, span == chosen)
    };
    Span::ALL.map(link).into()
}

/// Returns the jobs that run now.
async fn running(cx: &PageContext) -> Result<Vec<JobView>, Failure> {
    let jobs = cx.state.library.job_board(RUNNING, 0).await?;
    let jobs: Vec<_> = jobs.into_iter().filter(|job| job.state == JobState::Running).collect();
    let ids: Vec<&str> = jobs.iter().map(|job| job.video_id.as_str()).collect();
    let videos = cx.state.library.videos_by_id(&ids).await?;
    let now = now_ms();
    Ok(jobs.iter().map(|job| views::job(cx.words, job, videos.get(&job.video_id), None, now)).collect())
}

/// Says how many jobs wait and have failed.
async fn jobs_words(cx: &PageContext) -> Result<String, Failure> {
    let counts = cx.state.library.job_counts().await?;
    let number = |wanted: JobState| counts.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, n)| *n);
    let (waiting, failed) = (number(JobState::Queued).to_string(), number(JobState::Failed).to_string());
    Ok(cx.words.with("jobs-waiting-failed", &[("waiting", &waiting), ("failed", &failed)]))
}

fn model(state: &AppState, advice: &mut Vec<String>) -> Vec<Fact> {
    let engine = state.answers.engine();
    let fact = |name, value: String| Fact { name, value };
    let health = match engine.health() {
        Health::Ready => "ready".to_owned(),
        Health::Loading => "loading".to_owned(),
        Health::Failed(reason) => {
            advice.push("No model is running: see the server's log, or run homereel doctor.".into());
            format!("failed: {reason}")
        }
    };
    let mut facts = vec![fact("State", health)];
    if let Some(batch) = engine.batch() {
        facts.push(fact("Queue", queue(&batch)));
        let used = format!(
            "{} ({:.1} % of the budget)",
            format::size(batch.kv_cache_bytes as u64),
            100.0 * batch.kv_cache_usage_perc
        );
        facts.push(fact("KV cache", used));
    }
    if let Ok(info) = engine.info() {
        facts.push(fact("Model", info.id));
        facts.push(fact("Backend", info.backend));
        facts.push(fact("Context", format!("{} tokens", info.max_model_len)));
        let rate = info.frame_rate;
        facts.push(fact(
            "Frames",
            format!("{} per second, {} to {}", rate.fps, rate.min_frames, rate.max_frames),
        ));
        if info.demo {
            advice.push(
                "The demo model only recognizes coloured shapes; start the server with --model for your own videos.".into(),
            );
        }
    }
    facts
}

fn queue(batch: &BatchStatus) -> String {
    let paused = match batch.num_preemptions_total {
        0 => String::new(),
        times => format!(", jobs paused {} for memory", format::count(times, "time")),
    };
    format!(
        "{} running (at most {most} questions and {most} of jobs), {} waiting{paused}; {} in the last decoding step",
        batch.num_requests_running,
        batch.num_requests_waiting,
        batch.batch_size,
        most = batch.max_num_seqs,
    )
}

/// The state of a vLLM replica and the metrics that it reports.
fn replica(server: &ReplicaStatus) -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    let word = match server.state {
        ReplicaState::Loading => "loading its model, or unreachable",
        ReplicaState::Ready => "ready",
        ReplicaState::Draining => "draining: finishes its requests",
        ReplicaState::Gone => "unreachable",
        ReplicaState::Unfit => "serves another model",
    };
    let reason = server.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let carries = if server.takes_media_io_kwargs {
        "as frames with their true times"
    } else {
        "as files of constant frame rate, because media_io_kwargs is disabled"
    };
    let mut facts = vec![
        fact("Address", server.url.clone()),
        fact("State", format!("{word}{reason}")),
        fact("Clips are sent", carries.into()),
        fact("Requests in flight", format!("{} of {} at most", server.in_flight, server.max_requests)),
        fact(
            "Requests",
            format!(
                "{}, {} failed, {} retried elsewhere",
                server.requests_total, server.failures_total, server.failovers_total
            ),
        ),
    ];
    let Some(told) = server.metrics else { return facts };
    let share = |hits: f64, queries: f64| match queries {
        queries if queries > 0.0 => format!("{:.0} % of {queries:.0}", 100.0 * hits / queries),
        _ => "no lookups yet".into(),
    };
    facts.extend([
        fact(
            "Queue",
            format!("{} running, {} waiting", told.num_requests_running, told.num_requests_waiting),
        ),
        fact("KV cache", format!("{:.1} % in use", 100.0 * told.kv_cache_usage_perc)),
        fact("Prefix cache hits", share(told.prefix_cache_hits_total, told.prefix_cache_queries_total)),
        fact("Media cache hits", share(told.mm_cache_hits_total, told.mm_cache_queries_total)),
    ]);
    facts
}

async fn work(state: &AppState) -> Result<Vec<Fact>, Failure> {
    let counts = state.library.job_counts().await?;
    let number = |wanted: JobState| counts.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, n)| *n);
    let fact = |name, value: String| Fact { name, value };
    let paused = state.library.jobs_paused().await?;
    let mut facts = vec![
        fact(
            "Questions in progress",
            format!("{} of {} at most", state.answers.in_flight(), state.config.get().max_requests),
        ),
        fact("Jobs running", number(JobState::Running).to_string()),
        fact(
            "Jobs waiting",
            format!("{}{}", number(JobState::Queued), if paused { " (paused)" } else { "" }),
        ),
        fact(
            "With the model",
            format!("{} videos or windows, {} at most", state.slots.used(), state.slots.limit()),
        ),
        fact("Decoded ahead", state.slots.decoding().to_string()),
        fact("Jobs failed", number(JobState::Failed).to_string()),
        fact("Jobs done", number(JobState::Done).to_string()),
    ];
    facts.extend(state.meaning.progress().map(|progress| fact("Search by meaning", embedded(&progress))));
    Ok(facts)
}

/// How far the embedding of the library's texts is: `1234 of 2000 texts ready, by MODEL`.
fn embedded(progress: &MeaningProgress) -> String {
    let EmbeddingCounts { embedded, pending } = progress.counts;
    let model = progress.model.as_ref().map_or_else(String::new, |model| format!(", by {model}"));
    let problem = progress.problem.as_ref().map_or_else(String::new, |problem| format!("; {problem}"));
    let all = format::count(embedded + pending, "text");
    format!("{embedded} of {all} ready{model}{problem}")
}

/// Averages over all answers since the start, from the same numbers as `/metrics`.
fn speed(metrics: &str) -> Vec<Fact> {
    let value = |name: &str| {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<f64>().ok())
    };
    let mut facts = Vec::new();
    let tokens = value("vllm:generation_tokens_total");
    let seconds = value("vllm:request_decode_time_seconds_sum");
    if let (Some(tokens), Some(seconds)) = (tokens, seconds.filter(|&seconds| seconds > 0.0)) {
        facts.push(Fact { name: "Tokens per second", value: format!("{:.1}", tokens / seconds) });
    }
    let mut mean = |name: &'static str, metric: &str, labels: &str| {
        let sum = value(&format!("{metric}_sum{labels}"));
        let count = value(&format!("{metric}_count{labels}")).filter(|&count| count > 0.0);
        if let (Some(sum), Some(count)) = (sum, count) {
            facts.push(Fact { name, value: format!("{:.2} s on average ({count} answers)", sum / count) });
        }
    };
    mean("Time to first token", "vllm:time_to_first_token_seconds", "");
    for (name, stage) in [
        ("Waiting", "queue"),
        ("Decoding", "decode"),
        ("Looking", "vision"),
        ("Reading the prompt", "prefill"),
        ("Answering", "generate"),
    ] {
        mean(name, "homereel_stage_seconds", &format!("{{stage=\"{stage}\"}}"));
    }
    facts
}

fn hardware(machine: &MachineStatus, advice: &mut Vec<String>) -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    let mut facts = Vec::new();
    let cpu = machine.cpu.clone().unwrap_or_else(|| "processor".into());
    facts.push(fact("CPU", format!("{cpu}, {}", format::count(machine.cores as u64, "core"))));
    if let Some(load) = machine.load_1m {
        facts.push(fact("Load", format!("{load:.2} over the last minute")));
    }
    if let (Some(all), Some(free)) = (machine.memory_bytes, machine.memory_available_bytes) {
        let unified = machine.gpus.iter().any(Gpu::unified);
        let shared = if unified { "; shared with the GPU" } else { "" };
        facts.push(fact(
            "Memory",
            format!("{} available of {}{shared}", format::size(free), format::size(all)),
        ));
        if (free as f64) < SHORT * all as f64 {
            advice.push(format!("Only {} of memory are available: use a smaller model or --quantize q8_0 before the machine freezes.", format::size(free)));
        }
    }
    if let Some(bytes) = machine.resident_bytes {
        facts.push(fact("Homereel itself", format::size(bytes)));
    }
    for gpu in &machine.gpus {
        facts.push(fact("GPU", gpu_words(gpu)));
    }
    if machine.gpus.is_empty() {
        facts.push(fact("GPU", "none found by nvidia-smi".into()));
    }
    if let Some(seconds) = machine.uptime_s {
        facts.push(fact("Uptime", format::duration(seconds)));
    }
    facts
}

fn gpu_words(gpu: &Gpu) -> String {
    let mut words = vec![gpu.name.clone()];
    words.extend(gpu.utilization.map(|percent| format!("{percent:.0} % busy")));
    match (gpu.memory_used_bytes, gpu.memory_bytes) {
        (Some(used), Some(all)) => {
            words.push(format!("{} of {} used", format::size(used), format::size(all)))
        }
        _ => words.push("shares the system's memory".into()),
    }
    words.extend(gpu.temperature_c.map(|degrees| format!("{degrees:.0} °C")));
    words.extend(gpu.power_w.map(|watts| format!("{watts:.0} W")));
    words.join(", ")
}

async fn versions(state: &AppState, machine: &MachineStatus, advice: &mut Vec<String>) -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    let mut facts = vec![fact("Homereel", env!("CARGO_PKG_VERSION").into())];
    let (codec, series) = homereel_video::libavcodec();
    let series = series.map_or_else(String::new, |series| format!(" (FFmpeg {series})"));
    facts.push(fact("libavcodec", format!("{codec}{series}")));
    // Only a distribution's changelog says which vulnerabilities it has fixed, so the page does not claim
    // more.
    facts.push(fact(
        "FFmpeg vulnerabilities",
        "are found now and then (CVE-2026-8461 in MagicYUV, fixed in 8.1.2): keep the system up to date"
            .into(),
    ));
    match state.answers.media().sandbox(state.lifecycle.hard()).await {
        Ok(sandbox) => {
            let missing = sandbox.missing();
            let words = if missing.is_empty() {
                "complete: no files, no network, no other programs".to_owned()
            } else {
                format!("incomplete: {}", missing.join("; "))
            };
            facts.push(fact("Decoder sandbox", words));
        }
        Err(error) => {
            tracing::warn!(%error, "failed to start a video worker; no video can be decoded until one starts");
            advice.push(
                "The video worker did not start, so no video can be decoded; see the server's log.".into(),
            );
        }
    }
    facts.extend(machine.kernel.clone().map(|kernel| fact("Linux", kernel)));
    facts.extend(
        machine.gpus.iter().find_map(|gpu| gpu.driver.clone()).map(|driver| fact("NVIDIA driver", driver)),
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
            speed(text).into_iter().map(|fact| (fact.name, fact.value)).collect();
        assert_eq!(
            facts,
            [
                ("Tokens per second", "25.0".to_owned()),
                ("Looking", "1.50 s on average (2 answers)".to_owned())
            ]
        );
        assert!(speed("").is_empty());
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
        let words = "9 running (at most 8 questions and 8 of jobs), 2 waiting; 5 in the last decoding step";
        assert_eq!(queue(&batch), words);
        let paused = queue(&BatchStatus { num_preemptions_total: 1, ..batch });
        assert!(paused.contains("2 waiting, jobs paused 1 time for memory; 5"), "{paused}");
    }

    #[test]
    fn a_gpu_without_memory_of_its_own_says_so() {
        let gpu = Gpu { name: "GB10".into(), power_w: Some(12.4), ..Gpu::default() };
        assert_eq!(gpu_words(&gpu), "GB10, shares the system's memory, 12 W");
    }
}
