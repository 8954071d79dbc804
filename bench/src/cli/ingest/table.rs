//! The tables that `homereel-bench ingest` prints.

use std::fmt::Write as _;

use homereel_bench::ingest::IngestRun;
use homereel_bench::ingest::direct::DirectRun;
use homereel_web::bench_result::ResourceUsage;
use homereel_web::format::number_or_dash;

/// Prefix of the series with the duration of a stage.
const STAGE: &str = "homereel_stage_seconds_sum{stage=\"";

/// Returns the table of a measurement of a server.
pub(super) fn server(run: &IngestRun, usage: &ResourceUsage) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<40} {value:>12}");
    };
    line("Clips with their texts:", format!("{} of {}", run.described, run.clips));
    line("Texts without a usable answer:", run.unusable_texts.to_string());
    line("Failed uploads and jobs:", run.failed.to_string());
    line("Hours of video:", format!("{:.3}", run.video_s / 3600.0));
    line("Hours of video per hour:", number_or_dash(run.hours_per_hour, 2));
    line("Clips uploaded after (s):", format!("{:.1}", run.upload_s));
    line("Posters after (s):", number_or_dash(run.posters_s, 1));
    line("Texts after (s):", number_or_dash(run.texts_s, 1));
    line("Jobs ended after (s):", number_or_dash(run.jobs_s, 1));
    line("Questions per second:", number_or_dash(run.questions_per_s, 2));
    line("Prompt tokens per second:", number_or_dash(run.prompt_tokens_per_s, 1));
    line("Generated tokens per second:", number_or_dash(run.generation_tokens_per_s, 1));
    let slots = run.slots;
    let waiting = slots.limit.zip(slots.used).map(|(limit, used)| limit - used);
    line("Slots of the model, mean:", number_or_dash(slots.limit, 1));
    line("Slots that wait for a clip, mean:", number_or_dash(waiting, 1));
    line("Clips decoding or waiting, mean:", number_or_dash(slots.decoding, 1));
    for (series, seconds) in &run.work.seconds {
        if let Some(stage) = series.strip_prefix(STAGE) {
            line(&format!("Total of stage {} (s):", stage.trim_end_matches("\"}")), format!("{seconds:.1}"));
        }
    }
    line("Peak memory of the server (MiB):", number_or_dash(usage.peak_rss_mib, 0));
    if let (Some(alone), Some(beside)) = (&run.alone, &run.beside) {
        line("Median TTFT alone (ms):", number_or_dash(alone.median_ttft_ms, 1));
        line("P95 TTFT alone (ms):", number_or_dash(alone.p95_ttft_ms, 1));
        line("Median TTFT beside (ms):", number_or_dash(beside.median_ttft_ms, 1));
        line("P95 TTFT beside (ms):", number_or_dash(beside.p95_ttft_ms, 1));
        line("Ratio of the medians:", number_or_dash(run.ttft_ratio, 2));
        line("Interactive questions answered:", beside.completed.to_string());
        line("Interactive questions failed:", (alone.failed + beside.failed).to_string());
    }
    if run.prompts_of_direct == Some(false) {
        out.push_str("warning: the server's prompts are not those of --direct: do not compare the two\n");
    }
    out
}

/// Returns the table of a measurement of the peer.
pub(super) fn direct(run: &DirectRun, usage: &ResourceUsage) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<40} {value:>12}");
    };
    line("Windows with all answers:", format!("{} of {}", run.windows_answered, run.windows));
    line("Failed questions:", run.failed.to_string());
    line("Hours of video:", format!("{:.3}", run.video_s / 3600.0));
    line("Hours of video per hour:", number_or_dash(run.hours_per_hour, 2));
    line("Duration (s):", format!("{:.1}", run.duration_s));
    line("Questions per second:", number_or_dash(run.questions_per_s, 2));
    line("Prompt tokens per second:", number_or_dash(run.prompt_tokens_per_s, 1));
    line("Generated tokens per second:", number_or_dash(run.generation_tokens_per_s, 1));
    line("Median TTFT (ms):", number_or_dash(run.median_ttft_ms, 1));
    line("P95 TTFT (ms):", number_or_dash(run.p95_ttft_ms, 1));
    line("Peak memory of the server (MiB):", number_or_dash(usage.peak_rss_mib, 0));
    out
}
