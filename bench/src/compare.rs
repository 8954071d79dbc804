//! Is B slower than A? Paired measurements, taken by turns, and an interval that holds the true ratio.
//! Knows nothing of servers.

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// Median of B / A over the pairs.
    pub ratio: f64,
    /// The interval that holds the true median ratio with [`CONFIDENCE`].
    pub interval: (f64, f64),
    /// Pairs that it rests on.
    pub pairs: usize,
    /// What may be said.
    pub change: Change,
}

/// What may be said of B against A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// B takes longer.
    Slower,
    /// B takes less time.
    Faster,
    /// The interval holds 1: nothing may be said.
    None,
}

/// Confidence of the interval. High, because a tool that cries wolf once in twenty runs is not looked at for long.
pub const CONFIDENCE: f64 = 0.9999;
/// Quantile of the normal distribution that leaves half of what [`CONFIDENCE`] leaves.
const Z: f64 = 3.890_592;
/// Pairs below which an interval of [`CONFIDENCE`] does not exist: the least and the largest of n pairs hold the median
/// with 1 - 2^(1-n).
pub const MIN_PAIRS: usize = 15;

/// Compares pairs of times (A, B), each pair measured close together and in turns.
///
/// The interval is that of the sign test, from the ranks of the sorted ratios: it assumes nothing of how noise is
/// distributed, and one bad outlier moves it by one rank. `None` below [`MIN_PAIRS`] pairs of positive times.
#[must_use]
pub fn compare(pairs: &[(f64, f64)]) -> Option<Verdict> {
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
        (low, _) if low > 1.0 => Change::Slower,
        (_, high) if high < 1.0 => Change::Faster,
        _ => Change::None,
    };
    Some(Verdict { ratio: crate::statistics::percentile(&ratios, 50.0), interval, pairs: n, change })
}

impl Verdict {
    /// Says it in words, of things called `a` and `b`.
    #[must_use]
    pub fn told(&self, a: &str, b: &str) -> String {
        let Self { ratio, interval: (low, high), pairs, change } = self;
        let said = match change {
            Change::Slower => format!("{b} is slower"),
            Change::Faster => format!("{b} is faster"),
            Change::None => "no difference that these pairs could show".to_owned(),
        };
        format!("{b}/{a} {ratio:.3} [{low:.3}, {high:.3}] of {pairs} pairs: {said}")
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    /// Times around 20 ms with noise of a tenth and, now and then, a hiccup of three times.
    fn noisy(rng: &mut StdRng) -> f64 {
        let hiccup = if rng.random_bool(0.05) { 3.0 } else { 1.0 };
        20.0 * rng.random_range(0.95..1.05) * hiccup
    }

    #[test]
    fn a_planted_slowdown_of_a_twentieth_is_found_and_nothing_is_found_in_noise() {
        for seed in 0..10 {
            let mut rng = StdRng::seed_from_u64(seed);
            let same: Vec<_> = (0..100).map(|_| (noisy(&mut rng), noisy(&mut rng))).collect();
            let slow: Vec<_> = (0..100).map(|_| (noisy(&mut rng), 1.05 * noisy(&mut rng))).collect();
            assert_eq!(compare(&same).map(|v| v.change), Some(Change::None), "seed {seed}");
            let found = compare(&slow).unwrap();
            assert_eq!(found.change, Change::Slower, "seed {seed}: {found:?}");
            assert!((found.ratio - 1.05).abs() < 0.02, "{found:?}");
            assert!(found.told("old", "new").ends_with("new is slower"), "{found:?}");
        }
    }

    #[test]
    fn too_few_pairs_say_nothing() {
        assert_eq!(compare(&[(1.0, 2.0); MIN_PAIRS - 1]), None);
        assert_eq!(compare(&[(1.0, 2.0); MIN_PAIRS]).map(|v| v.change), Some(Change::Slower));
        assert_eq!(compare(&[(0.0, 2.0); 50]), None);
    }
}
