//! Compares two servers: the confidence interval of the median ratio of paired measurements, which decides whether B is
//! slower than A.

use serde::Serialize;

/// The result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Median of B / A over the pairs.
    pub ratio: f64,
    /// Interval that contains the true median ratio with probability [`CONFIDENCE`].
    pub interval: (f64, f64),
    /// Number of pairs.
    pub pairs: usize,
    /// The conclusion.
    pub change: Conclusion,
}

/// Conclusion about B, compared with A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// B takes longer.
    Slower,
    /// B takes less time.
    Faster,
    /// The interval contains 1: no difference is shown.
    None,
}

/// Confidence of the interval. High, because a tool that cries wolf once in twenty runs is not looked at for long.
pub const CONFIDENCE: f64 = 0.9999;
/// Quantile of the normal distribution that leaves (1 - [`CONFIDENCE`]) / 2 above it.
const Z: f64 = 3.890_592;
/// Fewest pairs for which an interval of [`CONFIDENCE`] exists: the smallest and the largest of n ratios contain the median with
/// probability 1 - 2^(1-n).
pub const MIN_PAIRS: usize = 15;

/// Compares pairs of times (A, B), where both times of a pair were measured shortly after each other, in alternating order.
///
/// The interval is that of the sign test, from the ranks of the sorted ratios: it assumes nothing about the distribution of
/// noise, and an outlier moves it by one rank. Returns `None` for fewer than [`MIN_PAIRS`] pairs of positive times.
#[must_use]
pub fn compare(pairs: &[(f64, f64)]) -> Option<Comparison> {
    let mut ratios: Vec<f64> =
        pairs.iter().filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| b / a).collect();
    let n = ratios.len();
    if n < MIN_PAIRS {
        return None;
    }
    ratios.sort_by(f64::total_cmp);
    let half_width = Z * (n as f64).sqrt() / 2.0;
    let low = ((n as f64 / 2.0 - half_width).floor() as usize).min(n - 1);
    let interval = (ratios[low], ratios[n - 1 - low]);
    let change = match interval {
        (low, _) if low > 1.0 => Conclusion::Slower,
        (_, high) if high < 1.0 => Conclusion::Faster,
        _ => Conclusion::None,
    };
    Some(Comparison { ratio: crate::statistics::percentile(&ratios, 50.0)?, interval, pairs: n, change })
}

impl Comparison {
    /// Returns the comparison in words, for servers named `a` and `b`.
    #[must_use]
    pub fn describe(&self, a: &str, b: &str) -> String {
        let Self { ratio, interval: (low, high), pairs, change } = self;
        let conclusion = match change {
            Conclusion::Slower => format!("{b} is slower"),
            Conclusion::Faster => format!("{b} is faster"),
            Conclusion::None => "no difference that these pairs could show".to_owned(),
        };
        format!("{b}/{a} {ratio:.3} [{low:.3}, {high:.3}] of {pairs} pairs: {conclusion}")
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    /// Times around 20 ms with 10 % noise and, in 1 of 20, a pause of three times as long.
    fn noisy(rng: &mut StdRng) -> f64 {
        let pause = if rng.random_bool(0.05) { 3.0 } else { 1.0 };
        20.0 * rng.random_range(0.95..1.05) * pause
    }

    #[test]
    fn a_slowdown_of_five_percent_is_found_and_noise_is_not() {
        for seed in 0..10 {
            let mut rng = StdRng::seed_from_u64(seed);
            let same: Vec<_> = (0..100).map(|_| (noisy(&mut rng), noisy(&mut rng))).collect();
            let slow: Vec<_> = (0..100).map(|_| (noisy(&mut rng), 1.05 * noisy(&mut rng))).collect();
            assert_eq!(compare(&same).map(|found| found.change), Some(Conclusion::None), "seed {seed}");
            let found = compare(&slow).unwrap();
            assert_eq!(found.change, Conclusion::Slower, "seed {seed}: {found:?}");
            assert!((found.ratio - 1.05).abs() < 0.02, "{found:?}");
            assert!(found.describe("old", "new").ends_with("new is slower"), "{found:?}");
        }
    }

    #[test]
    fn too_few_pairs_have_no_result() {
        assert_eq!(compare(&[(1.0, 2.0); MIN_PAIRS - 1]), None);
        assert_eq!(compare(&[(1.0, 2.0); MIN_PAIRS]).map(|found| found.change), Some(Conclusion::Slower));
        assert_eq!(compare(&[(0.0, 2.0); 50]), None);
    }
}
