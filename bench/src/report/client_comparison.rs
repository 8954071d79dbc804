//! Compares `homereel-bench serve` with `vllm bench serve` on the same server: medians over several rounds of both, and
//! their ratio.

use std::fmt::Write as _;

use homereel_web::bench_result::{BenchResult, Summary};
use homereel_web::format::number_or_dash;
use serde::Deserialize;

use crate::statistics::median;

/// Relative difference above which the clients disagree.
const TOLERANCE: f64 = 0.05;

/// The compared fields of a result of `vllm bench serve`.
#[derive(Debug, Clone, Deserialize)]
pub struct VllmBenchResult {
    total_input_tokens: f64,
    total_output_tokens: f64,
    request_throughput: f64,
    output_throughput: f64,
    median_ttft_ms: f64,
    median_tpot_ms: f64,
    median_itl_ms: f64,
    median_e2el_ms: f64,
}

/// The comparison of two clients.
#[derive(Debug)]
pub struct ClientComparison {
    /// A Markdown table: one row per metric.
    pub table: String,
    /// Metrics that must agree and do not.
    pub differing: Vec<&'static str>,
}

/// One metric: its name, whether it must agree, and where each client has it.
struct ComparedMetric {
    name: &'static str,
    required: bool,
    ours: fn(&BenchResult) -> Option<f64>,
    vllm: fn(&VllmBenchResult) -> f64,
}

fn summary_median(summary: &Option<Summary>) -> Option<f64> {
    summary.as_ref().map(|summary| summary.median)
}

const METRICS: [ComparedMetric; 8] = [
    ComparedMetric {
        name: "total_input_tokens",
        required: false,
        ours: |result| Some(result.total_input_tokens),
        vllm: |result| result.total_input_tokens,
    },
    ComparedMetric {
        name: "total_output_tokens",
        required: false,
        ours: |result| Some(result.total_output_tokens),
        vllm: |result| result.total_output_tokens,
    },
    ComparedMetric {
        name: "request_throughput",
        required: true,
        ours: |result| Some(result.request_throughput),
        vllm: |result| result.request_throughput,
    },
    ComparedMetric {
        name: "output_throughput",
        required: true,
        ours: |result| Some(result.output_throughput),
        vllm: |result| result.output_throughput,
    },
    ComparedMetric {
        name: "median_ttft_ms",
        required: true,
        ours: |result| summary_median(&result.latencies.ttft),
        vllm: |result| result.median_ttft_ms,
    },
    ComparedMetric {
        name: "median_tpot_ms",
        required: true,
        ours: |result| summary_median(&result.latencies.tpot),
        vllm: |result| result.median_tpot_ms,
    },
    ComparedMetric {
        name: "median_itl_ms",
        required: false,
        ours: |result| summary_median(&result.latencies.itl),
        vllm: |result| result.median_itl_ms,
    },
    ComparedMetric {
        name: "median_e2el_ms",
        required: false,
        ours: |result| summary_median(&result.latencies.e2el),
        vllm: |result| result.median_e2el_ms,
    },
];

/// Compares the medians over all rounds of both clients.
#[must_use]
pub fn compare_clients(ours: &[BenchResult], vllm: &[VllmBenchResult]) -> ClientComparison {
    let mut table = String::from("| | homereel-bench | vllm bench | ratio |\n|---|---|---|---|\n");
    let mut differing = Vec::new();
    for metric in METRICS {
        let a = median(&ours.iter().filter_map(metric.ours).collect::<Vec<f64>>());
        let b = median(&vllm.iter().map(metric.vllm).collect::<Vec<f64>>());
        let ratio = a.zip(b).map(|(a, b)| a / b);
        if metric.required && ratio.is_none_or(|ratio| (ratio - 1.0).abs() > TOLERANCE) {
            differing.push(metric.name);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} |",
            metric.name,
            number_or_dash(a, 3),
            number_or_dash(b, 3),
            number_or_dash(ratio, 3)
        );
    }
    ClientComparison { table, differing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> (BenchResult, VllmBenchResult) {
        let bytes = include_bytes!("../../runs/2026-11-26-x86_64-2cores/demo-vllm.json");
        // Our results have all fields of vLLM's.
        (BenchResult::parse(bytes).unwrap(), serde_json::from_slice(bytes).unwrap())
    }

    #[test]
    fn equal_results_agree_and_a_difference_is_named() {
        let (ours, vllm) = round();
        let equal = compare_clients(std::slice::from_ref(&ours), std::slice::from_ref(&vllm));
        assert_eq!(equal.differing, [""; 0]);
        assert!(equal.table.contains("| median_tpot_ms | 2.5"), "{}", equal.table);
        let slower = VllmBenchResult { median_ttft_ms: 1.06 * vllm.median_ttft_ms, ..vllm.clone() };
        assert_eq!(compare_clients(std::slice::from_ref(&ours), &[slower]).differing, ["median_ttft_ms"]);
        // The median of three rounds ignores one outlier.
        let outlier = VllmBenchResult { median_ttft_ms: 9.0 * vllm.median_ttft_ms, ..vllm.clone() };
        let rounds = [vllm.clone(), outlier, vllm];
        assert_eq!(compare_clients(&[ours], &rounds).differing, [""; 0]);
    }
}
