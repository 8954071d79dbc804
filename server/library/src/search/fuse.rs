//! Reciprocal rank fusion: merges rankings whose scores can't be compared, such as BM25 and cosines, by the ranks alone.

use std::{collections::HashMap, hash::Hash};

/// How little the first ranks differ. This is the constant of the original paper (Cormack, Clarke, Büttcher, SIGIR 2009), and
/// what search engines use by default.
const K: f64 = 60.0;

/// Returns what a rank, counted from 0, is worth.
pub(super) fn worth(rank: usize) -> f64 {
    1.0 / (K + 1.0 + rank as f64)
}

/// Merges two rankings without repetitions, best first. Among equals, those of the first ranking come first.
pub(super) fn fuse<T: Clone + Eq + Hash>(first: &[T], second: &[T]) -> Vec<T> {
    let mut scores: HashMap<&T, f64> = HashMap::new();
    let mut order: Vec<&T> = Vec::new();
    for ranking in [first, second] {
        for (rank, item) in ranking.iter().enumerate() {
            let score = scores.entry(item).or_insert_with(|| {
                order.push(item);
                0.0
            });
            *score += worth(rank);
        }
    }
    order.sort_by(|a, b| scores[b].total_cmp(&scores[a]));
    order.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::fuse;

    #[test]
    fn what_both_rankings_have_goes_before_what_one_has() {
        assert_eq!(fuse(&[1, 2, 3], &[4, 3, 5]), [3, 1, 4, 2, 5]);
        assert_eq!(fuse(&[1, 2], &[]), [1, 2]);
        assert_eq!(fuse::<i32>(&[], &[]), [0; 0]);
    }
}
