//! Figures of a list of measurements, by the definitions of `vllm bench serve`: numpy's linear percentiles, the
//! population's standard deviation. Knows nothing of what was measured.

use serde::Serialize;

/// Mean, median, standard deviation and percentiles of one measure. Empty lists give zeros, as vLLM's do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Arithmetic mean.
    pub mean: f64,
    /// 50th percentile.
    pub median: f64,
    /// Standard deviation of the population.
    pub std: f64,
    /// (percentile, value), in the order asked for.
    pub percentiles: Vec<(f64, f64)>,
}

impl Figures {
    /// Sums `values` up, with the percentiles `wanted` (0 to 100).
    #[must_use]
    pub fn of(values: &[f64], wanted: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len().max(1) as f64;
        // From 0.0: the sum of nothing is -0.0, and would be printed so.
        let mean = sorted.iter().fold(0.0, |sum, value| sum + value) / count;
        let variance = sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Self {
            mean,
            median: percentile(&sorted, 50.0),
            std: variance.sqrt(),
            percentiles: wanted.iter().map(|&p| (p, percentile(&sorted, p))).collect(),
        }
    }
}

/// Returns the `p`th percentile of `sorted`, linear between ranks as numpy's default; 0 for no values.
#[must_use]
pub fn percentile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = p.clamp(0.0, 100.0) / 100.0 * last as f64;
    let (below, share) = (at.floor() as usize, at.fract());
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    low + (high - low) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8], [50, 90, 99])
        let figures = Figures::of(&[8.0, 1.0, 4.0, 2.0], &[90.0, 99.0]);
        assert_eq!((figures.mean, figures.median), (3.75, 3.0));
        assert!((figures.std - 2.680_951_323_690_902).abs() < 1e-12);
        assert!((figures.percentiles[0].1 - 6.8).abs() < 1e-12);
        assert!((figures.percentiles[1].1 - 7.88).abs() < 1e-12);
        assert_eq!(Figures::of(&[], &[99.0]).median, 0.0);
        assert_eq!(format!("{:.2}", Figures::of(&[], &[]).mean), "0.00");
        assert_eq!(Figures::of(&[5.0], &[99.0]).percentiles, [(99.0, 5.0)]);
    }
}
