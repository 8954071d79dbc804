//! Reasons to doubt the figures of a run: a busy load generator, a rate that was not kept, an impossible speed, cached tokens.

use homereel_web::bench_result::RequestRecord;

use super::{RunInfo, e2el_ms, send_delay_ms, tpot_ms};
use crate::serve::{Load, Measurement};
use crate::statistics::median;

/// Share of the machine's cores above which the load generator may be the bottleneck.
const MAX_GENERATOR_SHARE: f64 = 0.7;
/// Share of the median latency above which the median delay before sending is reported.
const MAX_DELAY_SHARE: f64 = 0.1;

/// Returns the reasons to doubt the figures.
pub(super) fn warnings(
    info: &RunInfo,
    load: &Load,
    measured: &Measurement,
    answered: &[&RequestRecord],
) -> Vec<String> {
    let mut out = Vec::new();
    let cores = info.machine.cores;
    if generator_bound(measured, cores) {
        out.push(format!(
            "the load generator used {:.1} of {cores} cores and may be the bottleneck; run it on another machine",
            measured.resources.generator_cpu
        ));
    }
    let medians = || {
        let of = |metric: fn(&RequestRecord) -> f64| {
            median(&answered.iter().map(|record| metric(record)).collect::<Vec<f64>>())
        };
        Some((of(send_delay_ms)?, of(e2el_ms)?))
    };
    if let Some((delay, e2el)) = medians()
        && load.request_rate.is_some()
        && delay > MAX_DELAY_SHARE * e2el
    {
        out.push(format!(
            "the median request was sent {delay:.0} ms after it was due (median latency {e2el:.0} ms, which includes it): the \
             rate is higher than the server, or --max-concurrency, permits"
        ));
    }
    if let Some((bandwidth, bytes)) = info.roofline {
        let bound = 1e3 * bytes / bandwidth;
        let tpots: Vec<f64> = answered.iter().filter_map(|record| tpot_ms(record)).collect();
        if let Some(tpot) = median(&tpots).filter(|tpot| *tpot < bound) {
            out.push(format!(
                "IMPOSSIBLE: {tpot:.2} ms per token, but reading {:.2} GB of weights at {:.0} GB/s takes {bound:.2} ms: tokens \
                 were not generated one by one, or the figures of the machine are wrong",
                bytes / 1e9,
                bandwidth / 1e9
            ));
        }
    }
    let cached: u64 = answered.iter().map(|record| record.cached_tokens).sum();
    if !info.repeated && cached > 0 {
        out.push(format!("{cached} prompt tokens came from the server's cache although all content was new"));
    }
    out
}

/// Returns whether the load generator may have been the bottleneck, so that the result must not be reported as the server's.
#[must_use]
pub fn generator_bound(measured: &Measurement, cores: usize) -> bool {
    measured.resources.generator_cpu > MAX_GENERATOR_SHARE * cores as f64
}
