//! Parses the metrics of vLLM's `/metrics` that we show: queue lengths, KV cache usage and cache hits. Parsing is one
//! `split` per line; the available crates do it with regular expressions.

use crate::ReplicaMetrics;

/// Parses the text of `/metrics`; missing metrics are 0.
pub(super) fn parse(text: &str) -> ReplicaMetrics {
    let mut told = ReplicaMetrics::default();
    for (name, value) in text.lines().filter_map(sample) {
        // A data-parallel server has one sample per engine: queues add up, and the fullest cache counts.
        match name {
            "vllm:num_requests_running" => told.num_requests_running += value,
            "vllm:num_requests_waiting" => told.num_requests_waiting += value,
            "vllm:kv_cache_usage_perc" => told.kv_cache_usage_perc = told.kv_cache_usage_perc.max(value),
            "vllm:prefix_cache_queries_total" => told.prefix_cache_queries_total += value,
            "vllm:prefix_cache_hits_total" => told.prefix_cache_hits_total += value,
            "vllm:mm_cache_queries_total" => told.mm_cache_queries_total += value,
            "vllm:mm_cache_hits_total" => told.mm_cache_hits_total += value,
            _ => {}
        }
    }
    told
}

/// Parses `name{labels} value` or `name value`.
fn sample(line: &str) -> Option<(&str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let value = rest.rsplit_once('}').map_or(rest, |(_, value)| value);
    // A timestamp may follow.
    let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((name, value))
}

/// Keeps counters monotonic across restarts of the replica.
#[derive(Debug, Default)]
pub(super) struct MonotonicCounts {
    last: ReplicaMetrics,
    total: ReplicaMetrics,
}

impl MonotonicCounts {
    /// Adds the counters of `now`; returns `now` with counters that never decrease.
    pub(super) fn take(&mut self, now: ReplicaMetrics) -> ReplicaMetrics {
        let grown = |last: f64, now: f64| if now >= last { now - last } else { now };
        let (last, before) = (self.last, self.total);
        let counted = |of: fn(&ReplicaMetrics) -> f64| of(&before) + grown(of(&last), of(&now));
        self.total = ReplicaMetrics {
            prefix_cache_queries_total: counted(|told| told.prefix_cache_queries_total),
            prefix_cache_hits_total: counted(|told| told.prefix_cache_hits_total),
            mm_cache_queries_total: counted(|told| told.mm_cache_queries_total),
            mm_cache_hits_total: counted(|told| told.mm_cache_hits_total),
            ..now
        };
        self.last = now;
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a } b"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting 4 1700000000
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5
vllm:prefix_cache_queries_total{engine="0"} 1e+03
vllm:prefix_cache_hits_total{engine="0"} 600
vllm:mm_cache_hits_total{engine="0"} NaN
vllm:time_to_first_token_seconds_bucket{le="+Inf"} 7
nonsense
"#;

    #[test]
    fn what_matters_is_read_and_the_rest_is_skipped() {
        let told = parse(TEXT);
        assert_eq!((told.num_requests_running, told.num_requests_waiting), (3.0, 4.0));
        assert_eq!(told.kv_cache_usage_perc, 0.5);
        assert_eq!((told.prefix_cache_queries_total, told.prefix_cache_hits_total), (1000.0, 600.0));
        assert_eq!(told.mm_cache_hits_total, 0.0);
        assert_eq!(parse("<html>"), ReplicaMetrics::default());
    }

    #[test]
    fn counts_go_on_over_a_restart() {
        let told = |hits| ReplicaMetrics { prefix_cache_hits_total: hits, ..ReplicaMetrics::default() };
        let mut counts = MonotonicCounts::default();
        assert_eq!(counts.take(told(5.0)).prefix_cache_hits_total, 5.0);
        assert_eq!(counts.take(told(7.0)).prefix_cache_hits_total, 7.0);
        assert_eq!(counts.take(told(2.0)).prefix_cache_hits_total, 9.0);
    }
}
