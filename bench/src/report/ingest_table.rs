//! The part of a report about `homereel-bench ingest`: how fast servers describe clips, and how fast their peer answers the same
//! questions.

use std::fmt::Write as _;

use homereel_web::format::number_or_dash;
use serde::Deserialize;

/// The figures of a result of `ingest`, of a server or with `--direct`. `None` means that a value was not measured.
#[derive(Debug, Clone, Deserialize)]
pub struct IngestResult {
    run: IngestFigures,
}

#[derive(Debug, Clone, Deserialize)]
struct IngestFigures {
    video_s: f64,
    /// Until the last answer of the peer.
    duration_s: Option<f64>,
    /// Until the last text of a server.
    texts_s: Option<f64>,
    hours_per_hour: Option<f64>,
    questions_per_s: Option<f64>,
    generation_tokens_per_s: Option<f64>,
    alone: Option<Latency>,
    beside: Option<Latency>,
}

#[derive(Debug, Clone, Deserialize)]
struct Latency {
    p95_ttft_ms: Option<f64>,
}

/// Returns the section about these results (name, result); empty without results.
pub(super) fn section(results: &[(String, IngestResult)]) -> String {
    if results.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "## Describing clips\n\nThe three texts of every clip, from the first upload to the last text. *direct* is a plain client that \
         asks a vLLM the same questions. The last two columns are the time to the first token of an interactive question.\n\n\
         | | video s | seconds | hours per hour | questions/s | tokens/s | p95 TTFT idle, ms | p95 TTFT meanwhile, ms |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (name, IngestResult { run }) in results {
        let p95 = |latency: &Option<Latency>| latency.as_ref().and_then(|latency| latency.p95_ttft_ms);
        let cells = [
            format!("{:.0}", run.video_s),
            number_or_dash(run.texts_s.or(run.duration_s), 1),
            number_or_dash(run.hours_per_hour, 1),
            number_or_dash(run.questions_per_s, 2),
            number_or_dash(run.generation_tokens_per_s, 0),
            number_or_dash(p95(&run.alone), 0),
            number_or_dash(p95(&run.beside), 0),
        ];
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
    out.push('\n');
    out
}

/// Returns the bars of the plot: hours of video per hour.
pub(super) fn bars(results: &[(String, IngestResult)]) -> Vec<(String, f64)> {
    results.iter().filter_map(|(name, result)| Some((name.clone(), result.run.hours_per_hour?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_their_peer_share_a_table() {
        let parse = |json: &str| serde_json::from_str::<IngestResult>(json).unwrap();
        let direct = parse(
            r#"{"mode": "direct", "run": {"video_s": 1000.1, "duration_s": 30.6, "hours_per_hour": 32.6,
                "questions_per_s": 4.4, "generation_tokens_per_s": 161.4}}"#,
        );
        let server = parse(
            r#"{"mode": "server", "run": {"video_s": 1000.1, "texts_s": 43.2, "hours_per_hour": 23.1, "questions_per_s": null,
                "generation_tokens_per_s": 160.2, "alone": {"p95_ttft_ms": 210.0}, "beside": null}}"#,
        );
        let results = [("direct".to_owned(), direct), ("homereel".to_owned(), server)];
        let section = section(&results);
        assert!(section.contains("| direct | 1000 | 30.6 | 32.6 | 4.40 | 161 | – | – |"), "{section}");
        assert!(section.contains("| homereel | 1000 | 43.2 | 23.1 | – | 160 | 210 | – |"), "{section}");
        assert_eq!(bars(&results), [("direct".to_owned(), 32.6), ("homereel".to_owned(), 23.1)]);
    }
}
