//! Objectives: limits on the latency of a request, for goodput.

use homereel_web::bench_result::RequestRecord;

use super::{e2el_ms, tpot_ms, ttft_ms};

/// A limit in milliseconds that a request meets or misses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The metric that is limited.
    pub metric: LatencyMetric,
    /// The limit.
    pub ms: f64,
}

/// A latency metric of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyMetric {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// End-to-end latency.
    E2el,
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, ms) = text.split_once(':')?;
            let metric = match name {
                "ttft" => LatencyMetric::Ttft,
                "tpot" => LatencyMetric::Tpot,
                "e2el" => LatencyMetric::E2el,
                _ => return None,
            };
            Some(Self { metric, ms: ms.parse().ok().filter(|&ms| ms > 0.0)? })
        };
        parse().ok_or_else(|| format!("'{text}' is not an objective; ttft:MS, tpot:MS or e2el:MS would fit"))
    }
}

/// Returns whether a request meets every objective.
pub(super) fn meets(record: &RequestRecord, objectives: &[Objective]) -> bool {
    objectives.iter().all(|objective| {
        let ms = match objective.metric {
            LatencyMetric::Ttft => ttft_ms(record),
            // An answer of one token has no later token that could be late.
            LatencyMetric::Tpot => tpot_ms(record).unwrap_or_default(),
            LatencyMetric::E2el => e2el_ms(record),
        };
        ms <= objective.ms
    })
}
