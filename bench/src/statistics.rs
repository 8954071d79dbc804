//! Summary statistics by the definitions of `vllm bench serve`: numpy's linear percentiles and the standard deviation of the
//! population.

use homereel_web::bench_result::Summary;

/// Summarizes `values`, with the given `percentiles` (0 to 100). Returns `None` for no values.
#[must_use]
pub fn summarize(values: &[f64], percentiles: &[f64]) -> Option<Summary> {
    let sorted = sorted(values);
    let median = percentile(&sorted, 50.0)?;
    let count = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / count;
    let variance = sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let percentiles = percentiles.iter().filter_map(|&p| Some((p, percentile(&sorted, p)?)));
    Some(Summary { mean, median, std: variance.sqrt(), percentiles: percentiles.collect() })
}

/// Returns the median of `values`, or `None` for no values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(&sorted(values), 50.0)
}

/// Returns the `p`th percentile of `sorted`, interpolated linearly between ranks, or `None` for no values.
#[must_use]
pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = p.clamp(0.0, 100.0) / 100.0 * last as f64;
    let (below, share) = (rank.floor() as usize, rank.fract());
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(low + (high - low) * share)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8], [50, 90, 99])
        let summary = summarize(&[8.0, 1.0, 4.0, 2.0], &[90.0, 99.0]).unwrap();
        assert_eq!((summary.mean, summary.median), (3.75, 3.0));
        assert!((summary.std - 2.680_951_323_690_902).abs() < 1e-12);
        assert!((summary.percentiles[0].1 - 6.8).abs() < 1e-12);
        assert!((summary.percentiles[1].1 - 7.88).abs() < 1e-12);
        assert_eq!(summarize(&[5.0], &[99.0]).unwrap().percentiles, [(99.0, 5.0)]);
    }

    #[test]
    fn no_values_have_no_summary() {
        assert_eq!((summarize(&[], &[99.0]), median(&[]), percentile(&[], 99.0)), (None, None, None));
    }
}
