//! Reads metrics in Prometheus' text format, and computes what a server did between two readings.

use std::collections::BTreeMap;

use homereel_web::bench_result::RequestRecord;
use serde::Serialize;

/// Values by series: the name with its labels, as the server writes them.
pub(super) type Metrics = BTreeMap<String, f64>;

/// What a server did for the clips. `None` means that it has no such metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ServerWork {
    /// Answered questions, without the interactive ones.
    pub questions: Option<f64>,
    /// Prompt tokens of these questions.
    pub prompt_tokens: Option<f64>,
    /// Generated tokens of these questions.
    pub generation_tokens: Option<f64>,
    /// Seconds of stages and jobs, by series; concurrent ones add up, and interactive questions are included.
    pub seconds: BTreeMap<String, f64>,
}

/// Slots of the jobs that ask the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Slots {
    /// Slots that exist.
    pub limit: Option<f64>,
    /// Slots in use: the rest waits for the decoder, or for clips.
    pub used: Option<f64>,
    /// Parts of videos that are being decoded, or wait for a slot.
    pub decoding: Option<f64>,
}

/// Parses the text format. Comments and values that are not finite are skipped.
pub(super) fn parse(text: &str) -> Metrics {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (series, value) = line.trim_end().rsplit_once(' ')?;
            let value: f64 = value.parse().ok()?;
            value.is_finite().then(|| (series.to_owned(), value))
        })
        .collect()
}

/// Returns the difference between two readings, without the interactive questions `asked` in between.
pub(super) fn work(before: &Metrics, after: &Metrics, asked: &[RequestRecord]) -> ServerWork {
    // A counter appears when it is first incremented.
    let grown = |series: &str| Some(after.get(series)? - before.get(series).copied().unwrap_or_default());
    let answered = || asked.iter().filter(|record| record.error.is_none());
    let tokens = |of: fn(&RequestRecord) -> u64| answered().map(of).sum::<u64>() as f64;
    let seconds = after.keys().filter(|series| is_duration(series));
    ServerWork {
        questions: grown("vllm:request_success_total").map(|all| all - answered().count() as f64),
        prompt_tokens: grown("vllm:prompt_tokens_total")
            .map(|all| all - tokens(|record| record.prompt_tokens)),
        generation_tokens: grown("vllm:generation_tokens_total")
            .map(|all| all - tokens(|record| record.completion_tokens)),
        seconds: seconds.filter_map(|series| Some((series.clone(), grown(series)?))).collect(),
    }
}

/// Whether a series is the sum of durations of stages or jobs.
fn is_duration(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    name.ends_with("_seconds_sum") && (name.starts_with("homereel_stage") || name.starts_with("homereel_job"))
}

/// Returns the slots of one reading.
pub(super) fn slots(metrics: &Metrics) -> Slots {
    let gauge = |state: &str| metrics.get(&format!("homereel_job_slots{{state=\"{state}\"}}")).copied();
    Slots { limit: gauge("limit"), used: gauge("used"), decoding: gauge("decoding") }
}

/// Returns the means of several readings.
pub(super) fn mean(samples: &[Slots]) -> Slots {
    let mean = |of: fn(&Slots) -> Option<f64>| {
        let values: Vec<f64> = samples.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Slots {
        limit: mean(|slots| slots.limit),
        used: mean(|slots| slots.used),
        decoding: mean(|slots| slots.decoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# TYPE vllm:prompt_tokens_total counter\nvllm:prompt_tokens_total 100\n\
                          vllm:request_success_total 2\n";
    const AFTER: &str = "vllm:prompt_tokens_total 1100\nvllm:request_success_total 6\nvllm:generation_tokens_total 80\n\
                         homereel_stage_seconds_sum{stage=\"queue\"} 1.5\nhomereel_stage_seconds_count{stage=\"queue\"} 4\n\
                         homereel_http_response_head_seconds_sum{route=\"GET /\"} 9\nhomereel_x NaN\n";

    #[test]
    fn series_keep_their_labels_and_values_that_are_no_numbers_are_skipped() {
        let metrics = parse(AFTER);
        assert_eq!(metrics.get("homereel_http_response_head_seconds_sum{route=\"GET /\"}"), Some(&9.0));
        assert_eq!((metrics.len(), metrics.get("homereel_x")), (6, None));
    }

    #[test]
    fn work_is_the_difference_without_interactive_questions() {
        let answered =
            RequestRecord { prompt_tokens: 200, completion_tokens: 10, ..RequestRecord::default() };
        let failed = RequestRecord { error: Some("x".into()), prompt_tokens: 5, ..RequestRecord::default() };
        let done = work(&parse(BEFORE), &parse(AFTER), &[answered, failed]);
        assert_eq!(
            (done.questions, done.prompt_tokens, done.generation_tokens),
            (Some(3.0), Some(800.0), Some(70.0))
        );
        let queue = "homereel_stage_seconds_sum{stage=\"queue\"}".to_owned();
        assert_eq!(done.seconds, BTreeMap::from([(queue, 1.5)]));
        assert_eq!(work(&Metrics::new(), &Metrics::new(), &[]), ServerWork::default());
    }

    #[test]
    fn slots_are_averaged_over_the_readings_that_have_them() {
        let text = "homereel_job_slots{state=\"limit\"} 4\nhomereel_job_slots{state=\"used\"} 3\n";
        let some = slots(&parse(text));
        assert_eq!(some, Slots { limit: Some(4.0), used: Some(3.0), decoding: None });
        let fewer = Slots { used: Some(1.0), ..Slots::default() };
        assert_eq!(mean(&[some, fewer]), Slots { limit: Some(4.0), used: Some(2.0), decoding: None });
        assert_eq!(mean(&[]), Slots::default());
    }
}
